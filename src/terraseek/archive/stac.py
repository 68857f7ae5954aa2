"""Records as STAC Items with their vectors, and back.

A vector stands in `emb:vector`, beside `emb:model` (the model's fingerprint) and `emb:dimensions`. No schema of an
embeddings extension is declared: there is none that is stable, and an item must not claim to follow what cannot be
checked. The record's own fields have the prefix `terraseek:`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import shapely

from ..errors import CorruptError, DatasetError, TerraseekError, UsageError
from ..typing import FloatArray
from .archive import Archive
from .batches import BATCH, Batch, UniqueIds, vectors_of
from .features import datetime_text, record_feature, write_collection
from .manifest import ModelIdentity
from .record import DEFAULT_COLLECTION, INTERNAL_PROPERTIES, Record

__all__ = ["read_items", "record_from_item", "stac_item", "write_stac"]

MAX_BYTES = 1 << 30
"""An ItemCollection is read as one JSON document, which takes some three times its size in memory."""
_OWN = ("source", "window", "collection", "labels", "predicted", "caption")
_RESERVED = frozenset({"datetime", "start_datetime", "end_datetime"})


def stac_item(record: Record, vector_D: FloatArray, model: ModelIdentity) -> dict[str, Any]:
    """A record as a STAC 1.0 Item with its vector."""
    feature = record_feature(record)
    fields = {name: feature["properties"][name] for name in _OWN}
    apart = {key for key in record.properties if _is_taken(key)} | INTERNAL_PROPERTIES
    properties = {key: value for key, value in record.properties.items() if key not in apart}
    properties |= {"terraseek:" + name: value for name, value in fields.items() if value not in (None, [], {})}
    taken = {key: value for key, value in record.properties.items() if key in apart}
    if taken:
        properties["terraseek:properties"] = taken
    properties["datetime"] = None if record.datetime is None else datetime_text(record.datetime)
    if record.datetime is None:
        # STAC allows a null datetime with a range only, and "any time" is the honest one.
        properties |= {"start_datetime": "0001-01-01T00:00:00Z", "end_datetime": "9999-12-31T23:59:59Z"}
    properties |= {"emb:model": model.fingerprint, "emb:dimensions": model.dim, "emb:vector": vector_D.tolist()}
    return {
        **feature,
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "properties": properties,
        "assets": {"image": {"href": record.source, "roles": ["data"]}},
        "links": [],
    }


def _is_taken(name: str) -> bool:
    """Whether a record's property has the name of something that an Item means otherwise."""
    return name in _RESERVED or name.startswith(("terraseek:", "emb:"))


def write_stac(path: Path, archive: Archive, batches: Iterator[Batch]) -> None:
    """Write an ItemCollection."""

    def items() -> Iterator[dict[str, Any]]:
        for batch in batches:
            for record, vector_D in zip(batch.records, batch.vectors_ND, strict=True):
                yield stac_item(record, vector_D, archive.model)

    write_collection(path, items(), {})


def record_from_item(item: dict[str, Any]) -> Record:
    """The record of a STAC Item that `stac_item` wrote, or of another's: its first asset is the source."""
    given = dict(item.get("properties") or {})
    own = {name: given.get("terraseek:" + name) for name in _OWN}
    properties = {key: value for key, value in given.items() if not _is_taken(key)}
    properties |= given.get("terraseek:properties") or {}
    moment = given.get("datetime")
    assets = list((item.get("assets") or {}).values())
    return Record(
        id=str(item["id"]),
        source=own["source"] or (assets[0]["href"] if assets else item["id"]),
        window=own["window"],
        footprint=None if item.get("geometry") is None else shapely.geometry.shape(item["geometry"]),
        datetime=None if moment is None else datetime.fromisoformat(moment),
        labels=own["labels"] or (),
        predicted=own["predicted"] or {},
        caption=own["caption"],
        properties=properties,
        collection=own["collection"] or item.get("collection") or DEFAULT_COLLECTION,
    )


def read_items(path: Path, dim: int) -> tuple[dict[str, Any] | None, Callable[[], Iterator[Batch]]]:
    """The model that an ItemCollection names and its records in batches, as often as they are asked for.

    Raises:
        UsageError: it is larger than `MAX_BYTES`.
        CorruptError: it is no ItemCollection.
        DatasetError: an item has no vector of `dim` dimensions or makes no record, or the items are of several models;
            the message names the item, counted from 1.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UsageError(
            f"{path} has {size / 1e9:.1f} GB, a STAC ItemCollection is read up to {MAX_BYTES / 1e9:.1f}; GeoParquet is "
            "read in parts: export to .parquet and import that"
        )
    try:
        items = json.loads(path.read_text(encoding="utf-8"))["features"]
        properties = [item["properties"] for item in items]
        models = dict.fromkeys(str(given.get("emb:model") or "") for given in properties)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptError(f"{path} is no STAC ItemCollection: {error}") from None
    if items and not any("emb:vector" in given for given in properties):
        raise DatasetError(
            f"{path} holds no vectors (no item has an emb:vector), so there is nothing to search by; of the forms that "
            "`archive export` writes, .parquet and .json hold them"
        )
    if len(models) > 1:
        shown = ", ".join(name[:12] or "none" for name in models)
        raise DatasetError(f"{path}: its items have vectors of {len(models)} models ({shown}); import them one by one")
    model = {"fingerprint": next(iter(models)), "dim": dim} if models else None
    return model, lambda: _batches(path, items, dim)


def _batches(path: Path, items: list[dict[str, Any]], dim: int) -> Iterator[Batch]:
    ids = UniqueIds()
    for start in range(0, len(items), BATCH):
        part = items[start : start + BATCH]

        def place(at: int, start: int = start) -> str:
            return f"{path}: item {start + at + 1}"

        vectors_ND = vectors_of([item["properties"].get("emb:vector") for item in part], dim, place)
        records = tuple(_record_at(item, place(at)) for at, item in enumerate(part))
        for at, record in enumerate(records):
            ids.add(record.id, place(at))
        yield Batch(records=records, vectors_ND=vectors_ND)


def _record_at(item: dict[str, Any], place: str) -> Record:
    try:
        return record_from_item(item)
    except (TerraseekError, ValueError, KeyError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise DatasetError(f"{place}: {reason}") from None
