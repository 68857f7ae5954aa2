"""Units of a cluster's ingest, worked off here without a cluster: what is staged, taken up again and committed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from terraseek.archive import Archive, IngestOptions, cluster, ingest, ingest_on_ray, lease
from terraseek.archive.cluster import _Stager, _Unit
from terraseek.archive.schema import records_schema, records_table
from terraseek.archive.staging import Staging, UnitReport
from terraseek.errors import BusyError, ConfigError

from .conftest import make_records
from .ingest_worker import FakeEncoder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(10):
        Image.fromarray(rng.integers(0, 255, (20, 24, 3), np.uint8)).save(folder / f"{number}.png")
    (folder / "text.png").write_text("not an image")
    return folder


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Units are of four images and done one after another in this process; the names of those that were staged."""
    staged: list[str] = []

    def work(stager: _Stager, units: list[_Unit], *_: Any) -> list[UnitReport]:
        reports = []
        for unit in units:
            known = stager._open()[0].report(unit.name)
            reports.append(stager.stage(unit))
            if known is None:
                staged.append(unit.name)
        return reports

    monkeypatch.setattr(cluster, "UNIT_IMAGES", 4)
    monkeypatch.setattr(cluster, "_work", work)
    return staged


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.create(tmp_path / "archive", FakeEncoder())


def test_the_same_as_the_local_engine_in_one_commit(
    archive: Archive, images: Path, tmp_path: Path, worked: list[str]
) -> None:
    local = Archive.create(tmp_path / "local", FakeEncoder())
    before = archive.snapshot().version
    assert ingest_on_ray(archive, FakeEncoder, images, IngestOptions(batch_size=3)) == ingest(
        local, FakeEncoder(), images
    )
    assert len(worked) == 3
    assert archive.snapshot().version == before + 1
    assert archive.get(archive.ids()) == local.get(local.ids())
    np.testing.assert_array_equal(archive.vectors(archive.ids()), local.vectors(local.ids()))
    assert archive.source_states() == local.source_states()
    assert not list(Path(archive.uri, "staging").glob("unit-*"))
    # One image changed: an update, merged with what is there.
    Image.new("RGB", (20, 20), "red").save(images / "3.png")
    assert ingest_on_ray(archive, FakeEncoder, images) == ingest(local, FakeEncoder(), images)
    assert archive.get(archive.ids()) == local.get(local.ids())


def test_what_was_staged_is_taken_up(archive: Archive, images: Path, worked: list[str]) -> None:
    class Failing(FakeEncoder):  # type: ignore[misc, valid-type]
        """Gives up in the second unit."""

        def encode_images(self, images: Any) -> Any:
            if self.encoded >= 4:
                raise OSError("gone")
            return super().encode_images(images)

    with pytest.raises(OSError, match="gone"):
        ingest_on_ray(archive, Failing, images)
    assert (len(archive), len(worked)) == (0, 1)
    assert ingest_on_ray(archive, FakeEncoder, images).added == 10
    assert len(worked) == 3
    assert len(set(worked)) == 3


def test_a_source_that_changed_since_is_staged_again(archive: Archive, images: Path, worked: list[str]) -> None:
    stager_of = cluster._Stager

    class Stopping(stager_of):  # type: ignore[misc, valid-type]
        def stage(self, unit: _Unit) -> UnitReport:
            if len(worked) == 2:
                raise KeyboardInterrupt
            return super().stage(unit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "_Stager", Stopping)
        with pytest.raises(KeyboardInterrupt):
            ingest_on_ray(archive, FakeEncoder, images)
    Image.new("RGB", (20, 20), "red").save(images / "0.png")
    assert ingest_on_ray(archive, FakeEncoder, images).added == 10
    assert len(worked) == 4
    (identity,) = archive.search(FakeEncoder().encode_images([np.full((20, 20, 3), (255, 0, 0), np.uint8)])[0], 1).ids
    assert archive.get([identity])[0].source == str(images / "0.png")


def test_of_two_sources_with_one_id_the_later_counts(archive: Archive, tmp_path: Path) -> None:
    schema = records_schema(archive.dim, archive.manifest.to_metadata())
    staging = Staging(archive.uri)
    records, _ = make_records(5)
    vectors = np.eye(5, archive.dim, dtype=np.float32)
    units = {"unit-a": [0, 1, 2], "unit-b": [2, 3], "unit-c": [1, 4]}
    for name, part in units.items():
        rows = records_table([replace(records[at], caption=name) for at in part], vectors[part], schema)
        staging.write(name, schema, iter(rows.to_batches()))
    rows = staging.rows(list(units), schema)
    assert {part.type for part in rows.ids} == {pa.large_string()}  # string ends at 2 GiB of ids
    assert archive.add_rows(rows).added == 5
    captions = [record.caption for record in archive.get([record.id for record in records])]
    assert captions == ["unit-a", "unit-c", "unit-b", "unit-b", "unit-c"]
    assert archive.verify().problems == ()


class Blind(FakeEncoder):
    """Has no vector for every other picture."""

    def encode_images(self, images: Any) -> Any:
        vectors = super().encode_images(images)
        vectors[[int(image[0, 0, 0]) % 2 == 0 for image in images]] = np.nan
        return vectors


def test_what_has_no_vector_is_left_out_as_by_the_local_engine(
    archive: Archive, images: Path, tmp_path: Path, worked: list[str]
) -> None:
    local = Archive.create(tmp_path / "local", Blind())
    report = ingest_on_ray(archive, Blind, images)
    beside = ingest(local, Blind(), images)
    assert (beside.added, set(beside.refused)) == (report.added, set(report.refused))
    assert 0 < report.added < 10
    assert report.added + len(report.refused) == 11  # one of them is no picture
    assert archive.ids() == local.ids()
    assert archive.source_states() == local.source_states()


def test_one_at_a_time(archive: Archive, images: Path, worked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.5)
    staging = Staging(archive.uri)
    original = cluster.writer_lease
    monkeypatch.setattr(cluster, "writer_lease", lambda connection, uri: original(connection, uri, 0.1))
    with original(staging.connection, archive.uri), pytest.raises(BusyError, match="another process"):
        ingest_on_ray(archive, FakeEncoder, images)
    assert worked == []
    with pytest.raises(ConfigError):
        ingest_on_ray(archive, FakeEncoder, images, workers=0)
