"""Ranking the records of a snapshot against one vector: filter first, then the nearest, ties by id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import QueryError
from ..typing import FloatArray
from .ann import ann_candidates
from .filters import Filter
from .masks import mask_of
from .record import Record
from .snapshot import Snapshot

__all__ = ["Mode", "Ranking", "rank"]

Mode: TypeAlias = Literal["exact", "ann"]
Positions: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The nearest records, best first.

    Attributes:
        ids: of the records, at most k.
        scores: their cosines with the query, rounded to six decimals.
        matched: how many records passed the filter.
        version: of the archive that was searched.
    """

    ids: tuple[str, ...]
    scores: tuple[float, ...]
    matched: int
    version: int
    _snapshot: Snapshot = field(repr=False, compare=False)
    _positions: NDArray[np.int64] = field(repr=False, compare=False)
    _resident: bool = field(repr=False, compare=False)

    def records(self, ids: Sequence[str] | None = None, *, thumbnails: bool = False) -> list[Record]:
        """The records in their order, or those of `ids` that are in the ranking; thumbnails are read from disk.

        Raises:
            CorruptError: a record is not what was written, or its version was compacted away (see `Archive.read`).
        """
        positions = self._positions
        if ids is not None:
            wanted = frozenset(ids)
            positions = positions[[name in wanted for name in self.ids]]
        return self._snapshot.records(positions, thumbnails=thumbnails, resident=self._resident)


def rank(snapshot: Snapshot, query_D: FloatArray, k: int, where: Filter, mode: Mode) -> Ranking:
    """The best `k` of a snapshot for a unit vector, see `Archive.search`.

    Raises:
        QueryError: an unknown mode, a label that no record has, or "ann" without an index.
    """
    if mode not in get_args(Mode):
        raise QueryError(f"unknown mode {mode!r}; known: {', '.join(get_args(Mode))}")
    mask = mask_of(snapshot, where)
    matched = snapshot.size if mask is None else int(np.count_nonzero(mask))
    positions: Positions
    scores: NDArray[np.float64]
    if matched == 0:
        positions, scores = np.empty(0, np.int64), np.zeros(0)
    elif mode == "exact":
        positions, scores = snapshot.index(len(query_D)).candidates(query_D, k, mask)
    else:
        positions, scores = ann_candidates(snapshot, query_D, k, mask)
    return _ordered(snapshot, positions, scores, k, matched, resident=mode == "exact")


def _ordered(
    snapshot: Snapshot, positions: Positions, scores: NDArray[np.float64], k: int, matched: int, *, resident: bool
) -> Ranking:
    ids: Sequence[str] = snapshot.ids(positions) if len(positions) else []
    order = sorted(range(len(ids)), key=lambda at: (-scores[at], ids[at]))[:k]
    return Ranking(
        ids=tuple(ids[at] for at in order),
        scores=tuple(float(scores[at]) for at in order),
        matched=matched,
        version=snapshot.version,
        _snapshot=snapshot,
        _positions=positions[order],
        _resident=resident,
    )
