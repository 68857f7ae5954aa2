"""Measures as values: ``parse_measure("nDCG@100(jaccard)")``, and back with `str`.

A name is a measure, ``@k`` the last rank that counts, and an option in parentheses:

    mAP  mAP(R)  mAP@100(min)  mAP@100(hits)    average precision, relevant = shares a label; option: the denominator
    nDCG@100(jaccard)                           gain any, count, exp, jaccard, cosine or rarity-jaccard
    ACG@100  WAP@100  WAP                       average and weighted average of the number of shared labels
    P@10  R@100  Hit@10                         precision, recall (hits / R), any hit
    Jaccard@100  Hamming@100                    mean agreement and disagreement of the label sets
    example-P@10  example-R@10  example-F1@10   example-based precision, recall and F1 of the label sets
    macro-AP                                    mean over labels of the AP of "has the label"
    head-AP  medium-AP  tail-AP  6 rarest AP    the same over some labels, chosen by frequency in training
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from ..errors import ConfigError
from ..registry import Registry, nearest
from ..relevance import KINDS
from ..typing import FloatArray, IntArray
from . import _expectation as expectation
from ._expectation import ratio
from ._truth import RankedQuery, Truth
from .functional import DENOMINATORS, Denominator

__all__ = [
    "BANDS",
    "DEFAULT_MEASURES",
    "GAINS",
    "HEADLINE_MEASURES",
    "MEASURES",
    "NDCG",
    "WAP",
    "Band",
    "Hit",
    "LabelAP",
    "MeanAP",
    "MeanOverTop",
    "Measure",
    "QueryMeasure",
    "Recall",
    "frequency_bands",
    "parse_measure",
]

GAINS: tuple[str, ...] = (*KINDS, "exp")
Band: TypeAlias = Literal["head", "medium", "tail"]
BANDS: tuple[Band, ...] = get_args(Band)


class Measure(ABC):
    """What to measure; equal measures are equal values, and `parse_measure(str(m)) == m`."""

    higher_is_better: bool = True
    bounded: bool = True
    """Whether the value lies in 0..1, so that it can be read as a share."""

    @abstractmethod
    def __str__(self) -> str: ...

    @property
    @abstractmethod
    def definition(self) -> str:
        """One sentence that says what is computed."""


class QueryMeasure(Measure):
    """A measure with a value for every query; a set's value is the mean."""

    @abstractmethod
    def value(self, ranked: RankedQuery) -> float:
        """The expected value over all orders of tied items."""

    @abstractmethod
    def floor(self, truth: Truth) -> float:
        """The expected value of a random ranking, exactly."""

    @abstractmethod
    def ceiling(self, truth: Truth) -> float:
        """The value of the oracle, which ranks by the measure's own gain."""


MeasureMaker: TypeAlias = Callable[[int | None, str | None], Measure]
MEASURES: Registry[MeasureMaker] = Registry("measure")


@dataclass(frozen=True)
class MeanAP(QueryMeasure):
    """Mean over queries of `functional.average_precision`; relevant is what shares a label with the query."""

    k: int | None = None
    denominator: Denominator = "min"

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
        return f"mean over queries and their first {self.k} items of {_TOP[self.name][1]}"

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
        return self._mean(ranked.top(_TOP[self.name][0], ranked.ranking.cut(self.k)))

    def floor(self, truth: Truth) -> float:
        """The mean over the whole gallery."""
        mean = ratio(truth.total(_TOP[self.name][0]), truth.size)
        return mean if self.higher_is_better else abs(mean)

    def ceiling(self, truth: Truth) -> float:
        """The mean over the k best items of the gallery."""
        cut = _cut(self.k, truth)
        return self._mean(truth.ideal(_TOP[self.name][0], cut)) if cut else 0.0


# name -> (quantity of `_truth.QUANTITIES`, what it is)
_TOP: dict[str, tuple[str, str]] = {
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


@dataclass(frozen=True)
class LabelAP(Measure):
    """Mean over labels of AP_c, the mean over queries with label c of the AP of finding the items that have it.

    AP_c is taken over the whole gallery. `band` or `rarest` choose labels by their frequency in training (see
    `frequency_bands`); labels without relevant items are skipped, and the evaluation names them.
    """

    band: Band | None = None
    rarest: int | None = None

    def __str__(self) -> str:
        return f"{self.rarest} rarest AP" if self.rarest else f"{self.band or 'macro'}-AP"

    @property
    def definition(self) -> str:
        """One sentence that says what is computed."""
        which = {
            None: "all labels",
            "head": "the most frequent third of the labels",
            "medium": "the middle third of the labels by frequency",
            "tail": "the rarest third of the labels",
        }[self.band]
        if self.rarest:
            which = f"the {self.rarest} labels rarest in training"
        return f"mean over {which} of the mean AP, over the whole gallery, of the queries with the label for having it"

    def labels(self, frequency_C: FloatArray) -> IntArray:
        """The columns that this measure is about, ascending."""
        if self.rarest:
            return np.sort(_by_rarity(frequency_C)[: self.rarest])
        if self.band:
            return np.flatnonzero(np.array(frequency_bands(frequency_C)) == self.band)
        return np.arange(len(frequency_C))


def frequency_bands(frequency_C: FloatArray) -> tuple[Band, ...]:
    """Head, medium or tail for each label: thirds by rank of training frequency.

    Thirds are rounded to the nearest whole number of labels for head and tail, medium takes the rest; equal frequencies
    are told apart by column. Labels that never occur in training count as tail and are not counted in the thirds.

    >>> frequency_bands(np.array([0.5, 0.01, 0.2, 0.0]))
    ('head', 'tail', 'medium', 'tail')
    """
    rarest = _by_rarity(frequency_C)
    third = round(len(rarest) / 3)
    bands: list[Band] = ["tail"] * len(frequency_C)
    for place, label in enumerate(rarest.tolist()):
        bands[label] = "tail" if place < third else "head" if place >= len(rarest) - third else "medium"
    return tuple(bands)


def _by_rarity(frequency_C: FloatArray) -> IntArray:
    """The labels that occur in training, rarest first, equally frequent ones by column."""
    order = np.argsort(frequency_C, kind="stable")
    return np.asarray(order[frequency_C[order] > 0])


def parse_measure(text: str) -> Measure:
    """The measure that a name like ``nDCG@100(jaccard)`` stands for (see the module's table).

    Raises:
        ConfigError: an unknown measure or option, or a k that is missing, superfluous or below 1.

    Example:
        >>> parse_measure("nDCG@100(jaccard)")
        NDCG(k=100, gain='jaccard')
        >>> str(parse_measure("mAP@100"))
        'mAP@100(min)'
        >>> str(parse_measure("6 rarest AP"))
        '6 rarest AP'
    """
    pattern = r"(?:(?P<count>\d+)[ -])?(?P<name>[A-Za-z][\w -]*?)(?:@(?P<k>\d+))?(?:\((?P<option>[^()]+)\))?"
    match = re.fullmatch(pattern, text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is no measure; write name@k(option), as in nDCG@100(jaccard)")
    name, k, option, count = match["name"], match["k"], match["option"], match["count"]
    if name in ("rarest AP", "rarest-AP"):
        name, k, count = "rarest AP", count or k, None
    if count is not None:
        raise ConfigError(f"{text!r} is no measure; only 'rarest AP' takes a number in front")
    if k is not None and int(k) < 1:
        raise ConfigError(f"{text!r} is no measure: k is at least 1")
    try:
        return MEASURES[name](int(k) if k else None, option)
    except ConfigError as error:
        raise ConfigError(f"{text!r} is no measure: {error}") from None


def _cut(k: int | None, truth: Truth) -> int:
    return truth.size if k is None else min(k, truth.size)


def _at(k: int | None) -> str:
    return "" if k is None else f"@{k}"


def _choice(option: str | None, allowed: Sequence[str], default: str) -> str:
    if option is not None and option not in allowed:
        raise ConfigError(f"unknown option {option!r}: {nearest(option, list(allowed))}")
    return option or default


def _plain(option: str | None, k: int | None, needs_k: bool) -> int:
    if option is not None:
        raise ConfigError(f"it takes no option, not {option!r}")
    if needs_k and k is None:
        raise ConfigError("it needs @k, the last rank that counts")
    if not needs_k and k is not None:
        raise ConfigError("it is over the whole gallery and takes no @k")
    return k or 0


@MEASURES.register("mAP")
def _map(k: int | None, option: str | None) -> Measure:
    return MeanAP(k, _choice(option, DENOMINATORS, "min"))  # type: ignore[arg-type]


@MEASURES.register("nDCG")
def _ndcg(k: int | None, option: str | None) -> Measure:
    return NDCG(k, _choice(option, GAINS, "count"))


@MEASURES.register("WAP")
def _wap(k: int | None, option: str | None) -> Measure:
    _plain(option, None, needs_k=False)
    return WAP(k)


@MEASURES.register("R")
def _recall(k: int | None, option: str | None) -> Measure:
    return Recall(_plain(option, k, needs_k=True))


@MEASURES.register("Hit")
def _hit(k: int | None, option: str | None) -> Measure:
    return Hit(_plain(option, k, needs_k=True))


def _register_means() -> None:
    def maker(name: str) -> MeasureMaker:
        return lambda k, option: MeanOverTop(name, _plain(option, k, needs_k=True))

    for name in _TOP:
        MEASURES.register(name)(maker(name))


def _register_labels() -> None:
    def maker(band: Band | None) -> MeasureMaker:
        def make(k: int | None, option: str | None) -> Measure:
            _plain(option, k, needs_k=False)
            return LabelAP(band)

        return make

    MEASURES.register("macro-AP")(maker(None))
    for band in BANDS:
        MEASURES.register(f"{band}-AP")(maker(band))


@MEASURES.register("rarest AP")
def _rarest(k: int | None, option: str | None) -> Measure:
    if k is None:
        raise ConfigError("it needs a number of labels in front, as in '6 rarest AP'")
    return LabelAP(rarest=_plain(option, k, needs_k=True))


_register_means()
_register_labels()

HEADLINE_MEASURES: tuple[Measure, ...] = tuple(
    map(parse_measure, ("mAP", "nDCG@100(jaccard)", "nDCG@100(count)", "macro-AP", "6 rarest AP"))
)
"""The five columns in which methods are compared."""

DEFAULT_MEASURES: tuple[Measure, ...] = HEADLINE_MEASURES + tuple(
    map(
        parse_measure,
        (
            "head-AP",
            "medium-AP",
            "tail-AP",
            "mAP@100(min)",
            "ACG@100",
            "WAP@100",
            "P@10",
            "R@100",
            "Hit@10",
            "Jaccard@100",
            "Hamming@100",
            "example-F1@10",
        ),
    )
)
