"""Outlines on the Earth: exact in the plain case, whole across the antimeridian and at the poles."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import Affine
from shapely.geometry import MultiPolygon, Polygon

from terraseek.geo import Georeference


def place(crs: int | str, transform: Affine) -> Georeference:
    return Georeference.from_transform(pyproj.CRS(crs), transform)


def test_a_geographic_window_is_its_box() -> None:
    footprint = place(4326, Affine(0.5, 0, 10, 0, -0.25, 50)).footprint(2, 4, 4, 8)
    assert footprint is not None
    assert footprint.equals(shapely.box(11, 47, 13, 49))
    assert shapely.is_ccw(footprint.exterior)


def test_a_small_window_keeps_only_its_corners() -> None:
    footprint = place(32618, Affine(10, 0, 5e5, 0, -10, 4e6)).footprint(0, 0, 64, 64)
    assert isinstance(footprint, Polygon)
    assert len(footprint.exterior.coords) == 5


def test_a_rotated_grid_is_placed_by_its_corners() -> None:
    transform = Affine.translation(5e5, 4e6) @ Affine.rotation(30) @ Affine.scale(10, -10)
    footprint = place(32618, transform).footprint(0, 0, 100, 50)
    assert footprint is not None
    back = pyproj.Transformer.from_crs(4326, 32618, always_xy=True)
    corners = np.array(back.transform(*np.array(footprint.exterior.coords).T)).T[:-1]
    expected = np.array([transform @ corner for corner in ((0, 0), (100, 0), (100, 50), (0, 50))])
    distance = np.linalg.norm(corners[:, None] - expected[None], axis=-1).min(axis=0)
    assert distance.max() < 0.01
    assert footprint.area < 0.8 * shapely.box(*footprint.bounds).area


def test_long_edges_bend() -> None:
    # In UTM the top edge of a scene far north bulges: corners alone would miss a strip of it.
    reference = place(32633, Affine(1000, 0, 2e5, 0, -1000, 8.8e6))
    footprint = reference.footprint(0, 0, 600, 600)
    assert footprint is not None
    middle = pyproj.Transformer.from_crs(32633, 4326, always_xy=True).transform(5e5, 8.8e6)
    corner = pyproj.Transformer.from_crs(32633, 4326, always_xy=True).transform(2e5, 8.8e6)
    assert footprint.bounds[3] == pytest.approx(middle[1], abs=1e-3)
    assert middle[1] - corner[1] > 0.1


def test_the_antimeridian_splits() -> None:
    # Fiji, UTM zone 60S: the scene begins west of 180 degrees and ends east of it.
    footprint = place(32760, Affine(10, 0, 8e5, 0, -10, 8.2e6)).footprint(0, 0, 4000, 1000)
    assert isinstance(footprint, MultiPolygon)
    (west, _, mid_east, _), (mid_west, _, east, _) = sorted((part.bounds for part in footprint.geoms), reverse=True)
    assert (mid_east, mid_west) == (180.0, -180.0)
    assert 179 < west < 180
    assert -180 < east < -179
    assert footprint.is_valid


def test_longitudes_of_0_to_360_come_out_as_minus_180_to_180() -> None:
    globe = place(4326, Affine(1, 0, 0, 0, -1, 90))
    east_of_180 = globe.footprint(200, 0, 10, 10)
    assert east_of_180 is not None
    assert east_of_180.bounds == (-160.0, 80.0, -150.0, 90.0)
    whole = globe.footprint(0, 0, 360, 180)
    assert whole is not None
    assert whole.bounds == (-180.0, -90.0, 180.0, 90.0)
    assert whole.area == pytest.approx(360 * 180)


@pytest.mark.parametrize(("crs", "pole"), [(3413, 90.0), (3031, -90.0)])
def test_a_window_around_the_pole_reaches_it_at_every_longitude(crs: int, pole: float) -> None:
    footprint = place(crs, Affine(1000, 0, -5e5, 0, -1000, 4e5)).footprint(0, 0, 1000, 1000)
    assert footprint is not None
    assert footprint.is_valid
    for longitude in np.linspace(-179, 179, 37):
        assert footprint.contains(shapely.Point(longitude, pole * 0.999))
        assert not footprint.contains(shapely.Point(longitude, pole * 0.9))
    assert footprint.bounds[0] == -180.0
    assert footprint.bounds[2] == 180.0
    assert pole in (footprint.bounds[1], footprint.bounds[3])


def test_beside_the_pole_nothing_is_added() -> None:
    footprint = place(3413, Affine(1000, 0, 1e5, 0, -1000, 4e5)).footprint(0, 0, 100, 100)
    assert footprint is not None
    assert footprint.bounds[3] < 90
    assert footprint.bounds[2] - footprint.bounds[0] < 90


def test_beyond_the_projection_there_is_no_place() -> None:
    disk = pyproj.CRS("+proj=geos +h=35785831 +lon_0=0 +sweep=y")
    far = Georeference.from_transform(disk, Affine(1000, 0, 9e6, 0, -1000, 9e6))
    assert far.footprint(0, 0, 10, 10) is None


@settings(deadline=None)
@given(longitude=st.floats(-180, 180), latitude=st.floats(-84, 84), azimuth=st.floats(0, 360), size=st.floats(100, 2e6))
def test_every_footprint_is_valid_and_holds_its_centre(
    longitude: float, latitude: float, azimuth: float, size: float
) -> None:
    plane = pyproj.CRS(f"+proj=aeqd +lon_0={longitude} +lat_0={latitude} +datum=WGS84")
    transform = Affine.rotation(azimuth) @ Affine.translation(-size / 2, size / 2) @ Affine.scale(size / 64, -size / 64)
    footprint = Georeference.from_transform(plane, transform).footprint(0, 0, 64, 64)
    assert footprint is not None
    assert footprint.is_valid
    west, south, east, north = footprint.bounds
    assert -180 <= west <= east <= 180
    assert -90 <= south <= north <= 90
    # The centre may lie on the cut itself; near it is near enough.
    turned = [shapely.Point(longitude + turn, latitude) for turn in (-360, 0, 360)]
    assert min(footprint.distance(point) for point in turned) < 1e-6


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (32618, Affine(10, 0, 5e5, 0, -10, 4e6)),
        (32618, Affine(7, 7, 5e5, 7, -7, 4e6)),  # rotated
        (4326, Affine(0.5, 0, -190, 0, -0.5, 95)),  # off the globe, across the antimeridian
        (3995, Affine(20_000, 0, -4e6, 0, -20_000, 4e6)),  # around the pole
        (32601, Affine(1000, 0, 0, 0, -1000, 9e6)),  # bent edges
    ],
)
def test_many_windows_at_once_lie_where_each_is_found_point_by_point(crs: int, transform: Affine) -> None:
    reference = place(crs, transform)
    windows = np.random.default_rng(0).integers([0, 0, 1, 1], [700, 380, 64, 64], (60, 4)).tolist()
    together = reference.footprints(windows)
    for window, footprint in zip(windows, together, strict=True):
        alone = reference._careful_footprint(*window)
        assert (footprint is None) == (alone is None)
        if footprint is not None and alone is not None:
            assert footprint.normalize().equals_exact(alone.normalize(), 1e-9)
            assert footprint.geom_type == "MultiPolygon" or shapely.is_ccw(footprint.exterior)


def test_no_windows_have_no_outlines() -> None:
    assert place(4326, Affine.identity()).footprints([]) == []
