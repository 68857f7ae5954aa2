"""What may be done to the table of an archive: rows put in, replaced and taken out, each in one commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import BusyError
from .filters import Filter
from .masks import mask_of
from .snapshot import Snapshot

__all__ = ["AddResult", "CompactResult", "RowSource", "append_or_merge", "merge", "remove_rows"]


@dataclass(frozen=True, kw_only=True)
class AddResult:
    """What an `add` did: records that are new, records that replaced one with the same id."""

    added: int
    updated: int


@dataclass(frozen=True)
class RowSource:
    """Rows of the records table that lie elsewhere: their `ids`, in parts, and how to read them (`open`)."""

    ids: Sequence[pa.Array]
    open: Callable[[], pa.RecordBatchReader]


@dataclass(frozen=True, kw_only=True)
class CompactResult:
    """Bytes on disk before and after; None where the storage does not tell."""

    bytes_before: int | None
    bytes_after: int | None


def merge(table: Any, rows: pa.Table | pa.RecordBatchReader) -> AddResult:
    """Put rows in; those whose id is there already replace it."""
    merging = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
    done = merging.execute(rows)
    return AddResult(added=done.num_inserted_rows, updated=done.num_updated_rows)


def append_or_merge(table: Any, snapshot: Snapshot, rows: RowSource) -> AddResult:
    """Put rows in that do not fit in memory; `snapshot` is of the table's version."""
    count = sum(map(len, rows.ids))
    if not count:
        return AddResult(added=0, updated=0)
    known = snapshot.column("id")
    if any(pc.any(pc.is_in(ids, value_set=known)).as_py() for ids in rows.ids):
        return merge(table, rows.open())
    table.add(rows.open())  # appending keeps nothing in memory, merging the ids at least
    return AddResult(added=count, updated=0)


def remove_rows(table: Any, snapshot: Snapshot, where: Filter) -> int:
    """Take out the rows that pass; `snapshot` is of the table's version. Returns how many.

    Raises:
        BusyError: another writer took the turn that this one had and moved rows; those that were not moved are out.
    """
    mask = mask_of(snapshot, where)
    if mask is None:
        return int(table.delete("true").num_deleted_rows)
    doomed = snapshot.row_ids[mask].tolist()
    if not doomed:
        return 0
    # By row ids Lance looks at nothing else; by ids it would compare every record's.
    removed = int(table.delete(f"_rowid IN ({', '.join(map(str, doomed))})").num_deleted_rows)
    if removed != len(doomed):
        raise BusyError(
            f"{snapshot.uri}: another writer moved {len(doomed) - removed} of {len(doomed)} records before they were "
            "removed: run it again"
        )
    return removed
