"""Where a GeoParquet file keeps its places, and how they come to longitude and latitude.

What a file says of itself is its `geo` metadata (GeoParquet 1.1, https://geoparquet.org/releases/v1.1.0): the name of
the primary geometry column, its encoding and its crs as PROJJSON. Coordinates are x before y whatever the crs says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyproj
import shapely
from pyproj.exceptions import ProjError
from shapely.geometry.base import BaseGeometry

from ..errors import CorruptError, DatasetError
from ..typing import FloatArray

__all__ = ["GeometryColumn", "geometry_column"]

LONLAT = pyproj.CRS("OGC:CRS84")
# A straight edge of a projected shape is a curve in longitude and latitude: it is followed in pieces, and what bends by
# less than the tolerance (of the shape's extent) becomes straight again, as it does in the footprints of scenes.
PIECES, TOLERANCE = 16, 1e-4


@dataclass(frozen=True, kw_only=True)
class GeometryColumn:
    """The column that holds the places.

    Attributes:
        name: of the column, with WKB in it.
        covering: the column with the boxes of these geometries, if the file has one; it adds nothing to them.
        to_lonlat: from the file's crs to longitude and latitude; None where they are that already.
    """

    name: str
    covering: str | None = None
    to_lonlat: pyproj.Transformer | None = None

    def read(self, wkb: bytes) -> BaseGeometry:
        """The geometry in longitude and latitude; longitudes of one across the antimeridian run on past 180.

        Raises:
            DatasetError: it lies where its crs cannot express it, or around a pole.
            ShapelyError: it is no WKB.
        """
        geometry = shapely.from_wkb(wkb)
        if self.to_lonlat is None or geometry.is_empty:
            return geometry
        parts = [_projected(part, self.to_lonlat) for part in shapely.get_parts(geometry)]
        return parts[0] if len(parts) == 1 else shapely.union_all(parts)


def geometry_column(path: Path, schema: pa.Schema) -> GeometryColumn | None:
    """The primary geometry column that a file names; without `geo` metadata the one named `geometry`, if it has that.

    Raises:
        CorruptError: the metadata cannot be read, or name a column that is not there.
        DatasetError: its encoding is not WKB, or its crs is unknown or not of the Earth.
    """
    told = (schema.metadata or {}).get(b"geo")
    if told is None:
        return GeometryColumn(name="geometry") if "geometry" in schema.names else None
    try:
        geo = json.loads(told)
        name = geo["primary_column"]
        column = dict(geo["columns"][name])
        boxes = (column.get("covering") or {}).get("bbox") or {}
        covering = next((place[0] for place in boxes.values()), None)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CorruptError(f"{path}: its `geo` metadata cannot be read: {error!r:.200}") from None
    if name not in schema.names:
        shown = ", ".join(schema.names)
        raise CorruptError(f"{path}: its `geo` metadata name the geometry column {name!r}, it has {shown}")
    if column.get("encoding") != "WKB":
        raise DatasetError(f"{path}: {name!r} is encoded as {column.get('encoding')!r}; write it again as WKB")
    return GeometryColumn(name=name, covering=covering, to_lonlat=_to_lonlat(path, name, column))


def _to_lonlat(path: Path, name: str, column: Mapping[str, Any]) -> pyproj.Transformer | None:
    if "crs" not in column:
        return None  # the specification's default is OGC:CRS84
    if column["crs"] is None:
        raise DatasetError(
            f"{path}: the crs of {name!r} is given as unknown (null), so its places cannot be put on the globe; write "
            "it again with its crs (geopandas: set_crs), or without this column"
        )
    try:
        crs = pyproj.CRS.from_user_input(column["crs"])
        if crs.equals(LONLAT, ignore_axis_order=True):
            return None
        if not crs.is_geographic and not crs.is_projected:
            raise DatasetError(f"{path}: {name!r} is in {crs.name!r:.80}, which lies nowhere on the Earth")
        return pyproj.Transformer.from_crs(crs, LONLAT, always_xy=True)
    except ProjError as error:
        reason = " ".join(str(error).split())
        raise DatasetError(
            f"{path}: the crs of {name!r} cannot be used, write it in EPSG:4326: {reason:.200}"
        ) from None


def _projected(part: BaseGeometry, to_lonlat: pyproj.Transformer) -> BaseGeometry:
    def lonlat(xy_N2: FloatArray) -> FloatArray:
        longitudes, latitudes = (np.asarray(side) for side in to_lonlat.transform(xy_N2[:, 0], xy_N2[:, 1]))
        if not (np.isfinite(longitudes).all() and np.isfinite(latitudes).all()):
            raise DatasetError("its geometry lies where the file's crs cannot express it")
        # Each step the short way round: a shape across the antimeridian must not become one around the globe.
        steps = (np.diff(longitudes) + 180.0) % 360.0 - 180.0
        walked = longitudes[0] + np.concatenate([[0.0], np.cumsum(steps)])
        turns = np.round((walked - longitudes) / 360.0)  # whole ones: rings must close exactly
        return np.column_stack([longitudes + 360.0 * turns, latitudes])

    west, south, east, north = part.bounds
    extent = max(east - west, north - south)
    dense = shapely.segmentize(part, extent / PIECES) if extent else part
    try:
        turned = shapely.transform(dense, lonlat)
    except shapely.errors.GEOSException:  # a ring that went once round does not close
        raise DatasetError("its geometry encloses a pole; write it in EPSG:4326, cut at the antimeridian") from None
    west, south, east, north = turned.bounds
    return turned.simplify(TOLERANCE * max(east - west, north - south))
