"""One query's ranking with its ties, which every measure takes instead of an argsort.

Data sets are stored sorted by scene, so the order in which a sort leaves equal scores leaks the labels. A `Ranking`
therefore keeps where the ties are, and the measures return the expected value over all orders of the tied items.
Only the order of the scores matters: any strictly increasing map of them, to negative values too, gives the same
ranking.
"""

from __future__ import annotations

import sys
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from ..typing import FloatArray, IntArray

__all__ = ["Ranking", "luggage", "rank", "rank_with_riders"]

_LITTLE_ENDIAN = sys.byteorder == "little"
# Of 28 bits: 20 for the item's number, 8 for a rider.
_RIDER_BITS = 8
_MOST_ITEMS = 2**20


class Ranking:
    """The gallery items of one query, best first, and the groups of items that the scores cannot tell apart.

    Attributes:
        starts_T: 0-based rank at which each tie group of two or more items starts, ascending.
        sizes_T: number of items of each of those groups.
    """

    def __init__(self, order_G: IntArray, starts_T: IntArray, sizes_T: IntArray) -> None:
        """See the attributes; the order inside a tie group means nothing."""
        self.starts_T, self.sizes_T = starts_T, sizes_T
        self._numbers_G, self._shift, self._mask = order_G, 0, -1

    @classmethod
    def _of_keys(cls, keys_G: NDArray[np.int64], starts_T: IntArray, sizes_T: IntArray) -> Ranking:
        """A ranking whose item numbers are still in the sort keys: most measures look at the first few only."""
        ranking = cls(keys_G, starts_T, sizes_T)
        ranking._shift, ranking._mask = _RIDER_BITS, _MOST_ITEMS - 1
        return ranking

    def __len__(self) -> int:
        return len(self._numbers_G)

    @cached_property
    def order_G(self) -> IntArray:  # noqa: N802 - the shape suffix
        """Item numbers, best first."""
        return self.items(slice(None))

    def items(self, ranks: IntArray | slice) -> IntArray:
        """The numbers of the items at some 0-based ranks."""
        return np.asarray(self._numbers_G[ranks] >> self._shift & self._mask)

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
        inside = _spans(starts, sizes)
        edges = np.cumsum(sizes) - sizes
        expected[inside] = np.repeat(np.add.reduceat(expected[inside], edges) / sizes, sizes)
        return expected[:k]


def rank(scores_G: ArrayLike, exclude: int | None = None) -> Ranking:
    """Rank the gallery by `scores_G`, highest first, leaving out the item `exclude` (the query itself).

    Raises:
        UsageError: the scores are not one row of numbers, or one of them is not a number.

    Example:
        >>> ranking = rank([0.1, 0.9, 0.1, 0.5])
        >>> ranking.order_G[:2].tolist(), ranking.starts_T.tolist(), ranking.sizes_T.tolist()
        ([1, 3], [2], [2])
    """
    scores = np.asarray(scores_G)
    if scores.ndim != 1:
        raise UsageError(f"scores of one query are a row, not an array of shape {scores.shape}")
    if scores.dtype in (np.float32, np.float16):
        return rank_with_riders(scores.astype(np.float32, copy=False), _shifted_numbers(len(scores)), exclude)[0]
    return _rank_plainly(scores, exclude)


def luggage(riders_G: NDArray[np.uint8]) -> NDArray[np.int64]:
    """What `rank_with_riders` sorts along with the scores: each item's number and one byte of the caller's."""
    return _shifted_numbers(len(riders_G)) | riders_G


@lru_cache(maxsize=2)
def _shifted_numbers(size: int) -> NDArray[np.int64]:
    return np.arange(size, dtype=np.int64) << _RIDER_BITS


def rank_with_riders(
    scores_G: NDArray[np.float32], luggage_G: NDArray[np.int64], exclude: int | None = None
) -> tuple[Ranking, NDArray[np.uint8]]:
    """`rank`, and the riders of `luggage_G` in the order of the ranking: sorting them along spares a look-up per item.

    A float32 leaves the last 29 bits of the float64 of equal value free. All but the first of them take the luggage, so
    that one sort of plain numbers, several times faster than an argsort, orders items, scores and riders at once, and
    rounding gives the scores back.
    """
    if len(scores_G) > _MOST_ITEMS:
        ranking = _rank_plainly(scores_G, exclude)
        return ranking, _riders(luggage_G, ranking)
    keys = scores_G.astype(np.float64)
    # Descending; both zeros become one number that is neither zero nor subnormal once it carries luggage, and
    # everything else keeps its value, because the smallest float32 is 2^-149 and has no bits below 2^-201.
    np.subtract(2.0**-210, keys, out=keys)
    bits = keys.view(np.int64)
    bits |= luggage_G
    if exclude is not None:
        keys[exclude] = np.inf
    keys.sort()
    # Sorted last: infinite scores, which have become NaN with luggage, and scores that were NaN before.
    if len(keys) and np.isnan(keys[-1]):
        ranking = _rank_plainly(scores_G, exclude)
        return ranking, _riders(luggage_G, ranking)
    bits = bits if exclude is None else bits[:-1]
    riders = np.ascontiguousarray(bits.view(np.uint8)[0 if _LITTLE_ENDIAN else 7 :: 8])
    ranked = (keys if exclude is None else keys[:-1]).astype(np.float32)
    equal = ranked[1:] == ranked[:-1]
    return Ranking._of_keys(bits, *_ties(equal)), riders


def _riders(luggage_G: NDArray[np.int64], ranking: Ranking) -> NDArray[np.uint8]:
    return (luggage_G[ranking.order_G] & 0xFF).astype(np.uint8)


def _rank_plainly(scores_G: NDArray[Any], exclude: int | None) -> Ranking:
    scores = scores_G.astype(np.float64, copy=False)
    if np.isnan(scores).any():
        raise UsageError("a score is not a number (NaN)")
    order = np.argsort(-scores)
    if exclude is not None:
        order = order[order != exclude]
    ranked = scores[order]
    return Ranking(order, *_ties(ranked[1:] == ranked[:-1]))


def _ties(equal_G: NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """Starts and sizes of the tie groups, from whether each item but the last ties with the next."""
    tied = np.flatnonzero(equal_G)
    if not len(tied):
        return tied, tied
    # A group is a run of "equal to its successor": it starts where a run starts and has one item more than the run.
    first = np.flatnonzero(np.concatenate([[True], tied[1:] > tied[:-1] + 1]))
    return tied[first], np.concatenate([first[1:], [len(tied)]]) - first + 1


def _spans(starts: IntArray, sizes: IntArray) -> IntArray:
    """The numbers ``start .. start + size - 1`` of all spans, one after another."""
    edges = np.cumsum(sizes)
    return np.asarray(np.arange(edges[-1]) + np.repeat(starts - (edges - sizes), sizes))
