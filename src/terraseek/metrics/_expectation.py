"""Closed forms behind the measures: expected sums over all orders of tied items.

A tie group holds ranks s+1 .. s+n. Of its n items r are relevant, with gains o > 0 that sum to O; before it stand h
relevant items whose gains sum to S. At the t-th place of the group, over all n! orders,

    E[rel]                      = r / n
    E[rel * gains up to here]   = ( r S + O + (t-1) O (r-1)/(n-1) ) / n

since the place is relevant with probability r/n, is then worth O/r on average, and each of the t-1 places before it is
relevant as well with probability (r-1)/(n-1), again worth O/r. With all gains 1 this is the expected precision of
McSherry and Najork, "Computing information retrieval performance measures efficiently in the presence of tied scores",
ECIR 2008. Dividing by the rank s+t and summing over t = 1..m gives, with the harmonic numbers H,

    ( (r S + O) (H(s+m) - H(s))  +  O (r-1)/(n-1) ( m - (s+1) (H(s+m) - H(s)) ) ) / n

A denominator that counts the hits among the first k is itself random when a tie crosses k. The number x of relevant
items on this side is hypergeometric; given x, the form above holds with n -> m and r -> x, so the expectation of the
quotient is the sum over x.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..typing import FloatArray, IntArray
from .ranking import Ranking, spans

__all__ = [
    "any_hit_at_random",
    "any_hit_probability",
    "discounts",
    "harmonic",
    "harmonic_numbers",
    "hits_average",
    "inverse_ranks",
    "precision_sum",
    "random_hits_average",
    "random_precision_sum",
    "rank_numbers",
    "ratio",
]

_Float = NDArray[np.float64]


def ratio(numerator: float, denominator: float) -> float:
    """The quotient, and 0 where the denominator is 0: a query without relevant items scores 0."""
    return float(numerator / denominator) if denominator else 0.0


@lru_cache(maxsize=8)
def _harmonic_table(size: int) -> _Float:
    table = np.zeros(size + 1)
    np.cumsum(1.0 / np.arange(1, size + 1), out=table[1:])
    table.flags.writeable = False
    return table


@lru_cache(maxsize=8)
def _rank_table(size: int) -> tuple[_Float, _Float, _Float]:
    """The ranks 1, 2, .., their inverses, and their discounts."""
    ranks = np.arange(1.0, size + 1.0)
    inverse = 1.0 / ranks
    discount = 1.0 / np.log2(ranks + 1.0)
    for table in (ranks, inverse, discount):
        table.flags.writeable = False
    return ranks, inverse, discount


def _table_size(n: int) -> int:
    """Tables grow in powers of two, so that a handful of them serves every gallery size."""
    return max(1024, 1 << (n - 1).bit_length()) if n else 1024


def harmonic(n: int) -> float:
    """H(n) = 1 + 1/2 + .. + 1/n."""
    return float(_harmonic_table(_table_size(n))[n])


def harmonic_numbers(n: int) -> _Float:
    """H(0), H(1), .., at least up to H(n)."""
    return _harmonic_table(_table_size(n))


def rank_numbers(n: int) -> _Float:
    """1, 2, 3, .., at least up to n."""
    return _rank_table(_table_size(n))[0]


def inverse_ranks(n: int) -> _Float:
    """1, 1/2, 1/3, .., at least up to 1/n."""
    return _rank_table(_table_size(n))[1]


def discounts(k: int) -> FloatArray:
    """The discount 1 / log2(rank + 1) of the first k ranks, (k,)."""
    return _rank_table(_table_size(k))[2][:k]


def precision_sum(ranking: Ranking, positions_R: IntArray, k: int, gains_R: FloatArray | None = None) -> float:
    """Expected sum over the relevant ranks r <= k of (gains among the first r) / r.

    Args:
        ranking: the ranking, for its ties.
        positions_R: 0-based positions of the relevant items in `ranking.order_G`, ascending.
        k: the last rank that counts.
        gains_R: gain of each relevant item in the same order; None for 1 each, which gives the sum of precisions.
    """
    inside = int(positions_R.searchsorted(k))
    ranks, inverse, _ = _rank_table(_table_size(len(ranking)))
    share = inverse.take(positions_R[:inside])
    total = 0.0
    if len(ranking.starts_T) and ranking.starts_T[0] < k:
        total, replaced = _mixed_groups(ranking, positions_R, k, gains_R)
        share[replaced[: replaced.searchsorted(inside)]] = 0.0
    running = ranks[:inside] if gains_R is None else np.cumsum(gains_R[:inside], dtype=np.float64)
    # einsum, not a dot product: BLAS would start threads of its own under those that rank.
    return total + float(np.einsum("r,r->", running, share))


def _mixed_groups(
    ranking: Ranking, positions_R: IntArray, k: int, gains_R: FloatArray | None
) -> tuple[float, IntArray]:
    """Expected terms of the tie groups whose order matters, and which relevant items they replace."""
    none = np.empty(0, dtype=np.int64)
    reached = int(ranking.starts_T.searchsorted(k))
    start, size = ranking.starts_T[:reached], ranking.sizes_T[:reached]
    before = positions_R.searchsorted(start)
    relevant = positions_R.searchsorted(start + size) - before
    # Without gains a group that is wholly relevant scores the same in every order.
    matters = (relevant > 0) if gains_R is not None else (relevant > 0) & (relevant < size)
    if not matters.any():
        return 0.0, none
    start, size, before, relevant = start[matters], size[matters], before[matters], relevant[matters]
    replaced = spans(before, relevant)
    if gains_R is None:
        gain, gain_before = relevant.astype(np.float64), before.astype(np.float64)
    else:
        edges = np.cumsum(relevant) - relevant
        gain = np.add.reduceat(gains_R[replaced].astype(np.float64), edges)
        gain_before = np.concatenate([[0.0], np.cumsum(gains_R, dtype=np.float64)])[before]
    places = np.minimum(size, k - start)
    table = _harmonic_table(_table_size(len(ranking)))
    span = table[start + places] - table[start]
    later = gain * (relevant - 1) / (size - 1) * (places - (start + 1) * span)
    return float((((relevant * gain_before + gain) * span + later) / size).sum()), replaced


def hits_average(ranking: Ranking, positions_R: IntArray, k: int, gains_R: FloatArray | None = None) -> float:
    """Expected `precision_sum` divided by the number of relevant items among the first k (0 where there is none)."""
    group = ranking.straddling(k)
    if group is None:
        return ratio(precision_sum(ranking, positions_R, k, gains_R), int(np.searchsorted(positions_R, k)))
    start, size = group
    before = int(np.searchsorted(positions_R, start))
    relevant = int(np.searchsorted(positions_R, start + size)) - before
    gains = np.ones(len(positions_R)) if gains_R is None else np.asarray(gains_R, dtype=np.float64)
    fixed = precision_sum(ranking, positions_R, start, gains_R) if start else 0.0
    return _hits_average(
        fixed,
        before,
        float(gains[:before].sum()),
        relevant,
        ratio(float(gains[before : before + relevant].sum()), relevant),
        start,
        size,
        k - start,
    )


def _hits_average(
    fixed: float, before: int, gain_before: float, relevant: int, mean_gain: float, start: int, size: int, places: int
) -> float:
    hits = np.arange(max(0, places - (size - relevant)), min(relevant, places) + 1)
    span = harmonic(start + places) - harmonic(start)
    later = hits * (hits - 1) * mean_gain / max(places - 1, 1) * (places - (start + 1) * span)
    terms = (hits * (gain_before + mean_gain) * span + later) / places
    total = before + hits
    values = np.divide(fixed + terms, total, out=np.zeros(len(hits)), where=total > 0)
    return float(values @ _hypergeometric(hits, size, relevant, places))


@lru_cache(maxsize=8)
def _log_factorial_table(size: int) -> _Float:
    table = np.zeros(size + 1)
    np.cumsum(np.log(np.arange(1.0, size + 1.0)), out=table[1:])
    table.flags.writeable = False
    return table


def _log_choose(n: int, r_N: IntArray) -> _Float:
    table = _log_factorial_table(_table_size(n))
    return np.asarray(table[n] - table[r_N] - table[n - r_N])


def _hypergeometric(hits: IntArray, size: int, relevant: int, places: int) -> _Float:
    """P(x of `relevant` items among the first `places` of `size`) for all possible x, which `hits` lists."""
    logs = _log_choose(relevant, hits) + _log_choose(size - relevant, places - hits)
    chance = np.exp(logs - logs.max())
    return np.asarray(chance / chance.sum())


def any_hit_probability(ranking: Ranking, positions_R: IntArray, k: int) -> float:
    """Probability that a relevant item is among the first k ranks."""
    if not len(positions_R):
        return 0.0
    group = ranking.straddling(k)
    if group is None:
        return float(positions_R[0] < k)
    start, size = group
    if positions_R[0] < start:
        return 1.0
    relevant = int(np.searchsorted(positions_R, start + size))
    return any_hit_at_random(relevant, size, k - start)


def any_hit_at_random(relevant: int, size: int, k: int) -> float:
    """Probability that a relevant item is among the first k of `size` items in random order."""
    if k > size - relevant:
        return 1.0
    first = np.array(k)
    return 1.0 - float(np.exp(_log_choose(size - relevant, first) - _log_choose(size, first)))


def random_precision_sum(relevant: int, gain: float, size: int, k: int) -> float:
    """`precision_sum` of a random ranking of `size` items, `relevant` of them relevant with gains that sum to `gain`.

    It is the closed form for one tie group that holds the whole gallery.
    """
    if not relevant:
        return 0.0
    span = harmonic(k)
    return float((gain * span + gain * (relevant - 1) / max(size - 1, 1) * (k - span)) / size)


def random_hits_average(relevant: int, gain: float, size: int, k: int) -> float:
    """`hits_average` of a random ranking, see `random_precision_sum`."""
    if not relevant:
        return 0.0
    return _hits_average(0.0, 0, 0.0, relevant, gain / relevant, 0, size, k)
