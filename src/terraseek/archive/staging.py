"""Rows on their way into an archive: embedded by many workers, kept beside the archive, committed as one.

Each unit of work becomes a table of its own in `staging` below the archive, by the name of what it is made of, and a
second table that says it is whole. So a run that dies loses the units it was at, and the next one takes over the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..config import to_mapping
from ..errors import CorruptError, NotFoundError, Refused
from .archive import RowSource
from .reading import Finished
from .snapshot import joined
from .storage import connect, local_directory, open_table, storage_errors

__all__ = ["Staging", "UnitReport"]

END_SCHEMA = pa.schema([pa.field("report", pa.string(), nullable=False)])
BATCH_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class UnitReport:
    """What became of one unit: how many rows it has, the sources that are whole with it, and what was refused.

    `cut` is whether chips of scenes are among the rows.
    """

    rows: int = 0
    cut: bool = False
    finished: tuple[Finished, ...] = ()
    refused: tuple[Refused, ...] = ()

    def to_text(self) -> str:
        """As JSON."""
        return json.dumps(to_mapping(self))

    @classmethod
    def from_text(cls, text: str) -> UnitReport:
        """Read back what `to_text` wrote."""
        tree = json.loads(text)
        lists = [{name: tuple(end.get(name, ())) for name in ("stale", "guessed")} for end in tree["finished"]]
        finished = tuple(Finished(**{**end, **own}) for end, own in zip(tree["finished"], lists, strict=True))
        refused = tuple(Refused(**item) for item in tree["refused"])
        return cls(rows=tree["rows"], cut=tree["cut"], finished=finished, refused=refused)


class Staging:
    """The staged units of one archive."""

    def __init__(self, uri: str, storage_options: dict[str, str] | None = None) -> None:
        self.uri = f"{uri.rstrip('/')}/staging"
        directory = local_directory(self.uri)
        if directory is not None:
            directory.mkdir(exist_ok=True)
        self.connection = connect(self.uri, storage_options)

    def report(self, unit: str) -> UnitReport | None:
        """The report of a unit that is whole, or None."""
        try:
            with storage_errors(self.uri, "reading what is staged"):
                end = open_table(self.connection, _end(unit), self.uri).to_arrow()
            return UnitReport.from_text(end["report"][0].as_py())
        except (NotFoundError, CorruptError, IndexError, KeyError, ValueError):
            return None

    def write(self, unit: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        """The rows of a unit, in one commit; what an earlier attempt left is replaced."""
        with storage_errors(self.uri, "staging rows"):
            self.connection.create_table(unit, data=batches, schema=schema, mode="overwrite")

    def finish(self, unit: str, report: UnitReport) -> None:
        """Say that a unit is whole."""
        end = pa.Table.from_pylist([{"report": report.to_text()}], schema=END_SCHEMA)
        with storage_errors(self.uri, "staging rows"):
            self.connection.create_table(_end(unit), data=end, mode="overwrite")

    def rows(self, units: Sequence[str], schema: pa.Schema) -> RowSource:
        """The rows of several units one after another; of two with one id the later counts."""
        tables = [open_table(self.connection, unit, self.uri) for unit in units]
        with storage_errors(self.uri, "reading what is staged"):
            parts = [joined(table.search().select(["id"]).to_arrow()["id"]) for table in tables]
        masks = _last_of_each(parts)

        def batches() -> Iterator[pa.RecordBatch]:
            for table, mask in zip(tables, masks, strict=True):
                at = 0
                for batch in table.search().select(schema.names).to_batches(batch_size=BATCH_ROWS):
                    part = batch.filter(pa.array(mask[at : at + len(batch)]))
                    at += len(batch)
                    yield pa.RecordBatch.from_arrays([part[name] for name in schema.names], schema=schema)

        kept = [part.filter(pa.array(mask)) for part, mask in zip(parts, masks, strict=True)]
        return RowSource(kept, lambda: pa.RecordBatchReader.from_batches(schema, batches()))

    def clear(self) -> None:
        """Drop all units: what they hold is in the archive, or will be made again."""
        with storage_errors(self.uri, "clearing what was staged"):
            for name in self._names():
                if name.startswith("unit-"):
                    self.connection.drop_table(name)

    def _names(self) -> list[str]:
        names: list[str] = []
        token = None
        while True:
            page = self.connection.list_tables(limit=1000, page_token=token)
            names += page.tables
            token = page.page_token
            if not token:
                return names


def _end(unit: str) -> str:
    return f"{unit}-end"


def _last_of_each(parts: Sequence[pa.Array]) -> list[Any]:
    """For each part which of its ids do not come again, in it or after it."""
    masks = [np.ones(len(part), bool) for part in parts]
    ids = pa.chunked_array(list(parts), pa.large_string())
    if len(ids.unique()) == len(ids):
        return masks
    seen: set[str] = set()
    for part, mask in zip(reversed(parts), reversed(masks), strict=True):
        for at in range(len(part) - 1, -1, -1):
            name = part[at].as_py()
            mask[at] = name not in seen
            seen.add(name)
    return masks
