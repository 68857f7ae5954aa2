"""Which images of a caption set are its validation images where the files name none: drawn, or its own ones found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import ConfigError, DatasetError
from .caption_files import CaptionedFile

__all__ = ["draw_validation", "find_own_validation"]


def draw_validation(entries: Sequence[CaptionedFile], share: float | str, seed: int) -> list[str]:
    """The split of each entry, with `share` of train drawn as val.

    Raises:
        ConfigError: no share from 0 to below 1.
    """
    if isinstance(share, str) or not 0 <= share < 1:
        raise ConfigError(f"val is {share!r}, it must be a share of train from 0 to below 1")
    train = sorted((entry.filename, i) for i, entry in enumerate(entries) if entry.split == "train")
    drawn = np.random.default_rng(seed).permutation(len(train))[: round(share * len(train))]
    split = [entry.split for entry in entries]
    for position in drawn:
        split[train[position][1]] = "val"
    return split


def find_own_validation(entries: Sequence[CaptionedFile], train: int, val: int) -> list[CaptionedFile]:
    """The entries of files that put the distributed validation split behind train, with that split named again.

    Both parts are in the order of the alphabet, numbered images last, so that it begins anew where the second does.

    Args:
        entries: all of them, in the order of the files.
        train: images of the distributed training split.
        val: images of the distributed validation split.

    Raises:
        DatasetError: train has another number of images, or the alphabet does not begin anew there.
    """
    if any(entry.split == "val" for entry in entries):
        return list(entries)
    names = [entry.filename for entry in entries if entry.split == "train"]
    if len(names) != train + val or _rank(names[train]) >= _rank(names[train - 1]):
        raise DatasetError(
            f"the data set's own validation images cannot be told: as distributed, they are the last {val:,} of "
            f"{train + val:,} in train, and these files have {len(names):,} there, or in another order; leave out "
            "val=own, or give split files"
        )
    own = set(names[train:])
    return [replace(entry, split="val") if entry.filename in own else entry for entry in entries]


def _rank(filename: str) -> tuple[bool, str]:
    return filename[0].isdigit(), filename
