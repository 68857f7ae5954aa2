"""Truncated, altered and missing files: named errors, never a wrong record, and repair saves the rest."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from writer_steps import MODEL, batch, build_small_index

from terraseek.archive import Archive, Filter, Record, repair_archive, verify_archive
from terraseek.errors import CorruptError, IntegrityError, TerraseekError, exit_code


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    archive = Archive.create(tmp_path_factory.mktemp("sound") / "a", MODEL)
    for step in (0, 1, 3):
        archive.add(*batch(step), complete={f"s{at}": "v1" for at in range(5)})
    return Path(archive.uri)


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "a")
    return tmp_path / "a"


def contents(uri: Path) -> dict[str, tuple[Record, bytes]]:
    archive = Archive.open(uri)
    ids = archive.ids()
    vectors = archive.vectors(ids)
    return {r.id: (r, v.tobytes()) for r, v in zip(archive.get(ids), vectors, strict=True)}


def data_files(uri: Path) -> list[Path]:
    return sorted((uri / "records.lance" / "data").glob("*.lance"))


def test_a_sound_archive_verifies(sound) -> None:
    report = verify_archive(Archive.open(sound))
    assert report.ok
    assert report.intact == report.records == len(Archive.open(sound))
    assert report.to_json()["problems"] == []
    report.raise_for_problems(str(sound))


@pytest.mark.parametrize("damage", ["truncated", "emptied", "missing", "overwritten"])
def test_a_damaged_data_file_is_named_and_the_rest_saved(copy, damage) -> None:
    original = contents(copy)
    victim = data_files(copy)[0]
    if damage == "missing":
        victim.unlink()
    else:
        data = victim.read_bytes()
        victim.write_bytes(
            {"truncated": data[: len(data) // 2], "emptied": b"", "overwritten": bytes(len(data))}[damage]
        )
    archive = Archive.open(copy)
    with pytest.raises(CorruptError) as caught:
        archive.search(np.ones(8), k=10)
    assert exit_code(caught.value) == 4
    assert "\n" not in str(caught.value)
    report = verify_archive(archive)
    assert not report.ok
    assert {p.kind for p in report.problems} == {"unreadable"}
    with pytest.raises(IntegrityError, match="archive repair"):
        report.raise_for_problems(str(copy))
    repaired = repair_archive(copy)
    assert repaired.removed_rows == len(original) - report.intact > 0
    left = contents(copy)
    assert 0 < len(left) == report.intact
    assert all(original[name] == kept for name, kept in left.items())
    assert verify_archive(Archive.open(copy)).ok
    # What was lost is read again by the next add, and then all is as it was.
    assert Archive.open(copy).source_states() == {}
    again = Archive.open(copy)
    for step in (0, 1, 3):
        again.add(*batch(step))
    assert contents(copy) == original


def test_flipped_bits_are_found_or_harmless(copy, sound) -> None:
    original = contents(sound)
    rng = random.Random(4)
    outcomes = {"found": 0, "harmless": 0}
    for _ in range(16):
        shutil.rmtree(copy)
        shutil.copytree(sound, copy)
        victim = rng.choice(data_files(copy))
        data = bytearray(victim.read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        victim.write_bytes(data)
        try:
            report = verify_archive(Archive.open(copy))
        except IntegrityError:
            outcomes["found"] += 1
            continue
        if report.ok:
            assert contents(copy) == original
            outcomes["harmless"] += 1
            continue
        outcomes["found"] += 1
        repair_archive(copy)
        left = contents(copy)
        assert all(original[name][0].id == kept[0].id for name, kept in left.items())
        damaged_pictures = {name for p in report.problems if p.kind == "thumbnail" for name in p.ids}
        assert all(original[name] == kept for name, kept in left.items() if name not in damaged_pictures)
        assert verify_archive(Archive.open(copy)).ok
    assert outcomes["found"] >= 8, outcomes


def test_no_search_shows_a_record_that_changed(copy) -> None:
    """The words of a caption are replaced on disk by others of the same length: no other sign of damage."""
    archive = Archive.open(copy)
    archive.add([Record(id="witness", source="s", caption="harbour-with-ships")], np.ones((1, 8)))
    for path in data_files(copy):
        path.write_bytes(path.read_bytes().replace(b"harbour-with-ships", b"harbour-with-sheep"))
    fresh = Archive.open(copy)
    with pytest.raises(CorruptError, match="record 'witness' has changed on disk"):
        fresh.search(np.ones(8), k=1).records()
    with pytest.raises(CorruptError, match="witness"):
        fresh.get(["witness"])
    repaired = repair_archive(copy)
    assert repaired.removed_rows == 1
    assert "witness" not in Archive.open(copy).ids()


def test_a_damaged_thumbnail_costs_the_thumbnail_alone(copy) -> None:
    archive = Archive.open(copy)
    record = Record(id="pictured", source="s", thumbnail=b"picture-of-a-harbour")
    archive.add([record], np.ones((1, 8)))
    for path in data_files(copy):
        path.write_bytes(path.read_bytes().replace(b"picture-of-a-harbour", b"picture-of-a-hamster"))
    with pytest.raises(CorruptError, match="thumbnail of record 'pictured'"):
        Archive.open(copy).get(["pictured"])
    assert repair_archive(copy).without_thumbnail == ("pictured",)
    assert Archive.open(copy).get(["pictured"]) == (Record(id="pictured", source="s"),)


def test_a_damaged_manifest_is_named_and_the_version_before_it_counts(copy) -> None:
    before = contents(copy)
    Archive.open(copy).remove(Filter())
    newest = sorted((copy / "records.lance" / "_versions").glob("*.manifest"))[0]
    newest.write_bytes(newest.read_bytes()[:10])
    with pytest.raises(IntegrityError, match="repair"):
        Archive.open(copy)
    assert repair_archive(copy).went_back == (newest.name,)
    assert contents(copy) == before
    assert verify_archive(Archive.open(copy)).ok


def test_a_damaged_list_of_deleted_rows_is_named_and_the_version_before_it_counts(copy) -> None:
    archive = Archive.open(copy)
    before = contents(copy)
    lists = copy / "records.lance" / "_deletions"
    old = set(lists.iterdir())
    archive.remove(sorted(before)[:3])
    for path in set(lists.iterdir()) - old:
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CorruptError, match="archive repair"):
        Archive.open(copy).ids()
    assert len(repair_archive(copy).went_back) == 1
    assert contents(copy) == before
    assert verify_archive(Archive.open(copy)).ok


@pytest.mark.parametrize("looked", [True, False], ids=["before the next change", "after it"])
def test_a_reader_that_was_open_over_a_repair_sees_what_is_there(copy, looked) -> None:
    """After going back the next change gets the number, and its rows those, of what was set aside."""
    Archive.open(copy).add([Record(id="lost", source="s", caption="before")], np.ones((1, 8)))
    reader = Archive.open(copy)
    query = batch(0)[1][0]
    reader.search(query, 500).records()
    version = reader.view().version
    newest = sorted((copy / "records.lance" / "_versions").glob("*.manifest"))[0]
    newest.write_bytes(newest.read_bytes()[:10])
    assert repair_archive(copy).went_back == (newest.name,)
    if looked:
        assert "lost" not in reader.ids()
    Archive.open(copy).add([Record(id="new", source="s", caption="after")], -np.ones((1, 8)))
    assert Archive.open(copy).view().version == version
    for _ in range(2):
        fresh = Archive.open(copy)
        assert set(reader.ids()) == set(fresh.ids()) == set(contents(copy))
        assert reader.search(query, 500) == fresh.search(query, 500)
        assert reader.search(query, 500).records() == fresh.search(query, 500).records()
        fresh.remove(fresh.ids()[:3])  # and the version after it, which takes over what was loaded


@pytest.mark.parametrize("files_of_a_kind", [1, pytest.param(1000, marks=pytest.mark.slow)])
def test_any_torn_file_is_named_or_harmless(sound, tmp_path, files_of_a_kind) -> None:
    """Data, manifests, lists of deleted rows, index, notes on sources: whatever it is, no search shows a wrong hit."""
    whole = tmp_path / "whole"
    shutil.copytree(sound, whole)
    archive = Archive.open(whole)
    build_small_index(archive)
    archive.remove(archive.ids()[:5])
    query = batch(0)[1][0]
    ranked = archive.search(query, 500)
    right = dict(zip(ranked.ids, ranked.scores, strict=True))
    expected = contents(whole)
    rng = random.Random(7)
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    kinds = {path.parent: [other for other in files if other.parent == path.parent] for path in files}
    assert {"data", "_versions", "_deletions"} <= {kind.name for kind in kinds}
    for path in (path for alike in kinds.values() for path in alike[:files_of_a_kind]):
        damaged = tmp_path / "damaged"
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(whole, damaged)
        data = (damaged / path).read_bytes()
        (damaged / path).write_bytes(data[: rng.randrange(max(1, len(data)))])
        check_answers(damaged, right)
        try:
            repair_archive(damaged)
        except CorruptError:
            continue  # said, and nothing deleted: the data files are all still there
        finally:
            assert len(data_files(damaged)) == len(data_files(whole))
        left = contents(damaged)
        assert verify_archive(Archive.open(damaged)).ok, path
        if "_versions" not in path.parts and "_deletions" not in path.parts:  # those take back a whole change
            assert all(expected[name] == kept for name, kept in left.items()), path


def check_answers(uri: Path, right: dict[str, float]) -> None:
    """Every answer that is given is right."""
    for mode in ("exact", "ann"):
        try:
            archive = Archive.open(uri)
            archive.source_states()
            ranked = archive.search(batch(0)[1][0], 500, mode=mode)
            ranked.records()
        except TerraseekError:
            continue
        else:
            assert all(right.get(n) == s for n, s in zip(ranked.ids, ranked.scores, strict=True))


def test_what_cannot_be_repaired_is_said(copy) -> None:
    for path in (copy / "records.lance" / "_versions").iterdir():
        path.write_bytes(b"")
    with pytest.raises(TerraseekError) as caught:
        repair_archive(copy)
    assert exit_code(caught.value) == 4
    assert len(data_files(copy)) == 3, "repair must never delete data"
