"""An archive on S3: everything that works on disk, and writers that take turns without a file to lock."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from terraseek.archive import (
    Archive,
    Filter,
    ModelIdentity,
    Record,
    create_archive,
    export_archive,
    lease,
    open_archive,
    repair_archive,
)
from terraseek.archive.lease import writer_lease
from terraseek.archive.model_table import keep_model
from terraseek.errors import BusyError, CorruptError, NotFoundError, UnreachableError, UsageError

from ..encoders.conftest import WEIGHT, make_model, write_image_onnx
from .conftest import flip_a_bit, make_records
from .object_store import BUCKET, serve_s3

__all__ = ["make_model"]
MODEL = ModelIdentity(fingerprint="f" * 64, dim=8, name="test")
NAMES = count()
GREY = [np.full((9, 9, 3), 40, np.uint8)]


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, str]]:
    with serve_s3() as served:
        yield served


@pytest.fixture
def uri() -> str:
    return f"s3://{BUCKET}/archive-{next(NAMES)}"


@pytest.fixture
def archive(uri: str, options: dict[str, str]) -> Archive:
    return Archive.create(uri, MODEL, storage_options=options)


def again(archive: Archive, options: dict[str, str]) -> Archive:
    return Archive.open(archive.uri, storage_options=options)


def test_the_life_of_an_archive(archive: Archive, options: dict[str, str], tmp_path: Path) -> None:
    records, vectors = make_records(1200)
    local = Archive.create(tmp_path / "local", MODEL)
    for place in (archive, local):
        assert place.add(records, vectors, complete={"scene0.tif": "1"}).added == 1200
        assert place.add(records[:10], vectors[:10]).updated == 10
    condition = Filter(bbox=(-100, -50, 100, 50), collections=("c1",))
    assert archive.search(vectors[3], 20, condition) == local.search(vectors[3], 20, condition)
    archive.build_index()
    found = archive.search(vectors[3], 10, condition, mode="ann")
    assert len(set(found.ids) & set(local.search(vectors[3], 10, condition).ids)) >= 9

    assert archive.remove(["r00003", "r00004"]) == 2
    other = again(archive, options)
    assert "r00003" not in other.search(vectors[3], 5).ids
    assert archive.compact().bytes_before is None
    assert len(other) == 1198
    report = other.verify()
    assert (report.intact, report.problems) == (1198, ())
    assert other.source_states() == {"scene0.tif": "1"}
    assert other.get(["r00010"]) == tuple(records[10:11])
    assert export_archive(other, tmp_path / "out.parquet") == 1198
    assert repair_archive(archive.uri, storage_options=options).removed_rows == 0


def test_collections_are_declared(archive: Archive, options: dict[str, str]) -> None:
    assert archive.declarations() == {}
    declared = archive.declare("s2", {"size": 96, "bands": ["B04"]})
    other = again(archive, options)
    with pytest.raises(UsageError, match=r"'s2' is declared with size=96, not size=64"):
        other.declare("s2", {"size": 64})
    assert other.declarations() == {"s2": declared}
    anew = other.declare("s2", {"size": 64}, redeclare=True)
    other.compact()
    assert (archive.declarations(), anew.bands) == ({"s2": anew}, ("B04",))
    assert archive.status()["declarations"]["s2"]["size"] == 64
    assert archive.verify().problems == ()


@pytest.mark.slow
def test_deleted_bytes_are_gone_after_compaction(archive: Archive, options: dict[str, str]) -> None:
    mark = b"pixels nobody may see again"
    archive.add([Record(id="a", source="s", thumbnail=mark), Record(id="b", source="s")], np.eye(2, 8))
    assert any(mark in content for content in contents(options, archive.uri))
    archive.remove(["a"])
    archive.compact()
    assert not any(mark in content for content in contents(options, archive.uri))
    assert again(archive, options).ids() == ("b",)


def contents(options: dict[str, str], uri: str) -> list[bytes]:
    import boto3  # a second or two

    keys = {
        "aws_access_key_id": options["aws_access_key_id"],
        "aws_secret_access_key": options["aws_secret_access_key"],
    }
    client = boto3.client("s3", endpoint_url=options["aws_endpoint"], region_name=options["aws_region"], **keys)
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=uri.partition(f"{BUCKET}/")[2] + "/")["Contents"]
    return [client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read() for entry in listed]


def test_there_is_none_or_there_is_one_already(archive: Archive, options: dict[str, str]) -> None:
    with pytest.raises(NotFoundError, match="no archive at"):
        Archive.open(f"s3://{BUCKET}/none", storage_options=options)
    with pytest.raises(UsageError, match="already"):
        Archive.create(archive.uri, MODEL, storage_options=options)


def test_a_bucket_that_is_not_there_or_a_host_that_does_not_answer(uri: str, options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="there is no bucket 'nowhere' at 127"):
        Archive.create("s3://nowhere/coast", MODEL, storage_options=options)
    closed = {**options, "aws_endpoint": "http://127.0.0.1:9"}
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9 cannot be reached .* refuses .*AWS_ENDPOINT_URL"):
        Archive.open(uri, storage_options=closed)


@pytest.mark.slow
def test_a_host_that_takes_connections_and_stays_silent_is_given_up(uri: str, options: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        waiting = {**options, "aws_endpoint": endpoint, "timeout": "1s", "client_retry_timeout": "1"}
        started = time.monotonic()
        with pytest.raises(UnreachableError, match="cannot be reached while"):
            Archive.open(uri, storage_options=waiting)
        assert time.monotonic() - started < 60


@pytest.mark.slow
def test_a_host_that_goes_away_is_no_damage() -> None:
    records, vectors = make_records(20)
    with serve_s3() as options:
        archive = Archive.create(f"s3://{BUCKET}/coast", MODEL, storage_options=options)
        archive.add(records, vectors)
        reader = again(archive, options)
        assert len(reader.search(vectors[0], 5).ids) == 5
    for act in (
        lambda: reader.search(vectors[0], 5),
        lambda: len(reader),
        reader.verify,
        lambda: archive.add(records, vectors),
        lambda: repair_archive(archive.uri, storage_options=options),
    ):
        with pytest.raises(UnreachableError, match="cannot be reached while"):
            act()


def test_the_model_is_kept_beside_the_records(
    uri: str, options: dict[str, str], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = make_model(text=True)
    _, encoder = create_archive(uri, model, storage_options=options)
    expected = encoder.encode_images(GREY), encoder.encode_texts(["beach"])
    shutil.rmtree(model)
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        _, fetched = open_archive(uri, storage_options=options, cache=cache)
        np.testing.assert_array_equal(fetched.encode_images(GREY), expected[0])
        np.testing.assert_array_equal(fetched.encode_texts(["beach"]), expected[1])
    (folder,) = (tmp_path / "cache").iterdir()
    assert encoder.fingerprint not in folder.name
    report = again(Archive.open(uri, storage_options=options), options).verify()
    assert (report.problems, report.notes) == ((), ())


def test_an_archive_gets_no_model_that_another_one_brought(
    options: dict[str, str], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    honest, hostile = (f"s3://{BUCKET}/archive-{next(NAMES)}" for _ in range(2))
    model = make_model()
    expected = create_archive(honest, model, storage_options=options)[1].encode_images(GREY)
    write_image_onnx(model / "image.onnx", weight=-WEIGHT)  # of which the fingerprint knows nothing
    create_archive(hostile, model, storage_options=options)
    for uri, vectors in ((hostile, -expected), (honest, expected)):
        _, encoder = open_archive(uri, storage_options=options, cache=tmp_path / "cache")
        np.testing.assert_allclose(encoder.encode_images(GREY), vectors, atol=1e-6)


@pytest.mark.parametrize("fingerprint", ["/absolute", "../beside", "0" * 64])
def test_a_kept_model_goes_nowhere_but_to_the_cache_and_only_if_it_is_the_right_one(
    uri: str, options: dict[str, str], make_model: Callable[..., Path], tmp_path: Path, fingerprint: str
) -> None:
    fingerprint = fingerprint.replace("/absolute", str(tmp_path / "absolute"))
    archive = Archive.create(uri, ModelIdentity(fingerprint=fingerprint, dim=4), storage_options=options)
    keep_model(archive.connection, uri, make_model())
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((NotFoundError, CorruptError), match="with --model"):
        open_archive(uri, storage_options=options, cache=tmp_path / "cache")
    left = [path for path in sorted(tmp_path.rglob("*")) if path not in before]
    assert [path for path in left if path != tmp_path / "cache"] == []


def test_a_flipped_bit_in_the_fetched_copy_is_named_and_fetched_again(
    uri: str, options: dict[str, str], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    create_archive(uri, make_model(), storage_options=options)
    open_archive(uri, storage_options=options, cache=tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    flip_a_bit(folder / "image.onnx")
    with pytest.raises(CorruptError, match=r"image\.onnx of the kept model .* has changed; delete .* fetched again"):
        open_archive(uri, storage_options=options, cache=tmp_path / "cache")
    shutil.rmtree(folder)
    open_archive(uri, storage_options=options, cache=tmp_path / "cache")


def test_verifying_reads_the_kept_model_of_a_bucket(
    uri: str, options: dict[str, str], make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    with monkeypatch.context() as damaged:  # written otherwise than its checksums say
        damaged.setattr("terraseek.archive.model_table.sums_text", lambda sums: f"{'0' * 64}  image.onnx\n")
        damaged.setattr("terraseek.archive.model_sums.MODEL_FILES", ("image.onnx",))
        archive, _ = create_archive(uri, model, storage_options=options)
        (problem,) = archive.verify().problems
    assert problem.kind == "kept model"
    assert "kept model's image.onnx has changed" in problem.detail


def test_an_archive_without_a_model_asks_for_one(archive: Archive, options: dict[str, str]) -> None:
    with pytest.raises(NotFoundError, match="name it with --model"):
        open_archive(archive.uri, storage_options=options)


def test_two_writers_with_the_same_ids_make_no_duplicates(archive: Archive, options: dict[str, str]) -> None:
    together, failures = threading.Barrier(2), []

    def write(place: Archive) -> None:
        try:
            for step in range(3):
                together.wait(30)
                records = [Record(id=f"{step}-{n}", source="s") for n in range(3)]
                place.add(records, np.random.default_rng(step).normal(size=(3, 8)), wait=60)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(place,)) for place in (archive, again(archive, options))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(archive) == 9
    assert archive.verify().problems == ()


@pytest.mark.slow
def test_compaction_takes_nothing_from_another_writer(archive: Archive, options: dict[str, str]) -> None:
    failures = []

    def compact() -> None:
        try:
            for _ in range(3):
                again(archive, options).compact(wait=60)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=compact)
    thread.start()
    for step in range(4):
        archive.add([Record(id=f"{step}-{n}", source="s") for n in range(3)], np.eye(3, 8), wait=60)
    thread.join()
    assert failures == []
    assert len(archive) == 12
    assert archive.verify().problems == ()


# The lease itself, on a folder: Lance commits there as it does on S3.


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.02)
    return Archive.create(tmp_path / "local", MODEL)


def test_the_second_writer_is_told_or_waits(local: Archive) -> None:
    other = Archive.open(local.uri)
    with writer_lease(local.connection, local.uri):
        with (
            pytest.raises(BusyError, match="being written to by another process"),
            writer_lease(other.connection, other.uri, 0),
        ):
            pass
        started = time.monotonic()
        with pytest.raises(BusyError), writer_lease(other.connection, other.uri, 1.0):
            pass
        assert time.monotonic() - started > 0.9  # longer than a dead holder would have had
    with writer_lease(other.connection, other.uri, 0):
        pass


def test_contenders_in_each_others_way_wait_on(local: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    table = lease._table(local.connection, local.uri)
    update, tries = type(table).update, []

    def contended(self: Any, *args: Any, **options: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("lance error: Retryable commit conflict for version 7: preempted by concurrent Update")
        return update(self, *args, **options)

    monkeypatch.setattr(type(table), "update", contended)
    with writer_lease(local.connection, local.uri, 5):
        assert len(tries) >= 3
    tries.clear()
    with pytest.raises(BusyError, match="written to by another process"), writer_lease(local.connection, local.uri, 0):
        pass


def test_a_turn_that_cannot_be_taken_is_not_waited_for_without_end(
    local: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = lease._table(local.connection, local.uri)

    def preempted(*_: Any, **__: Any) -> None:
        raise RuntimeError("lance error: Retryable commit conflict for version 7: preempted by concurrent Update")

    monkeypatch.setattr(type(table), "update", preempted)
    started = time.monotonic()
    with pytest.raises(BusyError, match="written to by another process"), writer_lease(local.connection, local.uri, 1):
        pass
    assert 1.1 < time.monotonic() - started < 10  # as long as two dead holders would have had


def test_a_writer_that_is_never_first_gives_up(local: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    beats = count(1)
    monkeypatch.setattr(lease._Lease, "_row", lambda _: ("", next(beats)))  # free, each time after another's turn
    started = time.monotonic()
    with pytest.raises(BusyError, match="just begun"), writer_lease(local.connection, local.uri, 0.2):
        pass
    assert time.monotonic() - started < 0.6  # no longer than was asked for


def test_a_release_whose_answer_is_lost_is_one(local: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    table = lease._table(local.connection, local.uri)
    update = type(table).update

    def repeated(self: Any, *args: Any, **options: Any) -> Any:
        """As where the storage did what it was asked, said so in vain, and is asked again."""
        update(self, *args, **options)
        return update(self, *args, **options)

    monkeypatch.setattr(type(table), "update", repeated)
    for _ in range(2):
        with writer_lease(local.connection, local.uri, 0):
            pass


def test_a_dead_writer_is_followed(local: Archive) -> None:
    dead = lease._Lease(lease._table(local.connection, local.uri), local.uri)
    dead.acquire(0)
    with pytest.raises(BusyError), writer_lease(local.connection, local.uri, 0):
        pass
    started = time.monotonic()
    with writer_lease(local.connection, local.uri, 0.1):
        assert 0.5 < time.monotonic() - started < 5


def test_a_stalled_writer_notices(local: Archive) -> None:
    other = Archive.open(local.uri)
    row = lease._table(other.connection, other.uri)

    def stall() -> None:
        with writer_lease(local.connection, local.uri):
            row.update(where="true", values={"holder": "somebody else", "beat": 1000})
            time.sleep(0.3)

    with pytest.raises(BusyError, match="so long that another took over"):
        stall()
    assert row.to_arrow()["holder"].to_pylist() == ["somebody else"]


def test_exactly_one_of_several_takes_it(local: Archive) -> None:
    inside, most = 0, 0
    guard = threading.Lock()

    def turns() -> None:
        nonlocal inside, most
        place = Archive.open(local.uri)
        for _ in range(4):
            with writer_lease(place.connection, place.uri, 30):
                with guard:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.01)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=turns) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_turns_leave_few_versions(local: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "TIDY_VERSIONS", 10)
    for _ in range(15):
        with writer_lease(local.connection, local.uri, 0):
            pass
    assert len(list(Path(local.uri, "writer.lance", "_versions").glob("*.manifest"))) < 15
