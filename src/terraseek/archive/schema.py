"""How records lie in a table: one column per field, a checksum beside each part that could rot.

Lance keeps no checksums of its own; a flipped bit would otherwise come back as another label or another place.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from ..errors import CorruptError, TerraseekError, UsageError
from ..typing import FloatArray
from .record import Record

__all__ = [
    "BBOX_COLUMNS",
    "RECORD_COLUMNS",
    "check_vectors",
    "checked_thumbnail",
    "latest_of_each",
    "record_from_row",
    "records_schema",
    "records_table",
    "row_checksum",
    "vector_checksums",
    "vector_faults",
    "vector_matrix",
]

BBOX_COLUMNS = ("west", "south", "east", "north")
# Everything that makes a Record but its thumbnail, in the order that the checksum reads.
RECORD_COLUMNS = (
    "id",
    "source",
    "window",
    "footprint",
    *BBOX_COLUMNS,
    "datetime",
    "labels",
    "predicted",
    "caption",
    "properties",
    "collection",
)


def records_schema(dim: int, metadata: Mapping[str, str]) -> pa.Schema:
    """The table of an archive whose vectors have `dim` dimensions."""
    predicted = pa.struct([pa.field("label", pa.string()), pa.field("score", pa.float64())])
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dim), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("window", pa.list_(pa.int32(), 4)),
            pa.field("footprint", pa.binary()),
            *(pa.field(side, pa.float64()) for side in BBOX_COLUMNS),
            pa.field("datetime", pa.timestamp("us", "UTC")),
            pa.field("labels", pa.list_(pa.string()), nullable=False),
            pa.field("predicted", pa.list_(predicted), nullable=False),
            pa.field("caption", pa.string()),
            pa.field("properties", pa.string(), nullable=False),
            pa.field("collection", pa.string(), nullable=False),
            pa.field("thumbnail", pa.binary()),
            pa.field("crc_record", pa.uint32(), nullable=False),
            pa.field("crc_vector", pa.uint32(), nullable=False),
            pa.field("crc_thumbnail", pa.uint32(), nullable=False),
        ],
        metadata=dict(metadata),
    )


def check_vectors(ids: Sequence[str], vectors_ND: FloatArray, dim: int) -> FloatArray:
    """The vectors as unit float32 rows.

    Raises:
        UsageError: another shape than (number of ids, dim), or a row that is not finite or all zero; the message
            names the first such record.
    """
    for row, reason in vector_faults(vectors_ND, len(ids), dim).items():
        raise UsageError(f"record {ids[row]!r}: {reason}")
    vectors = np.asarray(vectors_ND).astype(np.float64)
    unit: FloatArray = (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float32)
    return unit


def vector_faults(vectors_ND: FloatArray, count: int, dim: int) -> dict[int, str]:
    """The rows that no archive can keep, in order, each with the reason.

    Raises:
        UsageError: another shape than (count, dim).
    """
    vectors = np.asarray(vectors_ND)
    if vectors.ndim != 2 or vectors.shape != (count, dim):
        raise UsageError(f"vectors have the shape {vectors.shape}, the archive needs {(count, dim)}")
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    finite = np.isfinite(norms)
    # Below this the direction is rounding noise; an encoder that answers so has failed.
    faulty = np.flatnonzero(~finite | (norms < 1e-12))
    zero, infinite = "its vector is zero, it has no direction", "its vector has a value that is not finite"
    return {int(row): zero if finite[row] else infinite for row in faulty}


def records_table(records: Sequence[Record], unit_ND: FloatArray, schema: pa.Schema) -> pa.Table:
    """Records and their unit vectors as rows of the table."""
    rows = [
        {**_row(record), "footprint": wkb, **dict(zip(BBOX_COLUMNS, bbox, strict=True))}
        for record, wkb, bbox in zip(records, *_places(records), strict=True)
    ]
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in RECORD_COLUMNS}
    columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(unit_ND.ravel(), pa.float32()), unit_ND.shape[1])
    columns["thumbnail"] = [record.thumbnail for record in records]
    columns["crc_record"] = [row_checksum(row) for row in rows]
    columns["crc_vector"] = vector_checksums(unit_ND)
    columns["crc_thumbnail"] = [zlib.crc32(record.thumbnail or b"") for record in records]
    arrays = [
        columns[f.name] if isinstance(columns[f.name], pa.Array) else pa.array(columns[f.name], f.type) for f in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _places(records: Sequence[Record]) -> tuple[list[bytes | None], list[Sequence[float | None]]]:
    """WKB and box of each footprint, all at once: one call per record would be most of the time of an `add`."""
    shapes = np.array([record.footprint for record in records], object)
    wkb: list[bytes | None] = shapely.to_wkb(shapes, byte_order=1).tolist()
    boxes: list[Sequence[float | None]] = [(None,) * 4 for _ in records]
    parts = shapely.get_num_geometries(shapes)
    for at, bounds in enumerate(shapely.bounds(shapes).tolist()):
        if parts[at] == 1:
            boxes[at] = bounds
        elif parts[at] > 1:
            boxes[at] = records[at].bbox or boxes[at]
    return wkb, boxes


def _row(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "source": record.source,
        "window": None if record.window is None else list(record.window),
        "datetime": record.datetime,
        "labels": list(record.labels),
        "predicted": [{"label": name, "score": score} for name, score in sorted(record.predicted.items())],
        "caption": record.caption,
        "properties": json.dumps(record.properties, ensure_ascii=False, sort_keys=True) if record.properties else "{}",
        "collection": record.collection,
    }


def row_checksum(row: Mapping[str, Any]) -> int:
    """CRC-32 of one row's `RECORD_COLUMNS`, the same for what was written and for what is read back."""

    def plain(value: Any) -> Any:
        return value.isoformat() if isinstance(value, datetime) else value.hex()

    values = [row[name] for name in RECORD_COLUMNS]
    return zlib.crc32(json.dumps(values, default=plain, ensure_ascii=True).encode("ascii"))


def vector_checksums(unit_ND: FloatArray) -> pa.Array:
    """CRC-32 of each row of a float32 matrix, as bytes in memory (little-endian)."""
    data = np.ascontiguousarray(unit_ND, dtype="<f4")
    return pa.array(np.fromiter((zlib.crc32(row) for row in data), np.uint32, len(data)))


def vector_matrix(column: pa.ChunkedArray | pa.Array) -> FloatArray:
    """A column of vectors as an (N, D) float32 matrix."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    dim = column.type.list_size
    # flatten() honours slices, .values would not.
    matrix: FloatArray = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return matrix


def record_from_row(row: Mapping[str, Any], thumbnail: bytes | None = None) -> Record:
    """The record that a row holds.

    Raises:
        CorruptError: the row's checksum is not that of what was written, or its values make no record.
    """
    if row_checksum(row) != row["crc_record"]:
        raise CorruptError(f"record {row['id']!r:.100} has changed on disk; `archive verify` lists all such records")
    try:
        return Record(
            id=row["id"],
            source=row["source"],
            window=None if row["window"] is None else tuple(row["window"]),
            footprint=None if row["footprint"] is None else shapely.from_wkb(row["footprint"]),
            datetime=row["datetime"],
            labels=tuple(row["labels"]),
            predicted={item["label"]: item["score"] for item in row["predicted"]},
            caption=row["caption"],
            properties=json.loads(row["properties"]),
            collection=row["collection"],
            thumbnail=thumbnail,
        )
    except (TerraseekError, ValueError, shapely.errors.ShapelyError) as error:
        raise CorruptError(f"record {row['id']!r:.100} cannot be read back: {error}") from None


def checked_thumbnail(row: Mapping[str, Any]) -> bytes | None:
    """The thumbnail of a row with `id`, `thumbnail` and `crc_thumbnail`.

    Raises:
        CorruptError: it is not what was written.
    """
    picture: bytes | None = row["thumbnail"]
    if zlib.crc32(picture or b"") != row["crc_thumbnail"]:
        raise CorruptError(f"the thumbnail of record {row['id']!r:.100} has changed on disk")
    return picture


def latest_of_each(records: Iterable[Record]) -> list[int]:
    """Positions of the last record of each id, in order: of two with one id in a batch, the later is the update."""
    last = {record.id: position for position, record in enumerate(records)}
    return sorted(last.values())
