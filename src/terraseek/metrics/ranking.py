"""One query's ranking with its ties, which every measure takes instead of an argsort.

Data sets are stored sorted by scene, so the order in which a sort leaves equal scores leaks the labels. A `Ranking`
therefore keeps where the ties are, and the measures return the expected value over all orders of the tied items.
Only the order of the scores matters: any strictly increasing map of them, to negative values too, gives the same
ranking.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from ..typing import FloatArray, IntArray

__all__ = ["Ranking", "rank"]

_LITTLE_ENDIAN = sys.byteorder == "little"
_INDEX_MASK = np.int64(0xFFFFFFFF)
_LAST = np.int64(np.iinfo(np.int64).max)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The gallery items of one query, best first, and the groups of items that the scores cannot tell apart.

    Attributes:
        order_G: item numbers, best first; the order inside a tie group means nothing.
        starts_T: 0-based rank at which each tie group of two or more items starts, ascending.
        sizes_T: number of items of each of those groups.
    """

    order_G: IntArray
    starts_T: IntArray
    sizes_T: IntArray

    def __len__(self) -> int:
        return len(self.order_G)

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
        order, equal = _packed_sort(scores.astype(np.float32, copy=False), exclude)
    else:
        order, equal = _plain_sort(scores.astype(np.float64, copy=False), exclude)
    tied = np.flatnonzero(equal)
    if not len(tied):
        return Ranking(order, tied, tied)
    # A group is a run of "equal to its successor": it starts where a run starts and has one item more than the run.
    first = np.flatnonzero(np.diff(tied, prepend=-2) > 1)
    starts = tied[first]
    sizes = np.diff(first, append=len(tied)) + 1
    return Ranking(order, starts, sizes)


def _packed_sort(scores_G: NDArray[np.float32], exclude: int | None) -> tuple[IntArray, NDArray[np.bool_]]:
    """Sort by one 64-bit key of (score, item): several times faster than an argsort."""
    if np.isnan(scores_G.max(initial=-np.inf)):
        raise UsageError("a score is not a number (NaN)")
    bits = (scores_G + np.float32(0)).view(np.int32)  # + 0 turns -0.0 into 0.0: they are the same score
    # For negative floats the bit patterns run backwards; flipping all but the sign orders them as integers.
    # The complement makes the order descending.
    flip = bits >> 31
    flip &= 0x7FFFFFFF
    bits ^= flip
    np.invert(bits, out=bits)
    keys = np.empty(len(bits), dtype=np.int64)
    halves = keys.view(np.int32)
    high, low = (halves[1::2], halves[0::2]) if _LITTLE_ENDIAN else (halves[0::2], halves[1::2])
    high[:] = bits
    low[:] = _item_numbers(len(bits))
    if exclude is not None:
        keys[exclude] = _LAST
    keys.sort()
    if exclude is not None:
        keys, high = keys[:-1], high[:-1]
    equal = high[1:] == high[:-1]
    keys &= _INDEX_MASK
    return keys, equal


@lru_cache(maxsize=2)
def _item_numbers(size: int) -> NDArray[np.int32]:
    return np.arange(size, dtype=np.int32)


def _plain_sort(scores_G: NDArray[np.float64], exclude: int | None) -> tuple[IntArray, NDArray[np.bool_]]:
    if np.isnan(scores_G).any():
        raise UsageError("a score is not a number (NaN)")
    order = np.argsort(-scores_G)
    if exclude is not None:
        order = order[order != exclude]
    ranked = scores_G[order]
    return order, ranked[1:] == ranked[:-1]


def _spans(starts: IntArray, sizes: IntArray) -> IntArray:
    """The numbers ``start .. start + size - 1`` of all spans, one after another."""
    edges = np.cumsum(sizes)
    return np.asarray(np.arange(edges[-1]) + np.repeat(starts - (edges - sizes), sizes))
