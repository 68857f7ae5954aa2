"""Ranking float32 scores with a few flags of each item sorted along: the sort that an evaluation spends its time on.

To say which labels stand at which rank, a sort of the scores alone would need a look-up per item, which costs several
times what the sort costs. So the flags ride in the last bits of the sort keys. There are two kinds of key:

- narrow, 32 bits: the score without its unneeded bits, and up to five flags. A sort of these takes half as long. Items
  are known by number for the first ranks only, which is where measures ask for them.
- wide, 64 bits: score, item number and eight flags. For everything that narrow keys have no room for.
"""

from __future__ import annotations

import sys
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..typing import IntArray
from .ranking import Ranking, rank, tie_groups

__all__ = ["Riders", "Sorter"]

_LITTLE_ENDIAN = sys.byteorder == "little"
_MOST_RIDERS = 8
_MOST_ITEMS = 2**20  # of 28 bits that a wide key has left, 8 are for riders
# More flags leave a narrow key so few bits that many of the scores around zero fall together.
_MOST_NARROW_RIDERS = 5
# Narrow keys are given up when more than this share of the items has to be looked at one by one.
_MOST_LOOKED_AT = 1 / 32

_ALL_BUT_SIGN = np.int32(2**31 - 1)
_LAST = np.int32(2**31 - 1)
_ZERO = np.float32(0)


class Riders:
    """One byte per gallery item, of which the low `bits` are flags that travel with the item's score."""

    def __init__(self, flags_G: NDArray[np.uint8], bits: int = _MOST_RIDERS) -> None:
        self.flags_G, self.bits = flags_G, bits

    def __len__(self) -> int:
        return len(self.flags_G)

    @cached_property
    def narrow_G(self) -> NDArray[np.int32]:  # noqa: N802 - the shape suffix
        """The flags as they are put into narrow keys."""
        return self.flags_G.astype(np.int32)

    @cached_property
    def wide_G(self) -> NDArray[np.int64]:  # noqa: N802 - the shape suffix
        """Item numbers and flags as they are put into wide keys."""
        return _shifted_numbers(len(self.flags_G)) | self.flags_G


@lru_cache(maxsize=2)
def _shifted_numbers(size: int) -> NDArray[np.int64]:
    return np.arange(size, dtype=np.int64) << _MOST_RIDERS


class _WideRanking(Ranking):
    """A ranking whose item numbers are still in the sort keys: most measures look at the first few only."""

    def items(self, ranks: IntArray | slice) -> IntArray:
        return np.asarray(super().items(ranks) >> _MOST_RIDERS & (_MOST_ITEMS - 1))


class Sorter:
    """Ranks rows of `size` scores, none above `bound` in magnitude. It works in arrays of its own: one per thread."""

    def __init__(self, size: int, bound: float | None = None) -> None:
        self._bound = None if bound is None else np.float32(bound)
        self._keys = np.empty(size, dtype=np.int32)
        self._steps = np.empty(size, dtype=np.int32)
        self._same = np.empty(size, dtype=bool)

    def rank(
        self, scores_G: NDArray[np.float32], riders: Riders, exclude: int | None = None, depth: int | None = None
    ) -> tuple[Ranking, NDArray[np.uint8]]:
        """The ranking that `ranking.rank` gives, and the riders in its order.

        Args:
            scores_G: the scores, higher is better.
            riders: what travels along.
            exclude: an item to leave out.
            depth: for how many leading ranks the items' numbers are wanted, None for all. Ties that cross this rank are
                included.

        Raises:
            UsageError: a score is not a number.
        """
        if depth is not None and riders.bits <= _MOST_NARROW_RIDERS and len(scores_G):
            found = self._rank_narrow(scores_G, riders, exclude, min(depth, len(scores_G) - (exclude is not None)))
            if found is not None:
                return found
        return _rank_wide(scores_G, riders, exclude)

    def _rank_narrow(
        self, scores_G: NDArray[np.float32], riders: Riders, exclude: int | None, depth: int
    ) -> tuple[Ranking, NDArray[np.uint8]] | None:
        """With narrow keys; None where too many items would have to be looked at one by one."""
        step = 1 << riders.bits
        middle = self._make_keys(scores_G, riders)
        if exclude is not None:
            self._keys[exclude] = _LAST
        self._keys.sort()
        ranked = self._keys if exclude is None else self._keys[:-1]
        if not len(ranked):
            return None
        most = 100 + int(_MOST_LOOKED_AT * len(ranked))
        flags = ranked.astype(np.uint8)
        flags &= np.uint8(step - 1)
        steps, same = self._steps[: len(ranked) - 1], self._same[: len(ranked) - 1]
        np.bitwise_xor(ranked[1:], ranked[:-1], out=steps)
        np.less(steps.view(np.uint32), step, out=same)

        # Of the keys' own type: searchsorted would make all keys int64 otherwise.
        start, stop = ranked.searchsorted(np.array([0, step], dtype=np.int32)).tolist()
        if stop - start > 1:  # items around 0, whose keys do not tell their scores
            items = _by_score(scores_G, riders, _between(scores_G, _score(-middle), _score(middle), exclude))
            scores = scores_G[items]
            if scores[0] != scores[-1]:
                if len(items) > most:
                    return None
                flags[start:stop] = riders.flags_G[items]
                np.equal(scores[1:], scores[:-1], out=same[start : stop - 1])
        starts, sizes = tie_groups(same)
        reach = Ranking(starts, starts, sizes, len(ranked)).reach(depth)
        if reach > most:
            return None
        last = -(int(ranked[max(reach, 1) - 1]) >> riders.bits)
        least = _score(last + middle if last > 0 else last - middle)
        first = _by_score(scores_G, riders, _between(scores_G, least, None, exclude))[:reach]
        return Ranking(first, starts, sizes, len(ranked)), flags

    def _make_keys(self, scores_G: NDArray[np.float32], riders: Riders) -> int:
        """Ascending whole numbers for descending scores, with the riders in their last bits.

        The bits of a positive float, read as a whole number, order as the floats do; those of a negative one do with
        all bits but the sign turned. `riders.bits` of the 32 are taken from the numbers around 0, where floats are
        denser than any measure of similarity: with three flags, what is less than 2^-32 of the largest score falls
        together, with five, what is less than 2^-8.

        Returns:
            How many of the whole numbers on either side fall together with 0.
        """
        # The key of an excluded item stays free.
        middle = max(0, self._largest(scores_G) - ((1 << (31 - riders.bits)) - 3))
        keys, spare = self._keys, self._steps
        np.add(scores_G, _ZERO, out=keys.view(np.float32))  # -0.0 becomes 0.0
        np.right_shift(keys, 31, out=spare)
        np.bitwise_and(spare, _ALL_BUT_SIGN, out=spare)
        np.bitwise_xor(keys, spare, out=keys)
        if middle:
            np.clip(keys, -middle, middle, out=spare)
            np.subtract(keys, spare, out=keys)
        np.multiply(keys, -(1 << riders.bits), out=keys)
        np.bitwise_or(keys, riders.narrow_G, out=keys)
        return middle

    def _largest(self, scores_G: NDArray[np.float32]) -> int:
        """The bits of a number that no score exceeds in magnitude."""
        if self._bound is not None:
            return int(self._bound.view(np.int32))
        largest = np.maximum(scores_G.max(), -scores_G.min())
        if np.isnan(largest):
            raise UsageError("a score is not a number (NaN)")
        return int(largest.view(np.int32))


def _score(number: int) -> np.float32:
    """The float that has some place in the order of all floats, counted from 0.0."""
    magnitude = np.int32(number if number >= 0 else ~number).view(np.float32)
    return magnitude if number >= 0 else -magnitude


def _between(scores_G: NDArray[np.float32], low: np.float32, high: np.float32 | None, exclude: int | None) -> IntArray:
    """The items whose scores lie between two, both included."""
    inside = scores_G >= low
    if high is not None:
        inside &= scores_G <= high
    if exclude is not None:
        inside[exclude] = False
    return np.flatnonzero(inside)


def _by_score(scores_G: NDArray[np.float32], riders: Riders, items: IntArray) -> IntArray:
    """Items as narrow keys order them: best score first, equal ones by their flags."""
    return np.asarray(items[np.lexsort((riders.flags_G[items], -scores_G[items]))])


def _rank_wide(scores_G: NDArray[np.float32], riders: Riders, exclude: int | None) -> tuple[Ranking, NDArray[np.uint8]]:
    """With wide keys.

    A float32 leaves the last 29 bits of the float64 of equal value free. All but the first of them take item and flags,
    so that one sort of plain numbers, several times faster than an argsort, orders everything at once, and rounding
    gives the scores back.
    """
    if len(scores_G) > _MOST_ITEMS:
        return _rank_plainly(scores_G, riders, exclude)
    keys = scores_G.astype(np.float64)
    # Descending; both zeros become one number that is neither zero nor subnormal once it carries riders, and
    # everything else keeps its value, because the smallest float32 is 2^-149 and has no bits below 2^-201.
    np.subtract(2.0**-210, keys, out=keys)
    bits = keys.view(np.int64)
    bits |= riders.wide_G
    if exclude is not None:
        keys[exclude] = np.inf
    keys.sort()
    # Sorted last: infinite scores, which have become NaN with riders, and scores that were NaN before.
    if len(keys) and np.isnan(keys[-1]):
        return _rank_plainly(scores_G, riders, exclude)
    bits = bits if exclude is None else bits[:-1]
    flags = np.ascontiguousarray(bits.view(np.uint8)[0 if _LITTLE_ENDIAN else 7 :: 8])
    ranked = (keys if exclude is None else keys[:-1]).astype(np.float32)
    return _WideRanking(bits, *tie_groups(ranked[1:] == ranked[:-1])), flags


def _rank_plainly(
    scores_G: NDArray[np.float32], riders: Riders, exclude: int | None
) -> tuple[Ranking, NDArray[np.uint8]]:
    ranking = rank(scores_G, exclude)
    return ranking, riders.flags_G[ranking.order_G]
