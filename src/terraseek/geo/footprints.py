"""From a window of pixels to its outline on the Earth: EPSG:4326, valid across the antimeridian and at the poles.

Geometry follows GeoJSON (RFC 7946): longitude first, outlines cut at the antimeridian into a MultiPolygon
(section 3.1.9). A window that holds a pole reaches up to it at every longitude.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from rasterio import Affine
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

__all__ = ["Georeference"]

PixelToMap = Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]

# A straight edge in pixels is a curve in longitude and latitude. Small windows show no bend at a few points and keep
# their corners only; others are followed in pieces: 16 keep a polar scene of 2,000 km within a hundredth of a degree.
_FEW, _MANY = 4, 16
_Number: TypeAlias = float | NDArray[np.float64]
_RELATIVE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Georeference:
    """Where a raster lies: pixel corners to coordinates of `crs` by `to_map` (columns, rows) -> (x, y).

    Pixel coordinates are those of corners: (0, 0) is the upper left corner of the first pixel.
    """

    crs: pyproj.CRS
    to_map: PixelToMap = field(repr=False)
    transform: Affine | None = None

    @classmethod
    def from_transform(cls, crs: pyproj.CRS, transform: Affine) -> Georeference:
        """A raster whose pixels lie on a regular grid, rotated or not."""

        def to_map(
            columns: NDArray[np.float64], rows: NDArray[np.float64]
        ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            a, b, c, d, e, f = transform[:6]
            return a * columns + b * rows + c, d * columns + e * rows + f

        return cls(crs, to_map, transform)

    def footprint(self, column: float, row: float, width: float, height: float) -> BaseGeometry | None:
        """The outline of a window of pixels in EPSG:4326: a Polygon, or a MultiPolygon across the antimeridian.

        Returns None where the window lies outside what its projection can express.

        Examples:
            >>> utm = Georeference.from_transform(pyproj.CRS(32618), Affine(10, 0, 500_000, 0, -10, 4_000_000))
            >>> [round(value, 4) for value in utm.footprint(0, 0, 100, 100).bounds]
            [-75.0, 36.1357, -74.9889, 36.1447]
        """
        return self.footprints([(column, row, width, height)])[0]

    def footprints(self, windows: Sequence[Sequence[float]]) -> list[BaseGeometry | None]:
        """`footprint` of many windows (column, row, width, height) in one go, which takes a fraction of the time.

        Examples:
            >>> utm = Georeference.from_transform(pyproj.CRS(32618), Affine(10, 0, 500_000, 0, -10, 4_000_000))
            >>> one, two = utm.footprints([(0, 0, 100, 100), (100, 0, 100, 100)])
            >>> one.touches(two)
            True
        """
        if not windows:
            return []
        columns, rows, widths, heights = np.asarray(windows, dtype=np.float64).T[..., None]
        longitudes, latitudes = self._outline(columns, rows, widths, heights, _FEW)
        lonlat_WN2 = np.stack([longitudes, latitudes], axis=-1).reshape(len(windows), -1, 2)
        # Whatever is not plain (bent, at the antimeridian or a pole, off its projection) is worked out by itself.
        plain_W = np.asarray((np.abs(lonlat_WN2) <= (180.0, 90.0)).all(axis=(1, 2)))
        lonlat_WN2 = np.where(plain_W[:, None, None], lonlat_WN2, 0.0)
        plain_W &= (np.ptp(lonlat_WN2[..., 0], axis=1) < 180.0) & _are_straight(lonlat_WN2, _FEW)
        shapes = shapely.polygons(lonlat_WN2[:, ::_FEW])
        plain_W &= shapely.area(shapes) > 0
        shapes = shapely.orient_polygons(shapes)
        return [
            shape if plain else self._careful_footprint(*window)
            for shape, plain, window in zip(shapes, plain_W, windows, strict=True)
        ]

    def _careful_footprint(self, column: float, row: float, width: float, height: float) -> BaseGeometry | None:
        ring = _unwrap(*self._outline(column, row, width, height, _FEW))
        if ring is not None and abs(ring.turn) < 180.0 and ring.is_straight(_FEW):
            return _cut_at_antimeridian(Polygon(ring.lonlat_N2[::_FEW]))
        ring = _unwrap(*self._outline(column, row, width, height, _MANY))
        return None if ring is None else _cut_at_antimeridian(ring.polygon())

    def _outline(
        self, column: _Number, row: _Number, width: _Number, height: _Number, pieces: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        steps = np.arange(pieces) / pieces
        zeros, ones = np.zeros_like(steps), np.ones_like(steps)
        columns = column + width * np.concatenate([steps, ones, 1 - steps, zeros])
        rows = row + height * np.concatenate([zeros, steps, ones, 1 - steps])
        x, y = self.to_map(columns.ravel(), rows.ravel())
        longitudes, latitudes = self._to_lonlat.transform(x, y)
        return np.asarray(longitudes, dtype=np.float64), np.asarray(latitudes, dtype=np.float64)

    @cached_property
    def _to_lonlat(self) -> pyproj.Transformer:
        return pyproj.Transformer.from_crs(self.crs, 4326, always_xy=True)


@dataclass(frozen=True)
class _Ring:
    """A closed line without jumps: longitudes run on past 180; `turn` is how far it went round the Earth."""

    lonlat_N2: NDArray[np.float64]
    turn: float

    def is_straight(self, pieces: int) -> bool:
        """Whether its four edges, of so many pieces each, bend by no more than the tolerance."""
        if len(self.lonlat_N2) != 4 * pieces:
            return False
        return bool(_are_straight(self.lonlat_N2[None], pieces)[0])

    def polygon(self) -> BaseGeometry:
        """What it encloses, simplified; a ring once round the Earth encloses the pole that it is nearer to."""
        points = self.lonlat_N2
        if abs(self.turn) > 180.0:
            pole = 90.0 if points[:, 1].mean() > 0 else -90.0
            (longitude, latitude), end = points[0], points[0, 0] + self.turn
            points = np.concatenate([points, [(end, latitude), (end, pole), (longitude, pole)]])
        polygon: BaseGeometry = Polygon(points)
        if not polygon.is_valid:
            polygon = shapely.make_valid(polygon)
        return polygon.simplify(_RELATIVE_TOLERANCE * float(np.ptp(points, axis=0).max()))


def _are_straight(lonlat_WN2: NDArray[np.float64], pieces: int) -> NDArray[np.bool_]:
    corners_W412 = lonlat_WN2[:, ::pieces, None]
    next_W412 = corners_W412[:, (1, 2, 3, 0)]
    share = (np.arange(pieces) / pieces)[:, None]
    straight_W4P2 = corners_W412 + share * (next_W412 - corners_W412)
    bend_W = np.abs(lonlat_WN2.reshape(-1, 4, pieces, 2) - straight_W4P2).max(axis=(1, 2, 3))
    straight_W: NDArray[np.bool_] = bend_W <= _RELATIVE_TOLERANCE * np.ptp(lonlat_WN2, axis=1).max(axis=1)
    return straight_W


def _unwrap(longitudes: NDArray[np.float64], latitudes: NDArray[np.float64]) -> _Ring | None:
    finite = np.isfinite(longitudes) & np.isfinite(latitudes)
    longitudes, latitudes = longitudes[finite], np.clip(latitudes[finite], -90.0, 90.0)
    if len(longitudes) < 3:
        return None
    steps = np.diff(longitudes, append=longitudes[0])
    steps = (steps + 180.0) % 360.0 - 180.0  # each step the short way round
    unwrapped = longitudes[0] + np.concatenate([[0.0], np.cumsum(steps[:-1])])
    return _Ring(np.column_stack([unwrapped, latitudes]), float(steps.sum()))


def _cut_at_antimeridian(polygon: BaseGeometry) -> BaseGeometry | None:
    west, _, east, _ = polygon.bounds
    if west >= -180.0 and east <= 180.0 and isinstance(polygon, Polygon):
        return shapely.orient_polygons(polygon) if polygon.area > 0 else None
    pieces: list[BaseGeometry] = []
    for turn in range(int(np.floor((west + 180.0) / 360.0)), int(np.ceil((east + 180.0) / 360.0))):
        offset = 360.0 * turn
        inside = polygon
        if west < offset - 180.0 or east > offset + 180.0:
            inside = shapely.intersection(polygon, shapely.box(offset - 180.0, -90.0, offset + 180.0, 90.0))
        pieces.append(shapely.transform(inside, lambda xy, offset=offset: xy - (offset, 0.0)) if offset else inside)
    parts = [shapely.orient_polygons(part) for part in _polygons(pieces) if part.area > 0]
    if len(parts) <= 1:
        return parts[0] if parts else None
    whole = shapely.union_all(parts)
    return shapely.orient_polygons(whole) if isinstance(whole, Polygon) else MultiPolygon(_polygons([whole]))


def _polygons(geometries: Sequence[BaseGeometry]) -> list[Polygon]:
    parts = shapely.get_parts(geometries)
    return [part for part in parts if isinstance(part, Polygon)] + [
        inner for part in parts if isinstance(part, MultiPolygon) for inner in part.geoms
    ]
