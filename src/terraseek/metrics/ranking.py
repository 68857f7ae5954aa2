"""One query's ranking with its ties, which every measure takes instead of an argsort.

Data sets are stored sorted by scene, so the order in which a sort leaves equal scores leaks the labels. A `Ranking`
therefore keeps where the ties are, and the measures return the expected value over all orders of the tied items.
Only the order of the scores matters: any strictly increasing map of them, to negative values too, gives the same
ranking.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ..errors import UsageError
from ..typing import BoolArray, FloatArray, IntArray

__all__ = ["Ranking", "rank", "spans", "tie_groups"]


class Ranking:
    """The gallery items of one query, best first, and the groups of items that the scores cannot tell apart.

    Attributes:
        starts_T: 0-based rank at which each tie group of two or more items starts, ascending.
        sizes_T: number of items of each of those groups.
    """

    def __init__(self, order_K: IntArray, starts_T: IntArray, sizes_T: IntArray, size: int | None = None) -> None:
        """See the attributes; the order inside a tie group means nothing.

        Args:
            order_K: item numbers, best first; all of them, or the first few of `size`.
            starts_T: see above.
            sizes_T: see above.
            size: how many items are ranked, None for as many as are named.
        """
        self.starts_T, self.sizes_T = starts_T, sizes_T
        self._order_K = order_K
        self._size = len(order_K) if size is None else size

    def __len__(self) -> int:
        return self._size

    @cached_property
    def order_G(self) -> IntArray:  # noqa: N802 - the shape suffix
        """Item numbers, best first."""
        if len(self._order_K) < self._size:
            raise UsageError(f"of {self._size} ranked items the first {len(self._order_K)} alone were asked for")
        return self.items(slice(None))

    def items(self, ranks: IntArray | slice) -> IntArray:
        """The numbers of the items at some 0-based ranks."""
        return np.asarray(self._order_K[ranks])

    def cut(self, k: int | None) -> int:
        """The number of ranks that a measure at `k` looks at: k, or all ranks for None or a shorter gallery."""
        if k is not None and k < 1:
            raise UsageError(f"k is {k}, it must be at least 1")
        return len(self) if k is None else min(k, len(self))

    def straddling(self, k: int) -> tuple[int, int] | None:
        """(start, size) of the tie group that has items on both sides of the cut after rank `k`, if there is one."""
        at = int(self.starts_T.searchsorted(k)) - 1
        if at < 0 or self.starts_T[at] + self.sizes_T[at] <= k:
            return None
        return int(self.starts_T[at]), int(self.sizes_T[at])

    def reach(self, k: int) -> int:
        """How many leading items of `order_G` can stand among the first `k`: more than k where a tie crosses it."""
        group = self.straddling(k)
        return k if group is None else sum(group)

    def expected(self, values: ArrayLike, k: int) -> FloatArray:
        """Expected value at each of the first `k` ranks, (k,) float64.

        Args:
            values: the values of the items in `order_G`, at least the first `reach(k)`.
            k: number of ranks, at most `len(self)`.
        """
        tied = int(self.starts_T.searchsorted(k))
        if not tied:
            return np.asarray(values, dtype=np.float64)[:k]
        expected = np.array(np.asarray(values)[: self.reach(k)], dtype=np.float64)
        starts, sizes = self.starts_T[:tied], self.sizes_T[:tied]
        inside = spans(starts, sizes)
        edges = np.cumsum(sizes) - sizes
        expected[inside] = np.repeat(np.add.reduceat(expected[inside], edges) / sizes, sizes)
        return expected[:k]


def rank(scores_G: ArrayLike, exclude: int | None = None) -> Ranking:
    """Rank the gallery by `scores_G`, highest first, leaving out the item `exclude` (the query itself).

    Raises:
        UsageError: the scores are not one row of numbers, or one of them is not a number.

    Examples:
        >>> ranking = rank([0.1, 0.9, 0.1, 0.5])
        >>> ranking.order_G[:2].tolist(), ranking.starts_T.tolist(), ranking.sizes_T.tolist()
        ([1, 3], [2], [2])
    """
    scores = np.asarray(scores_G)
    if scores.ndim != 1:
        raise UsageError(f"scores of one query are a row, not an array of shape {scores.shape}")
    scores = scores.astype(np.result_type(scores, np.float32), copy=False)
    if np.isnan(scores).any():
        raise UsageError("a score is not a number (NaN)")
    order = np.argsort(-scores)
    if exclude is not None:
        order = order[order != exclude]
    ranked = scores[order]
    return Ranking(order, *tie_groups(ranked[1:] == ranked[:-1]))


def tie_groups(equal_G: BoolArray) -> tuple[IntArray, IntArray]:
    """Starts and sizes of the tie groups, from whether each item but the last ties with the next."""
    tied = np.flatnonzero(equal_G)
    if not len(tied):
        return tied, tied
    # A group is a run of "equal to its successor": it starts where a run starts and has one item more than the run.
    first = np.flatnonzero(np.concatenate([[True], tied[1:] > tied[:-1] + 1]))
    return tied[first], np.concatenate([first[1:], [len(tied)]]) - first + 1


def spans(starts: IntArray, sizes: IntArray) -> IntArray:
    """The numbers ``start .. start + size - 1`` of all spans, one after another."""
    edges = np.cumsum(sizes)
    return np.asarray(np.arange(edges[-1]) + np.repeat(starts - (edges - sizes), sizes))
