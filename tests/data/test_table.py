from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from terraseek.data import load_dataset, write_splits
from terraseek.errors import ConfigError, DatasetError, NotFoundError, TerraseekError

SQUARE = {"type": "Polygon", "coordinates": (((8.0, 50.0), (8.1, 50.0), (8.1, 50.1), (8.0, 50.0)),)}
ROWS = [
    {
        "path": "a.png",
        "id": "first",
        "split": "train",
        "labels": ["sea", "sand"],
        "captions": ["a beach, seen from above"],
        "geometry": json.dumps(SQUARE),
        "datetime": "2024-05-01T10:00:00+00:00",
    },
    {"path": "b.png", "id": "second", "split": "test", "labels": ["sea"], "captions": ["open water"]},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "ab":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    return tmp_path


def as_csv(folder: Path, text: str) -> Path:
    path = folder / "t.csv"
    path.write_text(text)
    return path


def as_json_lines(folder: Path) -> Path:
    path = folder / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def as_parquet(folder: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "t.parquet")
    return folder / "t.parquet"


def as_text(folder: Path) -> Path:
    geometry = json.dumps(SQUARE).replace('"', '""')
    return as_csv(
        folder,
        "path,id,split,labels,captions,geometry,datetime\n"
        f'a.png,first,train,sea|sand,"a beach, seen from above","{geometry}",2024-05-01T10:00:00+00:00\n'
        "b.png,second,test,sea,open water,,\n",
    )


@pytest.mark.parametrize("form", [as_text, as_json_lines, as_parquet])
def test_three_forms_one_data_set(folder: Path, form: object) -> None:
    dataset = load_dataset("table", form(folder))  # type: ignore[operator]
    first, second = dataset.samples
    assert (first.id, first.split, first.labels) == ("first", "train", ("sea", "sand"))
    assert first.captions == ("a beach, seen from above",)
    assert first.datetime == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert first.geometry is not None
    assert first.geometry["coordinates"] == SQUARE["coordinates"]
    assert second.geometry is None
    assert second.datetime is None
    assert dataset.label_names == ("sand", "sea")


def test_splits_from_a_file_win(folder: Path) -> None:
    write_splits(folder / "s.tsv", {"first": "test", "second": "train"})
    dataset = load_dataset("table", as_text(folder), splits=folder / "s.tsv")
    assert [s.split for s in dataset.samples] == ["test", "train"]


def test_splits_are_of_ids_as_they_are_written(folder: Path) -> None:
    path = as_csv(folder, "path,id,labels\na.png,x/1,sea\nb.png,y/1,sand\n")
    write_splits(folder / "s.tsv", {"x/1": "train", "y/1": "test"})
    dataset = load_dataset("table", path, splits=folder / "s.tsv")
    assert [(s.id, s.split) for s in dataset.samples] == [("x/1", "train"), ("y/1", "test")]
    assert not dataset.notes


def test_images_outside_the_column_of_splits_and_names_that_differ_in_case_are_noted(folder: Path) -> None:
    Image.new("RGB", (8, 8)).save(folder / "c.png")
    path = as_csv(folder, "path,split,labels\na.png,train,sea\nb.png,Train,sea\nc.png,,sea\n")
    dataset = load_dataset("table", path)
    assert dataset.splits == {"train": 1, "Train": 1}
    assert dataset.notes == (
        "1 images are in no split, the first is 'c'",
        "the splits 'Train' and 'train' differ only in case, they are not one split",
    )
    lines = folder / "t.jsonl"
    lines.write_text('{"path": "a.png", "split": " "}\n{"path": "b.png", "split": 0}\n')
    dataset = load_dataset("table", lines)
    assert [sample.split for sample in dataset.samples] == [None, "0"]
    assert dataset.notes == ("1 images are in no split, the first is 'a'",)


def test_label_names_come_once(folder: Path) -> None:
    with pytest.raises(ConfigError, match="labels has 'sea' more than once"):
        load_dataset("table", as_text(folder), labels=["sea", "sea", "sand"])


WRONG = {
    "image column misspelt": ("pth,labels\na.png,sea\n", ":2: no 'path'; did you mean 'pth'?"),
    "label column misspelt": ("path,lables\na.png,sea\n", ":1: unknown column 'lables', did you mean 'labels'?"),
    "columns": ("path,labels\na.png\n", ":2: 1 columns, the header has 2"),
    "id twice": ("path,id,labels\na.png,x,sea\nb.png,x,sea\n", ":3: the id 'x' is already on line 2"),
    "unknown label": ("path,labels\na.png,sea\nb.png,see\n", ":3: unknown label 'see': did you mean 'sea'?"),
    "geometry": ("path,labels,geometry\na.png,sea,POINT (400000 5000000)\n", ":2: geometry reaches"),
    "broken geometry": ("path,labels,geometry\na.png,sea,POINT (4\n", ":2: "),
    "datetime": ("path,labels,datetime\na.png,sea,yesterday\n", ":2: Invalid isoformat string"),
    "column twice": ("path,path\na.png,b.png\n", ":1: a column name occurs twice"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refused_with_file_and_line(folder: Path, case: str) -> None:
    text, message = WRONG[case]
    path = as_csv(folder, text)
    with pytest.raises(DatasetError) as caught:
        load_dataset("table", path, labels=("sea", "sand"))
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_lines_name_the_line(folder: Path) -> None:
    path = folder / "t.jsonl"
    for line, message in (
        ("{oops", ":2: not JSON"),
        ("[1]", ":2: a row is an object"),
        ('{"path": 3}', ":2: no 'path'"),
    ):
        path.write_text('{"path": "a.png", "labels": ["sea"]}\n' + line)
        with pytest.raises(DatasetError, match=message):
            load_dataset("table", path)
    path.write_bytes(b'{"path": "a.png", "labels": ["sea"]}\n{"path": "caf\xe9.png"}\n')
    with pytest.raises(DatasetError, match=r"t\.jsonl:2: not UTF-8 text"):
        load_dataset("table", path)
    path.write_text('{"path": "a.png", "labels": [1]}')
    with pytest.raises(DatasetError, match=":1: expected a list of texts"):
        load_dataset("table", path)


def test_skipped_rows_are_listed_and_spare_columns_noted(folder: Path) -> None:
    path = as_csv(folder, "path,labels,cloud\na.png,sea,1\nb.png,,2\nc.png,sea,3\n")
    dataset = load_dataset("table", path)
    assert dataset.ids == ("a",)
    assert [str(p) for p in dataset.problems] == [
        f"{path}:3: neither labels nor captions",
        f"{path}:4: no image {folder / 'c.png'}",
    ]
    assert dataset.notes[0] == "column 'cloud' is not used"


def test_nothing_usable_is_not_found(folder: Path) -> None:
    with pytest.raises(NotFoundError, match="none of its 1 images can be used"):
        load_dataset("table", as_csv(folder, "path,labels\nzzz.png,sea\n"))
    for name in ("t.xml", "t.parquet"):
        (folder / name).write_text("no")
        with pytest.raises(TerraseekError, match=name):
            load_dataset("table", folder / name)
