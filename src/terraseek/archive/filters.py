"""Which records a search may return: checked when made, applied before ranking."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeAlias

import shapely
from shapely.geometry.base import BaseGeometry

from ..errors import QueryError, UsageError
from ..registry import nearest
from .footprint import Bbox, bbox_of, box_geometry, on_globe
from .where import Expression, parse_datetime, parse_where

__all__ = ["Filter", "Interval", "parse_bbox", "parse_interval"]

Interval: TypeAlias = tuple[datetime | None, datetime | None]
"""From and to, both included; None is open."""
MAX_VERTICES = 10_000
MAX_NAMES = 100_000


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Conditions on records; those that are None or empty do not count, the others must all hold.

    Attributes:
        ids: only these records.
        not_ids: none of these records.
        sources: only records of these sources.
        collections: only records of these collections.
        bbox: (west, south, east, north), west > east across the antimeridian; the footprint meets the box.
        within: a geometry in EPSG:4326; the footprint meets it.
        datetime: from, to, both included.
        labels_any: at least one of these labels was given; predicted labels do not count.
        labels_all: each of these labels was given.
        labels_none: none of these labels was given.
        labels_exact: these labels were given and no other; () keeps the records without labels.
        predicted_any: a model predicted at least one of these labels, with a score of `min_score` or more.
        predicted_all: a model predicted each of these labels so.
        predicted_none: a model predicted none of these labels so.
        min_score: what a predicted label's score must reach to count.
        where: property comparisons, see `terraseek.archive.where`.

    Raises:
        QueryError: a value that makes no sense; the message is one line.

    Examples:
        >>> Filter(bbox=(10, 50, 9, 51)).bbox          # west > east: across the antimeridian
        (10.0, 50.0, 9.0, 51.0)
        >>> Filter(bbox=(10, 51, 11, 50))
        Traceback (most recent call last):
        ...
        terraseek.errors.QueryError: bbox 10,51,11,50: south 51 is above north 50; the order is west,south,east,north
    """

    ids: tuple[str, ...] | None = None
    not_ids: tuple[str, ...] = ()
    sources: tuple[str, ...] | None = None
    collections: tuple[str, ...] | None = None
    bbox: Bbox | None = None
    within: BaseGeometry | None = None
    datetime: Interval | None = None
    labels_any: tuple[str, ...] = ()
    labels_all: tuple[str, ...] = ()
    labels_none: tuple[str, ...] = ()
    labels_exact: tuple[str, ...] | None = None
    predicted_any: tuple[str, ...] = ()
    predicted_all: tuple[str, ...] = ()
    predicted_none: tuple[str, ...] = ()
    min_score: float = 0.5
    where: str | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name in ("ids", "sources", "collections", "labels_exact"):
            if getattr(self, name) is not None:
                put(self, name, _names(name, getattr(self, name)))
        for name in ("not_ids", *_LABEL_LISTS):
            put(self, name, _names(name, getattr(self, name)))
        if self.bbox is not None:
            put(self, "bbox", parse_bbox(self.bbox))
        if self.within is not None:
            put(self, "within", _area(self.within))
        if self.datetime is not None:
            put(self, "datetime", parse_interval(self.datetime))
        if (
            isinstance(self.min_score, bool)
            or not isinstance(self.min_score, (int, float))
            or not 0 <= self.min_score <= 1
        ):
            raise QueryError(f"min_score is {self.min_score!r}, it must be in 0..1")
        if self.where is not None:
            _ = self.expression  # parsed now, so that a mistake shows where it was made

    @cached_property
    def expression(self) -> Expression | None:
        """The parsed `where`."""
        return None if self.where is None else parse_where(self.where)

    @property
    def is_empty(self) -> bool:
        """Whether every record passes."""
        return self._values() == _DEFAULTS

    def areas(self) -> list[tuple[Bbox, BaseGeometry]]:
        """What footprints must meet: each geometry with its box."""
        found = [] if self.bbox is None else [(self.bbox, box_geometry(self.bbox))]
        return found if self.within is None else [*found, (bbox_of(self.within), self.within)]

    def to_mapping(self) -> dict[str, Any]:
        """As JSON values, defaults left out; `from_mapping` reads it back.

        >>> Filter(labels_any=("beach",), datetime="2021-01-01/..").to_mapping()
        {'datetime': '2021-01-01T00:00:00+00:00/..', 'labels_any': ['beach']}
        """
        tree = {name: value for name, value in self._values().items() if value != _DEFAULTS[name]}
        for name, value in tree.items():
            if isinstance(value, tuple) and name != "datetime":
                tree[name] = list(value)
        if self.datetime is not None:
            tree["datetime"] = "/".join(".." if end is None else end.isoformat() for end in self.datetime)
        if self.within is not None:
            tree["within"] = shapely.geometry.mapping(self.within)
        return tree

    @classmethod
    def from_mapping(cls, tree: Mapping[str, Any]) -> Filter:
        """Read JSON values: `within` as GeoJSON (geometry, Feature or FeatureCollection), `datetime` as "A/B".

        Raises:
            QueryError: an unknown key (the nearest known one is named) or a bad value.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in tree:
            if key not in known:
                raise QueryError(f"unknown filter {key!r}: {nearest(str(key), known)}")
        values = {key: value for key, value in tree.items() if value is not None}
        if isinstance(values.get("within"), Mapping):
            values["within"] = geometry_from_geojson(values["within"])
        return cls(**values)

    def _values(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


_LABEL_LISTS = tuple(f"{kind}_{how}" for kind in ("labels", "predicted") for how in ("any", "all", "none"))
_DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Filter)}


def _names(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (tuple, list, set, frozenset)):
        raise QueryError(f"{name} is a list of texts, not {value!r:.60}")
    if len(value) > MAX_NAMES:
        raise QueryError(f"{name} has {len(value)} entries, at most {MAX_NAMES} are read")
    for item in value:
        if not isinstance(item, str) or not item:
            raise QueryError(f"{name} is a list of texts, one is {item!r:.60}")
    return tuple(sorted(value)) if isinstance(value, (set, frozenset)) else tuple(value)


def parse_bbox(value: str | Sequence[float]) -> Bbox:
    """A box from text or numbers, checked.

    Raises:
        QueryError: not four finite numbers, south above north, or beyond the globe.

    Examples:
        >>> parse_bbox("170,-20,-170,-10")
        (170.0, -20.0, -170.0, -10.0)
    """
    try:
        numbers = [float(part) for part in (value.split(",") if isinstance(value, str) else value)]
    except (TypeError, ValueError):
        raise QueryError(f"bbox is west,south,east,north in degrees, not {value!r:.80}") from None
    shown = ",".join(f"{number:g}" for number in numbers)
    if len(numbers) != 4:
        raise QueryError(f"bbox {shown} has {len(numbers)} numbers, 4 are needed: west,south,east,north")
    if not all(map(math.isfinite, numbers)):
        raise QueryError(f"bbox {shown} has a number that is not finite")
    west, south, east, north = numbers
    if not (-180 <= west <= 180 and -180 <= east <= 180):
        raise QueryError(f"bbox {shown}: longitudes are in -180..180; across the antimeridian write west > east")
    if not (-90 <= south <= 90 and -90 <= north <= 90):
        raise QueryError(f"bbox {shown}: latitudes are in -90..90; the order is west,south,east,north")
    if south > north:
        raise QueryError(f"bbox {shown}: south {south:g} is above north {north:g}; the order is west,south,east,north")
    return west, south, east, north


def parse_interval(value: str | Interval) -> Interval:
    """A datetime interval "A/B", "A/..", "../B" or "A", both ends included.

    An end is a moment ("2021-07-01T12:00:00Z", as in STAC), or a whole year, month or day: "2021" is from its first to
    its last microsecond, "2021-05/2021-06" is May and June, "../2021" ends with that year. All in UTC where no zone is
    given.

    Raises:
        QueryError: no date, or an interval that ends before it starts.

    Examples:
        >>> [end.isoformat() for end in parse_interval("2021-07-01")]
        ['2021-07-01T00:00:00+00:00', '2021-07-01T23:59:59.999999+00:00']
    """
    if isinstance(value, str):
        ends = value.split("/")
        if len(ends) == 1:
            ends = [value, value]
        if len(ends) != 2:
            raise QueryError(f"datetime {value!r:.80} has {len(ends)} parts; write A/B, A/.. or ../B")
        first, last = (None if end.strip() in ("", "..") else end.strip() for end in ends)
        start = None if first is None else parse_datetime(first)
        stop = None if last is None else parse_datetime(last, end=True)
    else:
        try:
            start, stop = value
        except (TypeError, ValueError):
            raise QueryError(f"datetime is A/B or a pair of datetimes, not {value!r:.80}") from None
        start, stop = _aware(start), _aware(stop)
    if start is None and stop is None:
        raise QueryError(f"datetime {value!r:.80} is open at both ends; leave it out")
    if start is not None and stop is not None and start > stop:
        raise QueryError(f"datetime {start.isoformat()}/{stop.isoformat()} ends before it starts")
    return start, stop


def _aware(moment: object) -> datetime | None:
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        raise QueryError(f"datetime is A/B or a pair of datetimes, not {moment!r:.60}")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _area(geometry: object) -> BaseGeometry:
    if not isinstance(geometry, BaseGeometry):
        raise QueryError(f"within is a geometry, not {type(geometry).__name__}")
    if shapely.get_num_coordinates(geometry) > MAX_VERTICES:
        raise QueryError(
            f"within has {shapely.get_num_coordinates(geometry)} vertices, at most {MAX_VERTICES} are read"
        )
    try:
        return on_globe(geometry)
    except UsageError as error:
        raise QueryError(f"within: {error}") from None


def geometry_from_geojson(tree: Mapping[str, Any]) -> BaseGeometry:
    """The geometry of a GeoJSON geometry, Feature or FeatureCollection (the union of its features).

    Raises:
        QueryError: no GeoJSON, or without a geometry.
    """
    try:
        if tree.get("type") == "FeatureCollection":
            return shapely.union_all([geometry_from_geojson(feature) for feature in tree["features"]])
        return shapely.geometry.shape(tree["geometry"] if tree.get("type") == "Feature" else tree)
    except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
        raise QueryError(f"within is no GeoJSON geometry: {error}") from None
    except RecursionError:
        raise QueryError("within is no GeoJSON geometry: it is nested too deep") from None
