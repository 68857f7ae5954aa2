"""The work of an evaluation: every query ranked, and what is kept of each ranking."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..relevance import label_rarity
from ..typing import FloatArray, IntArray
from . import _expectation as expectation
from ._expectation import ratio
from ._hits import expected_ranks
from ._riders import Sorter
from ._truth import LabelSets, RankedQuery, Truth
from .embeddings import EmbeddingSet, comparable_rows, similarity_blocks
from .measure import QueryMeasure
from .results import PrecisionRecall, SimilarityHistogram

__all__ = ["Run"]

_RECALL_LEVELS = np.linspace(0.01, 1.0, 100)
_NEAREST = 12
_HISTOGRAM_QUERIES = 256
_HISTOGRAM_EDGES = np.linspace(-1.0, 1.0, 201)
# Below this many items a ranking is over before a second thread has woken up.
_THREADED_GALLERY = 8192
_ROWS_AT_A_TIME = 4  # to a thread: handing over costs as much as a small measure


class Run:
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
        depths = [measure.depth for measure in measures]
        self._depth = None if None in depths else max([_NEAREST, *(depth for depth in depths if depth)])
        self._bound = 0.0
        self._own = threading.local()

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
        self._bound = query_length * gallery_length * 1.001
        if threads is None:
            threads = (os.cpu_count() or 1) if len(gallery) >= _THREADED_GALLERY else 1
        if threads < 1:
            raise UsageError(f"threads is {threads}, it must be at least 1")
        with ThreadPoolExecutor(threads) as pool:
            for start, block in similarity_blocks(query, gallery, block_size, pool if threads > 1 else None):
                rows = self.turn_Q[start : start + len(block)].tolist()
                if threads == 1:
                    self._rank_some(rows, block)
                else:
                    parts = self._parts(rows)
                    list(pool.map(self._rank_some, (rows[part] for part in parts), (block[part] for part in parts)))
                for row, scores in zip(rows, block, strict=True):
                    if row in self.counted:
                        self._count(row, scores / (query_length * gallery_length))
                if progress:
                    progress(start + len(rows), len(query))

    def _parts(self, rows: list[int]) -> list[slice]:
        """Some rows for a thread at a time; those that share a truth go together, so that one thread alone makes it."""
        labels_RC = self.query.labels_NC[rows]
        first = np.append(np.flatnonzero((labels_RC[1:] != labels_RC[:-1]).any(axis=1)) + 1, len(rows))
        parts, start = [], 0
        for stop in first.tolist():
            if stop - start >= _ROWS_AT_A_TIME or stop == len(rows):
                cuts = [*range(start, stop, 2 * _ROWS_AT_A_TIME), stop]
                parts += [slice(*pair) for pair in itertools.pairwise(cuts)]
                start = stop
        return parts

    def _rank_some(self, rows: list[int], scores_RG: NDArray[np.float32]) -> None:
        for row, scores_G in zip(rows, scores_RG, strict=True):
            self._rank(row, scores_G)

    def _rank(self, row: int, scores_G: NDArray[np.float32]) -> None:
        own = int(self.own_Q[row])
        labels = self.query.labels_NC[row]
        truth, floor, ceiling, label_floor = self._truth(
            labels.tobytes(), int(self.sets.set_of_G[own]) if own >= 0 else -1
        )
        if not hasattr(self._own, "sorter"):
            self._own.sorter = Sorter(len(scores_G), self._bound)
        ranked = RankedQuery(truth, scores_G, own if own >= 0 else None, self._own.sorter, self._depth)
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
