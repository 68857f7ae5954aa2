"""Exact nearest neighbours in memory: faiss Flat over immutable segments of unit rows.

A new version of an archive costs what changed, not what is there: added rows become a new segment, removed rows are
masked. Segments are never written to after they are made, so searches in other threads go on undisturbed.
"""

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

__all__ = ["SCORE_DIGITS", "ExactIndex", "exact_scores", "segment_from_batches"]

_faiss: Any = faiss  # its type stubs are those of the bare SWIG classes, without what its Python layer adds

SCORE_DIGITS = 6
"""Scores are cosines rounded to so many decimals: finer differences are float32 noise, and equal ones go by id."""
NOISE = 2e-6
MAX_SEGMENTS = 8
HEAP_LIMIT = 2048
"""faiss keeps the best k in a heap; above this computing every score and partitioning is faster."""

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Segment:
    """Unit rows in a faiss index, and at which position of the snapshot each stands (-1: removed)."""

    index: faiss.IndexFlatIP
    positions: Positions

    @property
    def rows(self) -> FloatArray:
        """The (n, D) float32 rows, a view into the faiss index."""
        flat = faiss.rev_swig_ptr(self.index.get_xb(), self.index.ntotal * self.index.d)
        view: FloatArray = flat.reshape(-1, self.index.d)
        return view

    @cached_property
    def live(self) -> BoolArray:
        """Which rows are still in the archive."""
        alive: BoolArray = self.positions >= 0
        return alive

    @cached_property
    def all_live(self) -> bool:
        """Whether no row has been removed."""
        return bool(self.live.all())

    def is_all(self, size: int) -> bool:
        """Whether row r stands at position r, for all positions of a snapshot of `size`."""
        return len(self.positions) == size and self._in_order

    @cached_property
    def _in_order(self) -> bool:
        return bool((self.positions == np.arange(len(self.positions))).all())


def segment_from_batches(batches: Iterable[FloatArray], count: int, dim: int, first: int = 0) -> Segment:
    """A segment of `count` rows at positions `first`, `first` + 1, ...

    The memory is taken once and filled batch by batch: growing it would need twice the size on the way.

    Raises:
        CorruptError: a row is no unit vector, or there are more or fewer rows than `count`.
    """
    index = faiss.IndexFlatIP(dim)
    index.codes.resize(count * dim * 4)
    index.ntotal = count
    segment = Segment(index, np.arange(first, first + count, dtype=np.int64))
    rows, filled = segment.rows if count else np.empty((0, dim), np.float32), 0
    for batch in batches:
        if filled + len(batch) > count:
            raise CorruptError(f"a table of {count} rows has more vectors than that")
        norms = np.einsum("nd,nd->n", batch, batch)
        if not (np.abs(norms - 1) < 1e-3).all():  # also false for NaN
            bad = filled + int(np.argmin(np.abs(norms - 1) < 1e-3))
            raise CorruptError(f"the vector in row {bad} is no unit vector any more; `archive verify` names the record")
        rows[filled : filled + len(batch)] = batch
        filled += len(batch)
    if filled != count:
        raise CorruptError(f"a table of {count} rows has {filled} vectors")
    return segment


def exact_scores(rows_ND: FloatArray, query_D: FloatArray) -> NDArray[np.float64]:
    """Cosines of unit rows with a unit query, in float64, rounded to `SCORE_DIGITS`.

    Each row's sum is computed alone and in one order, so that equal rows get equal scores wherever they stand.
    """
    products = rows_ND.astype(np.float64) * query_D.astype(np.float64)
    scores: NDArray[np.float64] = np.round(products.sum(axis=1), SCORE_DIGITS)
    return scores


class ExactIndex:
    """Unit rows at positions 0..size-1, ranked by inner product. Immutable."""

    def __init__(self, segments: tuple[Segment, ...], size: int, dim: int) -> None:
        self.segments = segments
        self.size = size
        self.dim = dim

    def rows(self, positions: Positions) -> FloatArray:
        """The vectors at `positions`, (len(positions), D)."""
        found = np.empty((len(positions), self.dim), np.float32)
        for segment in self.segments:
            where = np.full(self.size, -1, np.int64)
            live = segment.live
            where[segment.positions[live]] = np.flatnonzero(live)
            at = where[positions]
            found[at >= 0] = segment.rows[at[at >= 0]]
        return found

    def candidates(self, query_D: FloatArray, k: int, mask: BoolArray | None) -> tuple[Positions, NDArray[np.float64]]:
        """At least the best `k` positions (all, if fewer pass) and their exact scores, in no particular order.

        Args:
            query_D: unit vector.
            k: how many are wanted.
            mask: (size,) which positions may be returned; None is all.
        """
        passing = self.size if mask is None else int(np.count_nonzero(mask))
        wanted = min(k, passing)
        while True:
            # A few more than wanted, to see whether the last one is tied with those that follow.
            fetch = min(passing, wanted + 8)
            positions, scores = self._best(query_D, fetch, mask)
            if fetch == passing or scores.size == 0:
                break
            kth = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
            if scores.min() < kth - NOISE:
                break
            wanted = min(passing, wanted * 4)
        return positions, exact_scores(self._gather(positions), query_D)

    def _gather(self, positions: Positions) -> FloatArray:
        if len(self.segments) == 1 and self.segments[0].is_all(self.size):
            gathered: FloatArray = self.segments[0].rows[positions]
            return gathered
        return self.rows(positions)

    def _best(self, query_D: FloatArray, k: int, mask: BoolArray | None) -> tuple[Positions, FloatArray]:
        parts = [_search(segment, query_D, k, mask) for segment in self.segments]
        if not parts:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        positions = np.concatenate([part[0] for part in parts])
        scores = np.concatenate([part[1] for part in parts])
        if len(scores) > k:
            best = np.argpartition(-scores, k - 1)[:k]
            positions, scores = positions[best], scores[best]
        return positions, scores

    def updated(self, keep: BoolArray, added: Segment | None) -> ExactIndex:
        """The index of the next version: positions where `keep` is false are gone, `added` comes after the rest."""
        moved = np.where(keep, np.cumsum(keep) - 1, -1)
        segments = []
        for segment in self.segments:
            positions = np.where(segment.live, moved[segment.positions], -1)
            if (positions >= 0).any():
                segments.append(Segment(segment.index, positions))
        if added is not None and len(added.positions):
            segments.append(added)
        size = int(np.count_nonzero(keep)) + (0 if added is None else len(added.positions))
        return ExactIndex(tuple(_tidied(segments, self.dim)), size, self.dim)


def _search(segment: Segment, query_D: FloatArray, k: int, mask: BoolArray | None) -> tuple[Positions, FloatArray]:
    allowed = _allowed(segment, mask)
    count = segment.index.ntotal if allowed is None else int(np.count_nonzero(allowed))
    k = min(k, count)
    if k == 0:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    if k > HEAP_LIMIT:
        rows = np.arange(segment.index.ntotal) if allowed is None else np.flatnonzero(allowed)
        scores = segment.rows[rows] @ query_D if allowed is not None else segment.rows @ query_D
        best = np.argpartition(-scores, k - 1)[:k] if k < count else np.arange(count)
        return segment.positions[rows[best]], scores[best]
    # One query does not fill two threads: waking the second costs more than it computes.
    faiss.omp_set_num_threads(1)
    if allowed is None:
        scores_1k, rows_1k = segment.index.search(query_D[None], k)
    else:
        bits = np.packbits(allowed, bitorder="little")
        selector = _faiss.IDSelectorBitmap(bits)
        scores_1k, rows_1k = segment.index.search(query_D[None], k, params=_faiss.SearchParameters(sel=selector))
    return segment.positions[rows_1k[0]], scores_1k[0]


def _allowed(segment: Segment, mask: BoolArray | None) -> BoolArray | None:
    """Which rows of the segment a search may return; None is all."""
    live = segment.live
    if mask is None:
        return None if segment.all_live else live
    if segment.is_all(len(mask)):
        return mask
    return live & mask[segment.positions]


def _tidied(segments: list[Segment], dim: int) -> list[Segment]:
    """Copy together what is small or mostly removed; the large, live segments stay as they are."""
    worn = [s for s in segments if np.count_nonzero(s.live) < 0.75 * len(s.positions)]
    if len(segments) > MAX_SEGMENTS:
        largest = max(segments, key=lambda s: len(s.positions))
        worn = [s for s in segments if s is not largest or s in worn]
    if not worn:
        return segments
    lasting = [s for s in segments if all(s is not other for other in worn)]
    live = [s.live for s in worn]
    positions = np.concatenate([s.positions[alive] for s, alive in zip(worn, live, strict=True)])
    merged = segment_from_batches((s.rows[alive] for s, alive in zip(worn, live, strict=True)), len(positions), dim)
    return [*lasting, Segment(merged.index, positions)]
