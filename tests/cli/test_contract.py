"""What holds for every command: its help, its example, --json, and --dry-run where it writes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from terraseek.archive import Archive, Record
from terraseek.cli.app import app
from terraseek.data import DATASETS, synthesize

from ..archive.test_ingest import noise, save_scene
from .conftest import Run

Path_ = tuple[str, ...]

READERS = {
    ("archive", "duplicates"),
    ("archive", "facets"),
    ("archive", "status"),
    ("archive", "verify"),
    ("compare",),
    ("data", "check"),
    ("data", "leakage"),
    ("data", "concepts"),
    ("data", "list"),
    ("doctor",),
    ("evaluate",),  # its report goes beside, where it is asked for
    ("model", "info"),
    ("model", "list"),
    ("search",),
}
# Minutes, another machine, or data that no test has.
NOT_RUN = (
    "archive add coast https",
    "compare",
    "data download",
    "data leakage",
    "demo",
    "evaluate",
    "model convert",
    "model export",
    "model info",
    "model orient",
    "train",
)


def commands(command: Any = None, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    command = command or get_command(app)
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


ALL = dict(commands())
LEAVES = {path: command for path, command in ALL.items() if not getattr(command, "commands", {})}


def options_of(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


def examples_of(command: Any) -> list[str]:
    text = f"{command.help or ''} {command.epilog or ''}"
    return [" ".join(found.split()) for found in re.findall(r"Example: `([^`]+)`", text)]


EXAMPLES = [(path, example) for path, command in ALL.items() for example in examples_of(command)]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_shows_an_example_of_the_command(run: Run, path: Path_) -> None:
    result = run(*path, "--help")
    assert (result.code, "Usage:" in result.out) == (0, True)
    examples = examples_of(ALL[path])
    assert examples, f"{' '.join(path)} shows no example"
    for example in examples:
        assert not (found := re.search(r"data (?:check|leakage|download) (\S+)", example)) or found[1] in DATASETS
        assert example.startswith(" ".join(("terraseek", *path)))
        assert example[:40] in " ".join(result.out.split())
        words = tuple(word for word in shlex.split(example)[1:] if not word.startswith("-"))
        named = max((leaf for leaf in LEAVES if words[: len(leaf)] == leaf), key=len)
        for option in re.findall(r"\s(--[a-z-]+)", example):
            assert option in options_of(LEAVES[named]), f"{option} is not an option"


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_speaks_json_and_every_writer_has_a_dry_run(path: Path_) -> None:
    options = options_of(LEAVES[path])
    assert "--json" in options
    assert "--dry-run" in options or path in READERS


@pytest.fixture
def coast(
    run: Run, archive: Path, make_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with all that the examples of the help name; the archive `coast` has enough records for an index."""
    place = tmp_path / "place"
    place.mkdir()
    shutil.copytree(archive, place / "coast")
    shutil.copytree(archive / "model", tmp_path / "home" / "models" / "efficientnet-lite0")
    save_scene(place / "scene.tif", noise(96, 128))
    for name in ("photos", "runs"):
        (place / name).mkdir()
    Image.new("RGB", (32, 32), "tan").save(place / "beach.png")
    Image.new("RGB", (32, 32), "navy").save(place / "photos" / "sea.png")
    synthesize(place / "UCMerced", images=12, seed=1, size=64)
    store = Archive.open(place / "coast")
    vectors = np.random.default_rng(0).standard_normal((1000, store.dim))
    store.add([Record(id=f"r{at}", source="s", collection="sentinel-2") for at in range(1000)], vectors)
    shutil.copytree(place / "coast", place / "coast-of-another-model")
    monkeypatch.chdir(place)
    return place


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    files = (path for path in folder.rglob("*") if path.name != "writer.lock")
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def test_the_examples_of_the_help_work(run: Run, coast: Path) -> None:
    export = "terraseek archive export coast coast.parquet --collection sentinel-2"
    cheap = [example for _, example in EXAMPLES if not example.removeprefix("terraseek ").startswith(NOT_RUN)]
    assert export in cheap
    # An archive is made before it is used, and exported before it is imported.
    order = sorted(set(cheap), key=lambda example: (" import " in example, example))
    for example in order:
        if " create " in example:
            shutil.move("coast", "coast.kept")
        if " import " in example:
            assert run(*shlex.split(export)[1:]).code == 0
        words = [word.replace("500", "12") if " synthesize " in example else word for word in shlex.split(example)[1:]]
        as_json = words[0] in ("archive", "search") and not {"--json", "--geojson"} & set(words)
        result = run(*words, *(["--json"] if as_json else []))
        assert result.code == 0, (example, result.err)
        if as_json:
            assert json.loads(result.out)["schema"] == 1, example
        if " create " in example:
            shutil.rmtree("coast")
            shutil.move("coast.kept", "coast")


WRITES = [
    "archive create other --model efficientnet-lite0",
    "archive add coast scene.tif photos",
    "archive add coast --dataset ucmerced-ml --root UCMerced --split test",
    "archive declare coast --collection s2 --chip 96 --band B04",
    "archive remove coast r1 r2",
    "archive compact coast",
    "archive index coast",
    "archive repair coast",
    "archive export coast out.parquet",
    "archive import coast all.parquet",
    "data synthesize scenes --images 3 --size 64",
    "data download ucmerced-ml --root here",
    "model export efficientnet-lite0 made",
    "model orient efficientnet-lite0 turned",
    "model convert weights.pth weights.safetensors",
]


def test_a_dry_run_says_what_and_changes_nothing(run: Run, coast: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"weight": torch.zeros(2, 3)}, coast / "weights.pth")
    assert run("archive", "export", "coast", "all.parquet").code == 0
    before = tree(coast)
    for write in WRITES:
        told = run(*write.split(), "--dry-run", "--json")
        assert told.code == 0, (write, told.err)
        assert told.json["dry_run"] is True, write
        assert "dry run" in run(*write.split(), "--dry-run").out, write
        assert tree(coast) == before, write
