"""Average precision over whole rankings, for several notions of relevance at once.

The sum of precisions over the relevant ranks of one order can be had from the relevant items or from the others. With
a_1 < a_2 < .. the 0-based positions of the m other items among n ranks, j items that are not relevant stand before
every relevant rank between a_j and a_(j+1), so that

    sum over relevant r of P(r)  =  n - m - sum_j j ( H(a_(j+1)) - H(a_j + 1) )            with a_(m+1) = n
                                 =  n - m - m H(n) + sum_j ( H(a_j) + j / (a_j + 1) )

with the harmonic numbers H. Whichever list is cheaper is made and summed: where most items are relevant, as they are
for "shares a label", the others are a small part of the ranking.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..typing import BoolArray, IntArray
from ._expectation import harmonic_numbers, inverse_ranks, precision_sum, rank_numbers
from .ranking import Ranking, spans

__all__ = ["Hits", "expected_ranks", "precision_sums", "tied_positions"]

# Beyond this share of tied items, and whole rankings of binary codes are tied, one notion at a time is as fast.
_MOSTLY_TIED = 0.1


class Hits:
    """Where the relevant items of a ranking stand, kept as the shorter of two lists: their positions or the others'."""

    def __init__(self, flags_G: NDArray[np.bool_] | NDArray[np.uint8], count: int | None = None) -> None:
        """See above.

        Args:
            flags_G: not 0 where an item is relevant, in the order of the ranking.
            count: how many are, where it is known.
        """
        self.size = len(flags_G)
        self.count = int(np.count_nonzero(flags_G)) if count is None else count
        # The others' positions are summed twice, see above.
        self._of_others = 3 * self.count > 2 * self.size
        self._listed = (flags_G == 0 if self._of_others else flags_G != 0).nonzero()[0]
        self._flags_G = flags_G

    def positions(self) -> IntArray:
        """The 0-based positions of all relevant items."""
        return np.flatnonzero(self._flags_G) if self._of_others else self._listed

    def before(self, ranks: IntArray) -> IntArray:
        """How many relevant items are among the first `ranks` of the order, for each of them."""
        listed = np.asarray(self._listed.searchsorted(ranks))
        return np.asarray(ranks - listed) if self._of_others else listed

    def find(self, which: IntArray) -> IntArray:
        """The positions of the relevant items number `which`, counted from 0."""
        if not self._of_others:
            return np.asarray(self._listed[which])
        # Relevant items before each of the others; of those others that have at most `which` before them, all are
        # passed on the way to it.
        passed = self._listed - np.arange(len(self._listed))
        return np.asarray(which + passed.searchsorted(which, side="right"))

    def precision_sum(self) -> float:
        """Sum of the precisions at the relevant ranks of this order, ties taken as they lie."""
        listed = self._listed
        count = len(listed)
        # Dividing is faster than looking up 1 / rank: the table would push the ranking out of the cache.
        share = listed + 1.0
        np.divide(rank_numbers(count)[:count], share, out=share)
        own = float(share.sum())
        if not self._of_others:
            return own
        harmonic = harmonic_numbers(self.size)
        before = float(harmonic.take(listed).sum())
        return self.size - count - count * float(harmonic[self.size]) + before + own


def precision_sums(ranking: Ranking, hits: Iterable[Hits], tied_NL: BoolArray) -> NDArray[np.float64]:
    """`_expectation.precision_sum` over the whole ranking for each notion of relevance, (L,).

    Args:
        ranking: the ranking.
        hits: where the relevant items stand, one per notion; best a generator, so that one list after another is made,
            used while it is in the cache, and dropped.
        tied_NL: which of the items in tie groups, in the order of the ranking, are relevant by each notion.
    """
    if len(tied_NL) > _MOSTLY_TIED * len(ranking):
        return np.array([precision_sum(ranking, each.positions(), len(ranking)) for each in hits])
    # As the order lies, and how many relevant items are before each tie group.
    lying, before = zip(*((each.precision_sum(), each.before(ranking.starts_T)) for each in hits), strict=True)
    if not len(tied_NL):
        return np.array(lying)
    return np.array(lying) + _tie_correction(ranking, np.stack(before, axis=1), tied_NL)


def _tie_correction(ranking: Ranking, before: IntArray, tied_NL: BoolArray) -> NDArray[np.float64]:
    """What the tie groups add to each sum in expectation, less what they add as they lie; `before` is (T, L)."""
    if len(tied_NL) == 2 * len(before):
        return _pair_correction(ranking, before, tied_NL)
    start, size = ranking.starts_T[:, None], ranking.sizes_T[:, None]
    first = np.cumsum(ranking.sizes_T) - ranking.sizes_T
    counted = np.cumsum(tied_NL, axis=0, dtype=np.float64)
    relevant = np.add.reduceat(tied_NL, first, axis=0, dtype=np.float64)
    # Relevant items up to and including each tied one, over its rank.
    up_to = counted + np.repeat(before - (counted[first] - tied_NL[first]), ranking.sizes_T, axis=0)
    inverse = inverse_ranks(len(ranking))[tied_positions(ranking)]
    lying = np.einsum("nl,nl,n->l", up_to, tied_NL, inverse)
    # With all gains 1, see `_expectation`.
    harmonic = harmonic_numbers(len(ranking))
    span = harmonic[start + size] - harmonic[start]
    expected = relevant * ((before + 1) * span + (relevant - 1) / (size - 1) * (size - (start + 1) * span)) / size
    return np.asarray(expected.sum(axis=0) - lying)


def _pair_correction(ranking: Ranking, before: IntArray, tied_NL: BoolArray) -> NDArray[np.float64]:
    """`_tie_correction` where two items tie and never more, as cosines do by chance.

    Where one of the two is relevant, its precision is (before + 1) / rank at either rank, each with probability 1/2.
    """
    inverse = inverse_ranks(len(ranking))
    half_step = (inverse[ranking.starts_T + 1] - inverse[ranking.starts_T]) / 2
    first = tied_NL[::2].astype(np.float64) - tied_NL[1::2]
    return np.asarray(((before + 1) * first * half_step[:, None]).sum(axis=0))


def expected_ranks(ranking: Ranking, hits: Hits, which: IntArray) -> NDArray[np.float64]:
    """Expected 1-based ranks of the relevant items number `which` (0-based, in the order of rank).

    In a tie group of n items after s others, the j-th of its r relevant items stands at s + j (n+1)/(r+1) on average.
    """
    position = hits.find(which)
    ranks = position + 1.0
    if not len(ranking.starts_T):
        return np.asarray(ranks)
    group = np.maximum(ranking.starts_T.searchsorted(position, side="right") - 1, 0)
    start, size = ranking.starts_T[group], ranking.sizes_T[group]
    before = hits.before(start)
    relevant = hits.before(start + size) - before
    tied = start + (which - before + 1) * (size + 1) / (relevant + 1)
    return np.asarray(np.where((position >= start) & (position < start + size), tied, ranks))


def tied_positions(ranking: Ranking) -> IntArray:
    """The positions of all items in tie groups, ascending."""
    return spans(ranking.starts_T, ranking.sizes_T) if len(ranking.starts_T) else np.empty(0, dtype=np.int64)
