"""What a measure is: a value with a name, a definition, and for each query a value, a floor and a ceiling."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ._truth import RankedQuery, Truth

__all__ = ["Measure", "QueryMeasure"]


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

    asks_for_items: bool = True
    """Whether it asks which items stand at the first k ranks, not only where the relevant ones do."""

    @property
    def depth(self) -> int | None:
        """For how many leading ranks it asks which items stand there; None for all, as without a k.

        Where no measure asks for many, the rankings cost half as much. Where relevant items stand is known throughout.
        """
        k: int | None = getattr(self, "k", None)
        return k if self.asks_for_items else 0

    @abstractmethod
    def value(self, ranked: RankedQuery) -> float:
        """The expected value over all orders of tied items."""

    @abstractmethod
    def floor(self, truth: Truth) -> float:
        """The expected value of a random ranking, exactly."""

    @abstractmethod
    def ceiling(self, truth: Truth) -> float:
        """The value of the oracle, which ranks by the measure's own gain."""
