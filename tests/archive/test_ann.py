"""Every operation on the index gives what exact search gives, up to recall."""

from __future__ import annotations

import numpy as np
import pytest

from terraseek.archive import Archive, Filter, ModelIdentity, Record, ann
from terraseek.archive.storage import nearest, take
from terraseek.errors import UsageError

COUNT, DIM = 3_000, 16


@pytest.fixture(scope="module")
def indexed(tmp_path_factory) -> Archive:
    rng = np.random.default_rng(0)
    archive = Archive.create(tmp_path_factory.mktemp("ann") / "a", ModelIdentity(fingerprint="f", dim=DIM))
    records = [
        Record(id=f"r{at:04d}", source=f"s{at % 3}", labels=("even",) if at % 2 == 0 else (), properties={"at": at})
        for at in range(COUNT)
    ]
    archive.add(records, rng.standard_normal((COUNT, DIM)))
    archive.build_index()
    return archive


FILTERS = {
    "none": Filter(),
    "half": Filter(labels_any=("even",)),
    "narrow": Filter(where="at < 40"),
    "nothing": Filter(ids=()),
    "all but one": Filter(not_ids=("r0007",)),
}


@pytest.mark.parametrize("condition", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("scan_below", [0, 20_000])
def test_ann_finds_what_exact_finds(indexed, condition, scan_below, monkeypatch) -> None:
    monkeypatch.setattr("terraseek.archive.ann.SCAN_BELOW", scan_below)
    rng = np.random.default_rng(1)
    found = wanted = 0
    for query in rng.standard_normal((10, DIM)):
        exact = indexed.search(query, 10, condition)
        near = indexed.search(query, 10, condition, mode="ann")
        assert near.matched == exact.matched
        assert len(near.ids) == len(exact.ids)
        scores = dict(
            zip(
                indexed.search(query, COUNT, condition).ids, indexed.search(query, COUNT, condition).scores, strict=True
            )
        )
        # Approximate is only which records are looked at, never what is said about them.
        assert [scores[name] for name in near.ids] == list(near.scores)
        assert [record.id for record in near.records()] == list(near.ids)
        found += len(set(exact.ids) & set(near.ids))
        wanted += len(exact.ids)
    assert wanted == 0 or found / wanted >= 0.98


def test_a_large_k_gives_all(indexed) -> None:
    assert len(indexed.search(np.ones(DIM), COUNT, Filter(labels_any=("even",)), mode="ann").ids) == COUNT // 2


@pytest.fixture
def counts(monkeypatch) -> dict[str, list[int]]:
    """How many vectors were asked for at once, in each call that reads vectors; a scan reads 64 rows at a time."""
    asked: dict[str, list[int]] = {"nearest": [], "take": []}

    def near(table, query_D, count, **options):
        asked["nearest"].append(count)
        return nearest(table, query_D, count, **options)

    def taken(table, row_ids, columns):
        asked["take"].append(len(row_ids))
        return take(table, row_ids, columns)

    monkeypatch.setattr(ann, "nearest", near)
    monkeypatch.setattr(ann, "take", taken)
    monkeypatch.setattr(ann, "VECTOR_ROWS", 64)
    return asked


def test_a_filter_unlike_the_query_is_scanned_in_the_end(indexed, counts, monkeypatch) -> None:
    monkeypatch.setattr(ann, "SCAN_BELOW", 0)
    query = np.random.default_rng(3).standard_normal(DIM)
    farthest = Filter(ids=indexed.search(query, COUNT).ids[-1000:])
    near = indexed.search(query, 10, farthest, mode="ann")
    assert near == indexed.search(query, 10, farthest)
    assert len(counts["nearest"]) > 1
    assert max(counts["nearest"]) < 1000
    assert sum(counts["take"]) == 1000
    assert max(counts["take"]) == 64


def test_deep_pages_are_scanned(indexed, counts, monkeypatch) -> None:
    monkeypatch.setattr(ann, "FETCH_MOST", 500)
    query = np.random.default_rng(4).standard_normal(DIM)
    for condition in (Filter(), Filter(labels_any=("even",))):
        near = indexed.search(query, 1200, condition, mode="ann")
        assert near == indexed.search(query, 1200, condition)
    assert counts["nearest"] == []
    assert max(counts["take"]) == 64


def test_ties_go_by_id_in_a_scan(tmp_path, counts, monkeypatch) -> None:
    monkeypatch.setattr(ann, "MINIMUM_ROWS", 1)
    rng = np.random.default_rng(5)
    archive = Archive.create(tmp_path / "a", ModelIdentity(fingerprint="f", dim=DIM))
    names = [f"r{at:03d}" for at in rng.permutation(300)]
    vectors = rng.standard_normal((6, DIM))[rng.integers(0, 6, 300)]
    archive.add([Record(id=name, source="s") for name in names], vectors)
    archive.build_index()
    for k in (1, 5, 70, 299, 300, 400):
        condition = Filter(not_ids=("r000",))
        assert archive.search(vectors[0], k, condition, mode="ann") == archive.search(vectors[0], k, condition)
    assert counts["nearest"] == []


def test_records_that_come_and_go_after_indexing(indexed, tmp_path) -> None:
    import shutil

    shutil.copytree(indexed.uri, tmp_path / "a")
    archive = Archive.open(tmp_path / "a")
    query = np.random.default_rng(2).standard_normal(DIM)
    first = archive.search(query, 3, mode="ann").ids[0]
    archive.remove([first])
    archive.add([Record(id="new", source="s")], query[None])
    ranked = archive.search(query, 5, mode="ann")
    assert ranked.ids[0] == "new"
    assert first not in ranked.ids
    assert archive.status()["index"] == {"kind": "IVF_HNSW_SQ", "indexed": COUNT - 1, "rest": 1}
    archive.compact()
    assert archive.search(query, 5, mode="ann").ids == ranked.ids
    assert archive.status()["index"]["rest"] == 0
    report = archive.verify(recall=True)
    assert report.ok
    assert report.recall is not None
    assert report.recall >= 0.98


def test_too_few_records_are_not_worth_an_index(filled) -> None:
    with pytest.raises(UsageError, match="at least 1000 records, there are 300"):
        filled.build_index()
