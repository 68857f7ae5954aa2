"""GeoParquet files as other tools write them: their geometry column, their crs, their other columns."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely

from terraseek.archive import Archive, import_archive
from terraseek.errors import CorruptError, DatasetError

LONLAT_TO = {
    code: pyproj.Transformer.from_crs("OGC:CRS84", code, always_xy=True) for code in (3031, 3857, 32601, 32633)
}
ONE = [1.0] * 8


def geo(name: str, **column: object) -> dict[str, object]:
    columns = {name: {"encoding": "WKB", "geometry_types": [], **column}}
    return {"version": "1.1.0", "primary_column": name, "columns": columns}


def written(path: Path, told: object, **columns: object) -> Path:
    """A file of as many rows as its columns have, with ids and vectors."""
    rows = len(next(iter(columns.values())))
    table = pa.table({"id": [f"r{at}" for at in range(rows)], "embedding": [ONE] * rows, **columns})
    if told is not None:
        table = table.replace_schema_metadata({"geo": told if isinstance(told, str) else json.dumps(told)})
    pq.write_table(table, path)
    return path


def footprint(archive: Archive, path: Path) -> shapely.Geometry:
    import_archive(archive, path, trust=True)
    return archive.get(["r0"])[0].footprint


def wkb(geometry: shapely.Geometry) -> list[bytes]:
    return [shapely.to_wkb(geometry)]


def test_the_geometry_column_is_the_one_that_the_file_names(archive, tmp_path, caplog) -> None:
    box, other = shapely.box(10, 50, 11, 51), shapely.Point(0, 0)
    corners = [{"xmin": 10.0, "ymin": 50.0, "xmax": 11.0, "ymax": 51.0}]
    covering = {"bbox": {side: ["geom_bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}}
    told = geo("geom", crs=pyproj.CRS(4326).to_json_dict(), covering=covering)
    path = written(tmp_path / "a.parquet", told, geom=wkb(box), geometry=wkb(other), geom_bbox=corners)
    with caplog.at_level(logging.WARNING):
        assert footprint(archive, path).equals(box)
    assert archive.get(["r0"])[0].properties == {}
    [message] = caplog.messages
    assert message == f"{path}: columns that no property can hold are left out: 'geometry' (binary)"


def test_without_metadata_a_column_of_another_name_is_told_of(archive, tmp_path, caplog) -> None:
    path = written(tmp_path / "a.parquet", None, geom=wkb(shapely.box(10, 50, 11, 51)))
    assert footprint(archive, path) is None
    assert "left out: 'geom' (binary)" in caplog.text


@pytest.mark.parametrize(
    ("code", "geometry"),
    [
        (32633, shapely.box(14.0, 50.0, 14.5, 50.5)),
        (3857, shapely.Polygon(shapely.box(0, 0, 9, 9).exterior, [shapely.box(1, 1, 2, 2).exterior])),
        (32633, shapely.Point(15, 40)),
        (32633, shapely.LineString([(14, 40), (16, 41)])),
        (3857, shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(5, 5, 6, 6)])),
        (3857, shapely.box(-180, -80, 180, 80)),
    ],
    ids=["utm", "hole", "point", "line", "parts", "round the globe"],
)
def test_places_come_to_longitude_and_latitude(archive, tmp_path, code, geometry) -> None:
    xy = shapely.transform(geometry.segmentize(0.01), lambda c: np.column_stack(LONLAT_TO[code].transform(*c.T)))
    path = written(tmp_path / "a.parquet", geo("geom", crs=pyproj.CRS(code).to_json_dict()), geom=wkb(xy))
    found = footprint(archive, path)
    assert found.geom_type == geometry.geom_type
    assert found.hausdorff_distance(geometry) < 2e-4 * max(np.ptp(geometry.bounds[::2]), 1)


def test_straight_edges_of_a_projection_are_followed(archive, tmp_path) -> None:
    x, y = LONLAT_TO[3031].transform(30, -70)
    box = shapely.box(x, y, x + 1_000_000, y + 300_000)
    path = written(tmp_path / "a.parquet", geo("geom", crs=pyproj.CRS(3031).to_json_dict()), geom=wkb(box))
    middle = LONLAT_TO[3031].transform(x + 500_000, y + 150_000, direction="INVERSE")
    edge = LONLAT_TO[3031].transform(x + 500_000, y, direction="INVERSE")
    found = footprint(archive, path)
    assert found.contains(shapely.Point(middle))
    assert found.exterior.distance(shapely.Point(edge)) < 0.01


def test_a_shape_across_the_antimeridian_is_split_there(archive, tmp_path) -> None:
    west = LONLAT_TO[32601].transform(179.9, 10)
    box = shapely.box(*west, west[0] + 40_000, west[1] + 10_000)
    path = written(tmp_path / "a.parquet", geo("geom", crs=pyproj.CRS(32601).to_json_dict()), geom=wkb(box))
    footprint(archive, path)
    [record] = archive.get(["r0"])
    assert record.footprint.geom_type == "MultiPolygon"
    np.testing.assert_allclose(record.bbox, (179.9, 10, -179.73, 10.1), atol=0.02)


@pytest.mark.parametrize(
    ("told", "error", "message"),
    [
        ("{", CorruptError, "its `geo` metadata cannot be read: JSONDecodeError"),
        ({"primary_column": "geom"}, CorruptError, "its `geo` metadata cannot be read: KeyError('columns')"),
        (geo("place"), CorruptError, "name the geometry column 'place', it has id, embedding, geom"),
        (geo("geom", encoding="point"), DatasetError, "'geom' is encoded as 'point'; write it again as WKB"),
        (geo("geom", crs=None), DatasetError, "the crs of 'geom' is given as unknown (null)"),
        (
            geo("geom", crs={"type": "Nonsense"}),
            DatasetError,
            "the crs of 'geom' cannot be used, write it in EPSG:4326",
        ),
        (
            geo("geom", crs='LOCAL_CS["site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'),
            DatasetError,
            "'geom' is in 'site', which lies nowhere on the Earth",
        ),
        (geo("geom", crs=pyproj.CRS(3031).to_json_dict()), DatasetError, "row 1: its geometry encloses a pole"),
        (geo("geom", crs=pyproj.CRS(32633).to_json_dict()), DatasetError, "row 2: its geometry lies where the file's"),
    ],
)
def test_places_that_cannot_be_put_on_the_globe_are_refused(archive, tmp_path, told, error, message) -> None:
    shapes = [shapely.box(-1000, -1000, 1000, 1000), shapely.box(1e12, 1e12, 2e12, 2e12)]
    path = written(tmp_path / "a.parquet", told, geom=shapely.to_wkb(shapes).tolist())
    with pytest.raises(error, match=re.escape(message)) as caught:
        import_archive(archive, path, trust=True)
    assert str(caught.value).startswith(str(path))
    assert len(archive) == 0


def test_other_columns_become_properties_as_far_as_json_goes(archive, tmp_path, caplog) -> None:
    moment = datetime(2021, 7, 1, 12, tzinfo=UTC)
    path = written(
        tmp_path / "a.parquet",
        None,
        cloud=[float("nan"), 3.5],
        half=np.array([0.5, np.nan], np.float16),
        updated=pa.array([moment, None], pa.timestamp("us", "UTC")),
        exact=pa.array(np.array(["2021-07-01T12:00:00.123456789", "NaT"], "datetime64[ns]")),
        day=[date(2021, 7, 1), None],
        bands=[["B04", "B03"], []],
        view=[{"azimuth": 7.5, "angle": float("nan")}, None],
        price=[Decimal("1.25"), None],
        platform=pa.array(["s2a", "s2b"]).dictionary_encode(),
        raw=[b"x", b"y"],
        whole=pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    )
    with caplog.at_level(logging.WARNING):
        import_archive(archive, path, trust=True)
    first, second = archive.get(["r0", "r1"])
    assert first.properties == {
        "half": 0.5,
        "updated": "2021-07-01T12:00:00Z",
        "exact": "2021-07-01T12:00:00.123456",
        "day": "2021-07-01",
        "bands": ["B04", "B03"],
        "view": {"azimuth": 7.5, "angle": None},
        "price": 1.25,
        "platform": "s2a",
    }
    assert second.properties == {"cloud": 3.5, "bands": [], "platform": "s2b"}
    [message] = caplog.messages
    assert message.startswith(f"{path}: columns that no property can hold are left out: 'raw' (binary), 'whole' (map<")
