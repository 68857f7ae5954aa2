from __future__ import annotations

import numpy as np
import pytest
import shapely

from terraseek.errors import QueryError
from terraseek.search import Query


def test_one_stands_for_a_list() -> None:
    query = Query(like="a", not_like=["b"], text="beach", image="x.png", vector=[1.0, 0.0])
    assert (query.like, query.not_like, query.text, query.image) == (("a",), ("b",), ("beach",), ("x.png",))
    assert query.vector.shape == (1, 2)
    assert query.filter.not_ids == ("a", "b")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 10_001}, r"1..10000"),
        ({"k": True}, "k is True"),
        ({"k": 2.5}, "k is 2.5"),
        ({"text": ""}, "text is a text or a list"),
        ({"text": "x" * 3000}, "text has 3000 characters"),
        ({"like": [1]}, "like is a text"),
        ({"like": ["a"] * 1001}, "like has 1001 entries"),
        ({"image": 3}, "image is an array, a path"),
        ({"vector": [float("nan"), 1.0]}, "zero or not finite"),
        ({"vector": [[0.0, 0.0]]}, "zero or not finite"),
        ({"vector": "text"}, "vector is a list of numbers"),
        ({"vector": []}, "shape"),
        ({"combine": "median"}, "unknown combine 'median'"),
        ({"mode": "exakt"}, "did you mean 'exact'"),
        ({"weights": {"images": 1.0}}, "did you mean 'image'"),
        ({"weights": {"image": float("nan")}}, "weight of image is nan"),
        ({"weights": {"image": 2}}, "image has a weight and the search has no image: there is nothing to weigh"),
        ({"text": "a", "like": "b", "weights": {"text": 1, "vector": 2}}, "has no vector: there is text and like"),
        ({"negative_weight": -1}, "negative_weight is -1"),
        ({"diversity": 1.5, "like": "a"}, "diversity is 1.5"),
        ({"diversity": 0.5}, "diversity needs an example"),
        ({"diversity": 0.5, "like": "a", "after": "x"}, "has one page"),
        ({"not_like": "a"}, "give what to look for too"),
        ({"like": "a", "feedback": "rochio"}, "unknown feedback 'rochio': .*rocchio"),
        ({"image": "x.png", "feedback": "rocchio"}, "feedback needs hits that are marked"),
        ({"like": "a", "feedback": "rocchio", "combine": "max"}, "no feedback"),
        ({"like": "a", "feedback": "rocchio", "weights": {"like": 2}}, "leave out the weight of like"),
        ({"like": "a", "feedback": "logistic", "negative_weight": 0.5}, "logistic feedback has none"),
        ({"like": "a", "not_like": "b", "combine": "max"}, "combine 'max' takes no not_like"),
        ({"bbox": (1, 2, 3)}, "3 numbers, 4 are needed"),
        ({"where": "cloud <"}, "is missing at the end"),
        ({"labels_any": "beach"}, "labels_any is a list of texts"),
    ],
)
def test_bad_values_give_one_clear_line(values, message) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        Query(**values)
    assert "\n" not in str(caught.value)


def test_from_json_values() -> None:
    tree = {
        "like": ["a"],
        "k": 5,
        "bbox": [1, 2, 3, 4],
        "datetime": "2021-01-01/2021-12-31",
        "labels_any": ["beach"],
        "within": {"type": "Point", "coordinates": [1, 2]},
        "where": None,
    }
    query = Query.from_mapping(tree)
    assert (query.like, query.k, query.bbox, query.within) == (("a",), 5, (1, 2, 3, 4), shapely.Point(1, 2))
    with pytest.raises(QueryError, match="unknown key 'lables_any': did you mean 'labels_any'"):
        Query.from_mapping({"lables_any": ["x"]})
    with pytest.raises(QueryError, match="k is '5'"):
        Query.from_mapping({"k": "5"})
    with pytest.raises(QueryError, match="wrong type"):
        Query.from_mapping({"weights": [1]})


def test_the_digest_tells_searches_apart_and_pages_together() -> None:
    base = Query(like="a", labels_any=("x",))
    assert base.digest() == Query(like="a", labels_any=("x",), k=3, after="t").digest()
    others = [
        Query(like="b", labels_any=("x",)),
        Query(like="a"),
        Query(like="a", labels_any=("x",), combine="max"),
        Query(like="a", labels_any=("x",), weights={"like": 2.0}),
        Query(vector=[1.0], labels_any=("x",)),
        Query(image=np.zeros((2, 2, 3), np.uint8), labels_any=("x",)),
    ]
    assert len({query.digest() for query in [base, *others]}) == 7
