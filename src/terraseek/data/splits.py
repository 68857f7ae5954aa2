"""Which image is in which split: read from files, or drawn once from a seed; always identified by a hash.

A split folder holds one table per split, ``<name>_train.csv``, ``_val.csv`` and ``_test.csv``, whose first column is
the image and whose first line is a header; `<name>` begins as the data set's files do. A split file is one table with
the columns ``id`` and ``split``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import ConfigError, DatasetError, NotFoundError
from ..images import IMAGE_SUFFIXES, printable
from ..typing import LabelArray
from .tables import text_rows

__all__ = [
    "DEFAULT_FRACTIONS",
    "draw_splits",
    "find_split_folder",
    "given_splits",
    "read_splits",
    "split_notes",
    "write_splits",
]

SPLITS = ("train", "val", "test")
DEFAULT_FRACTIONS: Mapping[str, float] = {"train": 0.6, "val": 0.2, "test": 0.2}


def find_split_folder(root: Path) -> Path | None:
    """The folder ``splits`` inside `root` or beside it, if there is one."""
    return next((folder for folder in (root / "splits", root.parent / "splits") if folder.is_dir()), None)


def read_splits(
    source: Path, prefixes: Sequence[str], *, key: Callable[[str], str] = str, images: Collection[str] = ()
) -> dict[str, str] | None:
    """Image key -> split from a folder or a file; None if the folder has no files for this data set.

    Args:
        source: a split folder or a split file.
        prefixes: what this data set's files in the folder begin with, e.g. ``ucmerced``; the files of the first prefix
            that has any count alone.
        key: turns a name as written into an image key, so that two spellings are one image.
        images: keys of the images that are here, by which a file without a header is told.

    Raises:
        NotFoundError: `source` does not exist.
        DatasetError: an image is in two splits, the file has no columns ``id`` and ``split``, or a file of the folder
            begins with an image instead of a header.
    """
    if source.is_file():
        return _read_split_file(source, key)
    if not source.is_dir():
        raise NotFoundError(f"no splits at {source}: give a folder of *_train.csv, *_val.csv, *_test.csv or one file")
    files = sorted(path for path in source.iterdir() if path.is_file())
    for prefix in prefixes:
        pattern = re.compile(rf"{re.escape(prefix)}.*[_-](train|val|test)\.(?:csv|tsv|txt)", re.I)
        found: dict[str, str] = {}
        for path, match in ((path, pattern.fullmatch(path.name)) for path in files):
            if match:
                _read_list(path, match[1].lower(), found, key, images)
        if found:
            return found
    return None


def given_splits(
    source: Path, prefixes: Sequence[str], *, key: Callable[[str], str] = str, images: Collection[str] = ()
) -> dict[str, str]:
    """As `read_splits`, for a source that the user named: it must have something for this data set.

    Raises:
        DatasetError: the folder has no files for this data set; and what `read_splits` raises.
    """
    found = read_splits(source, prefixes, key=key, images=images)
    if found is None:
        wanted = " or ".join(f"{prefix}*_train.csv" for prefix in prefixes)
        raise DatasetError(f"{printable(source)}: no split files for this data set; expected {wanted}")
    return found


def split_notes(assignment: Mapping[str, str], keys: Sequence[str], *, drawn_from: int | None = None) -> list[str]:
    """What should be known of the splits: that they were drawn, or where they and the images do not fit.

    Args:
        assignment: image key -> split.
        keys: of the images that are here.
        drawn_from: the seed, where the splits were drawn for these images.

    >>> split_notes({"a": "train", "c": "test"}, ["a", "b"])[0]
    "1 images are in no split, the first is 'b'"
    """
    if drawn_from is not None:
        return [f"splits drawn 60/20/20 from seed {drawn_from}, stratified by label"]
    notes = []
    known = set(keys)
    if outside := [key for key in keys if key not in assignment]:
        notes.append(f"{len(outside)} images are in no split, the first is {outside[0]!r}")
    if absent := [key for key in assignment if key not in known]:
        notes.append(f"the split files name {len(absent)} images that are not here, the first is {absent[0]!r}")
    by_case: dict[str, set[str]] = {}
    for split in assignment.values():
        by_case.setdefault(split.casefold(), set()).add(split)
    for names in by_case.values():
        if len(names) > 1:
            notes.append(
                f"the splits {' and '.join(map(repr, sorted(names)))} differ only in case, they are not one split"
            )
    return notes


def _read_list(
    path: Path, split: str, found: dict[str, str], key: Callable[[str], str], images: Collection[str]
) -> None:
    rows = list(text_rows(path))
    if rows and _is_image(rows[0][1], key, images):
        line, cells = rows[0]
        raise DatasetError(f"{path}:{line}: {cells[0].strip()!r} is an image; the first line must be a header")
    for line, cells in rows[1:]:
        _assign(found, cells[0].strip(), split, f"{path}:{line}", key)


def _is_image(cells: Sequence[str], key: Callable[[str], str], images: Collection[str]) -> bool:
    """Whether a row is of an image: by its name or, for an image that is not here, by suffix or cells of 0 and 1."""
    name, *others = (cell.strip() for cell in cells)
    return (
        key(name) in images
        or PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
        or (len(others) > 1 and set(others) <= {"0", "1"})
    )


def _read_split_file(path: Path, key: Callable[[str], str]) -> dict[str, str]:
    rows = list(text_rows(path))
    header = [cell.strip().casefold() for cell in rows[0][1]] if rows else []
    if "id" not in header or "split" not in header:
        raise DatasetError(f"{path}:1: a split file has the columns 'id' and 'split', this one {header}")
    name, split = header.index("id"), header.index("split")
    found: dict[str, str] = {}
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise DatasetError(f"{path}:{line}: {len(cells)} columns, the header has {len(header)}")
        _assign(found, cells[name].strip(), cells[split].strip(), f"{path}:{line}", key)
    return found


def _assign(found: dict[str, str], name: str, split: str, where: str, key: Callable[[str], str]) -> None:
    if (held := found.setdefault(key(name), split)) != split:
        raise DatasetError(f"{where}: {name!r} is in {split} and in {held}")


def write_splits(path: Path, assignment: Mapping[str, str | None]) -> None:
    """Write a split file that `read_splits` reads back."""
    lines = ["id\tsplit", *(f"{key}\t{split}" for key, split in sorted(assignment.items()) if split)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def draw_splits(
    labels_NC: LabelArray, *, seed: int = 0, fractions: Mapping[str, float] = DEFAULT_FRACTIONS
) -> list[str]:
    """Draw a split per row so that every label is spread over the splits in the wanted fractions.

    Iterative stratification (Sechidis et al., 2011, "On the Stratification of Multi-Label Data"): the rarest label
    first, its images go where that label is missed most, so that even a label with few images reaches every split.
    The draw depends on the rows, the seed and nothing else.

    Raises:
        ConfigError: the fractions are not positive or do not add up to 1.
    """
    names, wanted = list(fractions), np.array(list(fractions.values()), dtype=float)
    if (wanted <= 0).any() or abs(wanted.sum() - 1) > 1e-6:
        raise ConfigError(f"split fractions {dict(fractions)} must be positive and add up to 1")
    rng = np.random.default_rng(seed)
    labels = labels_NC.astype(bool)
    open_rows = np.ones(len(labels), dtype=bool)
    room_S = wanted * len(labels)
    need_SC = wanted[:, None] * labels.sum(0)[None, :]
    split_N = np.zeros(len(labels), dtype=int)

    def place(row: int, need_S: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
        best = need_S >= need_S.max() - 1e-9
        best &= room_S >= room_S[best].max() - 1e-9
        target = int(rng.choice(np.flatnonzero(best)))
        split_N[row] = target
        open_rows[row] = False
        room_S[target] -= 1
        need_SC[target] -= labels[row]

    while True:
        left_C = (labels & open_rows[:, None]).sum(0)
        if not left_C.any():
            break
        label = int(np.argmin(np.where(left_C > 0, left_C, np.iinfo(np.int64).max)))
        for row in rng.permutation(np.flatnonzero(labels[:, label] & open_rows)):
            place(int(row), need_SC[:, label])
    for row in rng.permutation(np.flatnonzero(open_rows)):
        place(int(row), room_S)
    return [names[target] for target in split_N]
