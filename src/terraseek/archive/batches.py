"""What exporting and importing pass on: records with their vectors, some thousands at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from ..errors import DatasetError
from ..typing import FloatArray
from .record import Record
from .view import View

__all__ = ["BATCH", "Batch", "Place", "Progress", "UniqueIds", "vectors_of", "view_batches"]

BATCH = 5_000
Progress: TypeAlias = Callable[[int, int], None]
Place: TypeAlias = Callable[[int], str]
"""Where the n-th of some rows stands in a file, for messages."""


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


@dataclass
class UniqueIds:
    """Sees that no id comes twice in a file: the later would silently replace the earlier."""

    _places: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, place: str) -> None:
        """Take note of an id.

        Raises:
            DatasetError: it was there before.
        """
        if name in self._places:
            raise DatasetError(f"{place}: the id {name!r:.100} is that of {self._places[name].rpartition(': ')[2]} too")
        self._places[name] = place


def vectors_of(rows: Sequence[Any], dim: int, place: Place) -> FloatArray:
    """Lists of numbers as an (N, D) matrix.

    Raises:
        DatasetError: a row is no list of `dim` finite numbers, or all zero; the message says which and where.
    """
    try:
        matrix = np.array(rows, np.float64)
    except (TypeError, ValueError):
        matrix = np.empty((0, 0))
    if matrix.shape != (len(rows), dim):
        for at, row in enumerate(rows):
            if (wrong := _wrong_vector(row, dim)) is not None:
                raise DatasetError(f"{place(at)}: {wrong}")
    with np.errstate(invalid="ignore"):
        norms = np.linalg.norm(matrix, axis=1)
    if not np.isfinite(norms).all():
        raise DatasetError(f"{place(int(np.argmin(np.isfinite(norms))))}: its vector has a value that is not finite")
    if len(norms) and norms.min() < 1e-12:
        raise DatasetError(f"{place(int(np.argmin(norms)))}: its vector is zero")
    return matrix


def _wrong_vector(row: Any, dim: int) -> str | None:
    if row is None:
        return "it has no vector"
    if not isinstance(row, (list, tuple)):
        return f"its vector is no list of numbers: {row!r:.40}"
    if len(row) != dim:
        return f"its vector has {len(row)} numbers, the archive needs {dim}"
    try:
        np.array(row, np.float64)
    except (TypeError, ValueError):
        return "its vector has something that is no number"
    return None if all(not isinstance(value, (list, tuple)) for value in row) else "its vector is a list of lists"
