"""Measures that have a value for every label: how well the items that have it are found by the queries that have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from ..typing import FloatArray, IntArray
from .measure import Measure

__all__ = ["BANDS", "Band", "LabelAP", "frequency_bands"]

Band: TypeAlias = Literal["head", "medium", "tail"]
BANDS: tuple[Band, ...] = get_args(Band)


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
