"""Which sources an archive holds completely: a table of notes beside the records.

The notes are a cache. Where they are lost or damaged, sources are read again and nothing else happens; so they are
never repaired, but made anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa

from ..errors import CorruptError, NotFoundError
from .compaction import compact_table
from .storage import open_table, quote, storage_errors

__all__ = ["SOURCES", "SourceNotes"]

logger = logging.getLogger(__name__)

SOURCES = "sources"
SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("records", pa.int64(), nullable=False),
    ]
)


class SourceNotes:
    """The notes of one archive; its caller holds the writer's lock where something is written."""

    def __init__(self, uri: str, connection: Any) -> None:
        self._uri = uri
        self._connection = connection

    def make(self) -> Any:
        """The table, made if it is not there."""
        return self._connection.create_table(SOURCES, schema=SCHEMA, exist_ok=True)

    def read(self, present: Iterable[str]) -> dict[str, str]:
        """The state of each noted source, without those that have lost all their records.

        Args:
            present: the sources that have records.
        """
        there = frozenset(present)
        rows = self._rows()
        return {row["source"]: row["state"] for row in rows if row["records"] == 0 or row["source"] in there}

    def write(self, states: Mapping[str, str], counts: Mapping[str, int]) -> None:
        """Note sources as complete in a state, with so many records."""
        rows = [{"source": name, "state": state, "records": counts[name]} for name, state in states.items()]
        noted = pa.Table.from_pylist(rows, schema=SCHEMA)
        self._change(
            lambda table: (
                table.merge_insert("source").when_matched_update_all().when_not_matched_insert_all().execute(noted)
            )
        )

    def forget(self, sources: frozenset[str] | None) -> None:
        """Take out the notes on these sources; None takes out all."""
        if sources is None:
            self._change(lambda table: table.delete("true"))
        elif sources:
            self._change(lambda table: table.delete(f"source IN ({', '.join(map(quote, sorted(sources)))})"))

    def compact(self, present: Iterable[str]) -> None:
        """Take out the notes on sources that have lost all their records, and the bytes of what was replaced."""
        there = frozenset(present)
        self.forget(frozenset(row["source"] for row in self._rows() if row["records"] and row["source"] not in there))
        self._change(lambda table: compact_table(table, SOURCES, "source", self._uri))

    def _change(self, change: Callable[[Any], object]) -> None:
        try:
            with storage_errors(self._uri, "noting sources"):
                change(self.make())
        except CorruptError as error:
            logger.warning("%s: the notes on its sources are damaged and are made anew (%s)", self._uri, error)
            with storage_errors(self._uri, "noting sources"):
                self._connection.drop_table(SOURCES, ignore_missing=True)
                change(self.make())

    def _rows(self) -> list[dict[str, Any]]:
        try:
            with storage_errors(self._uri, "reading its sources"):
                table = open_table(self._connection, SOURCES, self._uri)
                rows: list[dict[str, Any]] = table.search().to_arrow().to_pylist()
                return rows
        except NotFoundError:
            return []
        except CorruptError as error:
            logger.warning("%s: the notes on its sources are damaged, all are read again (%s)", self._uri, error)
            return []
