from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest

from terraseek.data.tables import canonical_label, read_label_table
from terraseek.errors import DatasetError

NAMES = ("bare-soil", "sea", "ship")


def write(tmp_path: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_columns_are_found_by_name_whatever_their_order_and_spelling(tmp_path: Path, delimiter: str) -> None:
    lines = [["IMAGE\\LABEL", "Ship", "Bare Soil", "sea"], ["a", "1", "0", ""], ["b", "1", "1.0", "0"]]
    table = read_label_table(write(tmp_path, "\r\n".join(map(delimiter.join, lines))), NAMES)
    assert {key: row.labels for key, row in table.rows.items()} == {"a": ("ship",), "b": ("bare-soil", "ship")}
    assert table.rows["b"].line == 3
    assert not table.problems


def test_excel_reads_like_text(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in [["image", "baresoil", "sea", "ship"], ["a", 1, 0, None], ["b", None, None, 1]]:
        book.active.append(row)
    book.save(tmp_path / "labels.xlsx")
    table = read_label_table(tmp_path / "labels.xlsx", NAMES)
    assert {key: row.labels for key, row in table.rows.items()} == {"a": ("bare-soil",), "b": ("ship",)}


HEADER = "image,bare-soil,sea,ship\n"
REFUSED = {
    "unknown label": (
        "image,bare-soil,sea,shop\na,1,0,0\n",
        ":1: unknown label 'shop' in column 4: did you mean 'ship'",
    ),
    "doubled label": ("image,sea,Sea,ship\n", ":1: label 'sea' has two columns"),
    "missing label": ("image,sea,ship\na,1,0\n", ":1: no column for bare-soil"),
    "short row": (HEADER + "a,1,0,0\nb,1,0\n", ":3: 3 columns, the header has 4"),
    "long row": (HEADER + "a,1,0,0,1\n", ":2: 5 columns, the header has 4"),
    "other value": (HEADER + "a,1,0,2\n", ":2: 'ship' is '2'"),
    "no key": (HEADER + ",1,0,0\n", ":2: no image name"),
    "contradiction": (HEADER + "a,1,0,0\nb,1,0,0\na,0,1,0\n", ":4: 'a' has other labels than on line 2"),
    "labels after none": (HEADER + "a,0,0,0\na,0,1,0\n", ":3: 'a' has other labels than on line 2"),
    "none after labels": (HEADER + "a,0,1,0\na,0,0,0\n", ":3: 'a' has other labels than on line 2"),
    "empty file": ("", "empty label table"),
    "not text": (HEADER.encode() + b"b,1,0,0\n" * 9000 + b"caf\xe9,1,0,0\n", ":9002: not UTF-8 text"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_file_and_line(tmp_path: Path, case: str) -> None:
    text, message = REFUSED[case]
    path = write(tmp_path, text)
    with pytest.raises(DatasetError) as caught:
        read_label_table(path, NAMES)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_a_broken_workbook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not an Excel workbook"):
        read_label_table(write(tmp_path, "no zip", "labels.xlsx"), NAMES)


def test_skipped_and_listed(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + "a,1,0,0\nempty,0,0,\na,1,0,0\nempty,0,,0\n")
    table = read_label_table(path, NAMES)
    assert list(table.rows) == ["a"]
    assert [str(problem) for problem in table.problems] == [
        f"{path}:3: 'empty' has no label",
        f"{path}:4: 'a' repeats line 2",
        f"{path}:5: 'empty' repeats line 3",
    ]
    assert table.unlabelled == {"empty"}


def test_canonical_label_refuses_what_it_does_not_know() -> None:
    assert canonical_label("MOBILE_home", ["mobile-home"]) == "mobile-home"
    assert canonical_label("mobil-home", ["mobile-home"]) is None
