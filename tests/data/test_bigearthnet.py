from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from terraseek.data import PixelCache, load_dataset
from terraseek.data.bigearthnet import BANDS, read_patch
from terraseek.errors import ConfigError, DatasetError, ImageError

Make = Callable[[str], Path]


def edit(root: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    rows = pq.read_table(root / "metadata.parquet").to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows), root / "metadata.parquet")


def test_splits_and_labels_are_the_official_ones(miniature: Make) -> None:
    dataset = load_dataset("bigearthnet", miniature("bigearthnet"))
    assert dataset.splits == {"train": 4, "val": 2, "test": 2}
    assert len(dataset.label_names) == 19
    assert dataset.samples[0].labels == ("Urban fabric", "Marine waters")


def test_bands_of_three_resolutions_come_as_one_array(miniature: Make) -> None:
    root = miniature("bigearthnet")
    pixels = load_dataset("bigearthnet", root).read(3)
    assert pixels.shape == (120, 120, 12)
    assert pixels.dtype == np.uint16
    for k in range(12):
        assert (pixels[..., k] == 1000 * k + 3).all()
    chosen = load_dataset("bigearthnet", root, bands=("B04", "B03", "B02"), size=64).read(3)
    assert chosen.shape == (64, 64, 3)
    assert chosen[0, 0].tolist() == [3003, 2003, 1003]


def test_bands_reach_the_pixel_cache(miniature: Make, tmp_path: Path) -> None:
    dataset = load_dataset("bigearthnet", miniature("bigearthnet"))
    cache = PixelCache.build(dataset, 32, tmp_path / "cache")
    assert cache.images.shape == (8, 32, 32, 12)
    assert cache.images.dtype == np.float32
    np.testing.assert_array_equal(cache.images[5, 0, 0], 1000 * np.arange(12) + 5)


def test_a_missing_or_damaged_band_is_named(miniature: Make) -> None:
    root = miniature("bigearthnet")
    dataset = load_dataset("bigearthnet", root)
    path = dataset.samples[0].path
    (path / f"{path.name}_B8A.tif").unlink()
    with pytest.raises(ImageError, match=r"_26_00: no band B8A"):
        dataset.read(0)
    (path / f"{path.name}_B04.tif").write_bytes(b"II*\0")
    with pytest.raises(ImageError, match=r"_26_00: band B04 is damaged"):
        dataset.read(0)


WRONG: dict[str, tuple[Callable[[list[dict[str, Any]]], object], str]] = {
    "unknown label": (
        lambda rows: rows[1].update(labels=["Urban fabrik"]),
        ":2: unknown label 'Urban fabrik': did you",
    ),
    "unknown split": (lambda rows: rows[2].update(split="dev"), ":3: split 'dev', known are train"),
    "duplicate": (lambda rows: rows.append(rows[0]), r":9: 'S2A_\w+' is already in row 1"),
    "no name": (lambda rows: rows[3].update(patch_id=None), r"metadata\.parquet:4: patch_id is None, it must be"),
    "blank name": (lambda rows: rows[3].update(patch_id=""), r"metadata\.parquet:4: patch_id is '', it must be"),
    "no split": (lambda rows: [row.pop("split") for row in rows], "no column split"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refused_with_file_and_row(miniature: Make, case: str) -> None:
    root = miniature("bigearthnet")
    change, message = WRONG[case]
    edit(root, change)
    with pytest.raises(DatasetError, match=message):
        load_dataset("bigearthnet", root)


def test_patches_without_labels_are_listed(miniature: Make) -> None:
    root = miniature("bigearthnet")
    edit(root, lambda rows: rows[4].update(labels=[]))
    dataset = load_dataset("bigearthnet", root)
    assert len(dataset) == 7
    assert "has no label" in dataset.problems[0].reason


def test_unknown_bands_are_refused(miniature: Make) -> None:
    with pytest.raises(ConfigError, match="unknown band 'B10'"):
        load_dataset("bigearthnet", miniature("bigearthnet"), bands=("B10",))


@pytest.mark.data
def test_real_patches_are_read(terraseek_data: Path) -> None:
    patches = sorted((terraseek_data / "bigearthnet_tiny" / "tiny").iterdir())
    assert len(patches) == 11
    for path in patches:
        pixels = read_patch(path)
        assert pixels.shape == (120, 120, len(BANDS))
        assert pixels[..., :10].any()
    red = read_patch(patches[0], ("B04",))
    coarse = read_patch(patches[0], ("B04",), size=60)
    assert abs(float(red.mean()) - float(coarse.mean())) < 0.02 * float(red.mean())
