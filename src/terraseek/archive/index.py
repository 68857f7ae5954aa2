"""Exact nearest neighbours in memory: faiss Flat over immutable segments of unit rows.

A new version of an archive costs what changed, not what is there: added rows become a new segment, removed rows are
masked. Segments are never written to after they are made, so searches in other threads go on undisturbed.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ..typing import BoolArray, FloatArray
from .segment import Positions, Segment, joined_segments

__all__ = ["SCORE_DIGITS", "ExactIndex", "exact_scores"]

SCORE_DIGITS = 6
"""Scores are cosines rounded to so many decimals: finer differences are float32 noise, and equal ones go by id."""
NOISE = 2e-6
MAX_SEGMENTS = 8
WORN = 0.75
"""A segment of which less than this share is live is written anew."""


def exact_scores(rows_ND: FloatArray, query_D: FloatArray) -> NDArray[np.float64]:
    """Cosines of unit rows with a unit query, in float64, rounded to `SCORE_DIGITS`.

    Each row's sum is computed alone and in one order, so that equal rows get equal scores wherever they stand.
    """
    products = rows_ND.astype(np.float64) * query_D.astype(np.float64)
    scores: NDArray[np.float64] = np.round(products.sum(axis=1), SCORE_DIGITS)
    return scores


class ExactIndex:
    """Unit rows at positions 0..size-1, ranked by inner product. Immutable.

    Args:
        segments: one after the other they hold all positions.
        dim: number of dimensions D.
    """

    def __init__(self, segments: tuple[Segment, ...], dim: int) -> None:
        self.segments = segments
        self.size = segments[-1].end if segments else 0
        self.dim = dim

    def rows(self, positions: Positions) -> FloatArray:
        """The vectors at `positions`, (len(positions), D)."""
        found = np.empty((len(positions), self.dim), np.float32)
        for segment in self.segments:
            here = (positions >= segment.first) & (positions < segment.end)
            found[here] = segment.at(positions[here])
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
        return positions, exact_scores(self.rows(positions), query_D)

    def _best(self, query_D: FloatArray, k: int, mask: BoolArray | None) -> tuple[Positions, FloatArray]:
        parts = [segment.search(query_D, k, mask) for segment in self.segments]
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
        segments: list[Segment] = []
        first = 0
        for segment in self.segments:
            kept = segment.kept(keep, first)
            if kept.size:
                segments.append(kept)
                first = kept.end
        if added is not None and added.size:
            segments.append(added)
        return ExactIndex(tuple(_tidied(segments, self.dim)), self.dim)


def _tidied(segments: list[Segment], dim: int) -> list[Segment]:
    """Copy together what is small or mostly removed; the large, live segments stay as they are."""
    largest = max(segments, key=lambda segment: segment.size, default=None)
    many = len(segments) > MAX_SEGMENTS

    def lasts(segment: Segment) -> bool:
        return segment.size >= WORN * segment.index.ntotal and (not many or segment is largest)

    tidy: list[Segment] = []
    for lasting, group in groupby(segments, lasts):
        neighbours = list(group)
        tidy += neighbours if lasting else [joined_segments(neighbours, dim)]
    return tidy
