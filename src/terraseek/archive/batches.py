"""What exporting and importing pass on: records with their vectors, some thousands at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from ..typing import FloatArray
from .record import Record
from .view import View

__all__ = ["BATCH", "Batch", "Progress", "view_batches"]

BATCH = 5_000
Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Records and their unit vectors, row by row."""

    records: tuple[Record, ...]
    vectors_ND: FloatArray


def view_batches(view: View, ids: list[str], progress: Progress | None) -> Iterator[Batch]:
    """The records with these ids, in this order, and their vectors."""
    for start in range(0, len(ids), BATCH):
        part = ids[start : start + BATCH]
        yield Batch(records=view.get(part), vectors_ND=view.vectors(part))
        if progress:
            progress(start + len(part), len(ids))
