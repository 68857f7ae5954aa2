from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from terraseek.data import check_dataset, load_dataset
from terraseek.errors import DatasetError, NotFoundError

Make = Callable[[str], Path]


def test_the_official_test_images_stay_test(miniature: Make) -> None:
    root = miniature("ml-aid")
    for seed in (0, 1):
        dataset = load_dataset("ml-aid", root, seed=seed)
        assert {s.path.parents[1].name for s in dataset.subset("test").samples} == {"images_test"}
        assert dataset.splits["test"] == 10
        assert 5 <= dataset.splits["val"] <= 12
    assert load_dataset("ml-aid", root, seed=0).split_hash != load_dataset("ml-aid", root, seed=1).split_hash


def test_names_with_a_suffix_are_split_as_those_without(miniature: Make) -> None:
    root = miniature("ml-aid")
    expected = load_dataset("ml-aid", root)
    path = root / "multilabel.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(row.replace(",", ".jpg,", 1) for row in rows)]))
    dataset = load_dataset("ml-aid", root)
    assert dataset.splits == expected.splits
    assert dataset.split_hash == expected.split_hash
    assert dataset.notes == expected.notes


def test_an_image_in_both_folders_is_refused(miniature: Make) -> None:
    root = miniature("ml-aid")
    twin = root / "images_test" / "Port" / "port_1.jpg"
    twin.write_bytes((root / "images_tr" / "Port" / "port_1.jpg").read_bytes())
    with pytest.raises(DatasetError, match="'port_1' is in images_tr and in images_test"):
        load_dataset("ml-aid", root)


def test_a_missing_half_is_named(miniature: Make) -> None:
    root = miniature("ml-aid")
    (root / "images_test").rename(root / "elsewhere")
    with pytest.raises(NotFoundError, match="no folder images_test"):
        load_dataset("ml-aid", root)


@pytest.mark.data
@pytest.mark.parametrize("inner", ["", "aid"])
def test_the_real_data_set(terraseek_data: Path, inner: str) -> None:
    tree = check_dataset("ml-aid", terraseek_data / inner).to_json()
    assert tree["images"] == 3000
    assert tree["labels"] == 17
    assert tree["splits"] == {"train": 1917, "val": 483, "test": 600}
    assert tree["problems"] == []
    assert sum(tree["label_counts"]["mobile-home"].values()) == 2
