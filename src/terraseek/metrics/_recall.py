"""The numbers of image-text retrieval: recalls, their mean and median ranks, with floors, ceilings and intervals.

The sample is the image: a resample draws images and takes their captions along, because the captions of one image are
found or missed together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..texts import matcher_ceiling, oracle_ceiling
from ..typing import FloatArray, IntArray
from ._expectation import any_hit_at_random
from .significance import Statistic, bootstrap_interval, fewest_queries, query_mean

__all__ = ["EQUIVALENT", "DirectionResult", "RecallResult", "direction_result", "recall_results"]

EQUIVALENT = "(equivalent)"
"""Behind the name of a number for which equal texts are right as well."""
_CURVE = 100
_QUERIES = {"i2t": "images", "t2i": "captions"}
_RIGHT = {
    "i2t": "one of the image's own captions",
    "t2i": "the caption's own image",
    "i2t" + EQUIVALENT: "a caption that reads like one of the image's own",
    "t2i" + EQUIVALENT: "an image with a caption that reads the same",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class DirectionResult:
    """One direction, one notion of what is right.

    Attributes:
        recall: K -> share of queries, in percent, with a right answer among the first K.
        hits: K -> the same per query, (Q,), as a probability where scores tie.
        first_rank_Q: expected 1-based rank of the first right answer of each query.
        right_Q: number of right answers in the gallery of each query.
        curve_K: recall at K = 1, 2, .. 100 (or the gallery's size), in percent.
        gallery_size: number of items that were ranked for each query.
    """

    recall: Mapping[int, float]
    hits: Mapping[int, FloatArray]
    first_rank_Q: FloatArray
    right_Q: IntArray
    curve_K: FloatArray
    gallery_size: int

    @property
    def median_rank(self) -> float:
        """Median over the queries of the rank of the first right answer."""
        return float(np.median(self.first_rank_Q))

    def recall_at_random(self, k: int) -> float:
        """Recall at k of a random ranking, in percent."""
        right, queries = np.unique(self.right_Q, return_counts=True)
        cut = min(k, self.gallery_size)
        chances = (any_hit_at_random(n, self.gallery_size, cut) for n in right.tolist())
        return float(100 * sum(n * chance for n, chance in zip(queries.tolist(), chances, strict=True)) / queries.sum())

    def median_rank_at_random(self) -> int:
        """The rank by which a random ranking has shown half of the queries a right answer."""
        low, high = 1, self.gallery_size
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.recall_at_random(middle) >= 50 else (middle + 1, high)
        return low


@dataclass(frozen=True, kw_only=True)
class RecallResult:
    """One number of an evaluation.

    Attributes:
        name: "i2t_R@1", "mR", "t2i_median_rank" and so on, "(equivalent)" behind it where equal texts are right too.
        value: the result; recalls in percent.
        low: lower end of the bootstrap interval over images, which take their captions along (nan without).
        high: upper end.
        floor: the same number for a random ranking.
        matcher: recall of a matcher that knows every caption by heart (`texts.matcher_ceiling`); nan for ranks.
        oracle: the best recall of any ranking in which equal texts score alike (`texts.oracle_ceiling`); nan for ranks.
        queries: number of queries behind it, images and captions together for mR.
        definition: one sentence that says what is computed.
        higher_is_better: false for ranks.
    """

    name: str
    value: float
    low: float
    high: float
    floor: float
    matcher: float
    oracle: float
    queries: int
    definition: str
    higher_is_better: bool


def direction_result(counts_Q4: NDArray[np.int64], ks: Sequence[int], gallery_size: int) -> DirectionResult:
    """Recalls and ranks from four counts per query.

    Args:
        counts_Q4: of the tie group that holds the best right answer: items before it, items in it, right answers in
            it; and how many right answers there are in all.
        ks: the cut-offs K.
        gallery_size: number of items ranked.
    """
    before, size, right, all_right = counts_Q4.T
    # Queries whose groups are alike have the same chances: with many ties there are few kinds.
    kinds, kind_Q = np.unique(counts_Q4[:, :3], axis=0, return_inverse=True)
    kind_Q = kind_Q.reshape(-1)
    queries = np.bincount(kind_Q)
    hits = {k: _hit_chance(kinds, k)[kind_Q] for k in ks}
    curve = [
        100 * float(_hit_chance(kinds, k) @ queries) / len(kind_Q) for k in range(1, min(_CURVE, gallery_size) + 1)
    ]
    return DirectionResult(
        recall={k: 100 * float(hit.mean()) for k, hit in hits.items()},
        hits=hits,
        # The first of c right answers among n in random order stands at (n + 1) / (c + 1) on average.
        first_rank_Q=before + (size + 1) / (right + 1),
        right_Q=all_right,
        curve_K=np.array(curve),
        gallery_size=gallery_size,
    )


def _hit_chance(groups_N3: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Chance of a right answer among the first k, from the three counts of `direction_result`'s tie group."""
    before, size, right = groups_N3.T
    chance = np.where(before + size <= k, 1.0, 0.0)
    for row in np.flatnonzero((before < k) & (before + size > k)).tolist():
        chance[row] = any_hit_at_random(int(right[row]), int(size[row]), k - int(before[row]))
    return chance


def recall_results(
    exact: Mapping[str, DirectionResult],
    equivalent: Mapping[str, DirectionResult],
    owner_T: IntArray,
    captions: Sequence[Sequence[str]],
    *,
    bootstrap: int,
    confidence: float,
    seed: int,
) -> tuple[RecallResult, ...]:
    """All numbers, the exact ones first, each notion beginning with its mR.

    Args:
        exact: direction -> result where only what belongs together is right.
        equivalent: the same where equal texts are right as well.
        owner_T: the row of the image that each caption describes.
        captions: for each image, its captions.
        bootstrap: resamples, 0 for none.
        confidence: of the intervals.
        seed: of the resamples.
    """
    images, ks = len(captions), list(exact["i2t"].recall)
    numbers = [*_numbers(exact, "", owner_T), *_numbers(equivalent, EQUIVALENT, owner_T)]
    ceilings = {"matcher": matcher_ceiling(captions, ks), "oracle": oracle_ceiling(captions, ks)}
    statistics = {number.name: number.statistic for number in numbers}
    # Whole images are drawn, with all their captions.
    resamples = bootstrap if images >= fewest_queries(confidence) else 0
    intervals = bootstrap_interval(statistics, images, resamples=resamples, confidence=confidence, seed=seed)
    whole = np.ones((1, images))

    def ceiling(kind: str, name: str) -> float:
        if "median_rank" in name:
            return float("nan")
        # An image's own text comes first for a matcher, and is right whoever else has it.
        return 100.0 if name.endswith(EQUIVALENT) else ceilings[kind][name]

    return tuple(
        RecallResult(
            name=number.name,
            value=float(number.statistic(whole)[0]),
            low=intervals[number.name].low,
            high=intervals[number.name].high,
            floor=number.floor,
            matcher=ceiling("matcher", number.name),
            oracle=ceiling("oracle", number.name),
            queries=number.queries,
            definition=number.definition,
            higher_is_better="median_rank" not in number.name,
        )
        for number in numbers
    )


@dataclass(frozen=True)
class _Number:
    name: str
    statistic: Statistic
    floor: float
    queries: int
    definition: str


def _numbers(results: Mapping[str, DirectionResult], suffix: str, owner_T: IntArray) -> list[_Number]:
    recalls, ranks = [], []
    for way, result in results.items():
        queries, right = len(result.first_rank_Q), _RIGHT[way + suffix]
        drawn = _by_image if way == "i2t" else _by_owner(owner_T)
        for k, hits in result.hits.items():
            text = f"share of {_QUERIES[way]}, in percent, with {right} among the first {k}"
            statistic = drawn(query_mean(100.0 * np.asarray(hits)))
            recalls.append(
                _Number(f"{way}_R@{k}{suffix}", statistic, result.recall_at_random(k), queries, text),
            )
        text = f"median over {_QUERIES[way]} of the rank at which {right} first comes, expected where scores tie"
        statistic = drawn(_median(result.first_rank_Q))
        floor = float(result.median_rank_at_random())
        ranks.append(_Number(f"{way}_median_rank{suffix}", statistic, floor, queries, text))
    mean = _Number(
        "mR" + suffix,
        _mean_of([number.statistic for number in recalls]),
        float(np.mean([number.floor for number in recalls])),
        sum(len(result.first_rank_Q) for result in results.values()),
        f"mean of {', '.join(number.name for number in recalls)}",
    )
    return [mean, *recalls, *ranks]


def _by_image(statistic: Statistic) -> Statistic:
    return statistic


def _by_owner(owner_T: IntArray) -> Callable[[Statistic], Statistic]:
    """Captions weigh what their images weigh."""
    return lambda statistic: lambda weights_BI: statistic(weights_BI[:, owner_T])


def _mean_of(statistics: Sequence[Statistic]) -> Statistic:
    return lambda weights_BI: np.asarray(np.mean([statistic(weights_BI) for statistic in statistics], axis=0))


def _median(values_Q: FloatArray) -> Statistic:
    """The median as a function of how often each query is drawn, which are whole numbers."""
    order = np.argsort(values_Q, kind="stable")
    ranked = values_Q[order]

    def statistic(weights_BQ: NDArray[np.float64]) -> NDArray[np.float64]:
        upto = np.cumsum(weights_BQ[:, order], axis=1)
        middle = (upto[:, -1:] - 1) / 2
        lower = (upto > np.floor(middle)).argmax(axis=1)
        upper = (upto > np.ceil(middle)).argmax(axis=1)
        return np.asarray((ranked[lower] + ranked[upper]) / 2)

    return statistic
