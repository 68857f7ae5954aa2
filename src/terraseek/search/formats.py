"""Hits as JSON, GeoJSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import shapely

from ..archive import Record
from ..archive.table import joined, safe_cell, scored_labels

__all__ = ["CSV_COLUMNS", "feature_collection", "hit_csv", "hit_mapping"]

Row: TypeAlias = tuple[int, float | None, Record]
"""Rank, score and record of a hit."""

CSV_COLUMNS = (
    "rank",
    "id",
    "score",
    "source",
    "collection",
    "datetime",
    "labels",
    "predicted",
    "caption",
    "west",
    "south",
    "east",
    "north",
    "window",
    "properties",
)


def hit_mapping(rank: int, score: float | None, record: Record) -> dict[str, Any]:
    """A hit as JSON values; what a record does not have is null or empty, never left out."""
    return {
        "rank": rank,
        "id": record.id,
        "score": score,
        "source": record.source,
        "window": None if record.window is None else list(record.window),
        "collection": record.collection,
        "datetime": None if record.datetime is None else record.datetime.isoformat(),
        "labels": list(record.labels),
        "predicted": dict(record.predicted),
        "caption": record.caption,
        "bbox": None if record.bbox is None else list(record.bbox),
        "properties": dict(record.properties),
    }


def feature_collection(rows: Iterable[Row]) -> dict[str, Any]:
    """Hits as a GeoJSON FeatureCollection (RFC 7946); a record without a place has a null geometry."""
    return {"type": "FeatureCollection", "features": [_feature(*row) for row in rows]}


def _feature(rank: int, score: float | None, record: Record) -> dict[str, Any]:
    values = hit_mapping(rank, score, record)
    bbox = values.pop("bbox")
    del values["id"]
    # The record's own properties come first: a property named "score" must not hide the hit's.
    feature = {
        "type": "Feature",
        "id": record.id,
        "geometry": None if record.footprint is None else shapely.geometry.mapping(record.footprint),
        "properties": {**values.pop("properties"), **values},
    }
    return feature if bbox is None else {**feature, "bbox": bbox}


def hit_csv(rows: Sequence[Row]) -> str:
    """Hits as CSV (RFC 4180) with a header; see `CSV_COLUMNS` and `safe_cell`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for rank, score, record in rows:
        values = hit_mapping(rank, score, record)
        values |= dict(zip(("west", "south", "east", "north"), record.bbox or (None,) * 4, strict=True))
        values["labels"] = joined(record.labels)
        values["predicted"] = scored_labels(record.predicted)
        values["window"] = " ".join(map(str, record.window or ()))
        values["properties"] = json.dumps(values["properties"], ensure_ascii=False) if record.properties else ""
        writer.writerow([safe_cell(values[name]) for name in CSV_COLUMNS])
    return out.getvalue()
