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
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ..errors import ConfigError
from ..registry import Registry, nearest
from .functional import DENOMINATORS
from .label_measures import BANDS, Band, LabelAP
from .measure import Measure
from .query_measures import GAINS, NDCG, TOP_QUANTITIES, WAP, Hit, MeanAP, MeanOverTop, Recall

__all__ = ["DEFAULT_MEASURES", "HEADLINE_MEASURES", "MEASURES", "parse_measure"]

MeasureMaker: TypeAlias = Callable[[int | None, str | None], Measure]
MEASURES: Registry[MeasureMaker] = Registry("measure")


def parse_measure(text: str) -> Measure:
    """The measure that a name like ``nDCG@100(jaccard)`` stands for (see the module's table).

    Raises:
        ConfigError: an unknown measure or option, or a k that is missing, superfluous or below 1.

    Examples:
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

    for name in TOP_QUANTITIES:
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
