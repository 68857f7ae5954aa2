from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.archive import Filter, Record
from terraseek.archive.where import parse_where
from terraseek.errors import QueryError


@pytest.fixture
def stocked(archive):
    properties = [
        {"cloud": 5, "sensor": "msi", "eo:cloud_cover": 1.5, "ok": True, "a b": 1, "deep": {"er": {"x": 4}}},
        {"cloud": 50.5, "sensor": "oli", "ok": False, "deep": {"er": 3}},
        {"cloud": "many", "sensor": None},
        {"sensor": "it's", "cloud": -3},
        {},
    ]
    records = [Record(id=f"r{at}", source=f"s{at}", properties=p) for at, p in enumerate(properties)]
    archive.add(records, np.ones((5, 8)))
    return archive


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cloud < 10", "03"),
        ("cloud<10", "03"),
        ("cloud >= 5 and cloud <= 50.5", "01"),
        ("cloud = 'many'", "2"),
        ("cloud != 5", "13"),
        ("cloud <> 'x'", "2"),
        ("not cloud < 10", "1"),
        ("not (cloud < 10 or sensor = 'oli')", ""),
        ("cloud < 10 or sensor = 'oli'", "013"),
        ("sensor = 'msi' or sensor = 'oli' and cloud > 100", "0"),
        ("(sensor = 'msi' or sensor = 'oli') and cloud > 10", "1"),
        ("sensor = 'it''s'", "3"),
        ("sensor in ('msi', 'it''s')", "03"),
        ("sensor not in ('msi', 'it''s')", "1"),
        ("cloud in (5, 'many')", "02"),
        ("sensor is null", "24"),
        ("sensor is not null", "013"),
        ("nothing is null", "01234"),
        ("nothing = 3", ""),
        ("ok = true", "0"),
        ("ok != true", "1"),
        ("ok = 1", ""),
        ("eo:cloud_cover > 1", "0"),
        ('"a b" = 1', "0"),
        ("deep.er.x = 4", "0"),
        ("deep.er = 3", "1"),
        ("cloud > -5 AND NOT cloud > +1e0", "3"),
        ("id >= 'r3'", "34"),
        ("source = 's1' or collection != 'default'", "1"),
        ("datetime is null", "01234"),
    ],
)
def test_expressions(stocked, text, expected) -> None:
    assert stocked.ids(Filter(where=text)) == tuple(f"r{digit}" for digit in expected)


def test_datetime_compares_moments(filled) -> None:
    assert filled.ids(Filter(where="datetime < '2020-01-03'")) == ("r00000", "r00001")
    assert filled.ids(Filter(where="datetime in ('2020-01-03T00:00:00Z')")) == ("r00002",)
    with pytest.raises(QueryError, match="'soon' is no date"):
        Filter(where="datetime < 'soon'")
    with pytest.raises(QueryError, match="datetime is compared with a date"):
        Filter(where="datetime < 5")


def test_numbers_beyond_floats_compare_as_infinite(archive) -> None:
    values = {"huge": 10**400, "deep": -(10**400), "small": 3, "none": None}
    archive.add([Record(id=name, source="s", properties={"x": value}) for name, value in values.items()], np.eye(8)[:4])
    assert archive.ids(Filter(where="x > 1e300")) == ("huge",)
    assert archive.ids(Filter(where="x < 0")) == ("deep",)
    assert archive.ids(Filter(where="x is null")) == ("none",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cloud", "expected|missing"),
        ("cloud <", "missing at the end"),
        ("< 3", "expected the name of a property, found '<' at character 1"),
        ("cloud < 3 cloud", "expected 'and', 'or' or the end, found 'cloud' at character 11"),
        ("(cloud < 3", r"'\)' is missing"),
        ("cloud < 'open", "cannot read"),
        ("cloud in ()", "expected a number"),
        ("cloud = null", "expected a number"),
        ("cloud < true", "no order"),
        ("a = 1; drop table records", "cannot read ';"),
        ("a = 1 -- comment", "cannot read|expected"),
        ("f(x) = 1", "expected a comparison"),
        ("cloud < 12abc", "cannot read|expected"),
        ("(" * 40 + "a=1" + ")" * 40, "nested more than 32"),
        ("not " * 40 + "a=1", "nested more than 32"),
        ("a = 1 or " * 1000 + "a = 1", "characters, at most 4096"),
    ],
)
def test_mistakes_are_pointed_at(text, message) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        parse_where(text)
    assert "\n" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_no_text_does_anything_but_parse_or_say_why(text) -> None:
    with contextlib.suppress(QueryError):
        parse_where(text)


ROWS = {"x": np.array([1.0, 2.0, np.nan]), "y": np.array(["a", None, "b"], object)}
LEAVES = st.sampled_from(["x < 2", "x = 2", "y = 'a'", "y is null", "x in (1, 3)", "z = 1"])


def brute(tree, row):
    """Three-valued logic by the book: None is unknown."""
    if isinstance(tree, str):
        x, y = float(ROWS["x"][row]), ROWS["y"][row]
        x = None if np.isnan(x) else x
        return {
            "x < 2": None if x is None else x < 2,
            "x = 2": None if x is None else x == 2,
            "y = 'a'": None if y is None else y == "a",
            "y is null": y is None,
            "x in (1, 3)": None if x is None else x in (1, 3),
            "z = 1": None,
        }[tree]
    if tree[0] == "not":
        inner = brute(tree[1], row)
        return None if inner is None else not inner
    values = [brute(tree[1], row), brute(tree[2], row)]
    decisive = tree[0] == "or"
    if decisive in values:
        return decisive
    return None if None in values else not decisive


def written(tree) -> str:
    if isinstance(tree, str):
        return tree
    return f"not ({written(tree[1])})" if tree[0] == "not" else f"({written(tree[1])}) {tree[0]} ({written(tree[2])})"


TREES = st.recursive(
    LEAVES,
    lambda t: st.tuples(st.just("not"), t) | st.tuples(st.sampled_from(["and", "or"]), t, t),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_logic_has_three_values(tree) -> None:
    columns = {**ROWS, "z": np.full(3, np.nan)}
    kept = parse_where(written(tree)).keeps(columns.__getitem__, 3)
    assert kept.tolist() == [brute(tree, row) is True for row in range(3)]
