"""Measures that have a value for every query: what is relevant, or how much, follows from the two label sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..relevance import KINDS
from ..typing import FloatArray
from . import _expectation as expectation
from ._expectation import ratio
from ._truth import RankedQuery, Truth
from .functional import Denominator
from .measure import QueryMeasure

__all__ = ["GAINS", "NDCG", "TOP_QUANTITIES", "WAP", "Hit", "MeanAP", "MeanOverTop", "Recall"]

GAINS: tuple[str, ...] = (*KINDS, "exp")


@dataclass(frozen=True)
class MeanAP(QueryMeasure):
    """Mean over queries of `functional.average_precision`; relevant is what shares a label with the query."""

    k: int | None = None
    denominator: Denominator = "min"

    asks_for_items = False

    def __str__(self) -> str:
        if self.k is None:
            return "mAP" if self.denominator == "min" else f"mAP({self.denominator})"
        return f"mAP@{self.k}({self.denominator})"

    @property
    def definition(self) -> str:
        """One sentence that says what is computed."""
        if self.k is None:
            return "mean over queries of sum P(r) rel_r / R over the whole gallery; relevant = shares a label"
        below = {"min": f"min({self.k}, R)", "R": "R", "hits": f"the relevant items among the first {self.k}"}
        return (
            f"mean over queries of sum over r <= {self.k} of P(r) rel_r / {below[self.denominator]}; "
            "relevant = shares a label"
        )

    def _below(self, truth: Truth, cut: int) -> int:
        return truth.relevant if self.denominator == "R" else min(cut, truth.relevant)

    def value(self, ranked: RankedQuery) -> float:
        """AP of one ranking."""
        cut = ranked.ranking.cut(self.k)
        if cut == len(ranked.ranking):  # whichever the denominator, all relevant items are counted
            return ratio(float(ranked.precision_sums[0]), ranked.truth.relevant)
        positions = ranked.positions(cut)
        if self.denominator == "hits":
            return expectation.hits_average(ranked.ranking, positions, cut)
        return ratio(expectation.precision_sum(ranked.ranking, positions, cut), self._below(ranked.truth, cut))

    def floor(self, truth: Truth) -> float:
        """AP of a random ranking."""
        cut = _cut(self.k, truth)
        if self.denominator == "hits":
            return expectation.random_hits_average(truth.relevant, truth.relevant, truth.size, cut)
        whole = expectation.random_precision_sum(truth.relevant, truth.relevant, truth.size, cut)
        return ratio(whole, self._below(truth, cut))

    def ceiling(self, truth: Truth) -> float:
        """AP with all relevant items first."""
        cut = _cut(self.k, truth)
        found = min(cut, truth.relevant)
        return ratio(found, found if self.denominator == "hits" else self._below(truth, cut))


@dataclass(frozen=True)
class NDCG(QueryMeasure):
    """Mean over queries of `functional.ndcg`."""

    k: int | None
    gain: str

    def __str__(self) -> str:
        return f"nDCG{_at(self.k)}({self.gain})"

    @property
    def definition(self) -> str:
        """One sentence that says what is computed."""
        gain = {
            "any": "1 if a label is shared",
            "count": "the number o of shared labels",
            "exp": "2^o - 1 of o shared labels",
            "jaccard": "the Jaccard index of the label sets",
            "cosine": "the cosine of the label sets",
            "rarity-jaccard": "the Jaccard index with labels weighted by rarity in training",
        }[self.gain]
        return f"mean over queries of DCG{_at(self.k)} / its ideal over the whole gallery; gain = {gain}"

    def value(self, ranked: RankedQuery) -> float:
        """The nDCG of one ranking."""
        cut = ranked.ranking.cut(self.k)
        return ratio(float(ranked.top(self.gain, cut) @ expectation.discounts(cut)), self._ideal(ranked.truth, cut))

    def _ideal(self, truth: Truth, cut: int) -> float:
        return float(truth.ideal(self.gain, cut) @ expectation.discounts(cut)) if cut else 0.0

    def floor(self, truth: Truth) -> float:
        """The nDCG of a random ranking: every rank holds the mean gain."""
        cut = _cut(self.k, truth)
        mean = ratio(truth.total(self.gain), truth.size)
        return ratio(mean * float(expectation.discounts(cut).sum()), self._ideal(truth, cut))

    def ceiling(self, truth: Truth) -> float:
        """1, or 0 where nothing has a gain."""
        return float(self._ideal(truth, _cut(self.k, truth)) > 0)


@dataclass(frozen=True)
class WAP(QueryMeasure):
    """Mean over queries of `functional.weighted_average_precision`."""

    k: int | None = None
    bounded = False

    def __str__(self) -> str:
        return f"WAP{_at(self.k)}"

    @property
    def definition(self) -> str:
        """One sentence that says what is computed."""
        return (
            "mean over queries of the mean, over the relevant ranks r"
            + (f" <= {self.k}" if self.k else "")
            + ", of the average number of shared labels among the first r; not bounded by 1"
        )

    def value(self, ranked: RankedQuery) -> float:
        """WAP of one ranking."""
        cut = ranked.ranking.cut(self.k)
        positions, gains = ranked.relevant_gains("count", cut)
        return expectation.hits_average(ranked.ranking, positions, cut, gains)

    def floor(self, truth: Truth) -> float:
        """WAP of a random ranking."""
        return expectation.random_hits_average(truth.relevant, truth.total("count"), truth.size, _cut(self.k, truth))

    def ceiling(self, truth: Truth) -> float:
        """WAP with the items ranked by the number of shared labels."""
        first = truth.ideal("count", min(_cut(self.k, truth), truth.relevant)) if truth.relevant else np.empty(0)
        return ratio(float((np.cumsum(first) / np.arange(1, len(first) + 1)).sum()), len(first))


@dataclass(frozen=True)
class MeanOverTop(QueryMeasure):
    """Mean over queries, and over their first k items, of one quantity of the two label sets."""

    name: str
    k: int

    def __str__(self) -> str:
        return f"{self.name}@{self.k}"

    @property
    def definition(self) -> str:
        """One sentence that says what is computed."""
        return f"mean over queries and their first {self.k} items of {TOP_QUANTITIES[self.name][1]}"

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """Everything but a distance."""
        return self.name != "Hamming"

    @property
    def bounded(self) -> bool:  # type: ignore[override]
        """Everything but a count."""
        return self.name != "ACG"

    def _mean(self, gains: FloatArray) -> float:
        mean = ratio(float(gains.sum()), len(gains))
        return mean if self.higher_is_better else abs(mean)

    def value(self, ranked: RankedQuery) -> float:
        """The mean over the first k of one ranking."""
        return self._mean(ranked.top(TOP_QUANTITIES[self.name][0], ranked.ranking.cut(self.k)))

    def floor(self, truth: Truth) -> float:
        """The mean over the whole gallery."""
        mean = ratio(truth.total(TOP_QUANTITIES[self.name][0]), truth.size)
        return mean if self.higher_is_better else abs(mean)

    def ceiling(self, truth: Truth) -> float:
        """The mean over the k best items of the gallery."""
        cut = _cut(self.k, truth)
        return self._mean(truth.ideal(TOP_QUANTITIES[self.name][0], cut)) if cut else 0.0


TOP_QUANTITIES: dict[str, tuple[str, str]] = {
    "P": ("any", "being relevant, that is sharing a label"),
    "ACG": ("count", "the number of shared labels"),
    "Jaccard": ("jaccard", "the Jaccard index of the label sets"),
    "Hamming": ("agreement", "the share of labels on which the two sets disagree; less is better"),
    "example-P": ("precision", "shared labels / labels of the item"),
    "example-R": ("recall", "shared labels / labels of the query"),
    "example-F1": ("f1", "2 shared labels / (labels of the item + labels of the query)"),
}


@dataclass(frozen=True)
class Recall(QueryMeasure):
    """Mean over queries of `functional.recall`: hits / R."""

    k: int

    def __str__(self) -> str:
        return f"R@{self.k}"

    @property
    def definition(self) -> str:
        """One sentence that says what is computed."""
        return f"mean over queries of relevant items among the first {self.k} / R; relevant = shares a label"

    def value(self, ranked: RankedQuery) -> float:
        """The recall of one ranking."""
        hits = ranked.top("any", ranked.ranking.cut(self.k)).sum()
        return ratio(float(hits), ranked.truth.relevant)

    def floor(self, truth: Truth) -> float:
        """The share of the gallery that is looked at, k/G, is the share of the relevant items found."""
        return ratio(_cut(self.k, truth), truth.size) if truth.relevant else 0.0

    def ceiling(self, truth: Truth) -> float:
        """Recall with all relevant items first."""
        return ratio(min(_cut(self.k, truth), truth.relevant), truth.relevant)


@dataclass(frozen=True)
class Hit(QueryMeasure):
    """Share of queries with a relevant item among the first k: `functional.hit_probability`."""

    k: int

    asks_for_items = False

    def __str__(self) -> str:
        return f"Hit@{self.k}"

    @property
    def definition(self) -> str:
        """One sentence that says what is computed."""
        return f"share of queries with any relevant item among the first {self.k}; relevant = shares a label"

    def value(self, ranked: RankedQuery) -> float:
        """Whether one ranking has a hit."""
        cut = ranked.ranking.cut(self.k)
        return expectation.any_hit_probability(ranked.ranking, ranked.positions(cut), cut)

    def floor(self, truth: Truth) -> float:
        """Chance of a hit among k items drawn from the gallery."""
        if not truth.relevant:
            return 0.0
        return expectation.any_hit_at_random(truth.relevant, truth.size, _cut(self.k, truth))

    def ceiling(self, truth: Truth) -> float:
        """1 wherever something is relevant."""
        return float(truth.relevant > 0)


def _cut(k: int | None, truth: Truth) -> int:
    return truth.size if k is None else min(k, truth.size)


def _at(k: int | None) -> str:
    return "" if k is None else f"@{k}"
