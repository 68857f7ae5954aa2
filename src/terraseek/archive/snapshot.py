"""One version of an archive in memory: its rows, columns and vectors, read when first asked for and then kept."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..errors import CorruptError
from ..typing import BoolArray, FloatArray
from .index import ExactIndex
from .record import Record
from .schema import RECORD_COLUMNS, checked_thumbnail, record_from_row, vector_checksums, vector_matrix
from .segment import segment_from_batches
from .storage import has_index, scan, storage_errors, take

__all__ = ["VECTOR_ROWS", "RowIds", "Snapshot", "joined"]

RowIds = NDArray[np.uint64]
T = TypeVar("T")
VECTOR_ROWS = 8192
"""Rows of a batch of vectors: 8 MB at 256 dimensions."""


class Snapshot:
    """Version `version` of the records table, pinned; positions 0..size-1 stand for its rows, by rising `_rowid`.

    Columns and vectors are loaded once, on first use. The next version's snapshot takes over what did not change: a
    row's content never changes under its `_rowid` (Lance writes an update as a new row), so that whatever was loaded
    for some row ids can be brought to any later version by comparing row ids, and is when it is first asked for.

    Any question may thus read from disk, and find that a compaction removed the files of its version: `CorruptError`.
    """

    def __init__(self, uri: str, table: Any, version: int, row_ids: RowIds) -> None:
        self.uri = uri
        self.table = table
        self.version = version
        self.row_ids = row_ids
        self.size = len(row_ids)
        self._lock = threading.RLock()
        self._columns: dict[str, tuple[RowIds, pa.Array]] = {}
        self._derived: dict[str, Any] = {}
        self._index: tuple[RowIds, ExactIndex] | None = None

    @classmethod
    def load(cls, uri: str, table: Any, version: int) -> Snapshot:
        """A snapshot with nothing but its row ids."""
        return cls(uri, table, version, scan(table, [])["_rowid"].to_numpy())

    def successor(self, table: Any, version: int) -> Snapshot:
        """The snapshot of a later version, which will read from disk only what this one has not loaded."""
        following = Snapshot.load(self.uri, table, version)
        with self._lock:
            following._columns, following._index = dict(self._columns), self._index
        return following

    def _change(self, loaded: RowIds) -> tuple[BoolArray, RowIds] | None:
        """Which of some loaded rows are still there, and the rows that came after them.

        None where new rows are not all behind the old ones, or are the most: reading in order then beats picking rows.
        """
        if loaded is self.row_ids:
            return np.ones(self.size, np.bool_), self.row_ids[:0]
        keep = np.isin(loaded, self.row_ids, assume_unique=True)
        kept = int(np.count_nonzero(keep))
        fresh = self.row_ids[kept:]
        if 2 * len(fresh) > self.size or not np.array_equal(loaded[keep], self.row_ids[:kept]):
            return None
        return keep, fresh

    def columns(self, names: Sequence[str]) -> dict[str, pa.Array]:
        """Columns of the table in the order of positions, of types with 64-bit offsets (see `joined`)."""
        with self._lock, storage_errors(self.uri, "reading its columns"):
            self._bring_up(names)
            missing = [name for name in names if name not in self._columns]
            if missing:
                found = scan(self.table, missing)
                self._columns |= {name: (self.row_ids, joined(found[name])) for name in missing}
            return {name: self._columns[name][1] for name in names}

    def _bring_up(self, names: Sequence[str]) -> None:
        """Bring columns that an earlier version loaded to this one; those for which that does not pay are dropped."""
        stale = {name: self._columns[name] for name in names if name in self._columns}
        while stale:
            loaded = next(iter(stale.values()))[0]
            alike = {name: stale.pop(name)[1] for name in list(stale) if stale[name][0] is loaded}
            if loaded is self.row_ids:
                continue
            fresh = self._brought_up(loaded, alike)
            for name in alike:  # only now: what cannot be read at the moment may be asked for again
                del self._columns[name]
            self._columns |= {name: (self.row_ids, values) for name, values in fresh.items()}

    def _brought_up(self, loaded: RowIds, columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
        change = self._change(loaded)
        if change is None:
            return {}
        keep, fresh = change
        if not keep.all():
            columns = {name: values.filter(pa.array(keep)) for name, values in columns.items()}
        if len(fresh):
            added = take(self.table, fresh, list(columns))
            columns = {name: pa.concat_arrays([old, joined(added[name])]) for name, old in columns.items()}
        return columns

    def column(self, name: str) -> pa.Array:
        """One column of the table in the order of positions."""
        return self.columns([name])[name]

    def index(self, dim: int) -> ExactIndex:
        """The vectors in memory."""
        with self._lock, storage_errors(self.uri, "reading its vectors"):
            if self._index is None or self._index[0] is not self.row_ids:
                self._index = self.row_ids, self._index_brought_up(dim) or self._index_read(dim)
            return self._index[1]

    def _index_brought_up(self, dim: int) -> ExactIndex | None:
        change = None if self._index is None else self._change(self._index[0])
        if self._index is None or change is None:
            return None
        keep, fresh = change
        batches = (
            vector_matrix(take(self.table, fresh[start : start + VECTOR_ROWS], ["vector"])["vector"])
            for start in range(0, len(fresh), VECTOR_ROWS)
        )
        added = segment_from_batches(batches, len(fresh), dim, self.size - len(fresh))
        return self._index[1].updated(keep, added)

    def _index_read(self, dim: int) -> ExactIndex:
        query = self.table.search().with_row_id(True).select(["vector"])
        filled = 0

        def batches() -> Iterator[FloatArray]:
            nonlocal filled
            for batch in query.to_batches(batch_size=VECTOR_ROWS):
                row_ids = batch["_rowid"].to_numpy()
                if not np.array_equal(row_ids, self.row_ids[filled : filled + len(row_ids)]):
                    raise CorruptError("the rows of its vectors are not those of its records")
                filled += len(row_ids)
                yield vector_matrix(batch["vector"])

        segment = segment_from_batches(batches(), self.size, dim)
        return ExactIndex((segment,) if self.size else (), dim)

    def derived(self, name: str, make: Callable[[], T]) -> T:
        """What `make` makes of this version, made once and kept under a name."""
        with self._lock:
            if name not in self._derived:
                self._derived[name] = make()
            found: T = self._derived[name]
            return found

    @property
    def indexed(self) -> bool:
        """Whether this version has an index over its vectors."""
        return self.derived("indexed", lambda: has_index(self.table))

    # -- ids ------------------------------------------------------------------------------------------------------

    def ids(self, positions: NDArray[np.int64]) -> list[str]:
        """The ids at `positions`."""
        found: list[str] = self.column("id").take(pa.array(positions)).to_pylist()
        return found

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """The position of each id, -1 where there is none."""
        wanted = [name for name in dict.fromkeys(ids) if _is_text(name)]
        which = pc.index_in(self.column("id"), value_set=pa.array(wanted, pa.string()))
        positions = np.flatnonzero(which.is_valid().to_numpy(zero_copy_only=False))
        names = (wanted[at] for at in which.take(pa.array(positions)).to_pylist())
        place = dict(zip(names, positions.tolist(), strict=True))
        return np.array([place.get(name, -1) for name in ids], np.int64)

    def locate(self, row_ids: RowIds) -> NDArray[np.int64]:
        """The positions of rows, by their `_rowid`."""
        return np.searchsorted(self.row_ids, row_ids)

    def sources(self, collection: str | None = None) -> frozenset[str]:
        """The sources that have records, in one collection or in any."""
        columns = self.columns(["source"] if collection is None else ["source", "collection"])
        found = columns["source"]
        if collection is not None:
            found = found.filter(pc.equal(columns["collection"], collection))
        return frozenset(found.unique().to_pylist())

    def source_counts(self, sources: Sequence[str]) -> dict[str, int]:
        """How many records each of `sources` has."""
        column = self.column("source")
        chosen = column.filter(pc.is_in(column, value_set=pa.array(sources, pa.string())))
        return dict.fromkeys(sources, 0) | Counter(chosen.to_pylist())

    # -- rows -----------------------------------------------------------------------------------------------------

    def records(
        self, positions: NDArray[np.int64], *, thumbnails: bool = False, resident: bool = False
    ) -> list[Record]:
        """The records at `positions`, each checked against its checksum.

        Args:
            positions: of the rows, in the order wanted.
            thumbnails: read them too.
            resident: keep all columns in memory, for many more such calls; else read these rows from disk.

        Raises:
            CorruptError: a record or a thumbnail is not what was written.
        """
        if not len(positions):
            return []
        names = [*RECORD_COLUMNS, "crc_record"]
        pictures: list[bytes | None] = [None] * len(positions)
        with storage_errors(self.uri, "reading records"):
            if resident:
                at = pa.array(positions)
                rows = pa.table({name: values.take(at) for name, values in self.columns(names).items()})
            else:
                rows = take(self.table, self.row_ids[positions], names)
            if thumbnails:
                found = take(self.table, self.row_ids[positions], ["id", "thumbnail", "crc_thumbnail"]).to_pylist()
                pictures = [checked_thumbnail(row) for row in found]
            return [record_from_row(row, picture) for row, picture in zip(rows.to_pylist(), pictures, strict=True)]

    def vectors(self, positions: NDArray[np.int64], dim: int) -> FloatArray:
        """The unit vectors at `positions`, (N, D), read from disk and checked.

        Raises:
            CorruptError: a vector is not what was written.
        """
        if not len(positions):
            return np.empty((0, dim), np.float32)
        with storage_errors(self.uri, "reading vectors"):
            rows = take(self.table, self.row_ids[positions], ["id", "vector", "crc_vector"])
        matrix = vector_matrix(rows["vector"])
        intact = pc.equal(vector_checksums(matrix), rows["crc_vector"].combine_chunks()).to_numpy(zero_copy_only=False)
        if not intact.all():
            raise CorruptError(
                f"the vector of record {rows['id'][int(np.argmin(intact))].as_py()!r} has changed on disk"
            )
        return matrix


def joined(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece, its texts, bytes and lists with 64-bit offsets.

    The 32-bit offsets of the table's types end at 2 GiB: enough for each batch that is read, not for all together.
    """
    return column.cast(_wide(column.type)).combine_chunks()


def _wide(kind: pa.DataType) -> pa.DataType:
    """A type with 64-bit offsets wherever `kind` has 32-bit ones."""
    if pa.types.is_string(kind):
        return pa.large_string()
    if pa.types.is_binary(kind):
        return pa.large_binary()
    if pa.types.is_list(kind):
        return pa.large_list(kind.value_field.with_type(_wide(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([part.with_type(_wide(part.type)) for part in kind])
    return kind


def _is_text(name: str) -> bool:
    """Whether UTF-8 has it; an undecodable file name, say, is none that a record could have."""
    return name.encode("utf-8", "ignore").decode("utf-8") == name
