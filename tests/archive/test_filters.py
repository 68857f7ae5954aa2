from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.archive import Archive, Filter, Record
from terraseek.errors import QueryError

LABELS = ("beach", "field", "forest", "town")


@pytest.fixture(scope="module")
def globe(tmp_path_factory):
    """An archive of 300 records over the globe, and the records."""
    from terraseek.archive import ModelIdentity

    rng = np.random.default_rng(7)
    records = []
    for at in range(300):
        west, south = float(rng.uniform(-180, 180)), float(rng.uniform(-90, 86))
        size = float(rng.choice([0.5, 4.0]))
        shape = shapely.box(west, south, west + size, south + size)
        records.append(
            Record(
                id=f"r{at:03d}",
                source=f"s{at % 5}",
                # A third are diamonds: their box meets what they do not.
                footprint=None if at % 10 == 0 else (shape if at % 3 else diamond(shape)),
                datetime=None if at % 9 == 0 else datetime(2021, 1 + at % 12, 1 + at % 28, 12, tzinfo=UTC),
                labels=tuple(label for label in LABELS if rng.random() < 0.35),
                predicted={label: float(rng.random()) for label in LABELS if rng.random() < 0.5},
                properties={"cloud": int(rng.integers(0, 100))} if at % 4 else {},
                collection=f"c{at % 3}",
            )
        )
    archive = Archive.create(tmp_path_factory.mktemp("globe") / "a", ModelIdentity(fingerprint="f", dim=4))
    archive.add(records, rng.standard_normal((300, 4)))
    return archive, records


def diamond(shape):
    west, south, east, north = shape.bounds
    x, y = (west + east) / 2, (south + north) / 2
    return shapely.Polygon([(west, y), (x, north), (east, y), (x, south)])


def passing(globe, condition: Filter) -> list[str]:
    return list(globe[0].ids(condition))


def turned(shape, box) -> bool:
    """Whether a shape meets a box that is given without wrapping, by trying every turn of the globe."""
    return any(shape.intersects(shapely.affinity.translate(box, turn)) for turn in (-360, 0, 360))


@settings(max_examples=60, deadline=None)
@given(st.floats(-180, 180), st.floats(0.0, 359), st.floats(-90, 89), st.floats(0, 60))
def test_bbox_equals_turning_the_globe(globe, west, width, south, height) -> None:
    north = min(90.0, south + height)
    east = west + width
    box = shapely.box(west, south, east, north)
    condition = Filter(bbox=(west, south, east if east <= 180 else east - 360, north))
    expected = [r.id for r in globe[1] if r.footprint is not None and turned(r.footprint, box)]
    assert passing(globe, condition) == expected


def test_the_whole_globe_and_the_poles(globe) -> None:
    placed = [r.id for r in globe[1] if r.footprint is not None]
    assert passing(globe, Filter(bbox=(-180, -90, 180, 90))) == placed
    arctic = [r.id for r in globe[1] if r.footprint is not None and r.footprint.bounds[3] >= 70]
    assert passing(globe, Filter(bbox=(-180, 70, 180, 90))) == arctic
    assert len(arctic) > 5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_polygons_meet_shapes_not_boxes(globe, seed) -> None:
    rng = np.random.default_rng(seed)
    centre = rng.uniform([-180, -60], [180, 60])
    points = centre + rng.uniform(-40, 40, (3, 2)) * [1, 0.5]
    area = shapely.Polygon(np.c_[points[:, 0], points[:, 1].clip(-90, 90)])
    if not area.is_valid or area.area < 1e-6:
        return
    expected = [r.id for r in globe[1] if r.footprint is not None and turned(r.footprint, area)]
    assert passing(globe, Filter(within=area)) == expected


@settings(max_examples=60, deadline=None)
@given(
    any_=st.sets(st.sampled_from(LABELS)),
    all_=st.sets(st.sampled_from(LABELS), max_size=2),
    none=st.sets(st.sampled_from(LABELS), max_size=2),
    exact=st.none() | st.sets(st.sampled_from(LABELS)),
)
def test_labels_equal_set_algebra(globe, any_, all_, none, exact) -> None:
    def labels(record: Record) -> set[str]:
        return set(record.labels)

    condition = Filter(labels_any=any_, labels_all=all_, labels_none=none, labels_exact=exact)
    expected = [
        r.id
        for r in globe[1]
        if (not any_ or labels(r) & any_)
        and all_ <= labels(r)
        and not none & labels(r)
        and (exact is None or labels(r) == exact)
    ]
    assert passing(globe, condition) == expected


@settings(max_examples=60, deadline=None)
@given(
    given_=st.sets(st.sampled_from(LABELS), max_size=1),
    any_=st.sets(st.sampled_from(LABELS)),
    all_=st.sets(st.sampled_from(LABELS), max_size=2),
    none=st.sets(st.sampled_from(LABELS), max_size=2),
    least=st.floats(0, 1),
)
def test_predicted_labels_count_apart_from_given_ones_and_by_score(globe, given_, any_, all_, none, least) -> None:
    def predicted(record: Record) -> set[str]:
        return {label for label, score in record.predicted.items() if score >= least}

    condition = Filter(labels_all=given_, predicted_any=any_, predicted_all=all_, predicted_none=none, min_score=least)
    expected = [
        r.id
        for r in globe[1]
        if given_ <= set(r.labels)
        and (not any_ or predicted(r) & any_)
        and all_ <= predicted(r)
        and not none & predicted(r)
    ]
    assert passing(globe, condition) == expected


def test_facets_count_given_and_predicted_labels_apart(globe) -> None:
    kept = [r for r in globe[1] if "beach" in r.labels]
    facets = globe[0].facets(Filter(labels_any=("beach",), min_score=0.7))
    assert facets["labels"]["beach"] == len(kept)
    for label in LABELS:
        expected = sum(r.predicted.get(label, 0) >= 0.7 for r in kept)
        assert facets["predicted"].get(label, 0) == expected


def test_datetime_includes_both_ends(globe) -> None:
    for text, start, stop in [
        ("2021-03-01/2021-05-20", datetime(2021, 3, 1, tzinfo=UTC), datetime(2021, 5, 21, tzinfo=UTC)),
        ("../2021-02-10T12:00:00Z", datetime(1, 1, 1, tzinfo=UTC), datetime(2021, 2, 10, 12, 0, 1, tzinfo=UTC)),
        ("2021-11-11T12:00:00Z/..", datetime(2021, 11, 11, 12, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)),
        ("2021-06-06", datetime(2021, 6, 6, tzinfo=UTC), datetime(2021, 6, 7, tzinfo=UTC)),
        ("2021", datetime(2021, 1, 1, tzinfo=UTC), datetime(2022, 1, 1, tzinfo=UTC)),
        ("2021-02", datetime(2021, 2, 1, tzinfo=UTC), datetime(2021, 3, 1, tzinfo=UTC)),
        ("../2021-02", datetime(1, 1, 1, tzinfo=UTC), datetime(2021, 3, 1, tzinfo=UTC)),
        ("/2021-03", datetime(1, 1, 1, tzinfo=UTC), datetime(2021, 4, 1, tzinfo=UTC)),
        ("2021-12/..", datetime(2021, 12, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)),
        ("2020/2021-06", datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 7, 1, tzinfo=UTC)),
        ("2021-02-10t12:00:00z", datetime(2021, 2, 10, 12, tzinfo=UTC), datetime(2021, 2, 10, 12, 0, 1, tzinfo=UTC)),
    ]:
        expected = [r.id for r in globe[1] if r.datetime is not None and start <= r.datetime < stop]
        assert passing(globe, Filter(datetime=text)) == expected
        assert expected or text == "2021-06-06"


def test_conditions_hold_together(globe) -> None:
    condition = Filter(
        collections=("c1", "c2"),
        sources=("s0", "s1", "s4"),
        where="cloud < 60",
        labels_none=("town",),
        bbox=(-90, -60, 90, 60),
    )
    box = shapely.box(-90, -60, 90, 60)
    expected = [
        r.id
        for r in globe[1]
        if r.collection in ("c1", "c2")
        and r.source in ("s0", "s1", "s4")
        and r.properties.get("cloud", 100) < 60
        and "town" not in r.labels
        and r.footprint is not None
        and r.footprint.intersects(box)
    ]
    assert passing(globe, condition) == expected
    assert len(expected) > 3
    ranked = globe[0].search(np.ones(4), k=300, where=condition)
    assert sorted(ranked.ids) == expected
    assert ranked.matched == len(expected)


def test_ids_and_not_ids(globe) -> None:
    assert passing(globe, Filter(ids=("r003", "r001", "nobody"), not_ids=("r001", "nobody2"))) == ["r003"]
    assert globe[0].search(np.ones(4), k=5, where=Filter(ids=())).matched == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bbox": "1,2,3"}, "bbox 1,2,3 has 3 numbers, 4 are needed"),
        ({"bbox": "a,b,c,d"}, "west,south,east,north in degrees"),
        ({"bbox": (0, 0, float("nan"), 1)}, "not finite"),
        ({"bbox": (0, 10, 1, -10)}, "south 10 is above north -10"),
        ({"bbox": (0, 0, 190, 1)}, "longitudes are in -180..180"),
        ({"bbox": (0, -91, 1, 1)}, "latitudes are in -90..90"),
        ({"bbox": 5}, "west,south,east,north"),
        ({"within": "POINT (0 0)"}, "within is a geometry"),
        ({"within": shapely.Polygon()}, "within: the geometry is empty"),
        ({"within": shapely.Point(0, 0).buffer(1, 5000)}, "vertices, at most 10000"),
        ({"datetime": "yesterday"}, "'yesterday' is no date"),
        ({"datetime": "2021-02-30"}, "is no date"),
        ({"datetime": "2021-13"}, "is no date"),
        ({"datetime": "0000"}, "is no date"),
        ({"datetime": "2021-W01"}, "is no date"),
        ({"datetime": "202"}, "is no date"),
        ({"datetime": "٢٠٢١"}, "is no date"),
        ({"datetime": "0001-01-01T00:00:00+14:00"}, "is no date"),
        ({"datetime": "9999-12-31T23:59:59-14:00/.."}, "is no date"),
        ({"datetime": "2022-01-01/2021-01-01"}, "ends before it starts"),
        ({"datetime": "../.."}, "open at both ends"),
        ({"datetime": "a/b/c"}, "3 parts"),
        ({"datetime": 5}, "pair of datetimes"),
        ({"labels_all": "x"}, "labels_all is a list of texts"),
        ({"labels_any": [1]}, "one is 1"),
        ({"predicted_any": "x"}, "predicted_any is a list of texts"),
        ({"min_score": 2}, "min_score is 2"),
        ({"where": ""}, "where is an expression"),
    ],
)
def test_bad_conditions_give_one_clear_line(values, message) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        Filter(**values)
    assert "\n" not in str(caught.value)


def test_unknown_labels_are_named(globe) -> None:
    for how in ("any", "all", "exact"):
        with pytest.raises(QueryError, match="no record has the label 'beech': did you mean 'beach'"):
            passing(globe, Filter.from_mapping({f"labels_{how}": ["beech"]}))
    with pytest.raises(QueryError, match="no record has the predicted label 'beech': did you mean 'beach'"):
        passing(globe, Filter(predicted_any=("beech",)))


def test_none_of_an_unknown_label_leaves_nothing_out_and_says_so(globe, caplog) -> None:
    assert passing(globe, Filter(labels_none=("beech",))) == [record.id for record in globe[1]]
    assert caplog.messages == ["no record has the label 'beech', so asking for none with it leaves nothing out"]
    assert passing(globe, Filter(labels_none=("beech", "town"))) == passing(globe, Filter(labels_none=("town",)))
    assert passing(globe, Filter(predicted_none=("beech",))) == [record.id for record in globe[1]]


def test_geometry_nested_without_end_is_refused() -> None:
    tree: dict[str, object] = {"type": "Point", "coordinates": [0, 0]}
    for _ in range(5000):
        tree = {"type": "GeometryCollection", "geometries": [tree]}
    for within in (tree, {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": tree}]}):
        with pytest.raises(QueryError, match="nested too deep"):
            Filter.from_mapping({"within": within})


def test_json_round_trip() -> None:
    condition = Filter(
        ids=("a",),
        bbox=(1, 2, 3, 4),
        within=shapely.box(0, 0, 1, 1),
        datetime="2021-01-01/..",
        labels_any=("x", "y"),
        labels_exact=(),
        predicted_none=("z",),
        min_score=0.25,
        where="x < 3",
    )
    import json

    tree = json.loads(json.dumps(condition.to_mapping()))
    assert Filter.from_mapping(tree) == condition
    assert Filter.from_mapping({}) == Filter()
    assert Filter().is_empty
    assert not condition.is_empty
    feature = {"type": "Feature", "properties": {}, "geometry": tree["within"]}
    collection = {"type": "FeatureCollection", "features": [feature]}
    for within in (feature, collection):
        assert Filter.from_mapping({"within": within}).within.equals(condition.within)
    for bad in ({"type": "Feature"}, {"type": "Blob", "coordinates": []}, {}, {"type": "Feature", "geometry": None}):
        with pytest.raises(QueryError, match="within"):
            Filter.from_mapping({"within": bad})
    with pytest.raises(QueryError, match="did you mean 'labels_any'"):
        Filter.from_mapping({"label_any": ["x"]})
