"""Getting rid of the bytes of what was deleted or replaced, to the last row.

Lance rewrites a file of rows when more than a tenth of it is deleted, and keeps it with a list of its deleted rows
below that. An archive must not: what was removed is to be gone. So files that Lance kept are given what they lack for
the tenth, by writing some of their rows anew, unchanged, and are then rewritten like the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .storage import file_of, local_directory, remove_old_versions, scan, split_by_file, take

__all__ = ["compact_table"]

SHARE = 0.125
"""Of a file's rows; comfortably above Lance's tenth."""
CHUNK = 10_000


def compact_table(table: Any, name: str, key: str, uri: str) -> None:
    """Merge small files and remove every byte that the newest version does not use.

    Args:
        table: of the archive.
        name: of the table.
        key: the column that tells rows apart.
        uri: of the archive.

    Note:
        On object storage, where files are not listed, a file keeps deleted rows if they are few and its last ones.
    """
    remove_old_versions(table, uri)
    if kept := _with_deleted_rows(table, name, uri):
        for row_ids in kept:
            _write_anew(table, key, row_ids[: int(np.ceil(SHARE * len(row_ids)))])
        remove_old_versions(table, uri)


def _with_deleted_rows(table: Any, name: str, uri: str) -> list[NDArray[np.uint64]]:
    """The row ids of each file that holds deleted rows."""
    row_ids = np.sort(scan(table, [])["_rowid"].to_numpy())
    if not len(row_ids):
        return []
    listed = _with_deletion_list(name, uri)
    files = split_by_file(row_ids)
    return [rows for rows in files if len(rows) <= _place(rows[-1]) or file_of(rows[0]) in listed]


def _place(row_id: np.uint64) -> int:
    return int(row_id) & 0xFFFFFFFF


def _with_deletion_list(name: str, uri: str) -> frozenset[int]:
    """Numbers of the files beside which Lance keeps a list of deleted rows."""
    home = local_directory(uri)
    lists = [] if home is None else (home / f"{name}.lance" / "_deletions").glob("*-*-*")
    return frozenset(int(path.name.split("-")[0]) for path in lists)


def _write_anew(table: Any, key: str, row_ids: NDArray[np.uint64]) -> None:
    for start in range(0, len(row_ids), CHUNK):
        rows = take(table, row_ids[start : start + CHUNK], table.schema.names).select(table.schema.names)
        table.merge_insert(key).when_matched_update_all().execute(rows.cast(table.schema))
