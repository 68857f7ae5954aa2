"""The copy of its model that an archive keeps: checked when it is used and when the archive is verified."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from terraseek.archive import Archive, create_archive, open_archive, repair_archive
from terraseek.errors import CorruptError, IntegrityError, ModelMismatchError

from ..encoders.conftest import WEIGHT, make_model, write_image_onnx
from .conftest import flip_a_bit

__all__ = ["make_model"]


@pytest.fixture
def home(make_model: Callable[..., Path], tmp_path: Path) -> Path:
    create_archive(tmp_path / "coast", make_model(text=True))
    return tmp_path / "coast"


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "image.onnx", "text.onnx", "tokenizer.json", "SHA256SUMS"]
)
def test_a_flipped_bit_is_named_by_opening_and_by_verifying(home: Path, name: str) -> None:
    assert open_archive(home)[0].verify().problems == ()
    flip_a_bit(home / "model" / name)
    # A changed line of the checksums cannot be told from a changed file that it speaks of.
    named = r".*" if name == "SHA256SUMS" else name.replace(".", r"\.")
    with pytest.raises(CorruptError, match=rf"{named} of the kept model in .* has changed; put the file back"):
        open_archive(home)
    report = Archive.open(home).verify()
    assert [problem.kind for problem in report.problems] == ["kept model"]
    with pytest.raises(IntegrityError, match=rf"its {named} has changed; put the file back .* with --model$"):
        report.raise_for_problems(str(home))


@pytest.mark.parametrize("name", ["image.onnx", "config.json"])
def test_a_missing_file_is_named(home: Path, name: str) -> None:
    (home / "model" / name).unlink()
    (problem,) = Archive.open(home).verify().problems
    assert f"its {name} has changed" in problem.detail


def test_a_torn_list_of_checksums_hides_nothing(home: Path) -> None:
    sums = home / "model" / "SHA256SUMS"
    for lines in ([], sums.read_text().splitlines(keepends=True)[:2]):
        sums.write_text("".join(lines))
        with pytest.raises(CorruptError, match="SHA256SUMS of the kept model"):
            open_archive(home)
    sums.write_bytes(b"\xff\xfe")
    assert "its SHA256SUMS has changed" in Archive.open(home).verify().problems[0].detail


def test_what_else_lies_beside_the_model_is_left_aside(home: Path) -> None:
    (home / "model" / "notes.txt").write_text("ours")
    assert open_archive(home)[0].verify().ok


def test_another_model_in_its_place_is_found(home: Path, make_model: Callable[..., Path]) -> None:
    shutil.rmtree(home / "model")
    shutil.copytree(make_model("other", label_names=("sea",)), home / "model")
    (problem,) = Archive.open(home).verify().problems
    assert "it has the fingerprint" in problem.detail
    with pytest.raises(ModelMismatchError):
        open_archive(home)


def test_a_kept_model_without_checksums_is_used_and_noted(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    (home / "model" / "SHA256SUMS").unlink()
    archive, _ = open_archive(home)
    report = archive.verify()
    assert report.ok
    assert report.to_json()["notes"] == list(report.notes) == [record.getMessage() for record in caplog.records]
    assert "its kept model has no checksums" in report.notes[0]


def test_a_repair_leaves_the_kept_model_as_it_is(home: Path) -> None:
    archive = Archive.open(home)
    flip_a_bit(home / "model" / "image.onnx")
    assert repair_archive(home).removed_rows == 0
    assert len(archive.verify().problems) == 1


def test_the_checksums_are_those_of_sha256sum(home: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not on this machine")
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=home / "model", check=True)


def test_an_archive_made_from_the_copy_of_another_has_checksums_of_its_own(home: Path, tmp_path: Path) -> None:
    write_image_onnx(home / "model" / "image.onnx", weight=2 * WEIGHT)
    archive, _ = create_archive(tmp_path / "second", home / "model")
    assert archive.verify().ok
    pixels = [np.full((9, 9, 3), 40, np.uint8)]
    np.testing.assert_allclose(np.linalg.norm(open_archive(tmp_path / "second")[1].encode_images(pixels)), 1, atol=1e-6)
