"""How sure a number is: bootstrap intervals over queries, paired tests between two runs, spread over seeds.

Queries are the sample. Two runs on the same queries are compared query by query, which removes most of the noise that
easy and hard queries bring in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from ..typing import FloatArray, IntArray

__all__ = [
    "Comparison",
    "Interval",
    "SeedSummary",
    "bootstrap_interval",
    "check_confidence",
    "compare_paired",
    "enough_queries",
    "fewest_queries",
    "holm",
    "label_mean",
    "query_mean",
    "resample_weights",
    "summarize_seeds",
]

# Resamples drawn at a time: 64 x 100,000 queries are 50 MB.
_CHUNK = 64

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Query weights of B resamples, (B, Q), to the statistic of each, (B,)."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One measure of run B against run A on the same queries.

    Attributes:
        measure: its name.
        a: value of run A; nan of a mean over no label at all, as are the two below then.
        b: value of run B.
        difference: b - a.
        low: lower end of the bootstrap interval of the difference; None where too few queries count to draw one from.
        high: upper end.
        p_value: two-sided, from the paired randomisation test; nan where no query has a value.
        p_holm: the same after Holm's correction over all measures compared at once that have a value.
        queries: number of queries that both runs have.
        counted: how many of them the interval is drawn from: those with a value; of a mean over labels, those with a
            label that other queries have too.
        lone_labels: labels of such a mean that a single query has. No resample shows how that query's value might vary,
            so that the interval is too narrow by it.
        a_seeds: runs of A with different seeds, whose values per query were averaged.
        b_seeds: the same for B.
        a_std: sample deviation of A's value over its seeds, None for one.
        b_std: the same for B.
    """

    measure: str
    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    p_value: float
    p_holm: float
    queries: int
    counted: int
    lone_labels: int = 0
    a_seeds: int = 1
    b_seeds: int = 1
    a_std: float | None = None
    b_std: float | None = None

    @property
    def significant(self) -> bool:
        """Whether there is an interval and it excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain numbers, None where there is none."""
        numbers = {name: None if _is_nan(value) else value for name, value in self.__dict__.items()}
        return {**numbers, "significant": self.significant}


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


@dataclass(frozen=True, kw_only=True)
class SeedSummary:
    """One measure over runs that differ only in their seed; `std` is the sample deviation (nan for a single seed)."""

    mean: float
    std: float
    seeds: int


def resample_weights(queries: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each query is drawn in each bootstrap resample, in chunks of shape (b, Q)."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        weights = np.empty((rows, queries))
        for row in weights:
            row[:] = np.bincount(rng.integers(0, queries, queries), minlength=queries)
        yield weights


def query_mean(values_Q: ArrayLike) -> Statistic:
    """The mean over queries, as a function of their weights; queries whose value is nan do not count."""
    values = np.asarray(values_Q, dtype=np.float64)
    counted = ~np.isnan(values)
    filled = np.where(counted, values, 0.0)

    def statistic(weights_BQ: NDArray[np.float64]) -> NDArray[np.float64]:
        below = weights_BQ @ counted
        return np.asarray(np.divide(weights_BQ @ filled, below, out=np.zeros(len(weights_BQ)), where=below > 0))

    return statistic


def label_mean(label_ap_QL: ArrayLike) -> Statistic:
    """The mean over labels of the mean over the label's queries; nan marks a query that has not the label.

    Where no query has any of the labels there is no mean: it is nan.

    A label that a resample leaves without queries keeps its mean over all queries: leaving it out would move the mean
    by that label's difficulty, which no query brought in.
    """
    values = np.asarray(label_ap_QL, dtype=np.float64)
    counted = (~np.isnan(values)).astype(np.float64)
    filled = np.where(counted > 0, values, 0.0)
    present = counted.any(axis=0)
    counted, filled = counted[:, present], filled[:, present]
    overall = filled.sum(axis=0) / counted.sum(axis=0)

    def statistic(weights_BQ: NDArray[np.float64]) -> NDArray[np.float64]:
        if not present.any():
            return np.full(len(weights_BQ), np.nan)
        below = weights_BQ @ counted
        start = np.broadcast_to(overall, below.shape).copy()
        return np.asarray(np.divide(weights_BQ @ filled, below, out=start, where=below > 0).mean(axis=1))

    return statistic


def bootstrap_interval(
    statistics: Mapping[str, Statistic], queries: int, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Percentile bootstrap over queries (Efron, 1979), all statistics on the same resamples.

    Raises:
        UsageError: `confidence` is not between 0 and 1.

    Examples:
        >>> interval = bootstrap_interval({"m": query_mean([0.0, 1.0] * 50)}, 100)["m"]
        >>> interval.low < 0.5 < interval.high
        True
    """
    check_confidence(confidence)
    if not queries or resamples < 1:
        return {name: Interval(float("nan"), float("nan")) for name in statistics}
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in statistics}
    for weights in resample_weights(queries, resamples, seed):
        for name, statistic in statistics.items():
            drawn[name].append(statistic(weights))
    tail = 50 * (1 - confidence)
    intervals = {}
    for name, parts in drawn.items():
        low, high = np.percentile(np.concatenate(parts), [tail, 100 - tail])
        intervals[name] = Interval(float(low), float(high))
    return intervals


def check_confidence(confidence: float) -> None:
    """Refuse what is no share of resamples that an interval may hold.

    Raises:
        UsageError: it is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise UsageError(f"confidence is {confidence}, it lies between 0 and 1")


def compare_paired(
    pairs: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Comparison]:
    """Compare two runs on per-query values, measure by measure.

    The interval is a percentile bootstrap of the difference over queries. The p-value comes from Fisher's
    randomisation test, which swaps the two runs' values of a query with probability 1/2 and counts how often the
    difference is as large as the one observed: (count + 1) / (resamples + 1), see Smucker et al., CIKM 2007. Holm's
    correction is over all `pairs`. Both resample whole queries, with all their labels.

    No interval is given of what has not `enough_queries`.

    Args:
        pairs: measure name -> (values of A, values of B), each (Q,) or, for means over labels, (Q, L) with nan where
            the query has not the label.
        resamples: bootstrap resamples and random swaps.
        confidence: of the interval.
        seed: of the random draws.

    Raises:
        UsageError: the two runs have different queries, or `confidence` is not between 0 and 1.

    Examples:
        >>> a = np.linspace(0, 1, 50)
        >>> [result] = compare_paired({"mAP": (a, a + 0.1)}, resamples=200)
        >>> round(result.difference, 3), result.significant
        (0.1, True)
    """
    check_confidence(confidence)
    results = []
    for name, (first, second) in pairs.items():
        a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
        if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
            raise UsageError(f"{name}: the runs have different queries or labels ({a.shape} and {b.shape})")
        mean = label_mean if a.ndim == 2 else query_mean
        # Both means are linear in the values, so the difference of the means is the mean of the differences.
        once, queries = mean(b - a), len(a)
        whole = np.ones((1, queries))
        sample = _Sample.of(b - a)
        low, high = None, None
        if enough_queries(b - a, confidence):
            found = bootstrap_interval({"d": once}, queries, resamples=resamples, confidence=confidence, seed=seed)["d"]
            low, high = found.low, found.high
        results.append(
            Comparison(
                measure=name,
                a=float(mean(a)(whole)[0]),
                b=float(mean(b)(whole)[0]),
                difference=float(once(whole)[0]),
                low=low,
                high=high,
                p_value=_randomisation(b - a, resamples, seed) if not np.isnan(b - a).all() else math.nan,
                p_holm=1.0,
                queries=queries,
                counted=sample.counted,
                lone_labels=sample.lone_labels,
            )
        )
    # What has no value is not tested, and must not make the others' p-values larger.
    tested = [result for result in results if not math.isnan(result.p_value)]
    corrected = dict(zip((r.measure for r in tested), holm([r.p_value for r in tested]), strict=True))
    return [replace(r, p_holm=corrected.get(r.measure, math.nan)) for r in results]


def fewest_queries(confidence: float) -> int:
    """How many queries it takes for the randomisation test to find anything, be it that all of them favour one run.

    Of n queries 2 of 2 ** n ways to swap are then as extreme as what is observed.

    Raises:
        UsageError: `confidence` is not between 0 and 1.

    >>> fewest_queries(0.95)
    6
    """
    check_confidence(confidence)
    return math.ceil(1 - math.log2(1 - confidence))


def enough_queries(values: ArrayLike, confidence: float = 0.95) -> bool:
    """Whether a bootstrap over these queries says how others would do.

    An interval of few queries lies between their values and is narrow as soon as these agree. So it takes
    `fewest_queries`, and in a mean over labels more than half of the labels with several queries: a single query has
    the same value in every resample.

    Args:
        values: of each query, (Q,), or for each of its labels, (Q, L); nan where it does not count.
        confidence: of the interval.

    Examples:
        >>> enough_queries([0.5] * 6), enough_queries([0.5] * 5 + [np.nan])
        (True, False)
    """
    sample = _Sample.of(np.asarray(values, dtype=np.float64))
    many_alone = sample.lone_labels > 0 and 2 * sample.lone_labels >= sample.labels
    return sample.counted >= fewest_queries(confidence) and not many_alone


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """What a bootstrap over queries has to draw from, see `Comparison`."""

    counted: int
    labels: int = 0
    lone_labels: int = 0

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> _Sample:
        there = ~np.isnan(values)
        if values.ndim == 1:
            return cls(counted=int(there.sum()))
        having = there.sum(axis=0)
        counted = int(there[:, having > 1].any(axis=1).sum())
        return cls(counted=counted, labels=int((having > 0).sum()), lone_labels=int((having == 1).sum()))


def _randomisation(difference: NDArray[np.float64], resamples: int, seed: int) -> float:
    # What each query adds to the difference of the means: swapping its two values flips the sign of that.
    if difference.ndim == 2:
        counted = (~np.isnan(difference)).sum(axis=0)
        share = np.nan_to_num(difference) / np.maximum(counted, 1)
        influence = share.sum(axis=1) / max(int((counted > 0).sum()), 1)
    else:
        influence = np.nan_to_num(difference) / max(int((~np.isnan(difference)).sum()), 1)
    observed = abs(float(influence.sum()))
    rng = np.random.default_rng(seed)
    extreme = 0
    for start in range(0, resamples, _CHUNK):
        signs = rng.integers(0, 2, (min(_CHUNK, resamples - start), len(influence)), dtype=np.int8) * 2.0 - 1.0
        # Equal up to rounding counts as equal: with no difference at all the test must say p = 1.
        extreme += int((np.abs(signs @ influence) >= observed - 1e-12).sum())
    return (extreme + 1) / (resamples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the i-th smallest of m p-values times m - i + 1, made monotone (Holm, 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order: IntArray = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    running = 0.0
    for place, index in enumerate(order.tolist()):
        running = max(running, min(1.0, p_values[index] * (len(p_values) - place)))
        corrected[index] = running
    return [float(p) for p in corrected]


def summarize_seeds(runs: Sequence[Mapping[str, float]]) -> dict[str, SeedSummary]:
    """Mean and sample standard deviation of each measure over runs with different seeds.

    Raises:
        UsageError: no runs, or runs with different measures.

    Examples:
        >>> summarize_seeds([{"mAP": 0.5}, {"mAP": 0.7}])["mAP"].mean
        0.6
    """
    if not runs:
        raise UsageError("no runs to summarise")
    if any(set(run) != set(runs[0]) for run in runs):
        raise UsageError("the runs have different measures; evaluate all with the same ones")
    summary = {}
    for name in runs[0]:
        values: FloatArray = np.array([run[name] for run in runs])
        std = float(values.std(ddof=1)) if len(runs) > 1 else float("nan")
        summary[name] = SeedSummary(mean=float(values.mean()), std=std, seeds=len(runs))
    return summary
