"""What an evaluation by labels found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UsageError
from ..typing import FloatArray, IntArray
from .label_measures import Band
from .measure import Measure
from .measures import parse_measure

__all__ = ["Evaluation", "LabelResult", "MeasureResult", "PrecisionRecall", "SimilarityHistogram"]


@dataclass(frozen=True, kw_only=True)
class MeasureResult:
    """One measure of one evaluation.

    Attributes:
        measure: what was measured.
        value: the result; a share is given in 0..1; nan of a mean over labels that has none, as are floor and ceiling.
        low: lower end of the bootstrap interval; nan without bootstrap, or without `enough_queries`.
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
        low: lower end of the bootstrap interval; nan without bootstrap, or without `enough_queries`.
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
