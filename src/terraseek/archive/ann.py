"""Approximate search on disk, for archives whose vectors outgrow memory: Lance's IVF_HNSW_SQ, refined.

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
from .snapshot import Snapshot
from .storage import take

__all__ = ["ann_candidates", "build_index", "has_index", "index_status"]

SCAN_BELOW = 20_000
"""Filters that keep fewer rows than this are ranked exactly: reading so many vectors is cheap, a graph walk that
must avoid most of what it meets is not."""
MINIMUM_ROWS = 1_000
NPROBES = 16
EF = 128


def build_index(table: Any) -> None:
    """Build the index over all rows, or replace it.

    Raises:
        UsageError: too few rows to be worth one.
    """
    rows = table.count_rows()
    if rows < MINIMUM_ROWS:
        raise UsageError(f"an index needs at least {MINIMUM_ROWS} records, there are {rows}; exact search is faster")
    config = lancedb.index.HnswSq(
        distance_type="dot",
        num_partitions=max(1, round(rows / 250_000)),
        m=24,
        ef_construction=200,
    )
    table.create_index("vector", config=config, replace=True)


def has_index(table: Any) -> bool:
    """Whether the table has an index over its vectors."""
    return any("vector" in entry.columns for entry in table.list_indices())


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

    A filter that keeps much is applied to a growing list of neighbours, until `k` of them pass.

    Raises:
        UsageError: there is no index.
    """
    if not has_index(snapshot.table):
        raise UsageError("mode 'ann' needs an index; build it with: terraseek archive index URI")
    passing = snapshot.size if mask is None else int(np.count_nonzero(mask))
    if mask is not None and passing <= max(SCAN_BELOW, k):
        positions = np.flatnonzero(mask)
        return positions, _scores(snapshot, positions, query_D)
    fetch = k + 16
    if mask is not None:
        fetch = int(fetch * snapshot.size / passing * 1.5)
    while True:
        fetch = min(fetch, snapshot.size)
        row_ids = _neighbours(snapshot.table, query_D, fetch)
        positions = snapshot.locate(row_ids)
        if mask is not None:
            positions = positions[mask[positions]]
        if len(positions) >= min(k, passing) or fetch == snapshot.size:
            return positions, _scores(snapshot, positions, query_D)
        fetch *= 4


def _neighbours(table: Any, query_D: FloatArray, count: int) -> NDArray[np.uint64]:
    query = table.search(query_D, vector_column_name="vector").distance_type("dot").with_row_id(True)
    query = query.nprobes(NPROBES).ef(max(EF, 2 * count)).refine_factor(2).select(["_distance"]).limit(count)
    row_ids: NDArray[np.uint64] = query.to_arrow()["_rowid"].to_numpy()
    return row_ids


def _scores(snapshot: Snapshot, positions: NDArray[np.int64], query_D: FloatArray) -> NDArray[np.float64]:
    if not len(positions):
        return np.empty(0)
    rows = vector_matrix(take(snapshot.table, snapshot.row_ids[positions], ["vector"])["vector"])
    return exact_scores(rows, query_D)
