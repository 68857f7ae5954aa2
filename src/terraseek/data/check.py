"""What is in a data set and what is wrong with it, as one report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ImageError, Refused
from ..images import refuse
from .catalog import DATASETS, load_dataset
from .dataset import ImageDataset

__all__ = ["DatasetReport", "check_dataset", "describe"]


@dataclass(frozen=True, kw_only=True)
class DatasetReport:
    """Sizes, label counts per split and problems of one data set.

    `label_counts` has one entry per label and split; `cardinality` is the mean number of labels per image.
    """

    dataset: str
    images: int
    splits: dict[str, int]
    label_counts: dict[str, dict[str, int]]
    cardinality: float
    captions: int
    split_hash: str
    notes: tuple[str, ...]
    problems: tuple[Refused, ...]
    details: dict[str, Any] = field(default_factory=dict)
    """What this data set's own inspection found, e.g. how far masks and label table agree."""

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values, ``"schema": 1``."""
        return {
            "schema": 1,
            "dataset": self.dataset,
            "images": self.images,
            "splits": self.splits,
            "labels": len(self.label_counts),
            "captions": self.captions,
            "split_hash": self.split_hash,
            "label_cardinality": round(self.cardinality, 4),
            "label_counts": self.label_counts,
            "notes": list(self.notes),
            "details": self.details,
            "problems": [{"source": problem.source, "reason": problem.reason} for problem in self.problems],
        }


def check_dataset(
    name: str,
    root: str | Path,
    /,
    *,
    decode: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> DatasetReport:
    """Load a data set and report on it.

    Args:
        name: a registered data set.
        root: its folder.
        decode: also decode every image; those that cannot be decoded become problems.
        progress: called with (done, total) while decoding.
        options: passed to `load_dataset`.

    Raises:
        TerraseekError: whatever `load_dataset` raises: with such a data set no report can be made.
    """
    dataset = load_dataset(name, root, **options)
    damaged = _decode_all(dataset, progress) if decode else []
    own = {key: value for key, value in options.items() if key not in ("splits", "seed")}
    inspect = DATASETS[name].inspect
    return describe(dataset, damaged, inspect(dataset, **own) if inspect else {})


def describe(
    dataset: ImageDataset, further_problems: Sequence[Refused] = (), details: dict[str, Any] | None = None
) -> DatasetReport:
    """The report on a data set already loaded."""
    counts = {
        label: {
            split: sum(sample.split == split for sample in dataset.samples if label in sample.labels)
            for split in dataset.splits
        }
        for label in dataset.label_names
    }
    return DatasetReport(
        dataset=dataset.name,
        images=len(dataset),
        splits=dataset.splits,
        label_counts=counts,
        cardinality=float(dataset.labels_NC.sum() / max(len(dataset), 1)),
        captions=sum(len(sample.captions) for sample in dataset.samples),
        split_hash=dataset.split_hash,
        notes=dataset.notes,
        problems=(*dataset.problems, *further_problems),
        details=details or {},
    )


def _decode_all(dataset: ImageDataset, progress: Callable[[int, int], None] | None) -> list[Refused]:
    damaged = []
    for i, sample in enumerate(dataset.samples):
        try:
            dataset.read(i)
        except ImageError as error:
            damaged.append(refuse(sample.path, error))
        if progress:
            progress(i + 1, len(dataset))
    return damaged
