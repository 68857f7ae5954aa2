"""One version of an archive in memory: its columns, read when first asked for, and which rows a filter keeps."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from ..errors import CorruptError, QueryError
from ..registry import nearest
from ..typing import BoolArray, FloatArray
from .filters import Filter, Interval
from .footprint import Bbox
from .index import ExactIndex, Segment, segment_from_batches
from .record import Record
from .schema import BBOX_COLUMNS, RECORD_COLUMNS, checked_thumbnail, record_from_row, vector_checksums, vector_matrix
from .storage import SCAN_ROWS, has_index, scan, take
from .where import RECORD_FIELDS

__all__ = ["Snapshot"]

logger = logging.getLogger(__name__)

RowIds = NDArray[np.uint64]


class Snapshot:
    """Version `version` of the records table, pinned; positions 0..size-1 stand for its rows.

    Columns are loaded once, on first use; the next version's snapshot takes over what did not change (a row's content
    never changes under its `_rowid`: Lance writes an update as a new row).
    """

    def __init__(self, table: Any, version: int, row_ids: RowIds) -> None:
        self.table = table
        self.version = version
        self.row_ids = row_ids
        self.size = len(row_ids)
        self._lock = threading.RLock()
        self._columns: dict[str, pa.Array] = {}
        self._derived: dict[str, Any] = {}
        self._index: ExactIndex | None = None

    @classmethod
    def load(cls, table: Any, version: int) -> Snapshot:
        """A snapshot with nothing but its row ids."""
        return cls(table, version, scan(table, [])["_rowid"].to_numpy())

    def successor(self, table: Any, version: int) -> Snapshot:
        """The snapshot of another version, with the loaded columns and vectors brought up to date."""
        row_ids = scan(table, [])["_rowid"].to_numpy()
        keep = np.isin(self.row_ids, row_ids)
        fresh = row_ids[~np.isin(row_ids, self.row_ids)]
        if 2 * len(fresh) > len(row_ids):  # compacted, mostly: reading in order beats picking rows
            return Snapshot(table, version, row_ids)
        following = Snapshot(table, version, np.concatenate([self.row_ids[keep], fresh]))
        with self._lock:
            columns, index = dict(self._columns), self._index
        mask = pa.array(keep)
        if columns:
            added = take(table, fresh, list(columns)) if len(fresh) else None
            for name, values in columns.items():
                kept = values.filter(mask)
                following._columns[name] = (
                    kept if added is None else pa.concat_arrays([kept, added[name].combine_chunks()])
                )
        if index is not None:
            added_rows = following._read_segment(fresh, int(np.count_nonzero(keep)), index.dim)
            following._index = index.updated(keep, added_rows)
        return following

    def _read_segment(self, row_ids: RowIds, first: int, dim: int) -> Segment | None:
        if not len(row_ids):
            return None
        batches = (
            vector_matrix(take(self.table, row_ids[start : start + SCAN_ROWS], ["vector"])["vector"])
            for start in range(0, len(row_ids), SCAN_ROWS)
        )
        return segment_from_batches(batches, len(row_ids), dim, first)

    def columns(self, names: Sequence[str]) -> dict[str, pa.Array]:
        """Columns of the table in the order of positions."""
        with self._lock:
            missing = [name for name in names if name not in self._columns]
            if missing:
                found = scan(self.table, missing)
                order = None
                if (found["_rowid"].to_numpy() != self.row_ids).any():
                    order = pa.array(np.argsort(np.argsort(self.row_ids)))
                for name in missing:
                    values = found[name].combine_chunks()
                    self._columns[name] = values if order is None else values.take(order)
            return {name: self._columns[name] for name in names}

    def column(self, name: str) -> pa.Array:
        """One column of the table in the order of positions."""
        return self.columns([name])[name]

    def index(self, dim: int) -> ExactIndex:
        """The vectors in memory."""
        with self._lock:
            if self._index is None:
                query = self.table.search().with_row_id(True).select(["vector"])
                reader = query.to_batches(batch_size=SCAN_ROWS)
                row_ids: list[RowIds] = []

                def batches() -> Any:
                    for batch in reader:
                        row_ids.append(batch["_rowid"].to_numpy())
                        yield vector_matrix(batch["vector"])

                segment = segment_from_batches(batches(), self.size, dim)
                read = np.concatenate(row_ids) if row_ids else np.empty(0, np.uint64)
                if (read != self.row_ids).any():
                    order = np.argsort(self.row_ids)
                    segment = Segment(segment.index, order[np.searchsorted(self.row_ids[order], read)])
                self._index = ExactIndex((segment,) if self.size else (), self.size, dim)
            return self._index

    def _derive(self, name: str, make: Callable[[], Any]) -> Any:
        with self._lock:
            if name not in self._derived:
                self._derived[name] = make()
            return self._derived[name]

    @property
    def indexed(self) -> bool:
        """Whether this version has an index over its vectors."""
        return bool(self._derive("indexed", lambda: has_index(self.table)))

    # -- ids ------------------------------------------------------------------------------------------------------

    def ids(self, positions: NDArray[np.int64]) -> list[str]:
        """The ids at `positions`."""
        found: list[str] = self.column("id").take(pa.array(positions)).to_pylist()
        return found

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """The position of each id, -1 where there is none."""
        table: dict[str, int] = self._derive(
            "positions", lambda: {name: at for at, name in enumerate(self.column("id").to_pylist())}
        )
        return np.array([table.get(name, -1) for name in ids], np.int64)

    def locate(self, row_ids: RowIds) -> NDArray[np.int64]:
        """The positions of rows, by their `_rowid`."""
        order = self._derive("order", lambda: np.argsort(self.row_ids))
        at = np.searchsorted(self.row_ids, row_ids, sorter=order)
        found: NDArray[np.int64] = order[at]
        return found

    def source_counts(self, sources: Sequence[str]) -> dict[str, int]:
        """How many records each of `sources` has."""
        column = self.column("source")
        chosen = column.filter(pc.is_in(column, value_set=pa.array(sources, pa.string())))
        return dict.fromkeys(sources, 0) | Counter(chosen.to_pylist())

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
        if resident:
            rows = pa.table({name: values.take(pa.array(positions)) for name, values in self.columns(names).items()})
        else:
            rows = take(self.table, self.row_ids[positions], names)
        pictures: list[bytes | None] = [None] * len(positions)
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
        rows = take(self.table, self.row_ids[positions], ["id", "vector", "crc_vector"])
        matrix = vector_matrix(rows["vector"])
        intact = pc.equal(vector_checksums(matrix), rows["crc_vector"].combine_chunks()).to_numpy(zero_copy_only=False)
        if not intact.all():
            raise CorruptError(
                f"the vector of record {rows['id'][int(np.argmin(intact))].as_py()!r} has changed on disk"
            )
        return matrix

    # -- filters --------------------------------------------------------------------------------------------------

    def mask(self, condition: Filter) -> BoolArray | None:
        """Which positions pass, (size,); None where all do without a look.

        Raises:
            QueryError: the filter names a label that no record has.
        """
        if condition.is_empty:
            return None
        masks = [
            *self._membership(condition),
            *(self._meets(bbox, area) for bbox, area in condition.areas()),
            *self._label_masks(condition),
        ]
        if condition.datetime is not None:
            masks.append(self._during(condition.datetime))
        if condition.expression is not None:
            masks.append(condition.expression.keeps(self.values, self.size))
        mask: BoolArray | None = np.logical_and.reduce(masks) if masks else None
        return mask

    def _membership(self, condition: Filter) -> list[BoolArray]:
        masks = []
        if condition.ids is not None:
            mask = np.zeros(self.size, np.bool_)
            found = self.find(condition.ids)
            mask[found[found >= 0]] = True
            masks.append(mask)
        if condition.not_ids:
            mask = np.ones(self.size, np.bool_)
            found = self.find(condition.not_ids)
            mask[found[found >= 0]] = False
            masks.append(mask)
        for name, wanted in (("source", condition.sources), ("collection", condition.collections)):
            if wanted is not None:
                values = pa.array(wanted, pa.string())
                masks.append(pc.is_in(self.column(name), value_set=values).to_numpy(zero_copy_only=False))
        return masks

    def _meets(self, bbox: Bbox, area: shapely.Geometry) -> BoolArray:
        """Footprints that meet the area: boxes first, then the shapes of those whose box alone does not tell."""
        columns = self.columns([*BBOX_COLUMNS, "footprint"])
        west, south, east, north = (columns[side].to_numpy(zero_copy_only=False) for side in BBOX_COLUMNS)
        w, s, e, n = bbox
        with np.errstate(invalid="ignore"):  # NaN: no footprint
            possible = (north >= s) & (south <= n) & _longitudes_meet(west, east, w, e)
            plain_box = west <= east
        rectangle = area.geom_type == "Polygon" and area.equals(shapely.box(w, s, e, n))
        sure = np.zeros(self.size, np.bool_)
        if rectangle:
            sure = possible & plain_box & (west >= w) & (east <= e) & (south >= s) & (north <= n)
        unsure = np.flatnonzero(possible & ~sure)
        if len(unsure):
            shapely.prepare(area)
            shapes = shapely.from_wkb(columns["footprint"].take(pa.array(unsure)).to_numpy(zero_copy_only=False))
            sure[unsure[shapely.intersects(area, shapes)]] = True
        return sure

    def _during(self, interval: Interval) -> BoolArray:
        moments = self.values("datetime")
        mask: BoolArray = ~np.isnat(moments)
        start, stop = interval
        if start is not None:
            mask &= moments >= np.datetime64(start.replace(tzinfo=None), "us")
        if stop is not None:
            mask &= moments <= np.datetime64(stop.replace(tzinfo=None), "us")
        return mask

    # -- labels ---------------------------------------------------------------------------------------------------

    def given_labels(self) -> Mapping[str, NDArray[np.int64]]:
        """For each label that was given, the positions that have it."""
        found: dict[str, NDArray[np.int64]] = self._derive("labels", lambda: _inverted(self.column("labels")))
        return found

    def predicted_labels(self, min_score: float) -> Mapping[str, NDArray[np.int64]]:
        """For each label that a model predicted, the positions where it did with `min_score` or more, if any."""
        scored: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = self._derive(
            "predicted", lambda: _inverted_predicted(self.column("predicted"))
        )
        return {label: rows[scores >= min_score] for label, (rows, scores) in scored.items()}

    def _label_masks(self, condition: Filter) -> list[BoolArray]:
        masks: list[BoolArray] = []
        wanted = (condition.labels_any, condition.labels_all, condition.labels_none)
        if any(wanted) or condition.labels_exact is not None:
            masks += self._having("label", self.given_labels(), *wanted, condition.labels_exact)
        wanted = (condition.predicted_any, condition.predicted_all, condition.predicted_none)
        if any(wanted):
            masks += self._having("predicted label", self.predicted_labels(float(condition.min_score)), *wanted)
        return masks

    def _having(
        self,
        what: str,
        having: Mapping[str, NDArray[np.int64]],
        any_of: Sequence[str],
        all_of: Sequence[str],
        none_of: Sequence[str],
        exactly: Sequence[str] | None = None,
    ) -> Iterator[BoolArray]:
        for label in sorted({*any_of, *all_of, *(exactly or ())} - having.keys()):
            raise QueryError(f"no record has the {what} {label!r}: {nearest(label, list(having))}"[:400])
        for label in sorted(set(none_of) - having.keys()):
            logger.warning("no record has the %s %r, so asking for none with it leaves nothing out", what, label)

        def counts(labels: Iterable[str]) -> NDArray[np.int32]:
            count = np.zeros(self.size, np.int32)
            for label in set(labels):
                count[having[label]] += 1
            return count

        if any_of:
            yield counts(any_of) > 0
        if all_of:
            yield counts(all_of) == len(set(all_of))
        if none_of:
            yield counts(set(none_of) & having.keys()) == 0
        if exactly is not None:
            yield (counts(exactly) == len(set(exactly))) & (counts(having) == len(set(exactly)))

    # -- properties -----------------------------------------------------------------------------------------------

    def values(self, name: str) -> NDArray[Any]:
        """A field's or property's values as `where` compares them: float64, datetime64 or object."""
        return np.asarray(self._derive(f"values {name}", lambda: self._values(name)))

    def _values(self, name: str) -> NDArray[Any]:
        if name == "datetime":
            moments: NDArray[Any] = self.column("datetime").cast(pa.timestamp("us")).to_numpy(zero_copy_only=False)
            return moments.astype("datetime64[us]")
        if name in RECORD_FIELDS:
            return np.asarray(self.column(name).to_numpy(zero_copy_only=False))
        values = [_lookup(tree, name) for tree in self._properties()]
        if all(isinstance(value, float) or type(value) is int or value is None for value in values):
            return np.array([_number(value) for value in values], np.float64)
        column = np.empty(self.size, object)
        column[:] = [None if isinstance(value, (list, dict)) else value for value in values]
        return column

    def _properties(self) -> list[dict[str, Any]]:
        # Archives repeat few property sets (one per scene): each distinct text is parsed once.
        encoded = self.column("properties").dictionary_encode()
        parsed = [json.loads(text) for text in encoded.dictionary.to_pylist()]
        return [parsed[at] for at in encoded.indices.to_pylist()]


def _number(value: float | None) -> float:
    """NaN for nothing; whole numbers have no largest in JSON, floats do: beyond it lies infinity."""
    try:
        return math.nan if value is None else float(value)
    except OverflowError:
        return math.inf if value and value > 0 else -math.inf


def _lookup(tree: dict[str, Any], name: str) -> Any:
    if name in tree:
        return tree[name]
    inside: Any = tree
    for part in name.split("."):
        if not isinstance(inside, dict) or part not in inside:
            return None
        inside = inside[part]
    return inside


def _longitudes_meet(west: NDArray[Any], east: NDArray[Any], w: float, e: float) -> BoolArray:
    """Whether two longitude ranges meet, either of which may cross the antimeridian (west > east)."""
    crossing: BoolArray = west > east
    meet: BoolArray = (east >= w) & (west <= e)
    if w > e:
        meet = (east >= w) | (west <= e)
        meet |= crossing
        return meet
    either: BoolArray = np.where(crossing, (e >= west) | (w <= east), meet)
    return either


def _inverted(column: pa.Array) -> dict[str, NDArray[np.int64]]:
    """For each value of a list column, the rows that hold it."""
    rows = pc.list_parent_indices(column).to_numpy(zero_copy_only=False).astype(np.int64)
    return {name: rows[at] for name, at in _places(column.flatten()).items()}


def _places(values: pa.Array) -> dict[str, NDArray[np.int64]]:
    """For each value of a column, where it stands."""
    encoded = values.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable").astype(np.int64)
    ends = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1))
    names = encoded.dictionary.to_pylist()
    return {name: order[ends[at] : ends[at + 1]] for at, name in enumerate(names)}


def _inverted_predicted(column: pa.Array) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """For each label of a column of predictions, the rows that hold it and its scores there."""
    rows = pc.list_parent_indices(column).to_numpy(zero_copy_only=False).astype(np.int64)
    items = column.flatten()
    scores = items.field("score").to_numpy(zero_copy_only=False)
    return {label: (rows[at], scores[at]) for label, at in _places(items.field("label")).items()}
