"""Which image is in which split: read from files, or drawn once from a seed; always identified by a hash.

A split folder holds one table per split, ``<name>_train.csv``, ``_val.csv`` and ``_test.csv``, whose first column is
the image; `<name>` begins as the data set's files do. A split file is one table with the columns ``id`` and ``split``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import ConfigError, DatasetError, NotFoundError
from ..images import printable
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


def read_splits(source: Path, prefixes: Sequence[str]) -> dict[str, str] | None:
    """Image key -> split from a folder or a file; None if the folder has no files for this data set.

    Args:
        source: a split folder or a split file.
        prefixes: what this data set's files in the folder begin with, e.g. ``ucmerced``.

    Raises:
        NotFoundError: `source` does not exist.
        DatasetError: an image is in two splits, or the file has no columns ``id`` and ``split``.
    """
    if source.is_file():
        return _read_split_file(source)
    if not source.is_dir():
        raise NotFoundError(f"no splits at {source}: give a folder of *_train.csv, *_val.csv, *_test.csv or one file")
    found: dict[str, str] = {}
    pattern = re.compile(rf"(?:(?:{'|'.join(map(re.escape, prefixes))}).*[_-])(train|val|test)\.(?:csv|tsv|txt)", re.I)
    for path in sorted(source.iterdir()):
        if match := pattern.fullmatch(path.name):
            split = match[1].lower()
            for line, cells in list(text_rows(path))[1:]:
                _assign(found, cells[0].strip(), split, f"{path}:{line}")
    return found or None


def given_splits(source: Path, prefixes: Sequence[str]) -> dict[str, str]:
    """As `read_splits`, for a source that the user named: it must have something for this data set.

    Raises:
        DatasetError: the folder has no files for this data set; and what `read_splits` raises.
    """
    found = read_splits(source, prefixes)
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
    return notes


def _read_split_file(path: Path) -> dict[str, str]:
    rows = list(text_rows(path))
    header = [cell.strip().casefold() for cell in rows[0][1]] if rows else []
    if "id" not in header or "split" not in header:
        raise DatasetError(f"{path}:1: a split file has the columns 'id' and 'split', this one {header}")
    key, split = header.index("id"), header.index("split")
    found: dict[str, str] = {}
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise DatasetError(f"{path}:{line}: {len(cells)} columns, the header has {len(header)}")
        _assign(found, cells[key].strip(), cells[split].strip(), f"{path}:{line}")
    return found


def _assign(found: dict[str, str], key: str, split: str, where: str) -> None:
    if found.setdefault(key, split) != split:
        raise DatasetError(f"{where}: {key!r} is in {split} and in {found[key]}")


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
