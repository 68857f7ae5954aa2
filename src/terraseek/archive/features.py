"""Records as GeoJSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shapely

from .archive import Archive
from .batches import Batch
from .record import Record

__all__ = ["record_feature", "write_collection", "write_geojson"]


def record_feature(record: Record) -> dict[str, Any]:
    """A record as a GeoJSON Feature; its own properties beside the fields that every record has."""
    fields = {
        "source": record.source,
        "window": None if record.window is None else list(record.window),
        "collection": record.collection,
        "datetime": None if record.datetime is None else record.datetime.isoformat().replace("+00:00", "Z"),
        "labels": list(record.labels),
        "predicted": dict(record.predicted),
        "caption": record.caption,
    }
    feature: dict[str, Any] = {
        "type": "Feature",
        "id": record.id,
        "geometry": None if record.footprint is None else shapely.geometry.mapping(record.footprint),
        "properties": {**record.properties, **fields},
    }
    if record.bbox is not None:
        feature["bbox"] = list(record.bbox)
    return feature


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
