from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from terraseek.archive import Archive, Filter, ModelIdentity, Record
from terraseek.archive.view import View
from terraseek.errors import (
    CorruptError,
    IntegrityError,
    ModelMismatchError,
    NotFoundError,
    QueryError,
    UsageError,
    exit_code,
)


def files_holding(folder: Path, needle: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]


def test_records_come_back_as_they_went_in(archive, records_of) -> None:
    records, vectors = records_of(40)
    result = archive.add(records, vectors)
    assert (result.added, result.updated, len(archive)) == (40, 0, 40)
    assert archive.get([r.id for r in reversed(records)]) == tuple(reversed(records))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(archive.vectors(["r00003", "r00001"]), unit[[3, 1]], atol=1e-7)


def test_the_barest_record_comes_back(archive) -> None:
    record = Record(id="bare", source="x")
    archive.add([record], np.ones((1, 8)))
    assert archive.get(["bare"]) == (record,)


def test_adding_again_updates(filled, records_of) -> None:
    records, vectors = records_of(300)
    before = filled.search(vectors[5], k=300)
    result = filled.add(records, vectors)
    assert (result.added, result.updated, len(filled)) == (0, 300, 300)
    after = filled.search(vectors[5], k=300)
    assert (after.ids, after.scores) == (before.ids, before.scores)
    changed = Record(id="r00005", source="other.tif", labels=("new",))
    filled.add([changed], -vectors[5:6])
    assert filled.get(["r00005"]) == (changed,)
    assert filled.search(vectors[5], k=300).ids[-1] == "r00005"


def test_the_later_of_two_with_one_id_counts(archive) -> None:
    archive.add([Record(id="a", source="first"), Record(id="a", source="second")], np.eye(8)[:2])
    assert len(archive) == 1
    assert archive.get(["a"])[0].source == "second"
    assert archive.search(np.eye(8)[1], k=1).scores == (1.0,)


def test_an_empty_batch_changes_nothing(archive) -> None:
    assert archive.add([], np.empty((0, 8))).added == 0
    assert archive.search(np.ones(8)).ids == ()


def test_remove_by_ids_and_by_filter(filled) -> None:
    assert filled.remove(["r00000", "r00001", "nobody"]) == 2
    assert filled.remove(Filter(collections=("c0",))) == 99
    assert len(filled) == 199
    assert filled.count(Filter(collections=("c0",))) == 0
    with pytest.raises(NotFoundError, match="no record 'r00000'"):
        filled.get(["r00000"])
    assert filled.remove(Filter()) == 199
    assert filled.search(np.ones(8)).matched == 0


def test_an_id_with_quotes_is_removed_alone(archive) -> None:
    names = ["it's", "x' OR 'a'='a", 'say "hi"', "ünïcode/日本"]
    archive.add([Record(id=name, source="s") for name in names], np.eye(8)[:4])
    assert archive.remove(["x' OR 'a'='a"]) == 1
    assert archive.ids() == tuple(sorted(set(names) - {"x' OR 'a'='a"}))


def test_compact_removes_the_bytes(tmp_path: Path, model, records_of) -> None:
    archive = Archive.create(tmp_path / "a", model)
    records, vectors = records_of(50)
    secret = Record(id="secret-id-4711", source="s", caption="secret-caption-4711", thumbnail=b"secret-pixels-4711" * 9)
    archive.add([*records, secret], np.vstack([vectors, np.ones(8)]))
    archive.add([Record(id="r00000", source="updated")], vectors[:1])
    needles = (b"secret-id-4711", b"secret-caption-4711", b"secret-pixels-4711")
    assert all(files_holding(tmp_path, needle) for needle in needles)
    archive.remove(["secret-id-4711"])
    result = archive.compact()
    assert [needle for needle in needles if files_holding(tmp_path, needle)] == []
    assert result.bytes_after < result.bytes_before
    assert len(archive) == 50
    assert archive.get(["r00000"])[0].source == "updated"


@pytest.mark.parametrize("victims", [("r00000",), ("r00299",), ("r00150", "r00151")], ids=["first", "last", "middle"])
def test_compact_removes_the_bytes_of_one_among_many(filled: Archive, victims: tuple[str, ...]) -> None:
    kept = {record.id: record for record in filled.get(filled.ids())}
    filled.remove(victims)
    filled.compact()
    assert [name for name in victims if files_holding(Path(filled.uri), name.encode())] == []
    for name in victims:
        del kept[name]
    assert {record.id: record for record in filled.get(filled.ids())} == kept
    assert filled.verify().ok


def test_a_reader_follows_a_writer_through_compaction(filled, records_of) -> None:
    reader = Archive.open(filled.uri)
    records, vectors = records_of(20, seed=9, prefix="late")
    assert len(reader.search(vectors[0], k=400).ids) == 300
    filled.add(records, vectors)
    assert reader.search(vectors[0], k=1).ids == ("late00000",)
    filled.remove(["late00000", "r00001"])
    filled.compact()
    found = reader.search(vectors[0], k=400)
    assert len(found.ids) == 318
    assert [record.id for record in found.records(thumbnails=True)] == list(found.ids)
    fresh = Archive.open(filled.uri).search(vectors[0], k=400)
    assert (found.ids, found.scores) == (fresh.ids, fresh.scores)


def test_many_small_changes_equal_one_large(filled, records_of) -> None:
    records, vectors = records_of(60, seed=3, prefix="s")
    for at in range(0, 60, 4):
        filled.add(records[at : at + 4], vectors[at : at + 4])
        filled.remove([f"r{at:05d}", f"s{at:05d}"])
        found = filled.search(vectors[at + 1], k=3, where=Filter(labels_none=("beach",)))
        fresh = Archive.open(filled.uri).search(vectors[at + 1], k=3, where=Filter(labels_none=("beach",)))
        assert (found.ids, found.scores, found.matched) == (fresh.ids, fresh.scores, fresh.matched)


def test_status(filled) -> None:
    status = filled.status()
    assert (status["schema"], status["records"], status["sources"]) == (1, 300, 7)
    assert status["collections"] == {"c0": 100, "c1": 100, "c2": 100}
    assert status["model"] == {"fingerprint": "f" * 64, "dim": 8, "name": "test"}
    assert status["datetime"] == ["2020-01-01T00:00:00+00:00", "2020-10-26T00:00:00+00:00"]
    assert set(status["labels"]) == {"beach", "field", "forest", "town"}
    assert status["index"] is None
    assert status["bytes"] > 300 * 8 * 4


def test_status_beside_a_writer_that_removes_files(filled, monkeypatch) -> None:
    home = Path(filled.uri)
    kept = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    scandir = os.scandir

    class Listing:
        """The entries of a folder; the archive's own holds a writer's file and folder just while it is listed."""

        def __init__(self, folder: str | Path) -> None:
            if Path(folder) == home:
                (home / "gone").mkdir()
                (home / "gone.tmp").write_bytes(b"temporary")
            with scandir(folder) as entries:
                self.entries = list(entries)
            if Path(folder) == home:
                (home / "gone").rmdir()
                (home / "gone.tmp").unlink()

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            pass

        def __next__(self) -> os.DirEntry[str]:
            if not self.entries:
                raise StopIteration
            return self.entries.pop(0)

    monkeypatch.setattr(os, "scandir", Listing)
    assert filled.status()["bytes"] == kept


def test_damage_beside_a_busy_writer_is_told(filled) -> None:
    asked = 0

    def question(view: View) -> None:
        nonlocal asked
        asked += 1
        assert asked < 20, "asks for ever"
        filled.add([Record(id=f"busy{asked}", source="s")], np.ones((1, 8)))
        raise CorruptError(f"damaged in version {view.version}")

    first = filled.snapshot().version
    with pytest.raises(CorruptError) as caught:
        filled.read(question)
    assert asked > 2
    assert str(caught.value) == f"damaged in version {first + asked - 1}"


def test_facets_count_by_year_of_utc(archive) -> None:
    times = [
        datetime(2021, 5, 1, tzinfo=UTC),
        datetime(2019, 5, 1, tzinfo=UTC),
        datetime(2020, 12, 31, 23, 30, tzinfo=timezone(timedelta(hours=-1))),
        None,
    ]
    records = [Record(id=str(at), source="s", datetime=time) for at, time in enumerate(times)]
    archive.add(records, np.ones((4, 8)))
    assert list(archive.facets()["years"].items()) == [("2019", 1), ("2021", 2)]
    assert archive.facets(Filter(ids=("0", "3")))["years"] == {"2021": 1}
    assert archive.facets(Filter(ids=("3",)))["years"] == {}


def test_facets_count_within_the_filter(filled) -> None:
    where = Filter(labels_any=("beach",), collections=("c1",))
    records = [r for r in filled.get(filled.ids()) if "beach" in r.labels and r.collection == "c1"]
    facets = filled.facets(where)
    assert facets["collections"] == {"c1": len(records)}
    assert facets["labels"] == {
        label: n for label in facets["labels"] if (n := sum(label in record.labels for record in records))
    }
    assert facets["labels"]["beach"] == len(records)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((2, 7)), r"shape \(2, 7\), the archive needs \(2, 8\)"),
        (np.ones((3, 8)), r"shape \(3, 8\), the archive needs \(2, 8\)"),
        (np.array([[1.0] * 8, [np.nan] * 8]), "record 'b': its vector has a value that is not finite"),
        (np.array([[np.inf] * 8, [1.0] * 8]), "record 'a': its vector has a value that is not finite"),
        (np.array([[1.0] * 8, [0.0] * 8]), "record 'b': its vector is zero"),
    ],
)
def test_bad_vectors_are_refused_by_name(archive, vectors, message) -> None:
    with pytest.raises(UsageError, match=message):
        archive.add([Record(id="a", source="s"), Record(id="b", source="s")], vectors)
    assert len(archive) == 0


def test_another_model_is_refused(archive) -> None:
    other = ModelIdentity(fingerprint="0" * 64, dim=8, name="other")
    with pytest.raises(ModelMismatchError, match=r"test \(8 dims, ffffffffffff\), not of other") as caught:
        Archive.open(archive.uri, other)
    assert exit_code(caught.value) == 4
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelMismatchError):
        Archive.create(archive.uri, other, exist_ok=True)
    with pytest.raises(UsageError, match="there is an archive at"):
        Archive.create(archive.uri, other)
    assert Archive.create(archive.uri, archive.model, exist_ok=True).model == archive.model


def test_a_missing_archive_is_said_so_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="terraseek archive create"):
        Archive.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(NotFoundError, match="no archive at"):
        Archive.open(tmp_path)


def test_a_foreign_table_is_refused(tmp_path: Path) -> None:
    import lancedb

    lancedb.connect(str(tmp_path)).create_table("records", [{"id": "a", "vector": [1.0, 2.0]}])
    with pytest.raises(IntegrityError, match="terraseek did not make"):
        Archive.open(tmp_path)


def test_a_later_format_is_refused(tmp_path: Path, model, monkeypatch) -> None:
    monkeypatch.setattr("terraseek.archive.manifest.Manifest.to_metadata", lambda self: {"terraseek": '{"format": 2}'})
    with pytest.raises(IntegrityError, match="archive format 2, this terraseek reads format 1"):
        Archive.create(tmp_path / "a", model)


def test_source_states_survive_only_with_their_records(archive) -> None:
    records = [Record(id=f"{s}{i}", source=s) for s in "ab" for i in range(2)]
    archive.add(records, np.eye(8)[:4], complete={"a": "v1", "b": "v1"})
    archive.add([], np.empty((0, 8)), complete={"empty": "v1"})
    assert archive.source_states() == {"a": "v1", "b": "v1", "empty": "v1"}
    archive.add(records[:1], np.eye(8)[:1], complete={"a": "v2"})
    archive.remove(["b0"])
    assert Archive.open(archive.uri).source_states() == {"a": "v2", "b": "v1", "empty": "v1"}
    archive.remove(["b1"])
    assert archive.source_states() == {"a": "v2", "empty": "v1"}
    archive.compact()
    assert archive.source_states() == {"a": "v2", "empty": "v1"}
    archive.add(records[2:], np.eye(8)[2:4])
    assert "b" not in archive.source_states()


def test_readers_in_threads_beside_a_writer(filled, records_of) -> None:
    records, vectors = records_of(40, seed=5, prefix="t")
    failures: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                found = filled.search(vectors[0], k=5, where=Filter(collections=("c1",)))
                assert [record.collection for record in found.records()] == ["c1"] * 5
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for at in range(0, 40, 5):
        filled.add(records[at : at + 5], vectors[at : at + 5])
        filled.remove([f"r{at:05d}"])
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_search_refuses_what_makes_no_sense(filled) -> None:
    with pytest.raises(UsageError, match="k is 0"):
        filled.search(np.ones(8), k=0)
    with pytest.raises(UsageError, match=r"shape \(1, 7\)"):
        filled.search(np.ones(7))
    with pytest.raises(UsageError, match="zero"):
        filled.search(np.zeros(8))
    with pytest.raises(QueryError, match="unknown mode 'fast'"):
        filled.search(np.ones(8), mode="fast")
    with pytest.raises(UsageError, match="archive index"):
        filled.search(np.ones(8), mode="ann")


def test_a_manifest_that_is_gone_is_named(filled) -> None:
    for path in (Path(filled.uri) / "records.lance" / "_versions").iterdir():
        path.unlink()
    with pytest.raises(CorruptError, match="manifest"):
        Archive.open(filled.uri)
