"""Pure functions on one ranking: the definitions of the measures, with ties in expectation.

Each function takes a `Ranking` (see `rank`) and one value for every gallery item, in gallery order. `k` is the last
rank that counts; None means the whole gallery. Where the gallery is shorter than k, its length takes the place of k.
Scores that tie give the expected value over all orders of the tied items, in closed form (`_expectation`).
A query with nothing relevant scores 0.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from ..errors import UsageError
from ..typing import BoolArray, FloatArray, IntArray
from . import _expectation as expectation
from ._expectation import ratio
from .ranking import Ranking

__all__ = [
    "DENOMINATORS",
    "Denominator",
    "average_precision",
    "discounted_gain",
    "gain_from_count",
    "hit_probability",
    "ideal_discounted_gain",
    "label_distance",
    "mean_value",
    "ndcg",
    "precision",
    "recall",
    "shared_labels",
    "weighted_average_precision",
]

Denominator: TypeAlias = Literal["min", "R", "hits"]
DENOMINATORS: tuple[Denominator, ...] = get_args(Denominator)


def average_precision(
    ranking: Ranking, relevant_G: ArrayLike, k: int | None = None, denominator: Denominator = "min"
) -> float:
    """AP@k = sum over r <= k of P(r) rel_r, divided by D.

    Args:
        ranking: the query's ranking.
        relevant_G: which gallery items are relevant.
        k: the last rank that counts.
        denominator: what D is. "min" is min(k, R) with R the relevant items of the gallery, so that a perfect ranking
            scores 1; "R" is R, which caps the score at k/R; "hits" is the number of relevant items among the first k,
            as in the hashing literature, which rewards finding one item and no more. Over the whole gallery all
            three are R.

    Examples:
        >>> from terraseek.metrics import rank
        >>> round(average_precision(rank([4.0, 3.0, 2.0, 1.0]), [1, 0, 1, 0]), 4)
        0.8333
        >>> round(average_precision(rank([4.0, 3.0, 2.0, 1.0]), [1, 0, 1, 0], k=2, denominator="R"), 4)
        0.5
    """
    if denominator not in DENOMINATORS:
        raise UsageError(f"AP divides by one of {', '.join(DENOMINATORS)}, not {denominator!r}")
    cut = ranking.cut(k)
    positions = _positions(ranking, relevant_G)
    if denominator == "hits":
        return expectation.hits_average(ranking, positions, cut)
    whole = len(positions) if denominator == "R" else min(cut, len(positions))
    return ratio(expectation.precision_sum(ranking, positions, cut), whole)


def weighted_average_precision(ranking: Ranking, gains_G: ArrayLike, k: int | None = None) -> float:
    """WAP@k = sum over relevant r <= k of ACG@r, divided by the number of relevant items among the first k.

    An item is relevant when its gain (the number of shared labels) is above 0. The value is not bounded by 1: read it
    beside the oracle's (Zhao et al., "Deep semantic ranking based hashing for multi-label image retrieval", CVPR 2015).

    Examples:
        >>> from terraseek.metrics import rank
        >>> weighted_average_precision(rank([3.0, 2.0, 1.0]), [2, 0, 1])  # (2/1 + 3/3) / 2
        1.5
    """
    gains = np.asarray(gains_G, dtype=np.float64)
    positions = _positions(ranking, gains > 0)
    return expectation.hits_average(ranking, positions, ranking.cut(k), gains[ranking.order_G][positions])


def discounted_gain(ranking: Ranking, gains_G: ArrayLike, k: int | None = None) -> float:
    """DCG@k = sum over r <= k of gain_r / log2(r + 1)."""
    cut = ranking.cut(k)
    return float(_expected(ranking, gains_G, cut) @ expectation.discounts(cut))


def ideal_discounted_gain(gains_G: ArrayLike, k: int | None = None) -> float:
    """The largest DCG@k that any order of the WHOLE gallery reaches, not only of what was retrieved."""
    gains = -np.sort(-np.asarray(gains_G, dtype=np.float64))[:k]
    return float(gains @ expectation.discounts(len(gains)))


def ndcg(ranking: Ranking, gains_G: ArrayLike, k: int | None = None) -> float:
    """nDCG@k = DCG@k over the ideal DCG@k of the whole gallery (without what `ranking` excludes).

    Gains come from `terraseek.relevance` ("count", "jaccard", "cosine", "rarity-jaccard") or `gain_from_count`.

    Examples:
        >>> from terraseek.metrics import rank
        >>> round(ndcg(rank([3.0, 2.0, 1.0]), [0.0, 0.5, 1.0]), 4)
        0.6199
    """
    gains = np.asarray(gains_G, dtype=np.float64)
    return ratio(discounted_gain(ranking, gains, k), ideal_discounted_gain(gains[ranking.order_G], k))


def gain_from_count(shared: ArrayLike) -> FloatArray:
    """The exponential gain 2^o - 1 of o shared labels."""
    return np.exp2(np.asarray(shared, dtype=np.float64)) - 1.0


def mean_value(ranking: Ranking, values_G: ArrayLike, k: int) -> float:
    """Mean of `values_G` over the first k items.

    With the number of shared labels it is ACG@k; with their Jaccard index, label distance or example-based precision,
    recall or F1 it is the mean of that quantity over what was retrieved.

    Examples:
        >>> from terraseek.metrics import rank
        >>> mean_value(rank([3.0, 2.0, 1.0]), [2, 0, 1], k=2)
        1.0
    """
    cut = ranking.cut(k)
    return ratio(float(_expected(ranking, values_G, cut).sum()), cut)


def precision(ranking: Ranking, relevant_G: ArrayLike, k: int) -> float:
    """P@k: the share of the first k items that is relevant."""
    return mean_value(ranking, np.asarray(relevant_G, dtype=bool), k)


def recall(ranking: Ranking, relevant_G: ArrayLike, k: int) -> float:
    """R@k as hits / R: the share of the gallery's relevant items that is among the first k.

    Image-text papers call "R@k" what is `hit_probability` here.
    """
    relevant = np.asarray(relevant_G, dtype=bool)
    cut = ranking.cut(k)
    return ratio(float(_expected(ranking, relevant, cut).sum()), int(relevant[ranking.order_G].sum()))


def hit_probability(ranking: Ranking, relevant_G: ArrayLike, k: int) -> float:
    """Hit@k: 1 if any of the first k items is relevant, else 0; with ties, the probability of it."""
    return expectation.any_hit_probability(ranking, _positions(ranking, relevant_G), ranking.cut(k))


def shared_labels(query_labels_C: ArrayLike, gallery_labels_GC: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Example-based precision, recall and F1 of each gallery item's labels against the query's, each (G,).

    With y_q the query's labels as truth and y_g the retrieved item's as answer: |y_q & y_g| / |y_g|,
    |y_q & y_g| / |y_q|, and 2 |y_q & y_g| / (|y_q| + |y_g|). Averaged over the first k by `mean_value`, they are the
    measures of Chaudhuri et al., "Multilabel remote sensing image retrieval using a semisupervised graph-theoretic
    method", IEEE TGRS 2018. Empty label sets score 0.

    Examples:
        >>> [part.tolist() for part in shared_labels([1, 1, 0], [[1, 0, 0], [0, 0, 0]])]
        [[1.0, 0.0], [0.5, 0.0], [0.6666666666666666, 0.0]]
    """
    query = np.asarray(query_labels_C, dtype=np.float64)
    gallery = np.asarray(gallery_labels_GC, dtype=np.float64)
    shared, size_q, size_g = gallery @ query, query.sum(), gallery.sum(axis=1)
    return (
        shared / np.maximum(size_g, 1),
        shared / np.maximum(size_q, 1),
        2 * shared / np.maximum(size_q + size_g, 1),
    )


def label_distance(query_labels_C: ArrayLike, gallery_labels_GC: ArrayLike) -> FloatArray:
    """Hamming distance of label sets: the share of the C labels on which the two disagree, (G,). Less is better."""
    query = np.asarray(query_labels_C, dtype=np.float64)
    gallery = np.asarray(gallery_labels_GC, dtype=np.float64)
    return np.asarray((query.sum() + gallery.sum(axis=1) - 2 * (gallery @ query)) / len(query))


def _positions(ranking: Ranking, relevant_G: ArrayLike) -> IntArray:
    relevant: BoolArray = np.asarray(relevant_G, dtype=bool)
    if relevant.ndim != 1 or (len(ranking) and int(ranking.order_G.max()) >= len(relevant)):
        raise UsageError(f"the ranking has {len(ranking)} items, the relevance is of shape {relevant.shape}")
    return np.flatnonzero(relevant[ranking.order_G])


def _expected(ranking: Ranking, values_G: ArrayLike, cut: int) -> FloatArray:
    return ranking.expected(np.asarray(values_G)[ranking.order_G[: ranking.reach(cut)]], cut)
