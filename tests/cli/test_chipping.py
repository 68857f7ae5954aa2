"""Collections are declared from the command line: by the first add, by `archive declare`, anew with `--redeclare`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from terraseek.cli.chipping import given_chipping

from ..archive.test_ingest import noise, save_scene
from .conftest import Run

RANGE = ("--set", "scaling.kind=range", "--set", "scaling.low=[0]", "--set", "scaling.high=[3000]")
DECLARED = {
    "size": 32,
    "stride": 20,
    "edge": "shift",
    "max_nodata": 0.5,
    "scales": [1],
    "bands": ["3", "2", "1"],
    "scaling": {"kind": "range", "low": [0.0], "high": [3000.0], "percentiles": [2.0, 98.0]},
}
GIVEN = ("--chip", 32, "--stride", 20, "--band", 3, "--band", 2, "--band", 1, *RANGE)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    for number in range(2):
        save_scene(tmp_path / "scenes" / f"{number}.tif", noise(52, 52, seed=number))
    return tmp_path / "scenes"


def test_what_is_left_out_is_not_given() -> None:
    assert given_chipping(None, None, None, None) == given_chipping(None, None, [], []) == {}
    assert given_chipping(256, None, ["B04"], ["scaling.kind=none", "edge=pad"]) == {
        "size": 256,
        "bands": ["B04"],
        "scaling": {"kind": "none"},
        "edge": "pad",
    }


def test_two_adds_say_it_once(run: Run, archive: Path, scenes: Path) -> None:
    assert run("archive", "status", archive, "--json").json["declarations"] == {}
    first = run("archive", "add", archive, scenes / "0.tif", *GIVEN, "--json").json
    assert (first["schema"], first["added"], first["declared"]) == (1, 4, DECLARED)
    second = run("archive", "add", archive, scenes, "--json").json
    assert (second["added"], second["unchanged"], "declared" in second) == (4, 1, False)
    assert run("archive", "add", archive, scenes, "--chip", 32, "--json").json["unchanged"] == 2
    status = run("archive", "status", archive, "--json").json
    assert (status["schema"], status["collections"]) == (1, {"default": 20})
    assert status["declarations"] == {"default": DECLARED}
    run("archive", "declare", archive, "--collection", "fine", "--chip", 16)
    lines = run("archive", "status", archive).out.splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("declared "))
    assert 'default: size=32, stride=20, edge=shift, max_nodata=0.5, scales=[1], bands=["3", "2", "1"]' in lines[at]
    # The names in front stay a narrow column, whatever a collection is called.
    assert lines[at + 1].index("fine: size=16") == lines[at].index("default: size=32") < 16


def test_the_first_add_says_what_it_declares(run: Run, archive: Path, scenes: Path) -> None:
    told = run("archive", "add", archive, scenes)
    assert told.code == 0
    assert "the collection 'default' is declared: size=256, edge=shift" in told.out
    assert "is declared" not in run("archive", "add", archive, scenes).out


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--json",)], ids=str)
def test_what_says_otherwise_is_refused_in_one_line(
    run: Run, archive: Path, scenes: Path, pictures: Path, more: tuple[str, ...]
) -> None:
    run("archive", "add", archive, scenes, *GIVEN)
    for source in (scenes, pictures):
        result = run("archive", "add", archive, source, "--chip", 256, "--set", "scaling.kind=percentile", *more)
        assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
        assert (
            "the collection 'default' is declared with size=32, scaling.kind=range, scaling.low=[0.0], "
            "scaling.high=[3000.0], not size=256, scaling.kind=percentile, scaling.low=[], scaling.high=[]: leave this "
            "out, take another --collection, or declare it anew with --redeclare" in result.err
        )
    assert run("archive", "add", archive, scenes, "--collection", "other", "--json").json["added"] == 2


def test_redeclaring_embeds_again_what_is_added(run: Run, archive: Path, scenes: Path) -> None:
    run("archive", "add", archive, scenes, *GIVEN)
    again = ("archive", "add", archive, scenes / "0.tif", "--chip", 52, "--redeclare", "--json")
    assert "declared" not in run(*again, "--dry-run").json
    report = run(*again).json
    assert report["declared"] == {**DECLARED, "size": 52}
    assert (report["added"] + report["updated"], report["unchanged"]) == (1, 0)
    report = run("archive", "add", archive, scenes, "--json").json
    assert (report["added"] + report["updated"], report["unchanged"]) == (1, 1)


def test_declaring_beforehand(run: Run, archive: Path, scenes: Path) -> None:
    command = ("archive", "declare", archive, "--collection", "s2", *GIVEN)
    foreseen = run(*command, "--dry-run", "--json").json
    assert foreseen == {"schema": 1, "dry_run": True, "collection": "s2", "declared": DECLARED}
    assert run("archive", "status", archive, "--json").json["declarations"] == {}
    assert run(*command, "--json").json == {**foreseen, "dry_run": False}
    assert run("archive", "add", archive, scenes, "--collection", "s2", "--json").json["added"] == 8
    for more in ((), ("--dry-run",)):
        result = run("archive", "declare", archive, "--collection", "s2", "--stride", 16, *more)
        assert (result.code, "is declared with stride=20, not stride=16" in result.err) == (2, True)
        assert run("archive", "declare", archive, "--collection", "", *more).code == 2
    told = run("archive", "declare", archive, "--collection", "s2", "--stride", 16, "--redeclare")
    assert "the collection 's2' is declared: size=32, stride=16, " in told.out
    assert "'default' is declared: size=256" in run("archive", "declare", archive).out


def test_a_damaged_declaration_is_named_and_taken_out(run: Run, archive: Path, scenes: Path) -> None:
    run("archive", "add", archive, scenes, *GIVEN)
    for path in (archive / "declarations.lance" / "data").iterdir():
        path.write_bytes(path.read_bytes()[:20])
    for command in (("add", archive, scenes), ("status", archive), ("verify", archive)):
        result = run("archive", *command)
        assert (result.code, "archive repair" in result.err) == (4, True)
    report = run("archive", "verify", archive, "--json")
    assert [problem["kind"] for problem in report.json["problems"]] == ["declaration"]
    told = run("archive", "repair", archive)
    assert told.code == 0
    assert "declare it again with: terraseek archive declare" in told.out
    assert run("archive", "verify", archive).code == 0
    result = run("archive", "add", archive, scenes, *GIVEN, "--json")
    assert (result.code, result.json["unchanged"]) == (0, 2)


def test_a_data_set_asks_for_nothing(
    run: Run, archive: Path, pictures: Path, make_model: Callable[..., Path], scenes: Path
) -> None:
    rows = ["path,labels", *(f"{path.name},sea" for path in sorted(pictures.iterdir()))]
    (pictures / "samples.csv").write_text("\n".join(rows) + "\n")
    command: tuple[Any, ...] = ("archive", "add", archive, "--dataset", "table", "--root", pictures)
    assert run(*command, "--chip", 64, "--json").json["added"] == 12
    assert json.loads(run("archive", "status", archive, "--json").out)["declarations"] == {}
    assert run(*command, "--json").json["unchanged"] == 12
