"""GeoParquet 1.1 with an `embedding` column: the file in which archives travel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from ..errors import CorruptError, DatasetError, TerraseekError
from .archive import Archive
from .batches import BATCH, Batch, UniqueIds, vectors_of
from .record import DEFAULT_COLLECTION, Record

__all__ = ["read_geoparquet", "write_geoparquet"]

KNOWN = frozenset(
    {"id", "embedding", "geometry", "bbox", "datetime", "collection", "source", "window", "labels"}
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


def read_geoparquet(path: Path, dim: int) -> tuple[dict[str, Any] | None, Iterator[Batch]]:
    """The model that a file names (None if it names none) and its records, batch by batch.

    Raises:
        CorruptError: it is no Parquet file, or damaged.
        DatasetError: it has no `id` or no `embedding`, or a row that makes no record of `dim` dimensions; the message
            names the row, counted from 1.
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
    return _model_of(path, schema), _batches(path, file, dim)


def _model_of(path: Path, schema: pa.Schema) -> dict[str, Any] | None:
    own = (schema.metadata or {}).get(b"terraseek")
    try:
        return None if own is None else dict(json.loads(own)["model"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{path}: what it says of its model cannot be read: {error}") from None


def _batches(path: Path, file: pq.ParquetFile, dim: int) -> Iterator[Batch]:
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

        rows = chunk.to_pylist()
        vectors_ND = vectors_of([row["embedding"] for row in rows], dim, place)
        records = tuple(_record_at(row, path, place(at)) for at, row in enumerate(rows))
        for at, record in enumerate(records):
            ids.add(record.id, place(at))
        yield Batch(records=records, vectors_ND=vectors_ND)
        first += len(rows)


def _record_at(row: dict[str, Any], path: Path, place: str) -> Record:
    try:
        return _record_of(row, path)
    except (TerraseekError, ValueError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        raise DatasetError(f"{place}: {' '.join(str(error).split())}") from None


def _record_of(row: dict[str, Any], path: Path) -> Record:
    """A record from a row of any GeoParquet with `id` and `embedding`; other columns become properties."""
    properties = row.get("properties")
    properties = json.loads(properties) if isinstance(properties, str) else dict(properties or {})
    for name, value in row.items():
        if name not in KNOWN and isinstance(value, (str, int, float, bool)):
            properties.setdefault(name, value)
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
        footprint=None if row.get("geometry") is None else shapely.from_wkb(row["geometry"]),
        datetime=moment,
        labels=row.get("labels") or (),
        predicted=json.loads(row["predicted"]) if isinstance(row.get("predicted"), str) else {},
        caption=row.get("caption"),
        properties=properties,
        collection=row.get("collection") or DEFAULT_COLLECTION,
        thumbnail=row.get("thumbnail"),
    )
