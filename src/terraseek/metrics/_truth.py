"""What the labels alone say about a query, and a query's ranking seen through its labels.

Gallery items with equal label sets are alike to every measure, and a data set has far fewer sets than items. To one
query even fewer kinds of items differ: but for weighted labels, a gain follows from how many labels an item has and how
many of them the query has. So gains are computed once per kind and looked up.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..relevance import KINDS, relevance
from ..typing import BoolArray, FloatArray, IntArray, LabelArray
from ._hits import Hits, precision_sums, tied_positions
from ._riders import Riders, Sorter
from .functional import gain_from_count, label_distance, shared_labels

__all__ = ["LabelSets", "RankedQuery", "Truth"]

_Float = NDArray[np.float64]
_Quantity = Callable[[_Float, _Float, _Float], _Float]


class LabelSets:
    """The distinct label sets of a gallery: `sets_UC`, their `counts_U`, and which one each item has, `set_of_G`."""

    def __init__(self, labels_GC: LabelArray, rarity_C: FloatArray) -> None:
        packed = np.packbits(labels_GC, axis=1)
        _, first, set_of, counts = np.unique(packed, axis=0, return_index=True, return_inverse=True, return_counts=True)
        self.set_of_G: IntArray = set_of.reshape(-1)
        self.counts_U: IntArray = counts
        self.sets_UC: _Float = labels_GC[first].astype(np.float64)
        self.has_CU: BoolArray = np.ascontiguousarray(labels_GC[first].T > 0)
        self.sizes_U: IntArray = self.has_CU.sum(axis=0)
        self.with_label_C: IntArray = self.has_CU @ counts
        self.rarity_C = rarity_C.astype(np.float64)


class Truth:
    """Gains of the gallery's label sets for one query's labels; the query's own item, if any, is not counted."""

    def __init__(self, sets: LabelSets, query_labels_C: LabelArray, own_set: int | None) -> None:
        self.sets = sets
        self.query_C: _Float = query_labels_C.astype(np.float64)
        self.own_set = own_set
        self.counts_U = sets.counts_U
        if own_set is not None:
            self.counts_U = sets.counts_U.copy()
            self.counts_U[own_set] -= 1
        self.size = int(self.counts_U.sum())
        self._gains: dict[str, _Float] = {}
        self._ideals: dict[tuple[str, int], _Float] = {}

    @cached_property
    def _alike(self) -> tuple[IntArray, IntArray, IntArray]:
        """Kinds of label sets by (shared labels, labels): a set of each, their counts, and the kind of each set."""
        shared = np.rint(self.sets.sets_UC @ self.query_C).astype(np.int64)
        number = shared * (len(self.query_C) + 1) + self.sets.sizes_U
        example = np.full(int(number.max()) + 1, -1)
        example[number] = np.arange(len(number))
        occurring = np.flatnonzero(example >= 0)
        kind_of = np.cumsum(example >= 0) - 1
        counts = np.bincount(kind_of[number], self.counts_U, minlength=len(occurring))
        return example[occurring], counts.astype(np.int64), kind_of[number]

    def _kinds(self, quantity: str) -> tuple[_Float, IntArray]:
        """The label sets, (K, C), that stand for all that differ in a quantity, and how many items each stands for."""
        if quantity == _BY_SET:
            return self.sets.sets_UC, self.counts_U
        example, counts, _ = self._alike
        return self.sets.sets_UC[example], counts

    def _gain_of_kinds(self, quantity: str) -> _Float:
        if quantity not in self._gains:
            self._gains[quantity] = QUANTITIES[quantity](self.query_C, self._kinds(quantity)[0], self.sets.rarity_C)
        return self._gains[quantity]

    def gain(self, quantity: str, sets: IntArray) -> _Float:
        """Gain of each of some label sets, which items have by `LabelSets.set_of_G`."""
        return self._gain_of_kinds(quantity)[sets if quantity == _BY_SET else self._alike[2][sets]]

    def total(self, quantity: str) -> float:
        """Sum of the gain over all gallery items."""
        return float(self._gain_of_kinds(quantity) @ self._kinds(quantity)[1])

    def ideal(self, quantity: str, k: int) -> _Float:
        """The k largest gains that the gallery holds, best first."""
        if (quantity, k) not in self._ideals:
            gain, counts = self._gain_of_kinds(quantity), self._kinds(quantity)[1]
            # Each kind that occurs holds an item, so k kinds are enough for k items.
            some = np.flatnonzero(counts)
            if len(some) > k:
                some = some[np.argpartition(-gain[some], k - 1)[:k]]
            some = some[np.argsort(-gain[some])]
            self._ideals[quantity, k] = np.repeat(gain[some], np.minimum(counts[some], k))[:k]
        return self._ideals[quantity, k]

    @cached_property
    def relevant(self) -> int:
        """R, the number of gallery items that share a label."""
        return int(self._kinds("count")[1][self._gain_of_kinds("count") > 0].sum())

    @cached_property
    def labels(self) -> list[int]:
        """The query's labels, ascending."""
        return np.flatnonzero(self.query_C).tolist()

    def with_label(self, label: int) -> int:
        """Number of gallery items that have a label."""
        own = self.own_set is not None and self.sets.has_CU[label, self.own_set]
        return int(self.sets.with_label_C[label]) - int(own)

    @cached_property
    def _label_bits(self) -> NDArray[np.uint8]:
        """Which of the query's labels each set has: bit b of byte w stands for the query's label number 8 w + b."""
        bits = np.packbits(self.sets.has_CU[self.labels], axis=0, bitorder="little")
        return bits if len(bits) else np.zeros((1, len(self.counts_U)), dtype=np.uint8)

    @cached_property
    def riders(self) -> Riders:
        """The first byte of the label bits of each gallery item, to be sorted along with its score."""
        return Riders(self._label_bits[0].take(self.sets.set_of_G), int(np.clip(len(self.labels), 1, 8)))

    def more_label_bits(self, items: IntArray) -> list[NDArray[np.uint8]]:
        """The bytes of label bits after the first, for queries of more than eight labels."""
        return [bits.take(self.sets.set_of_G[items]) for bits in self._label_bits[1:]]


def _relevance(kind: str) -> _Quantity:
    def gain(query_C: _Float, sets_KC: _Float, rarity_C: _Float) -> _Float:
        rarity = rarity_C if kind == _BY_SET else None
        return np.asarray(relevance(query_C[None], sets_KC, kind, rarity)[0])  # type: ignore[arg-type]

    return gain


def _example(part: int) -> _Quantity:
    return lambda query_C, sets_KC, _: np.asarray(shared_labels(query_C, sets_KC)[part], dtype=np.float64)


def _exp(query_C: _Float, sets_KC: _Float, _: _Float) -> _Float:
    return np.asarray(gain_from_count(relevance(query_C[None], sets_KC, "count")[0]), dtype=np.float64)


def _agreement(query_C: _Float, sets_KC: _Float, _: _Float) -> _Float:
    # Negative, so that the largest is the best here as well.
    return -np.asarray(label_distance(query_C, sets_KC), dtype=np.float64)


# The one quantity for which it matters which labels are shared, not only how many.
_BY_SET = "rarity-jaccard"
QUANTITIES: dict[str, _Quantity] = {
    **{kind: _relevance(kind) for kind in KINDS},
    "exp": _exp,
    "agreement": _agreement,
    "precision": _example(0),
    "recall": _example(1),
    "f1": _example(2),
}


class RankedQuery:
    """One query's ranking, seen through the labels of what it ranks.

    Args:
        truth: what the query's labels say.
        scores_G: similarity of every gallery item.
        own: the query's own item, left out.
        sorter: what ranks.
        depth: how many leading items will be asked for; None for all.
    """

    def __init__(
        self, truth: Truth, scores_G: NDArray[np.float32], own: int | None, sorter: Sorter, depth: int | None
    ) -> None:
        self.truth = truth
        self.ranking, first = sorter.rank(scores_G, truth.riders, own, depth if len(truth.labels) <= 8 else None)
        self._first_sets: dict[int, IntArray] = {}
        self._bits = [first]
        if len(truth.labels) > 8:
            self._bits += truth.more_label_bits(self.ranking.order_G)
        self._relevant_G = np.bitwise_or.reduce(self._bits) if len(self._bits) > 1 else first
        self.hits = Hits(self._relevant_G, truth.relevant)

    def _has(self, label: int, positions: IntArray | slice) -> NDArray[np.uint8]:
        """Not 0 where the items at some positions have the query's label number `label`."""
        word, bit = divmod(label, 8)
        return np.asarray(self._bits[word][positions] & np.uint8(1 << bit))

    @cached_property
    def precision_sums(self) -> _Float:
        """Expected sums of precisions over the whole ranking: of sharing a label, and of having each of the labels."""
        tied, labels = tied_positions(self.ranking), self.truth.labels
        if len(labels) == 1:  # to share a label is to have it
            found = precision_sums(self.ranking, [self.hits], self._relevant_G[tied][:, None] != 0)
            return np.repeat(found, 2)
        flags = [self._relevant_G[tied], *(self._has(number, tied) for number in range(len(labels)))]
        label_hits = (
            Hits(self._has(number, slice(None)), self.truth.with_label(label)) for number, label in enumerate(labels)
        )
        return precision_sums(self.ranking, itertools.chain([self.hits], label_hits), np.stack(flags, axis=1) != 0)

    def top(self, quantity: str, k: int) -> FloatArray:
        """Expected gain at each of the first k ranks."""
        if k not in self._first_sets:
            self._first_sets[k] = self.truth.sets.set_of_G[self.ranking.items(slice(self.ranking.reach(k)))]
        return self.ranking.expected(self.truth.gain(quantity, self._first_sets[k]), k)

    def positions(self, k: int) -> IntArray:
        """Positions of the relevant items that can stand among the first k."""
        return np.flatnonzero(self._relevant_G[: self.ranking.reach(k)])

    def relevant_gains(self, quantity: str, k: int) -> tuple[IntArray, FloatArray]:
        """Positions and gains of the relevant items that can stand among the first k."""
        positions = self.positions(k)
        sets = self.truth.sets.set_of_G[self.ranking.items(positions)]
        return positions, self.truth.gain(quantity, sets)
