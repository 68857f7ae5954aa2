"""Approximate search on disk, for archives whose vectors outgrow memory: Lance's IVF_HNSW_SQ.

Every candidate is scored again from its full vector, so a score never differs from the exact one; only which records
are looked at is approximate.
"""

from __future__ import annotations

from typing import Any

import lancedb.index
import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..typing import BoolArray, FloatArray
from .index import exact_scores
from .schema import vector_matrix
from .snapshot import VECTOR_ROWS, Snapshot
from .storage import has_index, nearest, take

__all__ = ["ann_candidates", "build_index", "check_indexable", "has_index", "index_status"]

SCAN_BELOW = 20_000
"""Filters that keep fewer rows than this are ranked exactly: reading so many vectors is cheap, a graph walk that
must avoid most of what it meets is not."""
MINIMUM_ROWS = 1_000
PARTITION_ROWS = 1_000_000
"""Rows of one graph. All graphs are walked by each query, so that none loses neighbours at a border; a walk grows with
the logarithm of the graph only, so few large ones are quicker than many small ones."""
PROBES = 1_000
EDGES, EF_CONSTRUCTION = 16, 100
EF = 192
"""Candidates that a walk keeps: on 1,000,000 records 128 found 0.982 of the ten nearest, 192 found 0.990; the
times did not tell them apart."""
FETCH_MOST = 65_536
"""Neighbours asked for at most: their vectors come all at once, 67 MB at 256 dimensions."""
SPARE = 16
"""So many more than wanted are scored from their full vectors, and half as many again as wanted: the graph ranks by
bytes, which may exchange near neighbours."""


def check_indexable(rows: int) -> None:
    """Refuse an index over so few rows.

    Raises:
        UsageError: exact search of them is faster.
    """
    if rows < MINIMUM_ROWS:
        raise UsageError(f"an index needs at least {MINIMUM_ROWS} records, there are {rows}; exact search is faster")


def build_index(table: Any) -> None:
    """Build the index over all rows, or replace it.

    Raises:
        UsageError: too few rows to be worth one.
    """
    rows = table.count_rows()
    check_indexable(rows)
    config = lancedb.index.HnswSq(
        distance_type="dot",
        num_partitions=max(1, round(rows / PARTITION_ROWS)),
        m=EDGES,
        ef_construction=EF_CONSTRUCTION,
    )
    table.create_index("vector", config=config, replace=True)


def index_status(table: Any) -> dict[str, Any] | None:
    """Kind of the index over the vectors, and how many rows are in it and beside it; None without one."""
    for entry in table.list_indices():
        if "vector" in entry.columns:
            stats = table.index_stats(entry.name)
            return {"kind": stats.index_type, "indexed": stats.num_indexed_rows, "rest": stats.num_unindexed_rows}
    return None


def ann_candidates(
    snapshot: Snapshot, query_D: FloatArray, k: int, mask: BoolArray | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Positions and exact scores of at least `k` near rows (all that pass, if fewer do).

    A filter that keeps much is applied to a growing list of neighbours, until `k` of them pass. Before that list grows
    beyond the number of rows that pass (a filter unlike the query), or beyond `FETCH_MOST` (a large `k`), all that pass
    are ranked exactly instead.

    Raises:
        UsageError: there is no index.
    """
    if not snapshot.indexed:
        raise UsageError("mode 'ann' needs an index; build it with: terraseek archive index URI")
    passing = snapshot.size if mask is None else int(np.count_nonzero(mask))
    fetch = k + k // 2 + SPARE
    if mask is not None:
        fetch = int(fetch * snapshot.size / max(passing, 1) * 1.5)
    most = 0 if mask is not None and passing <= SCAN_BELOW else min(passing, FETCH_MOST)
    while fetch < most:
        row_ids, scores = _neighbours(snapshot.table, query_D, fetch)
        positions = snapshot.locate(row_ids)
        if mask is not None:
            passed = mask[positions]
            positions, scores = positions[passed], scores[passed]
        if len(positions) >= k:
            return positions, scores
        fetch *= 4
    return _scanned(snapshot, np.arange(snapshot.size) if mask is None else np.flatnonzero(mask), query_D, k)


def _neighbours(table: Any, query_D: FloatArray, count: int) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    # The vectors come with the answer: scored here in float64 they rank and tie as in exact search, so that Lance need
    # not read them to refine its own ranking first.
    found = nearest(table, query_D, count, probes=PROBES, candidates=max(EF, 2 * count))
    blocks = (found["vector"].slice(start, VECTOR_ROWS) for start in range(0, len(found), VECTOR_ROWS))
    scores = [exact_scores(vector_matrix(block), query_D) for block in blocks]
    return found["_rowid"].to_numpy(), np.concatenate([np.empty(0), *scores])


def _scanned(
    snapshot: Snapshot, positions: NDArray[np.int64], query_D: FloatArray, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The best `k` of these rows and all that are tied with the last of them, read some at a time."""
    best, scores = positions[:0], np.empty(0)
    for start in range(0, len(positions), VECTOR_ROWS):
        block = positions[start : start + VECTOR_ROWS]
        rows = vector_matrix(take(snapshot.table, snapshot.row_ids[block], ["vector"])["vector"])
        best, scores = np.concatenate([best, block]), np.concatenate([scores, exact_scores(rows, query_D)])
        if len(scores) > k:
            keep = scores >= np.partition(scores, -k)[-k]
            best, scores = best[keep], scores[keep]
    return best, scores
