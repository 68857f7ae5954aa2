"""From a window of pixels to its outline on the Earth: EPSG:4326, valid across the antimeridian and at the poles.

Geometry follows GeoJSON (RFC 7946): longitude first, outlines cut at the antimeridian into a MultiPolygon
(section 3.1.9). A window that holds a pole reaches up to it at every longitude.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from rasterio import Affine
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

__all__ = ["Georeference"]

PixelToMap = Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]

# Points per window edge. A straight edge in pixels is a curve in longitude and latitude; with 16 pieces the error of
# a polar scene 2,000 km wide stays below a hundredth of a degree, and `simplify` drops what a small chip needs not.
_POINTS_PER_EDGE = 16
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

        Example:
            >>> utm = Georeference.from_transform(pyproj.CRS(32618), Affine(10, 0, 500_000, 0, -10, 4_000_000))
            >>> [round(value, 4) for value in utm.footprint(0, 0, 100, 100).bounds]
            [-75.0, 36.1357, -74.9889, 36.1447]
        """
        longitudes, latitudes = self._outline(column, row, width, height)
        finite = np.isfinite(longitudes) & np.isfinite(latitudes)
        longitudes, latitudes = longitudes[finite], np.clip(latitudes[finite], -90.0, 90.0)
        if len(longitudes) < 3:
            return None
        return _polygon_on_sphere(longitudes, latitudes)

    def _outline(
        self, column: float, row: float, width: float, height: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        steps = np.arange(_POINTS_PER_EDGE) / _POINTS_PER_EDGE
        zeros, ones = np.zeros_like(steps), np.ones_like(steps)
        columns = column + width * np.concatenate([steps, ones, 1 - steps, zeros])
        rows = row + height * np.concatenate([zeros, steps, ones, 1 - steps])
        x, y = self.to_map(columns, rows)
        longitudes, latitudes = _to_lonlat(self.crs).transform(x, y)
        return np.asarray(longitudes, dtype=np.float64), np.asarray(latitudes, dtype=np.float64)


@lru_cache(maxsize=64)
def _to_lonlat(crs: pyproj.CRS) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(crs, 4326, always_xy=True)


def _polygon_on_sphere(longitudes: NDArray[np.float64], latitudes: NDArray[np.float64]) -> BaseGeometry | None:
    # Follow the ring without jumps: each step is the short way round.
    steps = np.diff(longitudes, append=longitudes[0])
    steps = (steps + 180.0) % 360.0 - 180.0
    unwrapped = longitudes[0] + np.concatenate([[0.0], np.cumsum(steps[:-1])])
    turn = float(steps.sum())
    ring = list(zip(unwrapped.tolist(), latitudes.tolist(), strict=True))
    if abs(turn) > 180.0:
        # Once round the Earth: the window holds a pole, whose whole meridian becomes the missing edge.
        pole = 90.0 if latitudes.mean() > 0 else -90.0
        ring += [(unwrapped[0] + turn, latitudes[0]), (unwrapped[0] + turn, pole), (unwrapped[0], pole)]
    polygon: BaseGeometry = Polygon(ring)
    if not polygon.is_valid:
        polygon = shapely.make_valid(polygon)
    west, south, east, north = polygon.bounds
    polygon = polygon.simplify(_RELATIVE_TOLERANCE * max(east - west, north - south))
    return _cut_at_antimeridian(polygon)


def _cut_at_antimeridian(polygon: BaseGeometry) -> BaseGeometry | None:
    west, _, east, _ = polygon.bounds
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
