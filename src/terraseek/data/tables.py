"""Label tables as people distribute them: one row per image, one column of 0 and 1 per label.

Tables are text (tab, comma or semicolon, told from the header), Excel sheets or plain rows. The rules, for every
data set alike:

    refused, with file and line     an unknown or doubled column, a row with too few or too many cells, a cell other
                                    than 0, 1 or blank (blank is 0), one image twice with different labels
    skipped and listed              a row without any label, a row repeated word for word, a row without its image
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DatasetError, Refused, require
from ..images import printable
from ..registry import nearest
from ._text import read_text

__all__ = ["LabelRow", "LabelTable", "canonical_label", "label_table", "read_label_table", "text_rows"]

_TRUE, _FALSE = frozenset({"1", "1.0", "True", "true"}), frozenset({"", "0", "0.0", "False", "false"})


@dataclass(frozen=True, kw_only=True)
class LabelRow:
    """One line of a label table: the image's key as written, its labels in table order, where it stands."""

    key: str
    labels: tuple[str, ...]
    line: int


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """The rows of a label table by key, and the rows that were skipped."""

    path: Path
    rows: dict[str, LabelRow]
    problems: tuple[Refused, ...] = ()
    unlabelled: frozenset[str] = frozenset()
    """Keys of the rows that were skipped because they have no label."""


def canonical_label(text: str, names: Sequence[str]) -> str | None:
    """The name in `names` that `text` spells, whatever its case, blanks and hyphens; None if there is none.

    >>> canonical_label("Bare Soil", ["bare-soil", "sea"]), canonical_label("baresoil", ["bare-soil"])
    ('bare-soil', 'bare-soil')
    """
    wanted = _squeeze(text)
    return next((name for name in names if _squeeze(name) == wanted), None)


def _squeeze(text: str) -> str:
    return re.sub(r"[\s_\-&,/]+", "", text).casefold()


def text_rows(path: Path, delimiter: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """The non-empty rows of a delimited text file with their line numbers.

    Raises:
        DatasetError: the file cannot be read or is not UTF-8.
    """
    file = io.StringIO(read_text(path), newline="")
    if delimiter is None:
        header = file.readline()
        delimiter = max("\t,;", key=header.count)
        file.seek(0)
    reader = csv.reader(file, delimiter=delimiter)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise DatasetError(f"{path}: not a delimited table ({error})") from None


def sheet_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The non-empty rows of an Excel file's first sheet; needs openpyxl."""
    openpyxl = require("openpyxl", "train")
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # zip, XML and key errors alike: whatever a broken workbook raises
        raise DatasetError(f"{path}: not an Excel workbook ({type(error).__name__})") from None
    try:
        for line, row in enumerate(book.worksheets[0].iter_rows(values_only=True), 1):
            cells = ["" if cell is None else str(cell) for cell in row]
            while cells and not cells[-1]:  # sheets keep formatted but empty columns
                cells.pop()
            if cells:
                yield line, cells
    finally:
        book.close()


def read_label_table(path: Path, names: Sequence[str], *, ignore: Iterable[str] = ()) -> LabelTable:
    """Read a text or Excel label table whose first column is the image and whose header names the labels.

    Args:
        path: ``.xlsx`` is read as Excel, everything else as delimited text.
        names: the labels of the data set; columns may come in any order and spelling.
        ignore: further columns that may be there.

    Raises:
        DatasetError: see the rules of this module; the message begins with file and line.
        MissingExtraError: an Excel file, and openpyxl is not installed.
    """
    rows = sheet_rows(path) if path.suffix.lower() == ".xlsx" else text_rows(path)
    return label_table(path, rows, names, ignore=ignore)


def label_table(
    path: Path, rows: Iterable[tuple[int, list[str]]], names: Sequence[str], *, ignore: Iterable[str] = ()
) -> LabelTable:
    """Check rows that come from anywhere and turn them into a `LabelTable` (see `read_label_table`)."""
    lines = iter(rows)
    first = next(lines, None)
    if first is None:
        raise DatasetError(f"{path}: empty label table")
    columns = _columns(path, first, names, frozenset(map(_squeeze, ignore)))
    padded = path.suffix.lower() == ".xlsx"  # a sheet drops the blank cells at the end of a row
    width = len(first[1])
    seen: dict[str, LabelRow] = {}
    problems: list[Refused] = []
    for line, cells in lines:
        if padded:
            cells = cells + [""] * (width - len(cells))
        if len(cells) != width:
            raise DatasetError(f"{path}:{line}: {len(cells)} columns, the header has {width}")
        row = _row(path, line, cells, columns, names)
        source = f"{printable(path)}:{line}"
        if (known := seen.get(row.key)) is not None:
            if known.labels != row.labels:
                raise DatasetError(f"{path}:{line}: {row.key!r} has other labels than on line {known.line}")
            problems.append(Refused(source=source, reason=f"{row.key!r} repeats line {known.line}"))
            continue
        seen[row.key] = row
        if not row.labels:
            problems.append(Refused(source=source, reason=f"{row.key!r} has no label"))
    labelled = {key: row for key, row in seen.items() if row.labels}
    return LabelTable(
        path=path,
        rows=labelled,
        problems=tuple(problems),
        unlabelled=frozenset(seen.keys() - labelled.keys()),
    )


def _columns(path: Path, header: tuple[int, list[str]], names: Sequence[str], ignore: frozenset[str]) -> dict[int, str]:
    line, cells = header
    columns: dict[int, str] = {}
    for index, cell in enumerate(cells[1:], 1):
        name = canonical_label(cell, names)
        if name is None:
            if _squeeze(cell) in ignore:
                continue
            raise DatasetError(
                f"{path}:{line}: unknown label {cell!r} in column {index + 1}: {nearest(cell, list(names))}"
            )
        if name in columns.values():
            raise DatasetError(f"{path}:{line}: label {name!r} has two columns")
        columns[index] = name
    missing = [name for name in names if name not in columns.values()]
    if missing:
        raise DatasetError(f"{path}:{line}: no column for {', '.join(missing)}")
    return columns


def _row(path: Path, line: int, cells: list[str], columns: dict[int, str], names: Sequence[str]) -> LabelRow:
    labels = set()
    for index, name in columns.items():
        cell = cells[index].strip()
        if cell in _TRUE:
            labels.add(name)
        elif cell not in _FALSE:
            raise DatasetError(f"{path}:{line}: {name!r} is {cell!r}, only 0, 1 and blank are understood")
    key = cells[0].strip()
    if not key:
        raise DatasetError(f"{path}:{line}: no image name in the first column")
    return LabelRow(key=key, labels=tuple(name for name in names if name in labels), line=line)
