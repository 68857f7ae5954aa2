"""Ingest on a Ray cluster of this machine: the same archive as without, in one commit, whatever dies on the way."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio import Affine

from terraseek.archive import Archive, IngestOptions, ingest, ingest_on_ray
from terraseek.errors import TerraseekError
from terraseek.geo import ChipConfig

from .cluster_encoder import NotingEncoder

ray = pytest.importorskip("ray", reason="ray is not installed: make test-cluster installs it and runs these tests")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # Ray's own sockets at shutdown
]
CHIP = ChipConfig(size=32)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Six scenes of 12 chips, 20 images, and three files that are not what they say."""
    folder = tmp_path / "sources"
    folder.mkdir()
    rng = np.random.default_rng(0)
    place = {"crs": "EPSG:32618", "transform": Affine(10, 0, 500_000, 0, -10, 4_000_000)}
    for number in range(6):
        pixels = rng.integers(1, 4000, (3, 96, 128)).astype(np.uint16)
        with rasterio.open(
            folder / f"scene{number}.tif", "w", driver="GTiff", width=128, height=96, count=3, dtype="uint16", **place
        ) as out:
            out.write(pixels)
    for number in range(20):
        Image.fromarray(rng.integers(0, 255, (20, 24, 3), np.uint8)).save(folder / f"image{number:02}.png")
    (folder / "text.png").write_text("not an image")
    (folder / "empty.tif").write_bytes(b"")
    (folder / "torn.tif").write_bytes((folder / "scene0.tif").read_bytes()[:2000])
    return folder


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


@pytest.fixture
def archive(tmp_path: Path, notes: Path) -> Archive:
    return Archive.create(tmp_path / "cluster", NotingEncoder(notes))


@pytest.fixture
def local(tmp_path: Path, sources: Path, notes: Path) -> Archive:
    archive = Archive.create(tmp_path / "local", NotingEncoder(notes))
    ingest(archive, NotingEncoder(notes), sources, IngestOptions(chip=CHIP))
    (notes / "encoded").unlink()
    return archive


def run(archive: Archive, notes: Path, sources: Path, **options: Any) -> Any:
    return ingest_on_ray(
        archive, partial(NotingEncoder, notes), sources, IngestOptions(chip=CHIP), workers=2, **options
    )


def assert_equal(one: Archive, other: Archive) -> None:
    assert one.ids() == other.ids()
    assert one.get(one.ids()) == other.get(one.ids())
    np.testing.assert_array_equal(one.vectors(one.ids()), other.vectors(one.ids()))
    assert one.source_states() == other.source_states()
    assert one.verify().problems == ()


def encoded(notes: Path) -> list[tuple[str, int]]:
    lines = (notes / "encoded").read_text().split("\n")[:-1]
    return [(line.split()[0], int(line.split()[1])) for line in lines]


def test_the_same_as_the_local_engine_in_one_commit(
    archive: Archive, local: Archive, sources: Path, notes: Path
) -> None:
    before = archive.snapshot().version
    seen: list[tuple[int, int]] = []
    report = run(archive, notes, sources, progress=lambda done, total: seen.append((done, total)))
    assert (report.added, report.updated, len(report.refused)) == (92, 0, 3)
    again = ingest(
        local, NotingEncoder(notes), sources, IngestOptions(chip=CHIP)
    )  # names what it refuses, and adds nothing
    assert sorted(report.refused, key=str) == sorted(again.refused, key=str)
    assert_equal(archive, local)
    assert archive.snapshot().version == before + 1
    assert seen[-1][0] == seen[-1][1] == 9
    assert not list(Path(archive.uri, "staging").glob("unit-*"))


def test_logs_bars_and_warnings_are_left_as_they_were(archive: Archive, sources: Path, notes: Path) -> None:
    log, context = logging.getLogger("ray.data"), ray.data.DataContext.get_current()
    log.setLevel(logging.INFO)
    context.enable_progress_bars = True
    before = list(warnings.filters)
    run(archive, notes, sources)
    assert log.level == logging.INFO
    assert context.enable_progress_bars is True
    assert list(warnings.filters) == before


def test_only_what_changed_is_done_again(archive: Archive, local: Archive, sources: Path, notes: Path) -> None:
    run(archive, notes, sources)
    (notes / "encoded").unlink()
    assert run(archive, notes, sources).unchanged == 26
    assert not (notes / "encoded").exists()
    with rasterio.open(sources / "scene1.tif") as scene:
        profile, pixels = scene.profile, scene.read()
    with rasterio.open(sources / "scene1.tif", "w", **{**profile, "width": 64}) as out:
        out.write(pixels[:, :, :64])
    (sources / "scene9.tif").write_bytes((sources / "scene2.tif").read_bytes())
    results = [run(archive, notes, sources), ingest(local, NotingEncoder(notes), sources, IngestOptions(chip=CHIP))]
    for report in results:
        assert (report.added, report.updated, report.removed, report.unchanged) == (12, 6, 6, 25)
    assert_equal(archive, local)


def test_a_worker_that_is_killed_is_replaced(archive: Archive, local: Archive, sources: Path, notes: Path) -> None:
    (notes / "kill").touch()
    report = run(archive, notes, sources)
    assert not (notes / "kill").exists()
    assert report.added == 92
    assert len({process for process, _ in encoded(notes)}) == 3
    assert_equal(archive, local)


def test_a_run_that_dies_is_taken_up_where_it_was(archive: Archive, local: Archive, sources: Path, notes: Path) -> None:
    (notes / "fail").touch()
    with pytest.raises(TerraseekError, match="the worker's disk is gone"):
        run(archive, notes, sources)
    assert len(archive) == 0
    done = sum(count for _, count in encoded(notes))
    assert done >= 4
    (notes / "encoded").unlink()
    assert run(archive, notes, sources).added == 92
    assert sum(count for _, count in encoded(notes)) < 92
    assert_equal(archive, local)


def test_another_model_is_refused_before_anything_runs(archive: Archive, sources: Path, notes: Path) -> None:
    class Other(NotingEncoder):
        fingerprint = "other"

    with pytest.raises(TerraseekError, match="holds vectors of the model"):
        ingest_on_ray(archive, partial(Other, notes), sources)


def test_a_dry_run_counts_without_a_cluster(archive: Archive, sources: Path, notes: Path) -> None:
    report = run(archive, notes, sources, dry_run=True)
    one_machine = ingest(archive, NotingEncoder(notes), sources, IngestOptions(chip=CHIP), dry_run=True)
    assert (report.added, len(archive)) == (one_machine.added, 0)
    assert report.added >= 92 + 12  # the torn scene's header promises 12
    assert not Path(archive.uri, "staging").exists()
