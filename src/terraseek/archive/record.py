"""One searchable chip of imagery: what it is called, where it lies, what is known about it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from shapely.geometry.base import BaseGeometry

from ..errors import UsageError
from .footprint import Bbox, bbox_of, on_globe

__all__ = ["DEFAULT_COLLECTION", "INTERNAL_PROPERTIES", "SOURCE_STATE", "Record", "Window", "check_collection"]

Window = tuple[int, int, int, int]
"""(column, row, width, height) in pixels of the source."""

DEFAULT_COLLECTION = "default"
SOURCE_STATE = "source_state"
"""The property that keeps the state a record's source was in; by it the next ingest knows what it need not read."""
INTERNAL_PROPERTIES = frozenset({SOURCE_STATE})
"""Properties that travel with a record and say nothing to anybody but an ingest."""
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MAX_ID = 1024
MAX_THUMBNAIL = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Record:
    """One searchable chip.

    Attributes:
        id: stable and unique in the archive; adding the same id again is an update.
        source: href of the file or item that holds the pixels.
        window: where in the source, in pixels; None is the whole of it.
        footprint: where on the globe, EPSG:4326, longitude first; longitudes beyond 180 are wrapped, and a geometry
            across the antimeridian is split. None for imagery without a place.
        datetime: when it was taken; must know its time zone, is kept in UTC.
        labels: given by people or by the data set.
        predicted: labels a model gave, each with its score in 0..1; never mixed with `labels`.
        caption: what is to be seen, in words.
        properties: anything else as JSON (strings, finite numbers, booleans, null, lists, objects).
        collection: the set it belongs to.
        thumbnail: a small JPEG, PNG or WebP, as bytes.

    Raises:
        UsageError: a value that cannot be kept; the message names the record and the field.

    Examples:
        >>> import shapely
        >>> record = Record(id="a", source="a.tif", footprint=shapely.box(10, 50, 11, 51), labels=("beach",))
        >>> record.bbox, record.labels
        ((10.0, 50.0, 11.0, 51.0), ('beach',))
    """

    id: str
    source: str
    window: Window | None = None
    footprint: BaseGeometry | None = None
    datetime: datetime | None = None
    labels: tuple[str, ...] = ()
    predicted: Mapping[str, float] = field(default_factory=dict)
    caption: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    collection: str = DEFAULT_COLLECTION
    thumbnail: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            self._check()
        except UsageError as error:
            raise UsageError(f"record {str(self.id)[:80]!r}: {error}") from None

    def _check(self) -> None:
        put = object.__setattr__  # how a frozen dataclass normalises its own fields
        _check_name("id", self.id, MAX_ID)
        _check_name("source", self.source, 8192)
        check_collection(self.collection)
        if self.window is not None:
            put(self, "window", _window(self.window))
        if self.footprint is not None:
            if not isinstance(self.footprint, BaseGeometry):
                raise UsageError(f"footprint is a shapely geometry or None, not {type(self.footprint).__name__}")
            put(self, "footprint", on_globe(self.footprint))
        if self.datetime is not None:
            put(self, "datetime", _utc(self.datetime))
        put(self, "labels", _labels(self.labels))
        put(self, "predicted", {_label(name): _score(name, score) for name, score in self.predicted.items()})
        if self.caption is not None:
            _check_text("caption", self.caption)
        put(self, "properties", _plain_json(self.properties))
        if self.thumbnail is not None and len(self.thumbnail) > MAX_THUMBNAIL:
            raise UsageError(f"thumbnail has {len(self.thumbnail)} bytes, at most {MAX_THUMBNAIL} are kept")

    @property
    def bbox(self) -> Bbox | None:
        """(west, south, east, north) of the footprint, west > east across the antimeridian; None without one."""
        return None if self.footprint is None else bbox_of(self.footprint)

    @property
    def shown_properties(self) -> dict[str, Any]:
        """The properties without those that only an ingest reads, as results and tables show them."""
        return {name: value for name, value in self.properties.items() if name not in INTERNAL_PROPERTIES}


def check_collection(name: object) -> None:
    """Refuse a name that no collection can have.

    Raises:
        UsageError: it is no text, empty, too long, or has a control character.
    """
    _check_name("collection", name, 256)


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise UsageError(f"{name} is text, not {text!r:.60}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"{name} is not valid Unicode: {text!a:.60}") from None


def _check_name(name: str, text: object, limit: int) -> None:
    _check_text(name, text)
    assert isinstance(text, str)
    if not text or len(text) > limit:
        raise UsageError(f"{name} has {len(text)} characters, it needs 1 to {limit}")
    if CONTROL.search(text):
        raise UsageError(f"{name} has a control character: {text!r:.60}")


def _window(window: object) -> Window:
    try:
        column, row, width, height = (int(number) for number in window)  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"window is (column, row, width, height) in pixels, not {window!r:.60}") from None
    if column < 0 or row < 0 or width <= 0 or height <= 0 or max(column, row, width, height) >= 2**31:
        raise UsageError(f"window {(column, row, width, height)} is empty or starts before the image")
    return column, row, width, height


def _utc(moment: object) -> datetime:
    if not isinstance(moment, datetime):
        raise UsageError(f"datetime is a datetime, not {moment!r:.60}")
    if moment.tzinfo is None:
        raise UsageError(f"datetime {moment.isoformat()} has no time zone; give it one (UTC: add +00:00)")
    return moment.astimezone(UTC)


def _label(name: object) -> str:
    _check_name("label", name, 256)
    return str(name)


def _labels(labels: object) -> tuple[str, ...]:
    if isinstance(labels, str) or not isinstance(labels, (tuple, list, set, frozenset)):
        raise UsageError(f"labels are a sequence of names, not {labels!r:.60}")
    return tuple(sorted({_label(label) for label in labels}))


def _score(name: str, score: object) -> float:
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not 0 <= score <= 1:
        raise UsageError(f"predicted label {name!r} has the score {score!r}, it must be in 0..1")
    return float(score)


def _plain_json(properties: object) -> dict[str, Any]:
    """A copy through JSON: what is kept is what is read back, and a caller's later change cannot reach it."""
    if not isinstance(properties, Mapping) or not all(isinstance(key, str) for key in properties):
        raise UsageError("properties are a mapping from names to JSON values")
    try:
        text = json.dumps(dict(properties), allow_nan=False, ensure_ascii=False)
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        bad = [key for key, value in properties.items() if isinstance(value, float) and not math.isfinite(value)]
        hint = f": {bad[0]!r} is not finite" if bad else f": {error}"
        raise UsageError(f"properties are not JSON{hint}") from None
    return dict(json.loads(text))
