"""Declarations on disk: one commit, seen by all, checked by verify, taken out by repair where they are damaged."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from terraseek.archive import Archive, Record, lock, repair_archive
from terraseek.archive.declaration_table import SCHEMA, DeclarationTable
from terraseek.errors import BusyError, CorruptError, IntegrityError, UsageError
from terraseek.geo import ChipConfig, Scaling

DECLARED = ChipConfig(
    size=96, stride=62, bands=("B04", "Bänd"), scaling=Scaling(kind="range", low=(0.0,), high=(0.1 + 0.2,))
)


def table_of(archive: Archive) -> Any:
    return archive.connection.open_table("declarations")


def alter(archive: Archive, collection: str, **values: Any) -> None:
    """Rot, so to speak: the row is changed and its checksum is not."""
    assert table_of(archive).update(where=f"collection = '{collection}'", values=values).rows_updated == 1


def test_what_is_declared_is_read_back_by_all(archive: Archive) -> None:
    other = Archive.open(archive.uri)
    assert (other.declarations(), other.status()["declarations"]) == ({}, {})
    assert archive.declare("it's s2", DECLARED) == DECLARED
    assert archive.declare("default") == ChipConfig()
    for place in (archive, other, Archive.open(archive.uri)):
        assert place.declarations() == {"it's s2": DECLARED, "default": ChipConfig()}
    status = other.status()
    assert status["schema"] == 1
    assert list(status["declarations"]) == ["default", "it's s2"]
    assert status["declarations"]["default"]["size"] == 256
    assert status["declarations"]["it's s2"]["scaling"]["high"] == [0.1 + 0.2]
    assert archive.verify().ok


def test_it_is_declared_anew_only_where_that_is_asked_for(archive: Archive) -> None:
    archive.declare("a", DECLARED)
    version = table_of(archive).version
    assert archive.declare("a", {"size": 96}) == DECLARED
    assert archive.declare("a", redeclare=True) == DECLARED
    assert table_of(archive).version == version  # nothing to write
    with pytest.raises(UsageError, match=r"'a' is declared with size=96, not size=64: .*--redeclare"):
        archive.declare("a", {"size": 64})
    assert archive.declare("a", {"size": 64}, redeclare=True).size == 64
    assert archive.declarations()["a"].bands == DECLARED.bands
    archive.compact()
    assert len(list((Path(archive.uri) / "declarations.lance" / "data").iterdir())) == 1
    assert archive.declarations()["a"].size == 64


@pytest.mark.parametrize("name", ["", "line\nbreak", "x" * 300, 3])
def test_a_name_that_no_collection_can_have_is_refused(archive: Archive, name: Any) -> None:
    with pytest.raises(UsageError, match="collection"):
        archive.declare(name)
    assert archive.declarations() == {}


def test_an_archive_without_the_table_has_none_and_is_whole(filled: Archive) -> None:
    assert not (Path(filled.uri) / "declarations.lance").exists()
    assert filled.declarations() == {}
    assert filled.compact().bytes_after
    assert filled.verify().ok
    assert repair_archive(filled.uri).declarations == ()


def test_declaring_anew_forgets_what_the_sources_of_that_collection_were(archive: Archive) -> None:
    records = [Record(id=name, source=name, collection=name[0]) for name in ("a1", "a2", "b1")]
    archive.add(records, np.ones((3, archive.dim)), complete=dict.fromkeys(("a1", "a2", "b1"), "state"))
    archive.declare("a")
    assert archive.source_states().keys() == {"a1", "a2", "b1"}
    archive.declare("a", {"size": 64}, redeclare=True)
    assert archive.source_states() == {"b1": "state"}


def test_killed_before_the_commit_it_is_as_before(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.declare("a", DECLARED)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(DeclarationTable, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            archive.declare("a", {"size": 64}, redeclare=True)
    assert Archive.open(archive.uri).declarations() == {"a": DECLARED}
    archive.connection.drop_table("declarations")
    archive.connection.create_table("declarations", schema=SCHEMA)  # killed between making and filling it
    assert Archive.open(archive.uri).declarations() == {}
    assert archive.verify().ok


def test_only_the_writer_declares(archive: Archive) -> None:
    with lock.writer_lock(Path(archive.uri)), pytest.raises(BusyError, match="being written to"):
        Archive.open(archive.uri).declare("a", wait=0)


def test_of_two_that_declare_at_once_one_is_told(archive: Archive) -> None:
    outcomes: list[object] = []

    def declare(size: int) -> None:
        try:
            outcomes.append(Archive.open(archive.uri).declare("a", {"size": size}))
        except UsageError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=declare, args=(size,)) for size in (32, 64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (declared,) = (outcome for outcome in outcomes if isinstance(outcome, ChipConfig))
    assert archive.declarations() == {"a": declared}


def test_rot_is_named_by_reading_and_verifying_and_ended_by_repair(filled: Archive) -> None:
    filled.declare("a", DECLARED)
    filled.declare("b")
    alter(filled, "a", chip=table_of(filled).to_arrow()["chip"][0].as_py().replace("96", "97"))
    with pytest.raises(CorruptError, match="declaration of the collection 'a' has changed on disk; run `archive rep"):
        Archive.open(filled.uri).declarations()
    report = filled.verify()
    assert [(problem.kind, problem.rows) for problem in report.problems] == [("declaration", ())]
    assert report.intact == len(filled)
    with pytest.raises(IntegrityError, match="archive repair"):
        report.raise_for_problems(filled.uri)
    (told,) = repair_archive(filled.uri).declarations
    assert "'a'" in told
    assert filled.declarations() == {"b": ChipConfig()}
    assert len(filled) == 300
    assert filled.verify().ok
    assert filled.declare("a", DECLARED) == DECLARED


@pytest.mark.parametrize("damage", ["data", "_versions", "manifests gone"])
def test_files_that_cannot_be_read_are_named_and_dropped_by_repair(filled: Archive, damage: str) -> None:
    filled.declare("a", DECLARED)
    home = Path(filled.uri) / "declarations.lance"
    if damage == "manifests gone":
        shutil.rmtree(home / "_versions")
    else:
        for path in (home / damage).iterdir():
            path.write_bytes(path.read_bytes()[:20])
    fresh = Archive.open(filled.uri)
    with pytest.raises(CorruptError, match="archive repair"):
        fresh.declare("a", {"size": 64})
    (problem,) = fresh.verify().problems
    assert problem.kind == "declaration"
    assert "the declarations of its collections cannot be read" in problem.detail
    assert len(repair_archive(filled.uri).declarations) == 1
    assert fresh.declare("a", DECLARED) == DECLARED
    assert Archive.open(filled.uri).declarations() == {"a": DECLARED}
    assert fresh.verify().ok


def test_where_lance_panics_it_is_damage_too(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.declare("a")

    class PanicException(BaseException):
        """As Lance's own, which cannot be imported."""

    def panics(*_: Any) -> None:
        raise PanicException("index out of bounds")

    monkeypatch.setattr("terraseek.archive.declaration_table.open_table", panics)
    with pytest.raises(CorruptError, match="archive repair"):
        archive.declarations()
    with pytest.raises(CorruptError, match="archive repair"):
        archive.compact()
    assert [problem.kind for problem in archive.verify().problems] == ["declaration"]


def test_a_declaration_of_a_newer_version_is_no_damage(archive: Archive) -> None:
    DeclarationTable(archive.uri, archive.connection).write("a", DECLARED)
    from terraseek.archive import declaration_table

    text = '{"resampling": "cubic", "size": 96}'
    row = {"collection": "a", "chip": text, "crc": declaration_table._checksum("a", text)}
    newer = pa.Table.from_pylist([row], schema=SCHEMA)
    table_of(archive).merge_insert("collection").when_matched_update_all().execute(newer)
    with pytest.raises(IntegrityError, match=r"does not understand how the collection 'a' .*'resampling'.*install"):
        archive.declarations()
    assert archive.verify().ok
    assert repair_archive(archive.uri).declarations == ()


def test_a_compaction_beside_a_reader_is_no_damage(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.declare("a")
    newest, tries = DeclarationTable._newest_rows, []

    def once_too_late(self: DeclarationTable) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise CorruptError("gone")
        return newest(self)

    monkeypatch.setattr(DeclarationTable, "_newest_rows", once_too_late)
    assert archive.declarations() == {"a": ChipConfig()}
