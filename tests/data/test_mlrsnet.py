from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from terraseek.data import load_dataset
from terraseek.data.mlrsnet import LABELS_60
from terraseek.errors import DatasetError

Make = Callable[[str], Path]


def edit(path: Path, change: Callable[[list[list[str]]], None]) -> None:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    change(rows)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_columns_are_mapped_by_each_files_own_header(miniature: Make) -> None:
    root = miniature("mlrsnet")
    headers = [path.read_text().splitlines()[0] for path in sorted((root / "Labels").iterdir())]
    assert len(set(headers)) == 3
    for sample in load_dataset("mlrsnet", root).samples:
        assert sample.path.parent.name in sample.labels


def test_rows_with_more_than_13_labels_are_refused(miniature: Make) -> None:
    root = miniature("mlrsnet")
    path = root / "Labels" / "bridge.csv"

    def corrupt(rows: list[list[str]]) -> None:
        for line, ones in ((1, 13), (2, 14), (5, 60)):
            rows[line][1:] = ["1"] * ones + ["0"] * (60 - ones)

    edit(path, corrupt)
    dataset = load_dataset("mlrsnet", root)
    assert len(dataset) == 43
    assert [str(problem) for problem in dataset.problems] == [
        f"{path}:3: 'bridge_00002.jpg' has 14 labels, more than 13: a corrupt row",
        f"{path}:6: 'bridge_00005.jpg' has 60 labels, more than 13: a corrupt row",
    ]
    assert dataset.labels_NC.sum(1).max() == 13


def test_one_image_in_two_tables_is_refused(miniature: Make) -> None:
    root = miniature("mlrsnet")
    edit(root / "Labels" / "wetland.csv", lambda rows: rows[3].__setitem__(0, "bridge_00002.jpg"))
    with pytest.raises(DatasetError, match=r"wetland\.csv:4: 'bridge_00002\.jpg' is in the table of another scene"):
        load_dataset("mlrsnet", root)


@pytest.mark.parametrize("blank", ["airplane", "wetland"])
def test_one_image_in_two_tables_is_refused_whichever_has_no_labels(miniature: Make, blank: str) -> None:
    root = miniature("mlrsnet")
    other = {"airplane": "wetland", "wetland": "airplane"}[blank]
    for scene in (blank, other):
        edit(root / "Labels" / f"{scene}.csv", lambda rows: rows[3].__setitem__(0, "twice.jpg"))
    edit(root / "Labels" / f"{blank}.csv", lambda rows: rows[3].__setitem__(slice(1, None), ["0"] * 60))
    with pytest.raises(DatasetError, match=r"wetland\.csv.*: 'twice\.jpg' is in the table of another scene"):
        load_dataset("mlrsnet", root)


def test_names_are_those_of_the_distribution() -> None:
    assert len(set(LABELS_60)) == 60
    assert list(LABELS_60) == sorted(LABELS_60)
