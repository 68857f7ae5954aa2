"""What the labels alone say about a query, and a query's ranking seen through its labels.

Gallery items with equal label sets are alike to every measure, so gains are computed once per distinct set (U of them)
and looked up by set number: a data set has far fewer sets than items.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..relevance import KINDS, relevance
from ..typing import BoolArray, FloatArray, IntArray, LabelArray
from .functional import gain_from_count, label_distance, shared_labels
from .ranking import Ranking

__all__ = ["LabelSets", "RankedQuery", "Truth"]

_Float = NDArray[np.float64]


class LabelSets:
    """The distinct label sets of a gallery: `sets_UC`, their `counts_U`, and which one each item has, `set_of_G`."""

    def __init__(self, labels_GC: LabelArray, rarity_C: FloatArray) -> None:
        packed = np.packbits(labels_GC, axis=1)
        _, first, set_of, counts = np.unique(packed, axis=0, return_index=True, return_inverse=True, return_counts=True)
        self.set_of_G: IntArray = set_of.reshape(-1).astype(np.int32)
        self.counts_U: IntArray = counts
        self.sets_UC: _Float = labels_GC[first].astype(np.float64)
        self.has_CU: BoolArray = np.ascontiguousarray(labels_GC[first].T > 0)
        self.rarity_C = rarity_C


class Truth:
    """Gains of the gallery's label sets for one query's labels; the query's own item, if any, is not counted."""

    def __init__(self, sets: LabelSets, query_labels_C: LabelArray, own_set: int | None) -> None:
        self.sets = sets
        self.query_C: _Float = query_labels_C.astype(np.float64)
        self.counts_U = sets.counts_U
        if own_set is not None:
            self.counts_U = sets.counts_U.copy()
            self.counts_U[own_set] -= 1
        self.size = int(self.counts_U.sum())
        self._gains: dict[str, _Float] = {}
        self._ideals: dict[tuple[str, int], _Float] = {}

    def gain(self, kind: str) -> _Float:
        """Gain of each label set, (U,)."""
        if kind not in self._gains:
            self._gains[kind] = QUANTITIES[kind](self)
        return self._gains[kind]

    def total(self, kind: str) -> float:
        """Sum of the gain over all gallery items."""
        return float(self.gain(kind) @ self.counts_U)

    @cached_property
    def labels(self) -> list[int]:
        """The query's labels, ascending."""
        return np.flatnonzero(self.query_C).tolist()

    @cached_property
    def label_bits(self) -> NDArray[np.uint8]:
        """Which of the query's labels each gallery item has: bit b of byte w stands for the query's label 8 w + b.

        One look-up by rank then serves all labels of a query.
        """
        shared = np.packbits(self.sets.has_CU[self.labels], axis=0, bitorder="little")
        return shared[:, self.sets.set_of_G]

    @cached_property
    def is_relevant(self) -> BoolArray:
        """Which label sets share a label with the query."""
        return self.gain("count") > 0

    @cached_property
    def relevant(self) -> int:
        """R, the number of relevant gallery items."""
        return int(self.counts_U[self.is_relevant].sum())

    def ideal(self, kind: str, k: int) -> _Float:
        """The k largest gains that the gallery holds, best first."""
        if (kind, k) not in self._ideals:
            gain = self.gain(kind)
            # Each set that occurs holds an item, so k sets are enough for k items.
            some = np.flatnonzero(self.counts_U)
            if len(some) > k:
                some = some[np.argpartition(-gain[some], k - 1)[:k]]
            some = some[np.argsort(-gain[some])]
            self._ideals[kind, k] = np.repeat(gain[some], np.minimum(self.counts_U[some], k))[:k]
        return self._ideals[kind, k]

    def with_label(self, label: int) -> int:
        """Number of gallery items that have a label."""
        return int(self.counts_U[self.sets.has_CU[label]].sum())


def _kind(kind: str) -> Callable[[Truth], _Float]:
    def gain(truth: Truth) -> _Float:
        rarity = truth.sets.rarity_C if kind == "rarity-jaccard" else None
        return np.asarray(relevance(truth.query_C[None], truth.sets.sets_UC, kind, rarity)[0])  # type: ignore[arg-type]

    return gain


def _example(part: int) -> Callable[[Truth], _Float]:
    return lambda truth: np.asarray(shared_labels(truth.query_C, truth.sets.sets_UC)[part], dtype=np.float64)


QUANTITIES: dict[str, Callable[[Truth], _Float]] = {
    **{kind: _kind(kind) for kind in KINDS},
    "exp": lambda truth: np.asarray(gain_from_count(truth.gain("count")), dtype=np.float64),
    # Negative, so that the largest is the best here as well.
    "agreement": lambda truth: -np.asarray(label_distance(truth.query_C, truth.sets.sets_UC), dtype=np.float64),
    "precision": _example(0),
    "recall": _example(1),
    "f1": _example(2),
}


class RankedQuery:
    """One query's ranking, seen through the labels of what it ranks."""

    def __init__(self, truth: Truth, ranking: Ranking) -> None:
        self.truth, self.ranking = truth, ranking
        self._bits = [bits.take(ranking.order_G) for bits in truth.label_bits]

    def top(self, kind: str, k: int) -> FloatArray:
        """Expected gain at each of the first k ranks."""
        return self.ranking.expected(self._gains(kind, self.ranking.order_G[: self.ranking.reach(k)]), k)

    @cached_property
    def positions(self) -> IntArray:
        """Positions of the items that share a label with the query."""
        if not self._bits:
            return np.empty(0, dtype=np.int64)
        return np.flatnonzero(np.bitwise_or.reduce(self._bits) != 0)

    def positions_of(self, label: int) -> IntArray:
        """Positions of the items that have a label of the query."""
        word, bit = divmod(self.truth.labels.index(label), 8)
        return np.flatnonzero(self._bits[word] & np.uint8(1 << bit) != 0)

    def relevant_gains(self, kind: str, k: int) -> tuple[IntArray, FloatArray]:
        """Positions and gains of the relevant items that can stand among the first k."""
        positions = self.positions[: self.positions.searchsorted(self.ranking.reach(k))]
        return positions, self._gains(kind, self.ranking.order_G[positions])

    def _gains(self, kind: str, items: IntArray) -> FloatArray:
        return self.truth.gain(kind)[self.truth.sets.set_of_G[items]]
