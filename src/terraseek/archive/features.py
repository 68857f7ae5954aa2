"""Records as JSON and GeoJSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import shapely

from .archive import Archive
from .batches import Batch
from .record import Record

__all__ = ["datetime_text", "record_feature", "record_mapping", "write_collection", "write_geojson"]


def record_mapping(record: Record) -> dict[str, Any]:
    """A record as JSON values but for its thumbnail; what it does not have is null or empty, never left out.

    Properties that only an ingest reads are left out, so this is not the whole of a record.
    """
    return {
        "id": record.id,
        "source": record.source,
        "window": None if record.window is None else list(record.window),
        "collection": record.collection,
        "datetime": None if record.datetime is None else datetime_text(record.datetime),
        "labels": list(record.labels),
        "predicted": dict(record.predicted),
        "caption": record.caption,
        "bbox": None if record.bbox is None else list(record.bbox),
        "properties": record.shown_properties,
    }


def datetime_text(moment: datetime) -> str:
    """A moment in UTC as RFC 3339 and STAC write it.

    >>> from datetime import UTC
    >>> datetime_text(datetime(2021, 7, 1, 12, tzinfo=UTC))
    '2021-07-01T12:00:00Z'
    """
    return moment.isoformat().replace("+00:00", "Z")


def record_feature(record: Record, **more: Any) -> dict[str, Any]:
    """A record as a GeoJSON Feature (RFC 7946): its own properties beside the fields that every record has.

    Args:
        record: without a place its geometry is null.
        more: further properties. Neither they nor the fields are hidden by a property of the same name.
    """
    fields = record_mapping(record)
    identity, bbox, own = fields.pop("id"), fields.pop("bbox"), fields.pop("properties")
    feature = {
        "type": "Feature",
        "id": identity,
        "geometry": None if record.footprint is None else shapely.geometry.mapping(record.footprint),
        "properties": {**own, **fields, **more},
    }
    return feature if bbox is None else {**feature, "bbox": bbox}


def write_geojson(path: Path, archive: Archive, batches: Iterator[Batch]) -> None:
    """Write a FeatureCollection; vectors are left out."""

    def features() -> Iterator[dict[str, Any]]:
        for batch in batches:
            yield from map(record_feature, batch.records)

    write_collection(path, features(), {"terraseek:model": archive.model.fingerprint})


def write_collection(path: Path, features: Iterator[dict[str, Any]], extra: dict[str, Any]) -> None:
    """Feature by feature: an archive need not fit in memory as JSON."""
    with path.open("w", encoding="utf-8") as out:
        head = json.dumps({"type": "FeatureCollection", **extra}, ensure_ascii=False)
        out.write(head[:-1] + ', "features": [')
        for at, feature in enumerate(features):
            out.write((",\n" if at else "\n") + json.dumps(feature, ensure_ascii=False, allow_nan=False))
        out.write("\n]}\n")
