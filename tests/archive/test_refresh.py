"""A reader that follows from version to version is what one that opens the newest version anew would be."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from terraseek.archive import Archive, Filter, ModelIdentity, Record
from terraseek.archive.changes import remove_rows
from terraseek.archive.storage import take
from terraseek.archive.view import View
from terraseek.errors import BusyError, TerraseekError

DIM, POOL = 6, 90
MODEL = ModelIdentity(fingerprint="refresh", dim=DIM)
FILTERS = (
    Filter(),
    Filter(labels_any=("odd",)),
    Filter(bbox=(-20, -90, 180, 90), where="step < 5"),
    Filter(ids=tuple(f"r{at:02d}" for at in range(0, POOL, 3)), predicted_any=("sea",), min_score=0.4),
    Filter(not_ids=("r00", "r01"), collections=("c0", "c1")),
)
QUESTIONS = {
    "version": lambda view: view.version,
    "ids": lambda view: view.ids(),
    "vectors": lambda view: view.snapshot.index(DIM).rows(view.snapshot.find(view.ids())).tolist(),
    "rankings": lambda view: [view.search(query, k, where) for query in QUERIES for k in (3, 200) for where in FILTERS],
    "records": lambda view: view.search(QUERIES[0], 12).records(thumbnails=True),
    "counts": lambda view: [view.count(where) for where in FILTERS],
    "facets": lambda view: [view.facets(where) for where in FILTERS],
    "sources": lambda view: view.snapshot.source_counts(["s0", "s1", "nowhere"]),
    "nearby": lambda view: [view.search(q, 5, mode="ann") for q in QUERIES] if view.snapshot.indexed else None,
}
QUERIES = np.random.default_rng(0).standard_normal((2, DIM))
STEPS = st.tuples(
    st.sampled_from(["add", "add", "add", "remove", "remove", "filter", "compact", "index"]),
    st.integers(0, 2**20),
    st.sets(st.sampled_from(sorted(QUESTIONS))),
)


def write(archive: Archive, kind: str, seed: int, step: int) -> None:
    """One change by another process's hand."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(POOL)[: rng.integers(1, 40)].tolist()
    if kind == "add":  # some of them new, some updates
        archive.add([make_record(at, step, rng) for at in chosen], rng.standard_normal((len(chosen), DIM)))
    elif kind == "remove":
        archive.remove([f"r{at:02d}" for at in chosen])
    elif kind == "filter":
        archive.remove(Filter(where=f"step = {int(rng.integers(0, 6))}"))
    elif kind == "compact":
        archive.compact()
    elif len(archive):
        archive.build_index()


def make_record(at: int, step: int, rng: np.random.Generator) -> Record:
    west, south = rng.uniform([-180, -85], [170, 80])
    return Record(
        id=f"r{at:02d}",
        source=f"s{at % 3}",
        collection=f"c{step % 3}",
        footprint=shapely.box(west, south, west + 9, south + 5) if at % 4 else None,
        labels=("odd",) if at % 2 else ("even", f"written in step {step}"),
        predicted={"sea": float(rng.random())},
        properties={"step": step},
        thumbnail=bytes([step]) * (at % 5),
    )


def first_records(archive: Archive) -> None:
    rng = np.random.default_rng(1)
    archive.add([make_record(at, 0, rng) for at in range(0, POOL, 2)], rng.standard_normal((POOL // 2, DIM)))
    assert {"odd", "even"} & set(archive.facets()["labels"])


def answer(name: str, view: View) -> object:
    try:
        return QUESTIONS[name](view)
    except TerraseekError as error:  # a filter may name a label that no record has any more: both must say so
        return type(error), str(error)


def check_following(uri: Path, steps: list[tuple[str, int, set[str]]]) -> None:
    """Write with one archive, follow with another, and compare with a third that is opened anew after each step.

    What the follower asks in between decides what it has loaded, of which version, when the next change comes.
    """
    writer = Archive.create(uri, MODEL)
    first_records(writer)
    follower = Archive.open(uri)
    for number, (kind, seed, asked) in enumerate(steps, start=1):
        write(writer, kind, seed, number)
        follows, fresh = follower.view(), Archive.open(uri).view()
        for name in sorted(asked):
            assert answer(name, follows) == answer(name, fresh), (number, kind, name)
    follows, fresh = follower.view(), Archive.open(uri).view()
    for name in QUESTIONS:
        assert answer(name, follows) == answer(name, fresh), name


@pytest.fixture
def small_index(monkeypatch) -> None:
    monkeypatch.setattr("terraseek.archive.ann.MINIMUM_ROWS", 1)


def check_examples(examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=examples < 20,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.lists(STEPS, min_size=3, max_size=9))
    def check(steps: list[tuple[str, int, set[str]]]) -> None:
        with TemporaryDirectory() as folder:
            check_following(Path(folder) / "a", steps)

    check()


@pytest.mark.parametrize("examples", [6, pytest.param(150, marks=pytest.mark.slow)])
def test_following_equals_opening_anew(small_index, examples) -> None:
    check_examples(examples)


def test_many_small_changes_leave_few_segments(tmp_path) -> None:
    rng = np.random.default_rng(2)
    steps = [("add" if at % 3 else "remove", int(rng.integers(2**20)), {"vectors"}) for at in range(14)]
    check_following(tmp_path / "a", steps)


def test_what_did_not_change_is_not_read_again(tmp_path, monkeypatch) -> None:
    archive = Archive.create(tmp_path / "a", MODEL)
    first_records(archive)
    archive.search(QUERIES[0], 5).records()
    before = archive.snapshot().index(DIM).segments[0].index
    read: list[int] = []

    def counted(table, row_ids, columns):
        read.append(len(row_ids))
        return take(table, row_ids, columns)

    monkeypatch.setattr("terraseek.archive.snapshot.take", counted)
    monkeypatch.setattr("terraseek.archive.snapshot.Snapshot._index_read", None)  # would fail if called
    archive.remove(["r00", "r02"])
    archive.add([make_record(99, 1, np.random.default_rng(0))], np.ones((1, DIM)))
    assert archive.search(np.ones(DIM), 1).ids == ("r99",)
    assert set(read) == {1}
    assert archive.snapshot().index(DIM).segments[0].index is before


def test_rows_that_moved_before_they_were_removed_are_told(tmp_path: Path) -> None:
    archive = Archive.create(tmp_path / "archive", MODEL)
    rng = np.random.default_rng(0)
    archive.add([make_record(at, 0, rng) for at in range(10)], rng.standard_normal((10, DIM)))
    snapshot = archive.snapshot()
    archive.remove(["r03", "r04"])
    # As where the lease on object storage passed on: the table is newer than what the rows were chosen from.
    with pytest.raises(BusyError, match="moved 2 of 4 records before they were removed: run it again"):
        remove_rows(archive._versions.table, snapshot, Filter(ids=("r02", "r03", "r04", "r05")))
    assert len(Archive.open(archive.uri)) == 6
