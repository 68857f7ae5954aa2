from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.archive import Archive, ModelIdentity, Record, bbox_of, on_globe
from terraseek.archive.footprint import bbox_of_boxes
from terraseek.errors import UsageError


def test_values_are_made_uniform() -> None:
    record = Record(
        id="a",
        source="s",
        window=[np.int64(1), 2, 3, 4],
        datetime=datetime(2021, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
        labels=["b", "a", "b"],
        properties={"nested": {"x": (1, 2)}},
    )
    assert record.window == (1, 2, 3, 4)
    assert record.datetime == datetime(2020, 12, 31, 23, tzinfo=UTC)
    assert record.datetime.tzinfo is UTC
    assert record.labels == ("a", "b")
    assert record.properties == {"nested": {"x": [1, 2]}}


def test_properties_are_a_copy() -> None:
    properties = {"list": [1]}
    record = Record(id="a", source="s", properties=properties)
    properties["list"].append(2)
    assert record.properties == {"list": [1]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"id": ""}, "id has 0 characters, it needs 1 to 1024"),
        ({"id": "x" * 1025}, "id has 1025 characters"),
        ({"id": "a\x00b"}, "id has a control character"),
        ({"id": 7}, "id is text, not 7"),
        ({"source": ""}, "source has 0 characters"),
        ({"source": "bad\udc80"}, "source is not valid Unicode"),
        ({"collection": "\n"}, "collection has a control character"),
        ({"window": (0, 0, 0, 5)}, r"window \(0, 0, 0, 5\) is empty"),
        ({"window": (0, 0, 5)}, "window is"),
        ({"window": (-1, 0, 5, 5)}, "starts before the image"),
        ({"footprint": (0, 0, 1, 1)}, "footprint is a shapely geometry"),
        ({"footprint": shapely.box(0, 80, 1, 95)}, "reaches latitude 95"),
        ({"footprint": shapely.box(500_000, 0, 500_100, 10)}, "EPSG:4326 is meant"),
        ({"footprint": shapely.Polygon()}, "is empty"),
        ({"footprint": shapely.Point(np.inf, 1)}, "not finite"),
        ({"datetime": datetime(2021, 1, 1)}, "has no time zone"),
        ({"datetime": "2021"}, "datetime is a datetime"),
        ({"labels": "beach"}, "labels are a sequence"),
        ({"labels": ("",)}, "label has 0 characters"),
        ({"predicted": {"beach": 1.5}}, "'beach' has the score 1.5"),
        ({"predicted": {"beach": float("nan")}}, "'beach' has the score nan"),
        ({"caption": 3}, "caption is text"),
        ({"properties": {"x": float("nan")}}, "'x' is not finite"),
        ({"properties": {"x": object()}}, "not JSON"),
        ({"properties": {1: 2}}, "properties are a mapping from names"),
        ({"thumbnail": bytes(2**20 + 1)}, "thumbnail has 1048577 bytes"),
    ],
)
def test_bad_values_name_the_record(values, message) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Record(**{"id": "a", "source": "s", **values})
    assert str(caught.value).startswith("record ")
    assert "\n" not in str(caught.value)


def test_a_footprint_over_the_antimeridian_is_split() -> None:
    record = Record(id="a", source="s", footprint=shapely.box(178, -10, 183, 10))
    assert record.bbox == (178, -10, -177, 10)
    assert record.footprint.area == pytest.approx(100)
    west_hand = Record(id="a", source="s", footprint=shapely.box(-182, 0, -179, 1))
    assert west_hand.bbox == (178, 0, -179, 1)


def test_a_bow_tie_is_repaired() -> None:
    record = Record(id="a", source="s", footprint=shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)]))
    assert record.footprint.is_valid
    assert record.footprint.area == pytest.approx(2)


@settings(max_examples=200, deadline=None)
@given(
    west=st.floats(-360, 360, allow_nan=False).map(lambda x: round(x, 3)),
    width=st.floats(0.01, 170).map(lambda x: round(x, 3)),
    south=st.floats(-90, 80).map(lambda x: round(x, 3)),
)
def test_wrapping_keeps_area_and_box(west, width, south) -> None:
    shape = on_globe(shapely.box(west, south, west + width, south + 5))
    assert shape.area == pytest.approx(width * 5)
    w, s, e, n = bbox_of(shape)
    assert (s, n) == (south, south + 5)
    assert (e - w) % 360 == pytest.approx(width, abs=1e-6)
    assert -180 <= w <= 180
    assert -180 <= e <= 180


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-180, 180), st.integers(0, 40)), min_size=1, max_size=6))
def test_the_box_of_boxes_covers_each_and_is_the_shortest(spans) -> None:
    west = np.array([start for start, _ in spans], float)
    east = np.array([(start + width + 180) % 360 - 180 for start, width in spans], float)
    w, _, e, _ = bbox_of_boxes(west, west * 0, east, west * 0 + 1)
    width = (e - w) % 360 if e != w + 360 else 360

    def covers(start: float, length: float) -> bool:
        return all((s - start) % 360 + size <= length + 1e-9 or length >= 360 for s, size in spans)

    assert covers(w, width)
    best = min(max((s - start) % 360 + size for s, size in spans) for start in west)
    assert width <= best + 1e-9 or best > 320


TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.builds(
    Record,
    id=TEXT,
    source=TEXT,
    window=st.none() | st.tuples(*[st.integers(0, 9)] * 2, *[st.integers(1, 2**31 - 1)] * 2),
    footprint=st.none()
    | st.builds(shapely.box, *(st.integers(*ends) for ends in ((-170, 0), (-80, 0), (1, 300), (1, 80)))),
    datetime=st.none() | st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)),
    labels=st.lists(TEXT, max_size=3).map(tuple),
    predicted=st.dictionaries(TEXT, st.floats(0, 1), max_size=2),
    caption=st.none() | TEXT,
    properties=st.dictionaries(TEXT, JSON, max_size=3),
    collection=TEXT,
    thumbnail=st.none() | st.binary(max_size=40),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=6, unique_by=lambda record: record.id))
def test_any_record_comes_back_from_disk(tmp_path_factory, records) -> None:
    archive = Archive.create(tmp_path_factory.mktemp("any") / "a", ModelIdentity(fingerprint="f", dim=2))
    archive.add(records, np.ones((len(records), 2)))
    assert Archive.open(archive.uri).get([record.id for record in records]) == tuple(records)
