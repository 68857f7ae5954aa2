"""Verifying beside a writer: what a compaction removes is no damage, and damage is no compaction."""

from __future__ import annotations

from pathlib import Path

import pytest

from terraseek.archive import Archive, repair_archive, verify
from terraseek.errors import BusyError


@pytest.fixture
def in_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "CHUNK", 64)


def compact(uri: str, ids: range) -> None:
    """Another process, so to speak, removes enough that compacting rewrites the file."""
    other = Archive.open(uri)
    other.remove([f"r{at:05d}" for at in ids])
    other.compact()


@pytest.mark.usefixtures("in_small_chunks")
def test_a_compaction_is_not_reported_as_damage(filled: Archive) -> None:
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == 1:
            compact(filled.uri, range(100))

    report = filled.verify(progress=progress)
    assert (report.ok, report.records, report.intact) == (True, 200, 200)
    assert told[:2] == [(64, 300), (64, 200)]  # what the first version had after that is gone


@pytest.mark.usefixtures("in_small_chunks")
def test_damage_is_reported_beside_a_writer_too(filled: Archive) -> None:
    told: list[int] = []

    def progress(done: int, total: int) -> None:
        told.append(done)
        if len(told) == 1:
            compact(filled.uri, range(100))
            for path in Path(filled.uri).glob("records.lance/data/*.lance"):
                path.unlink()

    report = filled.verify(progress=progress)
    assert not report.ok
    assert {problem.kind for problem in report.problems} == {"unreadable"}
    assert (report.records, report.intact) == (200, 0)


@pytest.mark.usefixtures("in_small_chunks")
def test_verifying_gives_up_on_an_archive_that_never_rests(filled: Archive) -> None:
    begun: list[int] = []

    def progress(done: int, total: int) -> None:
        if done == 64:
            compact(filled.uri, range(50 * len(begun), 50 * len(begun) + 50))
            begun.append(total)

    with pytest.raises(BusyError, match="5 versions were compacted away while they were verified; try again later"):
        filled.verify(progress=progress)
    assert begun == [300, 250, 200, 150, 100]


@pytest.mark.usefixtures("in_small_chunks")
def test_nobody_moves_the_rows_that_a_repair_is_looking_at(filled: Archive) -> None:
    refused: list[str] = []

    def progress(done: int, total: int) -> None:
        try:
            Archive.open(filled.uri).remove(["r00000"], wait=0)
        except BusyError as error:
            refused.append(str(error))

    assert not repair_archive(filled.uri, progress=progress).removed
    assert len(refused) == 5
    assert len(Archive.open(filled.uri)) == 300
