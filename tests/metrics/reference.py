"""The definitions once more as plain loops, on one fixed order; ties by trying every order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

Order = Sequence[int]


def tied_orders(scores: Sequence[float], exclude: int | None = None) -> Iterator[Order]:
    """Every order of the items that the scores allow, each equally likely."""
    levels = sorted({s for i, s in enumerate(scores) if i != exclude}, reverse=True)
    groups = [[i for i, s in enumerate(scores) if s == level and i != exclude] for level in levels]
    for parts in itertools.product(*(itertools.permutations(group) for group in groups)):
        yield [i for part in parts for i in part]


def expected(value: Callable[[Order], float], scores: Sequence[float], exclude: int | None = None) -> float:
    values = [value(order) for order in tied_orders(scores, exclude)]
    return math.fsum(values) / len(values)


def average_precision(order: Order, relevant: Sequence[bool], k: int | None, denominator: str) -> float:
    hits, total = 0, 0.0
    for place, item in enumerate(order[:k], start=1):
        if relevant[item]:
            hits += 1
            total += hits / place
    whole = sum(relevant[item] for item in order)
    below = {"R": whole, "hits": hits, "min": min(whole, len(order[:k]))}[denominator]
    return total / below if below else 0.0


def weighted_average_precision(order: Order, gains: Sequence[float], k: int | None) -> float:
    hits, total, running = 0, 0.0, 0.0
    for place, item in enumerate(order[:k], start=1):
        running += gains[item]
        if gains[item] > 0:
            hits += 1
            total += running / place
    return total / hits if hits else 0.0


def dcg(order: Order, gains: Sequence[float], k: int | None) -> float:
    return sum(gains[item] / math.log2(place + 1) for place, item in enumerate(order[:k], start=1))


def ndcg(order: Order, gains: Sequence[float], k: int | None) -> float:
    ideal = dcg(sorted(order, key=lambda item: -gains[item]), gains, k)
    return dcg(order, gains, k) / ideal if ideal else 0.0


def mean_value(order: Order, values: Sequence[float], k: int) -> float:
    return sum(values[item] for item in order[:k]) / len(order[:k])


def recall(order: Order, relevant: Sequence[bool], k: int) -> float:
    whole = sum(relevant[item] for item in order)
    return sum(relevant[item] for item in order[:k]) / whole if whole else 0.0


def hit(order: Order, relevant: Sequence[bool], k: int) -> float:
    return float(any(relevant[item] for item in order[:k]))
