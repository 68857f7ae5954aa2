from __future__ import annotations

from pathlib import Path

import pytest

from terraseek.data._text import read_lines, read_text
from terraseek.errors import DatasetError


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("rows", [0, 5000])  # a decoder that reads in parts counts from the part's beginning
def test_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path, rows: int, mark: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(mark + b"caf\xc3\xa9,1\n" * rows + b"caf\xe9,1\nb,2\n")
    with pytest.raises(DatasetError) as caught:
        read_text(path)
    assert str(caught.value) == f"{path}:{rows + 1}: not UTF-8 text; save it as UTF-8"


def test_a_byte_order_mark_is_no_text_and_line_ends_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\n")
    assert read_text(path) == "a\r\nb\n"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_may_end_in_any_way(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"a" + end + b"b" + end)
    assert read_lines(path) == ["a", "b", ""]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"absent\.txt: cannot be read \(No such file"):
        read_text(tmp_path / "absent.txt")
