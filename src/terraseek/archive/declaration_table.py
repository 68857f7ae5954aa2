"""The declarations of an archive's collections: a table beside the records, one row for each collection.

A declaration is committed before the first chips that are cut by it. Killed between the two, the archive has one that
nothing is cut by yet, and never chips without one; those are of older releases and of imports alone.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from ..config import from_mapping, to_mapping
from ..errors import ConfigError, CorruptError, IntegrityError, NotFoundError
from ..geo import ChipConfig
from ..images import printable
from .compaction import compact_table
from .declaration import Chipping, settle_chipping
from .reports import Problem
from .storage import open_table, scan, storage_errors
from .versions import TRIES

__all__ = ["DeclarationTable"]

TABLE = "declarations"
SCHEMA = pa.schema(
    [
        pa.field("collection", pa.string(), nullable=False),
        pa.field("chip", pa.string(), nullable=False),
        pa.field("crc", pa.uint32(), nullable=False),
    ]
)


class DeclarationTable:
    """The declarations of one archive; its caller holds the writer's turn where something is written."""

    def __init__(self, uri: str, connection: Any) -> None:
        self._uri = uri
        self._connection = connection

    def read(self) -> dict[str, ChipConfig]:
        """What is declared, by collection.

        Raises:
            CorruptError: a declaration is not what was written.
            IntegrityError: one that this version does not understand.
        """
        return {row["collection"]: self._declared(row) for row in self._rows()}

    def declare(
        self,
        collection: str,
        chip: Chipping = None,
        *,
        redeclare: bool = False,
        before_anew: Callable[[], None] = lambda: None,
    ) -> ChipConfig:
        """Declare a collection, see `settle_chipping`, in one commit; none where it is declared so.

        Args:
            collection: its name.
            chip: how its scenes are read.
            redeclare: let it replace what is declared.
            before_anew: called where it does, before it does.

        Raises:
            UsageError: it is declared otherwise and `redeclare` is off, or no collection can have this name.
        """
        declared = self.read().get(collection)
        settled = settle_chipping(collection, declared, chip, redeclare=redeclare)
        if declared not in (None, settled):
            before_anew()
        if declared != settled:
            self.write(collection, settled)
        return settled

    def declare_all(self, chips: Mapping[str, ChipConfig]) -> None:
        """Declare collections of which none may be declared otherwise."""
        for collection, chip in chips.items():
            self.declare(collection, chip)

    def write(self, collection: str, chip: ChipConfig) -> None:
        """Declare, in place of what was declared for this collection; one commit."""
        text = json.dumps(to_mapping(chip), sort_keys=True)
        row = {"collection": collection, "chip": text, "crc": _checksum(collection, text)}
        with storage_errors(self._uri, "declaring a collection"):
            table = self._connection.create_table(TABLE, schema=SCHEMA, exist_ok=True)
            merging = table.merge_insert("collection").when_matched_update_all().when_not_matched_insert_all()
            merging.execute(pa.Table.from_pylist([row], schema=SCHEMA))

    def compact(self) -> None:
        """Remove the bytes of what was replaced."""
        try:
            with storage_errors(self._uri, "compacting its declarations"):
                compact_table(open_table(self._connection, TABLE, self._uri), TABLE, "collection", self._uri)
        except NotFoundError:
            return

    def problems(self) -> list[Problem]:
        """What is not as it was written."""
        try:
            return [Problem(kind="declaration", detail=self._changed(row)) for row in self._rows() if not _intact(row)]
        except CorruptError as error:
            detail = f"the declarations of its collections cannot be read: {error}"
            return [Problem(kind="declaration", detail=detail)]

    def drop_damaged(self) -> None:
        """Take out what `problems` names; where nothing can be read, all there is."""
        try:
            doomed = [row["_rowid"] for row in self._rows() if not _intact(row)]
            if doomed:
                with storage_errors(self._uri, "repairing its declarations"):
                    table = open_table(self._connection, TABLE, self._uri)
                    table.delete(f"_rowid IN ({', '.join(map(str, doomed))})")
        except CorruptError:
            with storage_errors(self._uri, "repairing its declarations"):
                self._connection.drop_table(TABLE, ignore_missing=True)

    def _rows(self) -> list[dict[str, Any]]:
        for _ in range(TRIES - 1):
            try:
                return self._newest_rows()
            except CorruptError:  # damage, or files that a compaction removed since the table was opened
                continue
        return self._newest_rows()

    def _newest_rows(self) -> list[dict[str, Any]]:
        try:
            with storage_errors(self._uri, "reading its declarations"):
                table = open_table(self._connection, TABLE, self._uri)
                rows: list[dict[str, Any]] = scan(table, SCHEMA.names).to_pylist()
                return rows
        except NotFoundError:
            return []

    def _declared(self, row: dict[str, Any]) -> ChipConfig:
        if not _intact(row):
            raise CorruptError(f"{self._uri}: {self._changed(row)}; run `archive repair`, then `archive declare`")
        try:
            return from_mapping(ChipConfig, json.loads(row["chip"]))
        except (ConfigError, ValueError) as error:
            raise IntegrityError(
                f"{self._uri}: this terraseek does not understand how the collection {_name(row)} is declared "
                f"({error}); install the version that declared it"
            ) from None

    def _changed(self, row: dict[str, Any]) -> str:
        return f"the declaration of the collection {_name(row)} has changed on disk"


def _intact(row: dict[str, Any]) -> bool:
    return bool(_checksum(row["collection"], row["chip"]) == row["crc"])


def _checksum(collection: str, text: str) -> int:
    return zlib.crc32(json.dumps([collection, text]).encode())


def _name(row: dict[str, Any]) -> str:
    return f"{printable(row['collection'])!r:.100}"
