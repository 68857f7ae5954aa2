"""Geometries on the globe as flat EPSG:4326 coordinates: split at the antimeridian, boxed the short way round."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import shapely
from shapely import affinity
from shapely.geometry.base import BaseGeometry

from ..errors import UsageError
from ..typing import FloatArray

__all__ = ["Bbox", "bbox_of", "bbox_of_boxes", "box_geometry", "on_globe"]

Bbox: TypeAlias = tuple[float, float, float, float]
"""(west, south, east, north) in degrees; west > east where it crosses the antimeridian (RFC 7946, section 5.2)."""

WORLD = shapely.box(-180.0, -90.0, 180.0, 90.0)


def on_globe(geometry: BaseGeometry) -> BaseGeometry:
    """The geometry with every longitude in -180..180, split at the antimeridian where it runs beyond.

    A polygon that invalid rings spoil (a bow tie) is repaired by `shapely.make_valid`.

    Raises:
        UsageError: no points, coordinates that are not finite, a latitude beyond 90, a longitude beyond 540.

    Examples:
        >>> sorted(tuple(map(float, part.bounds)) for part in on_globe(shapely.box(179, 10, 181, 11)).geoms)
        [(-180.0, 10.0, -179.0, 11.0), (179.0, 10.0, 180.0, 11.0)]
    """
    if geometry.is_empty:
        raise UsageError("the geometry is empty")
    coordinates = shapely.get_coordinates(geometry)
    if not np.isfinite(coordinates).all():
        raise UsageError("the geometry has a coordinate that is not finite")
    west, south, east, north = geometry.bounds
    if south < -90 or north > 90:
        raise UsageError(f"the geometry reaches latitude {south if south < -90 else north:g}, beyond -90..90")
    if west < -540 or east > 540:
        raise UsageError(f"the geometry reaches longitude {west if west < -540 else east:g}; EPSG:4326 is meant")
    geometry = shapely.force_2d(geometry)
    if not geometry.is_valid:
        geometry = shapely.make_valid(geometry)
    if west >= -180 and east <= 180:
        return geometry
    shifted = (affinity.translate(geometry, xoff=turn) for turn in (0.0, -360.0, 360.0))
    pieces = [piece for turned in shifted for piece in shapely.get_parts(turned.intersection(WORLD))]
    # A neighbour turned by 360 may touch the world's edge in a mere line or point.
    least = shapely.get_dimensions(geometry)
    return shapely.union_all([piece for piece in pieces if shapely.get_dimensions(piece) == least])


def bbox_of(geometry: BaseGeometry) -> Bbox:
    """The smallest box around a geometry, the short way round the globe: west > east across the antimeridian.

    >>> bbox_of(on_globe(shapely.box(179, 10, 181, 11)))
    (179.0, 10.0, -179.0, 11.0)
    """
    _, south, _, north = geometry.bounds
    bounds = shapely.bounds(shapely.get_parts(geometry))
    west, east = _shortest_span(sorted((float(b[0]), float(b[2])) for b in bounds))
    return west, float(south), east, float(north)


def bbox_of_boxes(west_N: FloatArray, south_N: FloatArray, east_N: FloatArray, north_N: FloatArray) -> Bbox | None:
    """The smallest box around many (NaN for none), the short way round; None where there are none at all.

    >>> bbox_of_boxes(*np.array([[179.0, -2, -179, -1], [-178, 1, -177, 2], [np.nan] * 4]).T)
    (179.0, -2.0, -177.0, 2.0)
    """
    there = ~np.isnan(west_N)
    if not there.any():
        return None
    crossing = there & (west_N > east_N)
    spans = np.stack(
        [
            np.r_[west_N[there & ~crossing], west_N[crossing], np.full(crossing.sum(), -180.0)],
            np.r_[east_N[there & ~crossing], np.full(crossing.sum(), 180.0), east_N[crossing]],
        ],
        axis=1,
    )
    # Thousands of chips lie in few distinct spans: merge those at a time that start together.
    starts, group = np.unique(spans[:, 0], return_inverse=True)
    ends = np.full(len(starts), -180.0)
    np.maximum.at(ends, group, spans[:, 1])
    west, east = _shortest_span(list(zip(starts.tolist(), ends.tolist(), strict=True)))
    return west, float(np.nanmin(south_N)), east, float(np.nanmax(north_N))


def _shortest_span(spans: list[tuple[float, float]]) -> tuple[float, float]:
    """West and east of the shortest stretch of longitude that covers all spans (sorted, none crossing)."""
    # The box leaves out the widest empty stretch of longitude; the one across the antimeridian counts as any other,
    # and wins ties, so that ordinary boxes stay ordinary.
    reach = spans[0][1]
    widest = 0.0
    west, east = spans[0][0], max(span[1] for span in spans)
    outside = spans[0][0] + 360 - east
    for start, end in spans[1:]:
        if start - reach > max(widest, outside):
            widest, west, east = start - reach, start, reach
        reach = max(reach, end)
    return west, east


def box_geometry(bbox: Bbox) -> BaseGeometry:
    """The box as a geometry, in two parts where it crosses the antimeridian.

    >>> box_geometry((179.0, 10.0, -179.0, 11.0)).geom_type
    'MultiPolygon'
    """
    west, south, east, north = bbox
    if not all(map(math.isfinite, bbox)):
        raise UsageError(f"a bbox has four finite numbers, not {bbox}")
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.multipolygons([shapely.box(west, south, 180.0, north), shapely.box(-180.0, south, east, north)])
