"""Which sources an archive has taken in completely, and in what state they were then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from .storage import quote

__all__ = ["Journal", "JournalEntry"]

TABLE = "sources"
_SCHEMA = pa.schema(
    [
        pa.field("collection", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("records", pa.int64(), nullable=False),
        pa.field("refused", pa.string()),
    ]
)


@dataclass(frozen=True)
class JournalEntry:
    """A source that has been read to its end: its `state`, how many `records` it gave, what of it was refused."""

    source: str
    state: str
    records: int
    refused: str | None = None


class Journal:
    """One table beside the records, keyed by collection and source.

    An entry is written after the records it speaks of are committed: a crash between the two makes the next ingest
    look at the source again, find its records there and add nothing. Losing the table costs that look, no more.
    """

    def __init__(self, connection: Any, collection: str) -> None:
        self._connection = connection
        self._collection = collection

    def load(self) -> Mapping[str, JournalEntry]:
        """All entries of the collection, by source."""
        table = self._open()
        if table is None:
            return {}
        rows = table.search().where(f"collection = {quote(self._collection)}").to_arrow()
        names = ("source", "state", "records", "refused")
        columns = (rows[name].to_pylist() for name in names)
        return {source: JournalEntry(source, *values) for source, *values in zip(*columns, strict=True)}

    def put(self, entries: Iterable[JournalEntry]) -> None:
        """Enter sources, each in place of its former entry, as one commit."""
        rows = [
            {
                "collection": self._collection,
                "source": entry.source,
                "state": entry.state,
                "records": entry.records,
                "refused": entry.refused,
            }
            for entry in {entry.source: entry for entry in entries}.values()
        ]
        if not rows:
            return
        table = self._open()
        if table is None:
            table = self._connection.create_table(TABLE, schema=_SCHEMA, exist_ok=True)
        merge = table.merge_insert(["collection", "source"]).when_matched_update_all().when_not_matched_insert_all()
        merge.execute(pa.Table.from_pylist(rows, schema=_SCHEMA))

    def _open(self) -> Any:
        try:
            return self._connection.open_table(TABLE)
        except (ValueError, OSError, RuntimeError) as error:
            if "not found" in str(error).lower():
                return None
            raise
