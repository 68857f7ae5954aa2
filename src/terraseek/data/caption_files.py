"""The two layouts in which captioned data sets are distributed, read into one form.

Karpathy JSON: ``{"images": [{"filename", "split", "sentences": [{"raw"}]}]}``. NWPU-Captions nests its images in
categories and numbers its sentences raw, raw_1 ... raw_4; that is read as well.

``*_precomp`` text: ``train_caps.txt`` with one caption a line, ``train_filename.txt`` with the image of each caption,
or of each five. There may be a ``val_*`` pair; otherwise train holds val.

Refused with file and place: unreadable or non-UTF-8 files, entries without file name, split or sentences, an image in
two splits, caption and file name lists that do not fit. Skipped and listed: empty captions; images left without any.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DatasetError, Refused
from ..images import printable
from ._text import read_lines, read_text

__all__ = ["CaptionedFile", "find_precomp", "read_karpathy", "read_precomp"]

_SPLITS = {"train": "train", "val": "val", "validation": "val", "dev": "val", "test": "test", "restval": "train"}
_PER_IMAGE = 5


@dataclass(frozen=True, kw_only=True)
class CaptionedFile:
    """One image's entry in a caption file: file name and split as given, captions, and where it stands."""

    filename: str
    split: str
    captions: tuple[str, ...]
    where: str


def read_karpathy(path: Path) -> tuple[list[CaptionedFile], list[Refused]]:
    """Read a caption JSON file; see the module for layouts and rules.

    Raises:
        DatasetError: file and entry are named.
    """
    try:
        tree = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None
    found: dict[str, CaptionedFile] = {}
    problems: list[Refused] = []
    for where, entry in _entries(path, tree):
        item = _entry(where, entry, problems)
        known = found.get(item.filename)
        if known is not None and known.split != item.split:
            raise DatasetError(f"{where}: {item.filename!r} is in {item.split} and, at {known.where}, in {known.split}")
        if known is not None:
            problems.append(Refused(source=where, reason=f"{item.filename!r} repeats {known.where}"))
        elif item.captions:
            found[item.filename] = item
        else:
            problems.append(Refused(source=where, reason=f"{item.filename!r} has no caption"))
    return list(found.values()), problems


def _entries(path: Path, tree: Any) -> Iterator[tuple[str, Any]]:
    name = printable(path)
    if isinstance(tree, dict) and isinstance(tree.get("images"), list):
        for i, entry in enumerate(tree["images"]):
            yield f"{name}: images[{i}]", entry
    elif isinstance(tree, dict) and tree and all(isinstance(entries, list) for entries in tree.values()):
        for category, entries in tree.items():
            for i, entry in enumerate(entries):
                yield f"{name}: {printable(category)}[{i}]", entry
    else:
        raise DatasetError(f"{path}: no list 'images', and no categories with lists of images")


def _entry(where: str, entry: Any, problems: list[Refused]) -> CaptionedFile:
    if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
        raise DatasetError(f"{where}: no 'filename'")
    split = _SPLITS.get(str(entry.get("split")))
    if split is None:
        raise DatasetError(f"{where}: split {entry.get('split')!r}, known are {', '.join(_SPLITS)}")
    sentences = entry.get("sentences")
    if isinstance(sentences, list):
        texts = [sentence.get("raw") if isinstance(sentence, dict) else None for sentence in sentences]
    else:
        texts = [value for key, value in entry.items() if key == "raw" or key.startswith("raw_")]
        if not texts:
            raise DatasetError(f"{where}: no 'sentences'")
    captions = []
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise DatasetError(f"{where}: sentence {i} has no text 'raw'")
        if text.strip():
            captions.append(text.strip())
        else:
            problems.append(Refused(source=where, reason=f"caption {i} of {entry['filename']!r} is empty"))
    return CaptionedFile(filename=entry["filename"], split=split, captions=tuple(captions), where=where)


def find_precomp(folder: Path) -> bool:
    """Whether `folder` holds the ``*_precomp`` text layout."""
    return all(
        (folder / f"{split}_{kind}.txt").is_file() for split in ("train", "test") for kind in ("caps", "filename")
    )


def read_precomp(folder: Path) -> tuple[list[CaptionedFile], list[Refused]]:
    """Read the ``*_precomp`` text layout; see the module for its rules.

    Raises:
        DatasetError: file and line are named.
    """
    found: dict[str, CaptionedFile] = {}
    problems: list[Refused] = []
    for split in ("train", "val", "test"):
        caps, names = folder / f"{split}_caps.txt", folder / f"{split}_filename.txt"
        if split == "val" and not caps.is_file():
            continue
        for item in _precomp_split(split, caps, names, problems):
            if (known := found.get(item.filename)) is not None:
                raise DatasetError(
                    f"{item.where}: {item.filename!r} is in {split} and, at {known.where}, in {known.split}"
                )
            found[item.filename] = item
    return list(found.values()), problems


def _precomp_split(split: str, caps: Path, names: Path, problems: list[Refused]) -> list[CaptionedFile]:
    captions, files = _lines(caps), _lines(names)
    repeat = len(captions) // max(len(files), 1)
    if repeat not in (1, _PER_IMAGE) or repeat * len(files) != len(captions):
        raise DatasetError(
            f"{caps}: {len(captions)} captions do not fit the {len(files)} lines of {names.name}: expected as many or "
            f"{_PER_IMAGE} times as many"
        )
    grouped: dict[str, list[str]] = {}
    first: dict[str, int] = {}
    for line, text in enumerate(captions):
        name = files[line // repeat].strip()
        if not name:
            raise DatasetError(f"{names}:{line // repeat + 1}: no file name")
        first.setdefault(name, line + 1)
        own = grouped.setdefault(name, [])
        if text.strip():
            own.append(text.strip())
        else:
            problems.append(Refused(source=f"{printable(caps)}:{line + 1}", reason=f"a caption of {name!r} is empty"))
    items = []
    for name, texts in grouped.items():
        where = f"{printable(caps)}:{first[name]}"
        if texts:
            items.append(CaptionedFile(filename=name, split=split, captions=tuple(texts), where=where))
        else:
            problems.append(Refused(source=where, reason=f"{name!r} has no caption"))
    return items


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise DatasetError(f"{path}: missing beside the other files of the split")
    lines = read_lines(path)
    return lines[:-1] if lines and not lines[-1] else lines
