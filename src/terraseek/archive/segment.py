"""Unit rows in a faiss Flat index, some of which may have been removed since: what `ExactIndex` is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptError
from ..typing import BoolArray, FloatArray

__all__ = ["Positions", "Segment", "joined_segments", "segment_from_batches"]

_faiss: Any = faiss  # its type stubs are those of the bare SWIG classes, without what its Python layer adds

HEAP_LIMIT = 2048
"""faiss keeps the best k in a heap; above this computing every score and partitioning is faster."""
UNIT_TOLERANCE = 1e-3

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Segment:
    """Unit rows, never written to after they are made.

    Attributes:
        index: holds the rows.
        live: which of them are still in the archive; None is all.
        first: the live rows stand at the positions `first`, `first` + 1, ... of a snapshot, in their order.
    """

    index: faiss.IndexFlatIP
    live: BoolArray | None = None
    first: int = 0

    @property
    def rows(self) -> FloatArray:
        """The (n, D) float32 rows, the removed ones among them: a view into the faiss index."""
        flat = faiss.rev_swig_ptr(self.index.get_xb(), self.index.ntotal * self.index.d)
        view: FloatArray = flat.reshape(-1, self.index.d)
        return view

    @cached_property
    def size(self) -> int:
        """How many rows are live."""
        return int(self.index.ntotal) if self.live is None else int(np.count_nonzero(self.live))

    @property
    def end(self) -> int:
        """The position after the last."""
        return self.first + self.size

    @cached_property
    def _live_rows(self) -> NDArray[np.int64]:
        return np.arange(self.size) if self.live is None else np.flatnonzero(self.live)

    @cached_property
    def _alive(self) -> BoolArray:
        return np.ones(self.size, np.bool_) if self.live is None else self.live

    @cached_property
    def _rank(self) -> NDArray[np.int64]:
        """How many live rows come before each, where rows have been removed."""
        return np.cumsum(self._alive) - 1

    def _positions(self, rows: NDArray[np.int64]) -> Positions:
        return self.first + (rows if self.live is None else self._rank[rows])

    @cached_property
    def _live_bits(self) -> NDArray[np.uint8]:
        return np.packbits(self._alive, bitorder="little")

    def at(self, positions: Positions) -> FloatArray:
        """The vectors at positions of this segment, (len(positions), D)."""
        rows = positions - self.first if self.live is None else self._live_rows[positions - self.first]
        found: FloatArray = self.rows[rows]
        return found

    def live_batches(self, size: int = 65_536) -> Iterable[FloatArray]:
        """The live rows, in order, some at a time."""
        for start in range(0, self.size, size):
            yield self.at(np.arange(self.first + start, min(self.first + start + size, self.end)))

    def kept(self, keep: BoolArray, first: int) -> Segment:
        """The same rows in the next version: positions where `keep` (of all positions) is false are gone."""
        mine = keep[self.first : self.end]
        if mine.all():
            return Segment(self.index, self.live, first)
        live = np.zeros(self.index.ntotal, np.bool_)
        live[self._live_rows[mine]] = True
        return Segment(self.index, live, first)

    def search(self, query_D: FloatArray, k: int, mask: BoolArray | None) -> tuple[Positions, FloatArray]:
        """The best `k` positions and their scores, as float32 has them, in no particular order.

        Args:
            query_D: unit vector.
            k: how many; fewer come back only where fewer may.
            mask: which positions of the snapshot may be returned; None is all.
        """
        mine = None if mask is None else mask[self.first : self.end]
        k = min(k, self.size if mine is None else int(np.count_nonzero(mine)))
        if k == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        if k > HEAP_LIMIT:
            return self._best_of_all(query_D, k, mine)
        # One query does not fill two threads: waking the second costs more than it computes.
        faiss.omp_set_num_threads(1)
        if mine is None and self.live is None:
            scores_1k, rows_1k = self.index.search(query_D[None], k)
        else:
            selector = _faiss.IDSelectorBitmap(self._allowed_bits(mine))
            scores_1k, rows_1k = self.index.search(query_D[None], k, params=_faiss.SearchParameters(sel=selector))
        return self._positions(rows_1k[0]), scores_1k[0]

    def _allowed_bits(self, mine: BoolArray | None) -> NDArray[np.uint8]:
        if mine is None:
            return self._live_bits
        allowed = mine
        if self.live is not None:
            allowed = np.zeros(self.index.ntotal, np.bool_)
            allowed[self._live_rows] = mine
        return np.packbits(allowed, bitorder="little")

    def _best_of_all(self, query_D: FloatArray, k: int, mine: BoolArray | None) -> tuple[Positions, FloatArray]:
        rows = self._live_rows if mine is None else self._live_rows[mine]
        scores: FloatArray = (self.rows if len(rows) == self.index.ntotal else self.rows[rows]) @ query_D
        best = np.argpartition(-scores, k - 1)[:k] if k < len(rows) else np.arange(len(rows))
        return self._positions(rows[best]), scores[best]


def segment_from_batches(batches: Iterable[FloatArray], count: int, dim: int, first: int = 0) -> Segment:
    """A segment of `count` rows at positions `first`, `first` + 1, ...

    The memory is taken once and filled batch by batch: growing it would need twice the size on the way.

    Raises:
        CorruptError: a row is no unit vector, or there are more or fewer rows than `count`.
    """
    index = faiss.IndexFlatIP(dim)
    index.codes.resize(count * dim * 4)
    index.ntotal = count
    segment = Segment(index, None, first)
    rows, filled = segment.rows if count else np.empty((0, dim), np.float32), 0
    for batch in batches:
        if filled + len(batch) > count:
            raise CorruptError(f"a table of {count} rows has more vectors than that")
        with np.errstate(over="ignore", invalid="ignore"):
            unit = np.abs(np.vecdot(batch, batch) - 1) < UNIT_TOLERANCE  # also false for NaN
        if not unit.all():
            bad = filled + int(np.argmin(unit))
            raise CorruptError(f"the vector in row {bad} is no unit vector any more; `archive verify` names the record")
        rows[filled : filled + len(batch)] = batch
        filled += len(batch)
    if filled != count:
        raise CorruptError(f"a table of {count} rows has {filled} vectors")
    return segment


def joined_segments(segments: list[Segment], dim: int) -> Segment:
    """Segments that follow each other as one, without the rows that were removed."""
    batches = (batch for segment in segments for batch in segment.live_batches())
    return segment_from_batches(batches, sum(segment.size for segment in segments), dim, segments[0].first)
