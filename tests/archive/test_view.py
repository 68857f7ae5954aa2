"""One version answers several questions alike, whatever is written between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from terraseek.archive import Archive, Filter
from terraseek.archive.hilbert import hilbert_order
from terraseek.archive.status import summary
from terraseek.archive.view import View
from terraseek.errors import CorruptError, NotFoundError


def test_a_view_stays_while_the_archive_goes_on(filled: Archive, records_of: Callable[..., Any]) -> None:
    view = filled.view()
    other = Archive.open(filled.uri)
    before, query = view.ids(), np.ones(filled.dim)
    ranked = view.search(query, 20)
    other.remove(ranked.ids[:10])
    other.add(*records_of(5, seed=9, prefix="new"))
    assert view.ids() == before
    assert len(view) == view.count(Filter()) == 300
    assert view.search(query, 20) == ranked
    assert [record.id for record in view.get(ranked.ids)] == list(ranked.ids)
    np.testing.assert_array_equal(view.vectors(before).shape, (300, filled.dim))
    assert len(filled.view()) == len(filled) == 295
    assert filled.view().version > view.version


def test_a_question_is_asked_again_when_its_version_is_compacted_away(filled: Archive) -> None:
    other = Archive.open(filled.uri)
    asked: list[int] = []

    def question(view: View) -> int:
        asked.append(view.version)
        if len(asked) == 1:
            other.remove([f"r{at:05d}" for at in range(100)])  # enough that compacting rewrites the file
            other.compact()
        return len(view.get(view.ids()))

    assert filled.read(question) == 200
    assert len(asked) == 2


def searched(view: View) -> object:
    return view.search(np.ones(view.dim), 10)


QUESTIONS: dict[str, tuple[Callable[[View], Any] | None, Callable[[View, Any], int]]] = {
    "records of a ranking": (searched, lambda view, ranking: len(ranking.records())),
    "thumbnails of a ranking": (searched, lambda view, ranking: len(ranking.records(thumbnails=True))),
    "status": (View.facets, lambda view, _: summary(view)["records"] and 10),
    "order of an export": (View.ids, lambda view, ids: len(hilbert_order(view, ids[:10]))),
    "vectors in memory": (None, lambda view, _: len(view.snapshot.index(view.dim).rows(np.arange(10)))),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_whatever_reads_late_is_asked_again(filled: Archive, name: str) -> None:
    """Between the parts of a question a compaction may remove what the later ones read."""
    begin, end = QUESTIONS[name]
    other = Archive.open(filled.uri)
    asked: list[int] = []

    def question(view: View) -> object:
        begun = begin(view) if begin else None
        asked.append(view.version)
        if len(asked) == 1:
            other.remove([f"r{at:05d}" for at in range(100)])  # enough that compacting rewrites the file
            other.compact()
        return end(view, begun)

    assert filled.read(question) == 10
    assert len(asked) == 2


def test_damage_is_not_taken_for_compaction(filled: Archive) -> None:
    def question(view: View) -> None:
        raise CorruptError("a file is altered")

    with pytest.raises(CorruptError, match="a file is altered"):
        filled.read(question)
    with pytest.raises(NotFoundError, match="no record 'nowhere'"):
        filled.view().get(["nowhere"])


def test_names_that_no_record_can_have_are_not_there(filled: Archive) -> None:
    undecodable = b"\xff".decode("utf-8", "surrogateescape")
    with pytest.raises(NotFoundError, match="no record"):
        filled.get(["r00001", undecodable])
    assert filled.count(Filter(ids=("r00001", undecodable, "r00001"))) == 1
    assert filled.remove([undecodable]) == 0
