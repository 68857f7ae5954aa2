"""What a data set is once it is read: samples, their multi-hot labels, their splits, and what was left out."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, DatasetError, Refused
from ..images import read_image
from ..registry import nearest
from ..typing import ImageArray, LabelArray

__all__ = ["ImageDataset", "Sample", "hash_splits", "multi_hot"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image of a data set with what is known about it.

    `id` does not depend on where the data set lies: for images in scene folders it is ``<scene>/<file stem>``.
    `geometry` is a GeoJSON geometry in EPSG:4326.
    """

    id: str
    path: Path
    split: str | None = None
    labels: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    geometry: Mapping[str, Any] | None = None
    datetime: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ImageDataset:
    """Samples in a fixed order, with labels as one (N, C) array and the list of what was left out.

    `problems` holds every item skipped by the rules of the loader; `notes` what is odd about items that were kept.
    `split_hash` identifies the assignment of the whole data set, a subset keeps it.
    """

    name: str
    root: Path
    samples: tuple[Sample, ...]
    label_names: tuple[str, ...]
    labels_NC: LabelArray
    split_hash: str
    problems: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()
    reader: Callable[[Path], ImageArray] = field(default=read_image, repr=False)

    @classmethod
    def build(
        cls,
        *,
        name: str,
        root: Path,
        samples: Iterable[Sample],
        label_names: Sequence[str] = (),
        problems: Iterable[Refused] = (),
        notes: Iterable[str] = (),
        reader: Callable[[Path], ImageArray] = read_image,
    ) -> ImageDataset:
        """Order the samples by id, derive labels and split hash.

        Raises:
            DatasetError: two samples share an id, or a sample has a label that is not in `label_names`.
        """
        ordered = tuple(sorted(samples, key=lambda sample: sample.id))
        for first, second in pairwise(ordered):
            if first.id == second.id:
                raise DatasetError(f"{name}: two images have the id {first.id!r}: {first.path} and {second.path}")
        return cls(
            name=name,
            root=root,
            samples=ordered,
            label_names=tuple(label_names),
            labels_NC=multi_hot([sample.labels for sample in ordered], label_names),
            split_hash=hash_splits((sample.id, sample.split) for sample in ordered),
            problems=tuple(problems),
            notes=tuple(notes),
            reader=reader,
        )

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids, in order."""
        return tuple(sample.id for sample in self.samples)

    @property
    def splits(self) -> dict[str, int]:
        """Number of images per split, in the order train, val, test, others."""
        counts = Counter(sample.split for sample in self.samples if sample.split is not None)
        usual = ("train", "val", "test")
        return {name: counts[name] for name in (*usual, *sorted(set(counts) - set(usual))) if name in counts}

    def subset(self, split: str) -> ImageDataset:
        """The samples of one split, or of several: "train+val".

        Raises:
            ConfigError: no sample is in one of them.
        """
        wanted = [split] if split in self.splits else split.split("+")
        for name in wanted:
            if name not in self.splits:
                raise ConfigError(f"{self.name} has no split {name!r}: {nearest(name, list(self.splits))}")
        return self.take([i for i, sample in enumerate(self.samples) if sample.split in wanted])

    def take(self, indices: Sequence[int]) -> ImageDataset:
        """The samples at `indices`, in that order."""
        return dataclasses.replace(
            self, samples=tuple(self.samples[i] for i in indices), labels_NC=self.labels_NC[list(indices)]
        )

    def read(self, index: int) -> ImageArray:
        """The pixels of one sample: (H, W, 3) uint8, or (H, W, B) for multi-band data sets.

        Raises:
            ImageError: the file cannot be read.
        """
        return self.reader(self.samples[index].path)


def multi_hot(label_sets: Sequence[Iterable[str]], label_names: Sequence[str]) -> LabelArray:
    """Label sets as an (N, C) array of 0 and 1.

    >>> multi_hot([("sea", "sand"), ()], ["sand", "sea", "ship"]).tolist()
    [[1, 1, 0], [0, 0, 0]]
    """
    column = {name: i for i, name in enumerate(label_names)}
    labels_NC = np.zeros((len(label_sets), len(column)), dtype=np.uint8)
    for row, labels in enumerate(label_sets):
        for label in labels:
            if label not in column:
                raise DatasetError(f"unknown label {label!r}: {nearest(label, list(column))}")
            labels_NC[row, column[label]] = 1
    return labels_NC


def hash_splits(pairs: Iterable[tuple[str, str | None]]) -> str:
    """sha256 over the sorted lines ``id TAB split``: equal exactly when every image is in the same split.

    >>> hash_splits([("b", "test"), ("a", "train")]) == hash_splits([("a", "train"), ("b", "test")])
    True
    """
    lines = sorted(f"{name}\t{split or ''}\n" for name, split in pairs)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
