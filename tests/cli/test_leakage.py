"""A planted duplicate and a shared scene are found from the command line, drawn, and end in the right exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import Run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Eight pictures of four scenes; test holds a brighter copy of a training image and shares two scenes."""
    rng = np.random.default_rng(0)
    names = {"a_1": "train", "a_2": "train", "b_1": "train", "b_2": "test", "c_1": "test", "c_2": "test", "d_1": "val"}
    for name in names:
        coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(tmp_path / f"{name}.png")
    with Image.open(tmp_path / "a_1.png") as image:
        copy = np.asarray(image)
    Image.fromarray((copy * 0.8 + 30).astype(np.uint8)).resize((80, 80)).save(tmp_path / "a_3.png")
    rows = [f"{name}.png,{split},x" for name, split in {**names, "a_3": "test"}.items()]
    (tmp_path / "t.csv").write_text("path,split,labels\n" + "\n".join(rows) + "\n")
    return tmp_path / "t.csv"


def test_pixels_and_scenes(run: Run, table: Path, tmp_path: Path) -> None:
    command = ("data", "leakage", "table", "--root", table, "--scene", r"([a-z])_\d")
    sheet = tmp_path / "pairs.png"
    result = run(*command, "--sheet", sheet, "--json")
    assert result.code == 0
    found = result.json
    [pair] = found["by_pixels"]
    assert {pair["first"], pair["second"]} == {"a_1", "a_3"}
    assert {pair["first_split"], pair["second_split"]} == {"train", "test"}
    assert found["touched"] == {"test": 1, "train": 1, "val": 0}
    assert found["scenes"] == {"a": {"test": 1, "train": 2}, "b": {"test": 1, "train": 1}}
    assert (found["schema"], found["dataset"], found["model"]) == (1, "table", None)
    with Image.open(sheet) as drawn:
        assert drawn.width > 200
    told = run(*command, "--show", "1").out
    assert "scenes in several splits: the first 1 of 2, --json has all" in told
    strict = run(*command, "--strict")
    assert strict.code == 4
    assert "in common" in strict.err


def test_embeddings(run: Run, table: Path, make_model: Callable[..., Path]) -> None:
    command = ("data", "leakage", "table", "--root", table, "--model", make_model(), "--json")
    near = run(*command, "--cosine", "0.999999").json
    far = run(*command, "--cosine", "0.01").json
    assert near["model"] == far["model"] is not None
    assert len(far["by_vector"]) > len(near["by_vector"])
    crossing = {(pair["first_split"], pair["second_split"]) for pair in far["by_vector"]}
    assert all(first != second for first, second in crossing)


def test_images_that_cannot_be_read_are_listed(run: Run, table: Path) -> None:
    table.with_name("c_1.png").write_bytes(b"nothing")
    result = run("data", "leakage", "table", "--root", table)
    assert result.code == 5
    assert "c_1.png" in result.err
    assert "same pixels: 1" in result.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--scene", "(["), "no regular expression"),
        (("--scene", "a"), "has no group"),
        (("--scene", r"(a)_\d"), "does not match the image 'b_1'"),
        (("--sheet", "pairs.gif"), "not 'pairs.gif'"),
        (("--bits", "40"), "bits is 40"),
    ],
)
def test_bad_options(run: Run, table: Path, options: tuple[str, str], message: str) -> None:
    result = run("data", "leakage", "table", "--root", table, *options)
    assert result.code == 2
    assert message in result.err


def test_one_split_cannot_leak(run: Run, table: Path) -> None:
    table.write_text("path,split,labels\na_1.png,train,x\na_2.png,train,x\n")
    result = run("data", "leakage", "table", "--root", table)
    assert result.code == 2
    assert "only train" in result.err
