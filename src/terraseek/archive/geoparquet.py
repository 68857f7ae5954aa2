"""GeoParquet 1.1 with an `embedding` column: the file in which archives travel."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from ..errors import CorruptError, DatasetError, TerraseekError
from .archive import Archive
from .batches import BATCH, Batch, UniqueIds, vectors_of
from .features import datetime_text
from .places import GeometryColumn, geometry_column
from .record import DEFAULT_COLLECTION, Record

__all__ = ["read_geoparquet", "write_geoparquet"]

_log = logging.getLogger(__name__)

KNOWN = frozenset(
    {"id", "embedding", "datetime", "collection", "source", "window", "labels"}
    | {"predicted", "caption", "properties", "thumbnail"}
)


def write_geoparquet(path: Path, archive: Archive, batches: Iterator[Batch]) -> None:
    """Write records with vectors, a bbox covering, and the archive's model in the metadata."""
    covering = {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}}
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": [], "covering": covering}},
    }
    metadata = {"geo": json.dumps(geo), **archive.manifest.to_metadata()}
    schema = _parquet_schema(archive.dim).with_metadata(metadata)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_table(_parquet_table(batch, schema), row_group_size=BATCH)


def _parquet_schema(dim: int) -> pa.Schema:
    side = [pa.field(name, pa.float64()) for name in ("xmin", "ymin", "xmax", "ymax")]
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("geometry", pa.binary()),
            pa.field("bbox", pa.struct(side)),
            pa.field("datetime", pa.timestamp("us", "UTC")),
            pa.field("collection", pa.string()),
            pa.field("source", pa.string()),
            pa.field("window", pa.list_(pa.int32())),
            pa.field("labels", pa.list_(pa.string())),
            pa.field("predicted", pa.string()),
            pa.field("caption", pa.string()),
            pa.field("properties", pa.string()),
            pa.field("thumbnail", pa.binary()),
            pa.field("embedding", pa.list_(pa.float32(), dim)),
        ]
    )


def _parquet_table(batch: Batch, schema: pa.Schema) -> pa.Table:
    rows = [
        {
            "id": record.id,
            "geometry": None if record.footprint is None else shapely.to_wkb(record.footprint, byte_order=1),
            # A covering box has xmin <= xmax; a shape across the antimeridian is covered by the whole round.
            "bbox": None
            if record.footprint is None
            else dict(zip(("xmin", "ymin", "xmax", "ymax"), record.footprint.bounds, strict=True)),
            "datetime": record.datetime,
            "collection": record.collection,
            "source": record.source,
            "window": record.window,
            "labels": list(record.labels),
            "predicted": json.dumps(dict(record.predicted)),
            "caption": record.caption,
            "properties": json.dumps(dict(record.properties), ensure_ascii=False),
            "thumbnail": record.thumbnail,
        }
        for record in batch.records
    ]
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in schema if field.name != "embedding"]
    dim = schema.field("embedding").type.list_size
    flat = pa.array(np.asarray(batch.vectors_ND, np.float32).ravel())
    return pa.Table.from_arrays([*columns, pa.FixedSizeListArray.from_arrays(flat, dim)], schema=schema)


def read_geoparquet(path: Path, dim: int) -> tuple[dict[str, Any] | None, Callable[[], Iterator[Batch]]]:
    """The model that a file names (None if it names none) and its records in batches, as often as they are asked for.

    Places are those of the primary geometry column, brought to EPSG:4326. Columns that a record has no field for become
    its properties; of those that no property can hold, such as binary ones, a warning tells the names.

    Raises:
        CorruptError: it is no Parquet file, or damaged.
        DatasetError: it has no `id` or no `embedding`, places that cannot be put on the globe, or a row that makes no
            record of `dim` dimensions; the message names the row, counted from 1.
    """
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise CorruptError(f"{path} is no Parquet file: {str(error).splitlines()[0]}") from None
    schema = file.schema_arrow
    missing = {"id", "embedding"} - set(schema.names)
    if missing:
        shown = ", ".join(schema.names)
        raise DatasetError(f"{path} has no column {', '.join(map(repr, sorted(missing)))}; it has {shown}")
    kind = schema.field("embedding").type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise DatasetError(f"{path}: its column 'embedding' holds {kind}, lists of numbers are needed")
    model, columns = _model_of(path, schema), _columns_of(path, schema)
    return model, lambda: _batches(path, file, columns, dim)


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """What is read of a file: its places, the columns that are a record's fields, and those that become properties."""

    places: GeometryColumn | None
    fields: tuple[str, ...]
    properties: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return [*self.fields, *self.properties, *(() if self.places is None else (self.places.name,))]


def _columns_of(path: Path, schema: pa.Schema) -> _Columns:
    places = geometry_column(path, schema)
    derived = {"bbox"} if places is None else {"bbox", places.name, places.covering}
    others = [field for field in schema if field.name not in KNOWN | derived]
    left_out = [f"{field.name!r} ({field.type})" for field in others if not _is_property(field.type)]
    if left_out:
        _log.warning("%s: columns that no property can hold are left out: %s", path, ", ".join(left_out))
    return _Columns(
        places=places,
        fields=tuple(name for name in schema.names if name in KNOWN),
        properties=tuple(field.name for field in others if _is_property(field.type)),
    )


def _is_property(kind: pa.DataType) -> bool:
    """Whether values of a type can be had as JSON: moments and dates as text, everything else as it is."""
    types = pa.types
    if types.is_dictionary(kind):
        return _is_property(kind.value_type)
    return bool(types.is_timestamp(kind) or types.is_date(kind) or types.is_decimal(kind) or _is_json(kind))


def _is_json(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_json(kind.value_type)
    if types.is_struct(kind):
        return all(_is_json(field.type) for field in kind)
    plain = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_integer,
        types.is_floating,
        types.is_boolean,
    )
    return types.is_null(kind) or any(test(kind) for test in plain)


def _model_of(path: Path, schema: pa.Schema) -> dict[str, Any] | None:
    own = (schema.metadata or {}).get(b"terraseek")
    try:
        return None if own is None else dict(json.loads(own)["model"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{path}: what it says of its model cannot be read: {error}") from None


def _batches(path: Path, file: pq.ParquetFile, columns: _Columns, dim: int) -> Iterator[Batch]:
    ids, first = UniqueIds(), 1
    chunks = file.iter_batches(BATCH)
    while True:
        try:
            chunk = next(chunks, None)
        except (pa.ArrowException, OSError) as error:
            raise CorruptError(f"{path} is damaged after row {first - 1}: {str(error).splitlines()[0]}") from None
        if chunk is None:
            return

        def place(at: int, first: int = first) -> str:
            return f"{path}: row {first + at}"

        rows = _in_microseconds(chunk.select(columns.names)).to_pylist()
        vectors_ND = vectors_of([row["embedding"] for row in rows], dim, place)
        records = tuple(_record_at(row, path, columns, place(at)) for at, row in enumerate(rows))
        for at, record in enumerate(records):
            ids.add(record.id, place(at))
        yield Batch(records=records, vectors_ND=vectors_ND)
        first += len(rows)


def _in_microseconds(chunk: pa.RecordBatch) -> pa.RecordBatch:
    """Moments in microseconds, as Python's hold no nanoseconds."""
    for at, field in enumerate(chunk.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            moments = chunk.column(at).cast(pa.timestamp("us", field.type.tz), safe=False)
            chunk = chunk.set_column(at, field.name, moments)
    return chunk


def _record_at(row: dict[str, Any], path: Path, columns: _Columns, place: str) -> Record:
    try:
        return _record_of(row, path, columns)
    except (TerraseekError, ValueError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        raise DatasetError(f"{place}: {' '.join(str(error).split())}") from None


def _record_of(row: dict[str, Any], path: Path, columns: _Columns) -> Record:
    """A record from a row of any GeoParquet with `id` and `embedding`; other columns become properties."""
    properties = row.get("properties")
    properties = json.loads(properties) if isinstance(properties, str) else _as_json(dict(properties or {}))
    found = {name: _as_json(row[name]) for name in columns.properties}
    properties = {name: value for name, value in found.items() if value is not None} | properties
    places = columns.places
    wkb = None if places is None else row[places.name]
    moment = row.get("datetime")
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if isinstance(moment, datetime) and moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if row["id"] is None:
        raise DatasetError("it has no id")
    return Record(
        id=str(row["id"]),
        source=row.get("source") or path.name,
        window=None if row.get("window") is None else tuple(row["window"]),
        footprint=None if wkb is None or places is None else places.read(wkb),
        datetime=moment,
        labels=row.get("labels") or (),
        predicted=json.loads(row["predicted"]) if isinstance(row.get("predicted"), str) else {},
        caption=row.get("caption"),
        properties=properties,
        collection=row.get("collection") or DEFAULT_COLLECTION,
        thumbnail=row.get("thumbnail"),
    )


def _as_json(value: Any) -> Any:
    """A value of a column as JSON: moments and dates as text, NaN as null, as tables mean it."""
    if isinstance(value, dict):
        return {name: _as_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_as_json(inner) for inner in value]
    if isinstance(value, (float, np.floating)):  # half floats come as numpy's
        return None if math.isnan(value) else float(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return datetime_text(value if value.tzinfo is None else value.astimezone(UTC))
    return value.isoformat() if isinstance(value, date) else value
