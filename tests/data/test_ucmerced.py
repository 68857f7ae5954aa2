from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openpyxl
import pytest
import scipy.io

from terraseek.data import LABELS_17, check_dataset, load_dataset
from terraseek.errors import DatasetError, NotFoundError

Make = Callable[[str], Path]


def test_excel_and_matlab_labels_equal_the_text(miniature: Make) -> None:
    root = miniature("ucmerced-ml")
    text = root / "LandUse_Multilabeled.txt"
    expected = load_dataset("ucmerced-ml", root)
    book = openpyxl.Workbook()
    for line in text.read_text().splitlines():
        book.active.append([cell if not cell.isdigit() else int(cell) for cell in line.split("\t")])
    text.unlink()
    book.save(root / "LandUse_Multilabeled.xlsx")
    np.testing.assert_array_equal(load_dataset("ucmerced-ml", root).labels_NC, expected.labels_NC)
    (root / "LandUse_Multilabeled.xlsx").unlink()
    scipy.io.savemat(root / "LandUse_multilabels.mat", {"labels": expected.labels_NC.T})
    np.testing.assert_array_equal(load_dataset("ucmerced-ml", root).labels_NC, expected.labels_NC)
    scipy.io.savemat(root / "LandUse_multilabels.mat", {"labels": expected.labels_NC.T[:, :-1]})
    with pytest.raises(DatasetError, match=r"matrix is \(17, 59\)"):
        load_dataset("ucmerced-ml", root)
    (root / "LandUse_multilabels.mat").write_bytes(b"MATLAB?")
    with pytest.raises(DatasetError, match="no readable matrix"):
        load_dataset("ucmerced-ml", root)
    (root / "LandUse_multilabels.mat").unlink()
    with pytest.raises(NotFoundError, match="label table"):
        load_dataset("ucmerced-ml", root)


@pytest.mark.parametrize("value", [0.6, -0.4, 2.0, float("nan")])
def test_matlab_labels_are_0_or_1(miniature: Make, value: float) -> None:
    root = miniature("ucmerced-ml")
    matrix = load_dataset("ucmerced-ml", root).labels_NC.T.astype(float)
    matrix[4, 7] = value
    (root / "LandUse_Multilabeled.txt").unlink()
    scipy.io.savemat(root / "LandUse_multilabels.mat", {"labels": matrix})
    with pytest.raises(DatasetError) as caught:
        load_dataset("ucmerced-ml", root)
    assert str(caught.value) == (
        f"{root / 'LandUse_multilabels.mat'}:5: column 8 is {value}, only 0 and 1 are understood"
    )


@pytest.mark.parametrize("labels", ["0", "1"])
def test_an_image_under_two_spellings_is_refused_with_and_without_labels(miniature: Make, labels: str) -> None:
    root = miniature("ucmerced-ml")
    with (root / "LandUse_Multilabeled.txt").open("a") as file:
        file.write("\t".join(["beach00.tif", *[labels] * 17]) + "\n")
    with pytest.raises(DatasetError, match="the same image is listed under two spellings"):
        load_dataset("ucmerced-ml", root)


def test_an_image_in_two_splits_under_two_spellings_is_refused(miniature: Make) -> None:
    root = miniature("ucmerced-ml")
    folder = root / "splits"
    folder.mkdir()
    (folder / "ucmerced_test.csv").write_text("image\nbeach01\nbeach00\n")
    (folder / "ucmerced_train.csv").write_text("image\nbeach00.tif\n")
    with pytest.raises(DatasetError, match=r"ucmerced_train\.csv:2: 'beach00\.tif' is in train and in test"):
        load_dataset("ucmerced-ml", root)


def test_an_image_without_a_row_is_listed(miniature: Make) -> None:
    root = miniature("ucmerced-ml")
    extra = root / "UCMerced_LandUse" / "Images" / "beach" / "beach99.tif"
    extra.write_bytes((extra.parent / "beach00.tif").read_bytes())
    problems = load_dataset("ucmerced-ml", root).problems
    assert [str(p) for p in problems] == [f"{extra}: no row in LandUse_Multilabeled.txt"]


def test_two_images_with_one_name_are_refused(miniature: Make) -> None:
    root = miniature("ucmerced-ml")
    first = root / "UCMerced_LandUse" / "Images" / "beach" / "beach00.tif"
    first.with_suffix(".png").write_bytes(first.read_bytes())
    with pytest.raises(DatasetError, match="two images are called 'beach00'"):
        load_dataset("ucmerced-ml", root)


def test_split_folders_are_found_and_checked(miniature: Make) -> None:
    root = miniature("ucmerced-ml")
    folder = root / "splits"
    folder.mkdir()
    keys = [f"beach{i:02d}" for i in range(20)]
    (folder / "ucmerced_train.csv").write_text("image\n" + "\n".join(keys[:15]) + "\n")
    (folder / "ucmerced_test.csv").write_text("image\n" + "\n".join([*keys[15:], "beach77"]) + "\n")
    dataset = load_dataset("ucmerced-ml", root)
    assert dataset.splits == {"train": 15, "test": 5}
    assert dataset.notes == (
        "40 images are in no split, the first is 'harbor00'",
        "the split files name 1 images that are not here, the first is 'beach77'",
    )
    other = root / "other"
    other.mkdir()
    with pytest.raises(DatasetError, match="no split files for this data set"):
        load_dataset("ucmerced-ml", root, splits=other)


@pytest.mark.data
@pytest.mark.parametrize("inner", ["", "ucm"])
def test_the_real_data_set(terraseek_data: Path, inner: str) -> None:
    tree = check_dataset("ucmerced-ml", terraseek_data / inner).to_json()
    assert tree["images"] == 2100
    assert tree["labels"] == 17
    assert tree["splits"] == {"train": 1285, "val": 395, "test": 420}
    assert tree["problems"] == []
    assert tree["notes"] == []
    assert round(tree["label_cardinality"], 1) == 3.3


@pytest.mark.data
def test_labels_equal_those_of_the_feature_file(terraseek_data: Path) -> None:
    features = np.load(terraseek_data / "features" / "ucmerced-ml.npz", allow_pickle=False)
    dataset = load_dataset("ucmerced-ml", terraseek_data)
    row = {Path(str(name)).with_suffix("").as_posix(): i for i, name in enumerate(features["names"])}
    order = [row[sample.id] for sample in dataset.samples]
    np.testing.assert_array_equal(features["labels"][order], dataset.labels_NC)
    assert features["split"][order].tolist() == [sample.split for sample in dataset.samples]
    assert dataset.label_names == LABELS_17 == tuple(features["label_names"].tolist())
