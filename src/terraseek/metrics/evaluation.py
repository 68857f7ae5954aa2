"""Evaluate a retrieval: every query against the whole gallery, every measure from one ranking, in blocks.

Similarity is the cosine. A query whose id is in the gallery does not see itself. Each value comes with the floor of a
random ranking, the ceiling of the oracle and a bootstrap interval over queries, because alone it means nothing: a
random order of UC Merced already has an any-label mAP of 0.64.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from ..relevance import label_rarity
from ..typing import FloatArray, IntArray
from . import _expectation as expectation
from ._expectation import ratio
from ._hits import expected_ranks
from ._truth import LabelSets, RankedQuery, Truth
from .embeddings import EmbeddingSet, comparable_rows, similarity_blocks
from .measures import DEFAULT_MEASURES, Band, LabelAP, Measure, QueryMeasure, frequency_bands, parse_measure
from .significance import Interval, Statistic, bootstrap_interval, label_mean, query_mean

__all__ = [
    "Evaluation",
    "LabelResult",
    "MeasureResult",
    "PrecisionRecall",
    "SimilarityHistogram",
    "evaluate_retrieval",
]

Empty: TypeAlias = Literal["zero", "skip"]

_RECALL_LEVELS = np.linspace(0.01, 1.0, 100)
_NEAREST = 12
_HISTOGRAM_QUERIES = 256
_HISTOGRAM_EDGES = np.linspace(-1.0, 1.0, 201)
# Below this many items a ranking is over before a second thread has woken up.
_THREADED_GALLERY = 8192


@dataclass(frozen=True, kw_only=True)
class MeasureResult:
    """One measure of one evaluation.

    Attributes:
        measure: what was measured.
        value: the result; a share is given in 0..1.
        low: lower end of the bootstrap interval (nan without bootstrap).
        high: upper end.
        floor: expected value of a random ranking of the same gallery, exact.
        ceiling: value of the oracle, which ranks by the measure's own gain.
        queries: number of queries that the value is a mean over.
    """

    measure: Measure
    value: float
    low: float
    high: float
    floor: float
    ceiling: float
    queries: int


@dataclass(frozen=True, kw_only=True)
class LabelResult:
    """One label: AP over the queries that have it, for finding the items that have it.

    Attributes:
        name: the label.
        frequency: share of training images that have it.
        band: head, medium or tail by that frequency.
        queries: queries with the label.
        gallery: gallery items with the label.
        ap: mean AP; nan where the label was skipped for want of queries or relevant items.
        low: lower end of the bootstrap interval.
        high: upper end.
        floor: expected AP of a random ranking.
    """

    name: str
    frequency: float
    band: Band
    queries: int
    gallery: int
    ap: float
    low: float
    high: float
    floor: float


@dataclass(frozen=True, kw_only=True, eq=False)
class PrecisionRecall:
    """Mean precision over queries at the rank that reaches each level of recall (any shared label is relevant)."""

    recall_L: FloatArray
    precision_L: FloatArray
    floor: float


@dataclass(frozen=True, kw_only=True, eq=False)
class SimilarityHistogram:
    """How often each cosine similarity occurs, for pairs that share a label or not, over a seeded sample of queries."""

    edges: FloatArray
    relevant: IntArray
    other: IntArray
    queries: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Everything that one evaluation found.

    Attributes:
        results: the measures, in the order asked for.
        labels: the labels, in column order.
        query_ids: the queries.
        gallery_ids: the gallery.
        relevant_Q: relevant gallery items of each query (sharing a label, without itself).
        per_query: measure name -> its value for each query, (Q,).
        label_ap_QC: AP of each query for each of its labels, nan elsewhere and for skipped labels.
        nearest_QK: the first items of each ranking as gallery rows, -1 past the end; order within ties is arbitrary.
        nearest_agreement_QK: Jaccard index of the query's labels with those of each of these, nan past the end.
        precision_recall: the mean curve.
        similarities: histogram of similarities.
        gallery_size: number of gallery items.
        self_excluded: queries that were left out of their own ranking.
        tied_queries: queries whose ranking holds equal scores.
        settings: what else the numbers depend on (empty queries, bootstrap, seed, where frequencies are from).
    """

    results: tuple[MeasureResult, ...]
    labels: tuple[LabelResult, ...]
    query_ids: tuple[str, ...]
    gallery_ids: tuple[str, ...]
    relevant_Q: IntArray
    per_query: Mapping[str, FloatArray]
    label_ap_QC: FloatArray
    nearest_QK: IntArray
    nearest_agreement_QK: FloatArray
    precision_recall: PrecisionRecall
    similarities: SimilarityHistogram
    gallery_size: int
    self_excluded: int
    tied_queries: int
    settings: Mapping[str, Any]

    def __getitem__(self, measure: str | Measure) -> float:
        """The value of a measure, by any spelling of its name.

        Raises:
            UsageError: it was not evaluated.
        """
        wanted = parse_measure(measure) if isinstance(measure, str) else measure
        for result in self.results:
            if result.measure == wanted:
                return result.value
        raise UsageError(f"{wanted} was not evaluated; there are {', '.join(self.values)}")

    @property
    def values(self) -> dict[str, float]:
        """Measure name -> value."""
        return {str(result.measure): result.value for result in self.results}

    @property
    def queries_without_relevant(self) -> int:
        """Queries for which the gallery holds nothing."""
        return int((self.relevant_Q == 0).sum())

    @property
    def skipped_labels(self) -> tuple[str, ...]:
        """Labels that no mean over labels contains: no query has them, or no gallery item does."""
        return tuple(label.name for label in self.labels if np.isnan(label.ap))


def evaluate_retrieval(
    query: EmbeddingSet,
    gallery: EmbeddingSet,
    measures: Sequence[Measure | str] = DEFAULT_MEASURES,
    *,
    label_names: Sequence[str] | None = None,
    train_frequency: ArrayLike | None = None,
    empty: Empty = "zero",
    bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    block_size: int | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Rank the gallery for every query and measure it.

    Args:
        query: the queries.
        gallery: what is searched; queries found in it by id are left out of their own ranking.
        measures: measures, or their names as `parse_measure` reads them.
        label_names: names of the C labels; None numbers them.
        train_frequency: share (or number) of training images with each label, (C,): what bands, the rarest labels and
            "rarity-jaccard" go by. None takes the gallery's, right where the gallery is the training split.
        empty: queries without a relevant item count as 0 ("zero") or are left out of the means over queries ("skip").
        bootstrap: resamples of the intervals, 0 for none.
        confidence: of the intervals.
        seed: of the resamples and of the queries whose similarities are counted.
        block_size: queries at a time; None chooses so that a block's scores take 32 MiB.
        threads: threads that rank; None takes the machine's cores for large galleries.
        progress: called with (queries done, all queries).

    Raises:
        UsageError: dimensions or labels of the two sets differ, there is nothing to search, or an argument is off.
        ConfigError: a name is no measure.

    Memory beyond the inputs: a float32 copy of each set, a block of scores, and per query the measures' values.

    Example:
        >>> vectors, labels = np.eye(3)[[0, 0, 1, 2]], np.eye(3, dtype=np.uint8)[[0, 0, 1, 1]]
        >>> images = EmbeddingSet(vectors, labels, ("a", "b", "c", "d"))
        >>> found = evaluate_retrieval(images, images, ["mAP", "P@1"], bootstrap=0)
        >>> round(found["mAP"], 4), round(found["P@1"], 4)  # c and d find each other among three equally far items
        (0.8056, 0.6667)
    """
    chosen = tuple(parse_measure(m) if isinstance(m, str) else m for m in measures)
    names = _check(query, gallery, label_names, empty)
    frequency = gallery.labels_NC.mean(axis=0) if train_frequency is None else np.asarray(train_frequency, dtype=float)
    if frequency.shape != (len(names),) or not (np.isfinite(frequency) & (frequency >= 0)).all():
        raise UsageError(f"train_frequency is one number >= 0 for each of {len(names)} labels, not {frequency.shape}")
    run = _Run(query, gallery, [m for m in chosen if isinstance(m, QueryMeasure)], frequency, seed)
    run.rank_all(block_size, threads, progress)

    kept = (run.relevant_Q > 0) if empty == "skip" else np.ones(len(query), dtype=bool)
    skipped = ~((query.labels_NC > 0) & (run.label_floor_QC > 0)).any(axis=0)
    label_ap = np.where(skipped, np.nan, run.label_ap_QC)
    statistics = _statistics(chosen, run, kept, label_ap, frequency)
    per_label: dict[str, Statistic] = {f"label {c}": query_mean(label_ap[:, c]) for c in range(len(names))}
    intervals = bootstrap_interval(
        {**statistics, **per_label}, len(query), resamples=bootstrap, confidence=confidence, seed=seed
    )
    return Evaluation(
        results=tuple(_result(m, run, kept, label_ap, frequency, statistics, intervals) for m in chosen),
        labels=_labels(names, query, gallery, frequency, label_ap, run.label_floor_QC, intervals),
        query_ids=query.ids,
        gallery_ids=gallery.ids,
        relevant_Q=run.relevant_Q,
        per_query={str(m): run.values_QM[:, i] for i, m in enumerate(run.measures)},
        label_ap_QC=label_ap,
        nearest_QK=run.nearest_QK,
        nearest_agreement_QK=run.nearest_agreement_QK,
        precision_recall=run.curve(),
        similarities=run.histogram(),
        gallery_size=len(gallery),
        self_excluded=int((run.own_Q >= 0).sum()),
        tied_queries=int(run.tied_Q.sum()),
        settings={
            "similarity": "cosine",
            "ties": "expected value over tied orders",
            "queries_without_relevant": "counted as 0" if empty == "zero" else "left out",
            "bootstrap": bootstrap,
            "confidence": confidence,
            "seed": seed,
            "frequency_from": "gallery" if train_frequency is None else "training split",
        },
    )


def _check(query: EmbeddingSet, gallery: EmbeddingSet, label_names: Sequence[str] | None, empty: str) -> list[str]:
    shapes = [(s.vectors_ND.shape[1], s.labels_NC.shape[1]) for s in (query, gallery)]
    if shapes[0] != shapes[1]:
        (dim, labels), (gallery_dim, gallery_labels) = shapes
        raise UsageError(
            f"queries have {dim} dimensions and {labels} labels, the gallery {gallery_dim} and {gallery_labels}"
        )
    if not len(query) or not len(gallery):
        raise UsageError(f"nothing to evaluate: {len(query)} queries, {len(gallery)} gallery items")
    if empty not in ("zero", "skip"):
        raise UsageError(f"queries without relevant items are taken as 'zero' or 'skip', not {empty!r}")
    names = [str(c) for c in range(shapes[0][1])] if label_names is None else list(label_names)
    if len(names) != shapes[0][1]:
        raise UsageError(f"{len(names)} label names for {shapes[0][1]} labels")
    return names


class _Run:
    """The arrays that fill up while the queries are ranked."""

    def __init__(
        self,
        query: EmbeddingSet,
        gallery: EmbeddingSet,
        measures: list[QueryMeasure],
        frequency_C: FloatArray,
        seed: int,
    ) -> None:
        queries, labels = query.labels_NC.shape
        self.query, self.gallery, self.measures = query, gallery, measures
        self.sets = LabelSets(gallery.labels_NC, label_rarity(frequency_C))
        row_of = {name: row for row, name in enumerate(gallery.ids)}
        self.own_Q: IntArray = np.array([row_of.get(name, -1) for name in query.ids])
        self.values_QM = np.zeros((queries, len(measures)))
        self.floor_QM = np.zeros((queries, len(measures)))
        self.ceiling_QM = np.zeros((queries, len(measures)))
        self.label_ap_QC = np.full((queries, labels), np.nan)
        self.label_floor_QC = np.zeros((queries, labels))
        self.relevant_Q: IntArray = np.zeros(queries, dtype=np.int64)
        self.tied_Q = np.zeros(queries, dtype=bool)
        self.nearest_QK: IntArray = np.full((queries, _NEAREST), -1, dtype=np.int64)
        self.nearest_agreement_QK = np.full((queries, _NEAREST), np.nan, dtype=np.float32)
        self.curve_QL = np.zeros((queries, len(_RECALL_LEVELS)), dtype=np.float32)
        rng = np.random.default_rng(seed)
        self.counted: frozenset[int] = frozenset(rng.permutation(queries)[:_HISTOGRAM_QUERIES].tolist())
        self._histogram: NDArray[np.int64] = np.zeros((2, len(_HISTOGRAM_EDGES) - 1), dtype=np.int64)
        # Floors, ceilings and gains depend on the label set alone. Queries with equal sets are ranked one after
        # another, so a few kept ones spare most of that work.
        self.turn_Q: IntArray = np.lexsort(np.vstack([np.packbits(query.labels_NC, axis=1).T, self.own_Q[None] >= 0]))
        self._truth = lru_cache(maxsize=16)(self._make_truth)

    def _make_truth(self, labels: bytes, own_set: int) -> tuple[Truth, FloatArray, FloatArray, FloatArray]:
        truth = Truth(self.sets, np.frombuffer(labels, dtype=np.uint8), own_set if own_set >= 0 else None)
        floor = np.array([measure.floor(truth) for measure in self.measures])
        ceiling = np.array([measure.ceiling(truth) for measure in self.measures])
        label_floor = np.zeros(len(truth.query_C))
        for label in truth.labels:
            count = truth.with_label(label)
            label_floor[label] = ratio(expectation.random_precision_sum(count, count, truth.size, truth.size), count)
        return truth, floor, ceiling, label_floor

    def rank_all(
        self, block_size: int | None, threads: int | None, progress: Callable[[int, int], None] | None
    ) -> None:
        query, query_length = comparable_rows(self.query.vectors_ND[self.turn_Q])
        gallery, gallery_length = comparable_rows(self.gallery.vectors_ND)
        if threads is None:
            threads = (os.cpu_count() or 1) if len(gallery) >= _THREADED_GALLERY else 1
        if threads < 1:
            raise UsageError(f"threads is {threads}, it must be at least 1")
        with ThreadPoolExecutor(threads) as pool:
            for start, block in similarity_blocks(query, gallery, block_size):
                rows = self.turn_Q[start : start + len(block)].tolist()
                if threads == 1:
                    for row, scores in zip(rows, block, strict=True):
                        self._rank(row, scores)
                else:
                    list(pool.map(self._rank, rows, block))
                for row, scores in zip(rows, block, strict=True):
                    if row in self.counted:
                        self._count(row, scores / (query_length * gallery_length))
                if progress:
                    progress(start + len(rows), len(query))

    def _rank(self, row: int, scores_G: NDArray[np.float32]) -> None:
        own = int(self.own_Q[row])
        labels = self.query.labels_NC[row]
        truth, floor, ceiling, label_floor = self._truth(
            labels.tobytes(), int(self.sets.set_of_G[own]) if own >= 0 else -1
        )
        ranked = RankedQuery(truth, scores_G, own if own >= 0 else None)
        self.relevant_Q[row] = truth.relevant
        self.tied_Q[row] = len(ranked.ranking.starts_T) > 0
        self.values_QM[row] = [measure.value(ranked) for measure in self.measures]
        self.floor_QM[row], self.ceiling_QM[row], self.label_floor_QC[row] = floor, ceiling, label_floor
        for label, found in zip(truth.labels, ranked.precision_sums[1:].tolist(), strict=True):
            self.label_ap_QC[row, label] = ratio(found, truth.with_label(label))
        first = ranked.ranking.items(slice(_NEAREST))
        self.nearest_QK[row, : len(first)] = first
        self.nearest_agreement_QK[row, : len(first)] = truth.gain("jaccard", self.sets.set_of_G[first])
        if truth.relevant:
            wanted = np.ceil(_RECALL_LEVELS * truth.relevant - 1e-9).astype(np.int64)
            self.curve_QL[row] = wanted / expected_ranks(ranked.ranking, ranked.hits, wanted - 1)

    def _count(self, row: int, scores_G: NDArray[np.float32]) -> None:
        bins = self._histogram.shape[1]
        which = np.clip(((scores_G + 1) * (bins / 2)).astype(np.int64), 0, bins - 1)
        shares = self.sets.has_CU[self.query.labels_NC[row] > 0].any(axis=0)[self.sets.set_of_G]
        own = self.own_Q[row]
        if own >= 0:
            which, shares = np.delete(which, own), np.delete(shares, own)
        self._histogram += np.bincount(which + bins * ~shares, minlength=2 * bins).reshape(2, bins)

    def curve(self) -> PrecisionRecall:
        some = self.relevant_Q > 0
        size = len(self.gallery) - (self.own_Q >= 0)
        share = self.relevant_Q[some] / np.maximum(size[some], 1)
        return PrecisionRecall(
            recall_L=_RECALL_LEVELS.copy(),
            precision_L=self.curve_QL[some].mean(axis=0, dtype=np.float64) if some.any() else np.zeros(100),
            floor=float(share.mean()) if some.any() else 0.0,
        )

    def histogram(self) -> SimilarityHistogram:
        relevant, other = self._histogram
        return SimilarityHistogram(
            edges=_HISTOGRAM_EDGES.copy(), relevant=relevant, other=other, queries=len(self.counted)
        )


def _statistics(
    measures: Sequence[Measure], run: _Run, kept_Q: NDArray[np.bool_], label_ap_QC: FloatArray, frequency_C: FloatArray
) -> dict[str, Statistic]:
    statistics: dict[str, Statistic] = {}
    for measure in measures:
        if isinstance(measure, LabelAP):
            statistics[str(measure)] = label_mean(label_ap_QC[:, measure.labels(frequency_C)])
        else:
            values = run.values_QM[:, [str(m) for m in run.measures].index(str(measure))]
            statistics[str(measure)] = query_mean(np.where(kept_Q, values, np.nan))
    return statistics


def _result(
    measure: Measure,
    run: _Run,
    kept_Q: NDArray[np.bool_],
    label_ap_QC: FloatArray,
    frequency_C: FloatArray,
    statistics: Mapping[str, Statistic],
    intervals: Mapping[str, Interval],
) -> MeasureResult:
    name = str(measure)
    whole = np.ones((1, len(kept_Q)))
    value = float(statistics[name](whole)[0])
    if isinstance(measure, LabelAP):
        label_ap = label_ap_QC[:, measure.labels(frequency_C)]
        label_floor = run.label_floor_QC[:, measure.labels(frequency_C)]
        counted = ~np.isnan(label_ap)
        floor = float(label_mean(np.where(counted, label_floor, np.nan))(whole)[0])
        ceiling = float(label_mean(np.where(counted, label_floor > 0, np.nan))(whole)[0])
        queries = int(counted.any(axis=1).sum())
    else:
        column = [str(m) for m in run.measures].index(name)
        queries = int(kept_Q.sum())
        floor = ratio(float(run.floor_QM[kept_Q, column].sum()), queries)
        ceiling = ratio(float(run.ceiling_QM[kept_Q, column].sum()), queries)
    interval = intervals[name]
    return MeasureResult(
        measure=measure,
        value=value,
        low=interval.low,
        high=interval.high,
        floor=floor,
        ceiling=ceiling,
        queries=queries,
    )


def _labels(
    names: Sequence[str],
    query: EmbeddingSet,
    gallery: EmbeddingSet,
    frequency_C: FloatArray,
    label_ap_QC: FloatArray,
    label_floor_QC: FloatArray,
    intervals: Mapping[str, Interval],
) -> tuple[LabelResult, ...]:
    bands = frequency_bands(frequency_C)
    results = []
    for c, name in enumerate(names):
        has = ~np.isnan(label_ap_QC[:, c])
        interval = intervals[f"label {c}"] if has.any() else Interval(float("nan"), float("nan"))
        results.append(
            LabelResult(
                name=name,
                frequency=float(frequency_C[c]),
                band=bands[c],
                queries=int(query.labels_NC[:, c].sum()),
                gallery=int(gallery.labels_NC[:, c].sum()),
                ap=float(label_ap_QC[has, c].mean()) if has.any() else float("nan"),
                low=interval.low,
                high=interval.high,
                floor=float(label_floor_QC[has, c].mean()) if has.any() else float("nan"),
            )
        )
    return tuple(results)
