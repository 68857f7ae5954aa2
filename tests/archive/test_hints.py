"""What is said of a filter that keeps nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
import shapely

from terraseek.archive import Archive, Filter, Record


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (Filter(collections=("c9",)), "no record is in the collection 'c9': known: c0, c1, c2"),
        (Filter(sources=("scene99.tif",)), "no record is of the source 'scene99.tif': did you mean"),
        (Filter(where="cloud_cove < 10"), "no record has the property 'cloud_cove': did you mean 'cloud_cover'?"),
        (Filter(where="clouds.cover < 10 or sensor = 'x'"), "no record has the property 'clouds.cover'"),
    ],
)
def test_a_name_that_no_record_has_is_told_with_the_nearest(filled: Archive, condition: Filter, said: str) -> None:
    (hint,) = filled.hints(condition)
    assert hint.startswith(said)


@pytest.mark.parametrize(
    "condition",
    [
        Filter(bbox=(0, 0, 0, 0)),
        Filter(where="cloud_cover > 1000 and collection = 'none' and datetime < '1900'"),
        Filter(sources=("./scene1.tif", "scene1.tif"), collections=("c0", "none"), where="sensor = 'none'"),
    ],
)
def test_known_names_are_not_blamed(filled: Archive, condition: Filter) -> None:
    assert filled.hints(condition) == []


def test_an_empty_archive_is_told_to_be_one(archive: Archive) -> None:
    assert archive.hints(Filter(collections=("c0",))) == ["the archive is empty"]


def test_a_property_that_is_a_list_is_there(archive: Archive) -> None:
    archive.add([Record(id="r", source="s", properties={"bands": ["B04"]})], np.ones((1, archive.dim)))
    assert archive.count(Filter(where="bands = 'B04'")) == 0
    assert archive.hints(Filter(where="bands = 'B04'")) == []


def test_records_without_place_and_time_are_told_to_be_so(archive: Archive) -> None:
    archive.add([Record(id="photo", source="s")], np.ones((1, archive.dim)))
    asked = Filter(bbox=(0, 0, 1, 1), datetime="2021")
    assert archive.hints(asked) == ["no record says where it lies", "no record says when it was taken"]
    placed = Record(id="chip", source="s", footprint=shapely.box(5, 5, 6, 6), datetime=datetime(2020, 1, 1, tzinfo=UTC))
    archive.add([placed], np.ones((1, archive.dim)))
    assert archive.hints(asked) == []
