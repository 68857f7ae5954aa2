"""DLRSD and WHDLD: labels from a table, from masks, and how far the two agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terraseek.data import LABELS_17, check_dataset, load_dataset
from terraseek.data.masks import mask_labels, read_mask
from terraseek.errors import ConfigError, DatasetError, ImageError, NotFoundError

Make = Callable[[str], Path]


def rewrite(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new, 1))


def test_masks_are_read_by_index_not_by_luminance(miniature: Make) -> None:
    root = miniature("whdld")
    path = root / "ImagesPNG" / "wh0001.png"
    ids = read_mask(path, 6)
    assert set(np.unique(ids)) == {2, 3}
    with Image.open(path) as mask:
        assert set(np.unique(np.asarray(mask.convert("L")))) != {2, 3}


def test_table_columns_are_mapped_by_header(miniature: Make) -> None:
    root = miniature("whdld")
    table, masks = load_dataset("whdld", root), load_dataset("whdld", root, labels="masks")
    np.testing.assert_array_equal(table.labels_NC, masks.labels_NC)
    assert table.ids[:2] == ("wh0001", "wh0002")
    assert set(table.samples[0].labels) == {"road", "pavement"}


def test_agreement_counts_what_differs(miniature: Make) -> None:
    root = miniature("whdld")
    before = check_dataset("whdld", root).details["mask_agreement"]
    assert (before["images"], before["equal_label_sets"]) == (30, 30)
    ids = read_mask(root / "ImagesPNG" / "wh0001.png", 6)
    ids[ids == 2] = 6
    mask = Image.fromarray(ids)
    mask.putpalette(list(range(21)))
    mask.save(root / "ImagesPNG" / "wh0001.png")
    after = check_dataset("whdld", root).details["mask_agreement"]
    assert after["equal_label_sets"] == 29
    assert after["labels"]["road"]["table_only"] == 1
    assert after["labels"]["water"]["masks_only"] == 1
    assert after["labels"]["pavement"] == before["labels"]["pavement"]


def test_dlrsd_labels_from_csv_and_masks(miniature: Make) -> None:
    root = miniature("dlrsd")
    table = load_dataset("dlrsd", root)
    assert table.label_names == LABELS_17
    every_pixel = load_dataset("dlrsd", root, labels="masks")
    large_areas = load_dataset("dlrsd", root, labels="masks", min_pixels=100)
    assert every_pixel.labels_NC.sum() >= table.labels_NC.sum() > large_areas.labels_NC.sum()
    report = check_dataset("dlrsd", root).to_json()
    agreement = report["details"]["mask_agreement"]
    assert agreement["images"] == len(table)
    for c, name in enumerate(LABELS_17):
        counts = agreement["labels"][name]
        assert counts["both"] + counts["table_only"] == table.labels_NC[:, c].sum()


def test_dlrsd_takes_its_own_split_files_before_those_of_uc_merced(miniature: Make, tmp_path: Path) -> None:
    root = miniature("dlrsd")
    ids = load_dataset("dlrsd", root).ids
    (tmp_path / "ucmerced_train.csv").write_text("\n".join(["image", *ids]))
    assert load_dataset("dlrsd", root, splits=tmp_path).splits == {"train": len(ids)}
    (tmp_path / "dlrsd_test.csv").write_text("\n".join(["image", *ids[:9]]))
    assert load_dataset("dlrsd", root, splits=tmp_path).splits == {"test": 9}


def test_min_pixels_is_a_threshold() -> None:
    ids = np.repeat(np.uint8([1, 2, 2, 3, 3, 3]), 1)
    names = ("a", "b", "c")
    assert mask_labels(ids, names, 1) == ("a", "b", "c")
    assert mask_labels(ids, names, 2) == ("b", "c")
    assert mask_labels(ids, names, 4) == ()


def test_masks_that_are_none_are_refused(miniature: Make, tmp_path: Path) -> None:
    root = miniature("whdld")
    path = root / "ImagesPNG" / "wh0003.png"
    Image.new("RGB", (16, 16)).save(path)
    with pytest.raises(DatasetError, match=r"wh0003\.png: a mask holds class ids .* this one is RGB"):
        load_dataset("whdld", root, labels="masks")
    Image.fromarray(np.full((4, 4), 7, np.uint8)).save(path)
    with pytest.raises(DatasetError, match=r"wh0003\.png: class id 7, the data set has 1 to 6"):
        load_dataset("whdld", root, labels="masks")
    with pytest.raises(ImageError):
        read_mask(tmp_path / "absent.png", 6)


def test_damaged_and_empty_masks_are_listed(miniature: Make) -> None:
    root = miniature("whdld")
    (root / "ImagesPNG" / "wh0003.png").write_bytes(b"")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(root / "ImagesPNG" / "wh0004.png")
    problems = load_dataset("whdld", root, labels="masks").problems
    assert [problem.reason for problem in problems] == ["empty file (0 bytes)", "no label has 1 pixels"]


def test_options_and_parts_are_checked(miniature: Make) -> None:
    root = miniature("dlrsd")
    with pytest.raises(ConfigError, match="allowed are 'csv' and 'masks'"):
        load_dataset("dlrsd", root, labels="table")
    with pytest.raises(ConfigError, match="min_pixels is 0"):
        load_dataset("dlrsd", root, labels="masks", min_pixels=0)
    (root / "Labels").rename(root / "elsewhere")
    assert load_dataset("dlrsd", root).samples
    assert check_dataset("dlrsd", root).details == {}
    with pytest.raises(NotFoundError, match="no masks in Labels"):
        load_dataset("dlrsd", root, labels="masks")


def test_two_label_tables_are_ambiguous(miniature: Make) -> None:
    root = miniature("whdld")
    (root / "more.csv").write_text("image\n")
    with pytest.raises(DatasetError, match="more than one label table"):
        load_dataset("whdld", root)
