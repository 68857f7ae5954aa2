"""A collection is declared by the first scene that is cut into it, and every later ingest reads as declared."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from terraseek.archive import (
    Archive,
    IngestOptions,
    IngestReport,
    export_archive,
    import_archive,
    ingest,
    ingest_on_ray,
)
from terraseek.errors import UsageError
from terraseek.geo import ChipConfig, Scaling

from .test_ingest import FailingEncoder, FakeEncoder, noise, save_scene
from .test_staging import worked

__all__ = ["worked"]
GIVEN = {"size": 32, "scaling": {"kind": "range", "low": [0], "high": [4000]}}
DECLARED = ChipConfig(size=32, scaling=Scaling(kind="range", low=(0.0,), high=(4000.0,)))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.create(tmp_path / "archive", FakeEncoder())


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return save_scene(tmp_path / "scene.tif", noise(64, 96))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.new("RGB", (20, 20), "tan").save(path)
    return path


def local(archive: Archive, sources: Any, options: IngestOptions | None = None, **more: Any) -> IngestReport:
    return ingest(archive, FakeEncoder(), sources, options, **more)


def on_ray(archive: Archive, sources: Any, options: IngestOptions | None = None, **more: Any) -> IngestReport:
    return ingest_on_ray(archive, FakeEncoder, sources, options, **more)


@pytest.fixture(params=[local, on_ray], ids=["local", "ray"])
def run(request: pytest.FixtureRequest, worked: list[str]) -> Any:
    """Either engine; the cluster's units are worked off here."""
    return request.param


def chips(**given: Any) -> IngestOptions:
    return IngestOptions(chip=given)


def test_the_first_scene_declares_and_later_adds_need_say_nothing(run: Any, archive: Archive, scene: Path) -> None:
    assert run(archive, scene, IngestOptions(chip=GIVEN)) == IngestReport(added=6, declared=DECLARED)
    assert archive.declarations() == {"default": DECLARED}
    for options in (None, IngestOptions(), chips(size=32), IngestOptions(chip=DECLARED)):
        assert run(archive, scene, options) == IngestReport(unchanged=1)
    more = save_scene(scene.with_name("more.tif"), noise(32, 64, seed=1))
    assert run(archive, [scene, more]) == IngestReport(added=2, unchanged=1)
    assert {record.window[2:] for record in archive.get(archive.ids()) if record.window} == {(32, 32)}


def test_defaults_are_declared_too(run: Any, archive: Archive, scene: Path) -> None:
    assert run(archive, scene).declared == ChipConfig()
    with pytest.raises(UsageError, match="declared with size=256, not size=32"):
        run(archive, scene, chips(size=32))


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_says_otherwise_is_refused_before_anything_is_read(
    run: Any, archive: Archive, scene: Path, picture: Path, dry_run: bool
) -> None:
    run(archive, scene, IngestOptions(chip=GIVEN))
    before = archive.snapshot().version
    for sources in (scene, picture, "none.tif"):
        for options in (chips(size=256), IngestOptions(chip=ChipConfig(size=32)), chips(scaling={"kind": "auto"})):
            with pytest.raises(UsageError, match=r"^the collection 'default' is declared with .*, not "):
                run(archive, sources, options, dry_run=dry_run)
    assert archive.snapshot().version == before
    other = IngestOptions(chip={"size": 64}, collection="other")
    assert run(archive, scene, other).added == 2
    assert archive.declarations().keys() == {"default", "other"}


def test_declared_anew_each_source_is_embedded_again_when_it_is_next_added(
    run: Any, archive: Archive, scene: Path, picture: Path
) -> None:
    more = save_scene(scene.with_name("more.tif"), noise(32, 64, seed=1))
    run(archive, [scene, more, picture], IngestOptions(chip=GIVEN))
    coarse, anew = IngestOptions(chip={"size": 64}, redeclare=True), replace(DECLARED, size=64)
    assert run(archive, scene, coarse, dry_run=True).declared is None
    assert archive.declarations() == {"default": DECLARED}
    assert run(archive, scene, coarse) == IngestReport(added=2, removed=6, declared=anew)
    assert archive.declarations() == {"default": anew}
    # The picture is looked at again, and not embedded.
    assert run(archive, [scene, more, picture]) == IngestReport(added=1, removed=2, unchanged=2)
    assert run(archive, [scene, more, picture]) == IngestReport(unchanged=3)


def test_declared_anew_it_is_even_where_nothing_is_cut(run: Any, archive: Archive, scene: Path, picture: Path) -> None:
    run(archive, scene, IngestOptions(chip=GIVEN))
    coarse = IngestOptions(chip={"size": 64}, redeclare=True)
    assert run(archive, picture, coarse) == IngestReport(added=1, declared=replace(DECLARED, size=64))
    assert archive.declarations() == {"default": replace(DECLARED, size=64)}


def test_to_declare_anew_what_is_declared_changes_nothing(run: Any, archive: Archive, scene: Path) -> None:
    run(archive, scene, IngestOptions(chip=GIVEN, redeclare=True))
    assert run(archive, scene, IngestOptions(chip=GIVEN, redeclare=True)) == IngestReport(unchanged=1)
    assert run(archive, scene, IngestOptions(redeclare=True)) == IngestReport(unchanged=1)


def test_images_declare_nothing_and_are_not_embedded_again_for_it(
    run: Any, archive: Archive, scene: Path, picture: Path
) -> None:
    assert run(archive, picture, chips(size=48)) == IngestReport(added=1)
    assert archive.declarations() == {}
    assert run(archive, [picture, scene], IngestOptions(chip=GIVEN)).unchanged == 1
    assert archive.declarations() == {"default": DECLARED}


def test_a_dry_run_declares_nothing(run: Any, archive: Archive, scene: Path) -> None:
    assert run(archive, scene, IngestOptions(chip=GIVEN), dry_run=True).added == 6
    assert archive.declarations() == {}


def test_a_scene_that_gives_no_chip_declares_nothing(run: Any, archive: Archive, tmp_path: Path) -> None:
    empty = save_scene(tmp_path / "empty.tif", np.zeros((64, 64, 3), np.uint16), nodata=0)
    (tmp_path / "torn.tif").write_bytes(b"II*\0")
    report = run(archive, [empty, tmp_path / "torn.tif"], IngestOptions(chip=GIVEN))
    assert (report.added, report.declared, archive.declarations()) == (0, None, {})


def test_bands_are_those_declared_in_finding_the_files_too(run: Any, archive: Archive, tmp_path: Path) -> None:
    for scene in ("a", "b"):
        for band in ("B02", "B03", "B04"):
            save_scene(tmp_path / scene / f"{scene}_{band}.tif", noise(32, 32, 1))
    declared = archive.declare("default", {"size": 32, "bands": ["B04", "B03", "B02"]})
    assert run(archive, tmp_path / "a") == IngestReport(added=1)
    assert run(archive, tmp_path / "b") == IngestReport(added=1)
    assert all(record.properties["bands"] == list(declared.bands) for record in archive.get(archive.ids()))


@pytest.mark.parametrize("after", [0, 8])
def test_a_declaration_is_there_before_the_first_chip(archive: Archive, tmp_path: Path, after: int) -> None:
    scene = save_scene(tmp_path / "scene.tif", noise(128, 128))
    options = IngestOptions(chip=GIVEN, batch_size=8, commit_size=8)
    with pytest.raises(KeyboardInterrupt):
        ingest(archive, FailingEncoder(after), scene, options)
    assert len(archive) == after
    assert archive.declarations() == ({"default": DECLARED} if after else {})
    encoder = FakeEncoder()
    assert ingest(archive, encoder, scene, None if after else options).added == 16 - after == encoder.encoded


def test_killed_between_declaration_and_chips_the_next_add_goes_on(
    archive: Archive, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("terraseek.archive.archive.merge", killed)
        with pytest.raises(KeyboardInterrupt):
            local(archive, scene, IngestOptions(chip=GIVEN))
    assert (len(archive), archive.declarations()) == (0, {"default": DECLARED})
    assert local(archive, scene) == IngestReport(added=6)


def test_back_to_the_former_declaration_a_half_embedded_source_is_made_whole(archive: Archive, tmp_path: Path) -> None:
    scene = save_scene(tmp_path / "scene.tif", noise(128, 128))
    local(archive, scene, chips(size=32))
    windows = {record.window for record in archive.get(archive.ids())}
    with pytest.raises(KeyboardInterrupt):
        ingest(
            archive,
            FailingEncoder(8),
            scene,
            IngestOptions(chip={"size": 16}, redeclare=True, batch_size=8, commit_size=8),
        )
    assert len(archive) == 16 + 8
    assert local(archive, scene, IngestOptions(chip={"size": 32}, redeclare=True)).removed == 8
    assert {record.window for record in archive.get(archive.ids())} == windows
    assert local(archive, scene) == IngestReport(unchanged=1)


def test_of_two_ingests_with_other_settings_the_second_to_commit_is_refused(
    archive: Archive, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(FakeEncoder):  # type: ignore[misc, valid-type]
        def encode_images(self, images: Any) -> Any:
            Archive.open(archive.uri).declare("default", {"size": 64})
            return super().encode_images(images)

    with pytest.raises(UsageError, match="declared with size=64, not size=32"):
        ingest(archive, Slow(), scene, chips(size=32))
    assert len(archive) == 0


def redeclaring(archive: Archive, after: int) -> FakeEncoder:
    """An encoder during whose work, after so many images, somebody declares the default collection anew."""

    class Slow(FakeEncoder):  # type: ignore[misc, valid-type]
        def encode_images(self, images: Any) -> Any:
            if self.encoded >= after:
                Archive.open(archive.uri).declare("default", {"size": 64}, redeclare=True)
            return super().encode_images(images)

    return Slow()


def test_an_ingest_beside_which_its_collection_is_declared_anew_ends(archive: Archive, tmp_path: Path) -> None:
    scene = save_scene(tmp_path / "scene.tif", noise(128, 128))
    options = IngestOptions(chip=GIVEN, batch_size=4, commit_size=4)
    with pytest.raises(UsageError, match="declared with size=64, not size=32"):
        ingest(archive, redeclaring(archive, 8), scene, options)
    before = len(archive)
    assert before < 16  # nothing of what was cut by the former settings came after
    assert local(archive, scene) == IngestReport(added=4, removed=before)


def test_nor_are_chips_of_the_cluster_committed_once_their_collection_is_declared_anew(
    archive: Archive, scene: Path, worked: list[str]
) -> None:
    archive.declare("default", GIVEN)
    with pytest.raises(UsageError, match="declared with size=64, not size=32"):
        ingest_on_ray(archive, lambda: redeclaring(archive, 0), scene)
    assert len(archive) == 0
    assert on_ray(archive, scene) == IngestReport(added=2)


def test_an_archive_of_an_older_release_is_declared_by_the_next_add_and_says_so(
    run: Any, archive: Archive, scene: Path, picture: Path, caplog: pytest.LogCaptureFixture
) -> None:
    local(archive, scene, IngestOptions(chip=GIVEN))
    shutil.rmtree(Path(archive.uri) / "declarations.lance")
    archive = Archive.open(archive.uri)
    with caplog.at_level(logging.WARNING):
        assert run(archive, picture).added == 1  # cuts nothing
        assert run(archive, scene, IngestOptions(chip=GIVEN)) == IngestReport(unchanged=1)
        assert (caplog.text, archive.declarations()) == ("", {})
        more = save_scene(scene.with_name("more.tif"), noise(32, 64, seed=1))
        assert run(archive, [scene, more], IngestOptions(chip=GIVEN)).declared == DECLARED
    (told,) = caplog.messages
    assert "the collection 'default' holds 6 chips, imported or of an older release, and no declaration" in told
    assert "this add cuts with size=32, edge=shift" in told


@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_records_that_were_imported_go_on_where_the_same_is_declared(
    archive: Archive, scene: Path, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    local(archive, scene, IngestOptions(chip=GIVEN))
    export_archive(archive, tmp_path / f"out{suffix}")
    copy = Archive.create(tmp_path / "copy", FakeEncoder())
    import_archive(copy, tmp_path / f"out{suffix}")
    assert copy.declarations() == {}
    copy.declare("default", archive.declarations()["default"])
    encoder = FakeEncoder()
    assert ingest(copy, encoder, scene) == IngestReport(unchanged=1)
    assert (encoder.encoded, caplog.text) == (0, "")
    assert copy.ids() == archive.ids()


def test_a_mapping_is_read_once_and_kept_as_it_is(archive: Archive, scene: Path) -> None:
    given: Mapping[str, Any] = {"size": 32, "scaling": {"kind": "none"}}
    local(archive, scene, IngestOptions(chip=given))
    assert given == {"size": 32, "scaling": {"kind": "none"}}


def test_bands_that_are_a_guess_are_told_once(
    run: Any, archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scenes = [save_scene(tmp_path / f"{at}.tif", noise(32, 32, 5, seed=at)) for at in range(2)]
    run(archive, scenes, chips(size=32))
    (told,) = caplog.messages
    assert told.startswith(f"{scenes[0]} has more than three bands and does not say which are red, green and blue: ")
    assert "the first three are taken (1, 2, 3). The collection 'default' is declared with bands=[]" in told
    caplog.clear()
    run(archive, scenes)
    run(archive, scenes, IngestOptions(collection="named", chip={"size": 32, "bands": ("5", "4", "3")}))
    three = save_scene(tmp_path / "three.tif", noise(32, 32))
    run(archive, three, IngestOptions(collection="three"))
    colours = save_scene(tmp_path / "rgb.tif", noise(32, 32, 5), photometric="rgb")
    run(archive, colours, IngestOptions(collection="colours"))
    assert caplog.messages == []
