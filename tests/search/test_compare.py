"""Two archives side by side: overlap and order by plain counting."""

from __future__ import annotations

import itertools
import json
import random

import numpy as np
import pytest

from terraseek.archive import Archive, ModelIdentity, Record
from terraseek.errors import NotFoundError, QueryError
from terraseek.search import Comparison, Hit, Page, Query, Retriever, compare_searches, comparison_sheet

MODEL = ModelIdentity(fingerprint="m", dim=2)


def page(ids: list[str]) -> Page:
    hits = tuple(Hit(rank=at, score=None, record=Record(id=name, source="s")) for at, name in enumerate(ids, 1))
    return Page(matched=len(ids), hits=hits, next=None, model=MODEL)


def test_overlap_and_correlation_equal_plain_counting() -> None:
    rng = random.Random(3)
    for _ in range(50):
        names = [f"r{at}" for at in range(12)]
        one, other = rng.sample(names, rng.randrange(13)), rng.sample(names, rng.randrange(13))
        found = Comparison(first=page(one), second=page(other), depth=12)
        for k, value in found.overlaps.items():
            common = sum(name in other[:k] for name in one[:k])
            longest = max(len(one[:k]), len(other[:k]))
            assert value == (common / longest if longest else 1.0)
        pairs = list(itertools.combinations([name for name in one if name in other], 2))
        agree = sum(1 if other.index(a) < other.index(b) else -1 for a, b in pairs)
        assert found.rank_correlation == (pytest.approx(agree / len(pairs)) if pairs else None)
        json.dumps(found.to_json(), allow_nan=False)


def test_an_archive_agrees_with_itself(archive, encoder) -> None:
    both = Retriever(archive, encoder)
    found = compare_searches(both, both, Query(text="red", k=7))
    assert set(found.overlaps.values()) == {1.0}
    assert found.rank_correlation == 1.0
    assert list(found.overlaps) == [1, 5, 7]
    assert comparison_sheet(both, both, found, Query(text="red", k=7)).size[1] > 100


def test_two_models_are_each_asked_in_their_own_space(archive, encoder, tmp_path) -> None:
    class Turned(type(encoder)):
        """Another model: the same colours in another order."""

        fingerprint = "turned"

        def encode_images(self, images):
            return super().encode_images(images)[:, [1, 2, 0]]

        def encode_texts(self, texts):
            return super().encode_texts(texts)[:, [1, 2, 0]]

    other = Archive.create(tmp_path / "turned", Turned())
    ids = archive.ids()
    other.add(archive.get(ids), archive.vectors(ids)[:, [1, 2, 0]])
    first, second = Retriever(archive, encoder), Retriever(other, Turned())
    assert compare_searches(first, second, Query(text="blue", k=5)).overlap_at(5) == 1.0
    assert compare_searches(first, second, Query(like=ids[0], k=5)).overlap_at(5) == 1.0
    with pytest.raises(QueryError, match="a vector is of one model"):
        compare_searches(first, second, Query(vector=np.ones(3)))
    with pytest.raises(QueryError, match="one page"):
        compare_searches(first, second, Query(text="red", after="x"))
    other.remove([ids[0]])
    with pytest.raises(NotFoundError):
        compare_searches(first, second, Query(like=ids[0]))
