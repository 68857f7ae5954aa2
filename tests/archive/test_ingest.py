"""Ingest: everything readable in, the rest listed; nothing done twice; what changed made anew."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio import Affine

from terraseek.archive import AddResult, Archive, Filter, Record, create_archive, sources
from terraseek.archive import archive as archive_module
from terraseek.archive.ingest import IngestOptions, IngestReport, ingest
from terraseek.archive.sources import Source, dataset_sources, find_sources, record_id
from terraseek.data import ImageDataset, Sample
from terraseek.errors import ConfigError, ModelMismatchError, Refused
from terraseek.geo import ChipConfig, Scaling, open_raster

from ..encoders.conftest import make_model

__all__ = ["make_model"]
WORKER = Path(__file__).with_name("ingest_worker.py")


def _load_worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ingest_worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FakeEncoder = _load_worker().FakeEncoder
SMALL = ChipConfig(size=32)
INGEST = sys.modules[ingest.__module__]  # whose name in the package is the function's


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.create(tmp_path / "archive", FakeEncoder())


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve PNGs of 24 x 20 pixels in two folders."""
    rng = np.random.default_rng(0)
    for number in range(12):
        path = tmp_path / "images" / ("odd" if number % 2 else "even") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return tmp_path / "images"


def save_scene(path: Path, pixels_HWB: np.ndarray, **profile: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, count = pixels_HWB.shape
    place = {"crs": "EPSG:32618", "transform": Affine(10, 0, 500_000, 0, -10, 4_000_000)}
    sizes = {"width": width, "height": height, "count": count, "dtype": pixels_HWB.dtype}
    with rasterio.open(path, "w", driver="GTiff", **sizes, **{**place, **profile}) as out:
        out.write(np.moveaxis(pixels_HWB, -1, 0))
    return path


def noise(height: int = 96, width: int = 128, bands: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 4000, (height, width, bands)).astype(np.uint16)


def touch(path: Path) -> None:
    """A later time of change, whatever the file system's resolution."""
    later = path.stat().st_mtime_ns + 10_000_000
    os.utime(path, ns=(later, later))


# What comes in.


def test_a_folder_of_images(archive: Archive, images: Path) -> None:
    report = ingest(archive, FakeEncoder(), images)
    assert report == IngestReport(added=12)
    assert len(archive) == 12
    path = images / "odd" / "03.png"
    (identity,) = archive.ids(Filter(sources=(str(path),)))
    (record,) = archive.get([identity])
    assert record.window is None
    assert record.footprint is None
    assert record.thumbnail is not None
    assert Image.open(io.BytesIO(record.thumbnail)).size == (24, 20)
    pixels = np.asarray(Image.open(path))
    np.testing.assert_allclose(archive.vectors([identity]), FakeEncoder().encode_images([pixels]), atol=1e-6)


def test_a_scene_comes_in_as_placed_chips(archive: Archive, tmp_path: Path) -> None:
    pixels = noise()
    path = save_scene(tmp_path / "scene.tif", pixels)
    chip = ChipConfig(size=32, scaling=Scaling(kind="none"))
    assert ingest(archive, FakeEncoder(), path, IngestOptions(chip=chip, collection="s2")).added == 12
    records = archive.get(archive.ids())
    assert {record.source for record in records} == {str(path)}
    assert {record.collection for record in records} == {"s2"}
    assert sorted(record.window for record in records if record.window) == sorted(
        (c, r, 32, 32) for r in (0, 32, 64) for c in (0, 32, 64, 96)
    )
    with open_raster(path) as raster:
        place = raster.georeference
    for record in records:
        assert record.window is not None
        assert place is not None
        expected = place.footprint(*record.window)
        assert record.footprint is not None
        assert record.footprint.equals(expected)
        column, row, width, height = record.window
        cut = np.ascontiguousarray(pixels[row : row + height, column : column + width])
        np.testing.assert_allclose(archive.vectors([record.id]), FakeEncoder().encode_images([cut]), atol=1e-6)
        assert record.thumbnail


def test_known_things_are_kept(archive: Archive, images: Path) -> None:
    source = Source.of_file(
        images / "odd" / "01.png",
        id="mine",
        labels=("sea", "beach"),
        caption="a beach",
        footprint=shapely.box(1, 2, 3, 4),
        properties={"cloud_cover": 3},
    )
    ingest(archive, FakeEncoder(), [source])
    (record,) = archive.get(["mine"])
    assert record.labels == ("beach", "sea")
    assert record.caption == "a beach"
    assert record.footprint is not None
    assert record.footprint.equals(shapely.box(1, 2, 3, 4))
    assert record.properties["cloud_cover"] == 3


def test_a_data_set_keeps_its_ids_and_labels(archive: Archive, images: Path) -> None:
    samples = [
        Sample(id=f"{path.parent.name}/{path.stem}", path=path, split="test", labels=("sea",), captions=("one", "two"))
        for path in sorted(images.rglob("*.png"))
    ]
    dataset = ImageDataset.build(name="mini", root=images, samples=samples, label_names=("sea", "sand"))
    assert ingest(archive, FakeEncoder(), list(dataset_sources(dataset))).added == 12
    assert set(archive.ids()) == set(dataset.ids)
    (record,) = archive.get(["odd/03"])
    assert (record.labels, record.caption) == (("sea",), "one")
    assert record.properties["captions"] == ["one", "two"]
    assert record.properties["split"] == "test"
    assert ingest(archive, FakeEncoder(), list(dataset_sources(dataset))) == IngestReport(unchanged=12)


def test_ids_of_one_data_set_do_not_replace_those_of_another(archive: Archive, images: Path, tmp_path: Path) -> None:
    def sources(folder: Path, label: str) -> list[Source | Refused]:
        samples = [Sample(id=path.stem, path=path, labels=(label,)) for path in sorted(folder.rglob("0*.png"))]
        return list(dataset_sources(ImageDataset.build(name=label, root=folder, samples=samples, label_names=(label,))))

    other = tmp_path / "other"
    shutil.copytree(images, other)
    assert ingest(archive, FakeEncoder(), sources(images, "sea"), IngestOptions(collection="sea")).added == 10
    for collection in ("sea", "sand"):
        report = ingest(archive, FakeEncoder(), sources(other, "sand"), IngestOptions(collection=collection))
        assert (report.added, report.updated, len(report.refused)) == (0, 0, 10)
        assert "its id '00' is that of" in report.refused[0].reason
    assert {record.labels for record in archive.get(archive.ids())} == {("sea",)}
    twice = [Source.of_file(path, id="new", kind="image") for path in sorted(images.rglob("1*.png"))]
    report = ingest(archive, FakeEncoder(), twice, IngestOptions(collection="twice"))
    assert (report.added, len(report.refused)) == (1, 1)
    images.rename(tmp_path / "moved")
    report = ingest(archive, FakeEncoder(), sources(tmp_path / "moved", "sea"), IngestOptions(collection="sea"))
    assert report == IngestReport(updated=10)


def test_a_data_set_of_many_bands_is_read_as_its_loader_does(tmp_path: Path) -> None:
    class TwelveBands(FakeEncoder):  # type: ignore[misc, valid-type]
        """Notes the shapes it is given."""

        shapes: ClassVar[set[tuple[int, ...]]] = set()

        def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
            self.shapes |= {image.shape for image in images}
            vectors: np.ndarray = super().encode_images(images)
            return vectors

    def read(path: Path) -> np.ndarray:
        return np.stack([np.asarray(Image.open(file)) for file in sorted(path.iterdir())], axis=-1)

    for name in ("p1", "p2"):
        for band in range(12):
            path = tmp_path / "set" / name / f"B{band:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), band, np.uint8)).save(path)
    place = {"type": "Point", "coordinates": [10, 50]}
    samples = [
        Sample(id=name, path=tmp_path / "set" / name, split="test", labels=("sea",), geometry=place)
        for name in ("p1", "p2")
    ]
    dataset = ImageDataset.build(
        name="mini", root=tmp_path, samples=samples, label_names=("sea",), reader=read, problems=[]
    )
    archive = Archive.create(tmp_path / "archive", TwelveBands())
    assert ingest(archive, TwelveBands(), list(dataset_sources(dataset))).added == 2
    assert TwelveBands.shapes == {(8, 8, 12)}
    assert archive.get(["p1"])[0].bbox == (10, 50, 10, 50)


def test_tiffs_without_a_place_are_images_and_measurements_are_not(archive: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "tiffs"
    folder.mkdir()
    Image.fromarray(noise().astype(np.uint8)).save(folder / "picture.tif")
    save_scene(folder / "placed.tif", noise().astype(np.uint8))
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        save_scene(folder / "float.tif", noise(64, 64).astype(np.float32), crs=None, transform=None)
    ingest(archive, FakeEncoder(), folder, IngestOptions(chip=SMALL))
    assert {
        name: archive.count(Filter(sources=(str(folder / f"{name}.tif"),))) for name in ("picture", "placed", "float")
    } == {"picture": 1, "placed": 12, "float": 4}
    again = Archive.create(tmp_path / "again", FakeEncoder())
    ingest(again, FakeEncoder(), folder / "picture.tif", IngestOptions(chip=SMALL, kind="scene"))
    assert len(again) == 12


def test_files_named_by_band_are_one_scene(archive: Archive, tmp_path: Path) -> None:
    pixels = noise(64, 64, 4)
    for band, name in enumerate(("B02", "B03", "B04", "B05")):
        for scene in ("a", "b"):
            save_scene(tmp_path / "scenes" / scene / f"{scene}_{name}.tif", pixels[..., band : band + 1])
    chip = ChipConfig(size=32, bands=("B04", "B03", "B02"), scaling=Scaling(kind="none"))
    report = ingest(archive, FakeEncoder(), tmp_path / "scenes", IngestOptions(chip=chip))
    assert report == IngestReport(added=8, declared=chip)
    (identity,) = (
        record.id
        for record in archive.get(archive.ids(Filter(sources=(str(tmp_path / "scenes" / "a" / "a"),))))
        if record.window == (32, 0, 32, 32)
    )
    (record,) = archive.get([identity])
    assert Path(record.properties["files"]["B03"]).name == "a_B03.tif"
    cut = np.ascontiguousarray(pixels[:32, 32:, [2, 1, 0]])
    np.testing.assert_allclose(archive.vectors([identity]), FakeEncoder().encode_images([cut]), atol=1e-6)


def test_a_stac_item_gives_id_time_and_properties(archive: Archive, tmp_path: Path) -> None:
    for band, name in enumerate(("red", "green", "blue")):
        save_scene(tmp_path / f"{name}.tif", noise(64, 64)[..., band : band + 1])
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "S2-item",
        "collection": "sentinel-2",
        "geometry": None,
        "properties": {
            "datetime": "2024-05-01T10:00:00Z",
            "eo:cloud_cover": 2.5,
            "terraseek:labels": ["sea", "beach"],
            "terraseek:caption": "surf on a beach",
        },
        "links": [],
        "assets": {name: {"href": f"{name}.tif", "type": "image/tiff"} for name in ("red", "green", "blue")},
    }
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item))
    assert ingest(archive, FakeEncoder(), path, IngestOptions(chip=SMALL)).added == 4
    records = archive.get(archive.ids())
    assert all(record.id.startswith("S2-item-") for record in records)
    assert {record.datetime.isoformat() for record in records if record.datetime} == {"2024-05-01T10:00:00+00:00"}
    assert {record.properties["eo:cloud_cover"] for record in records} == {2.5}
    assert {(record.labels, record.caption) for record in records} == {(("beach", "sea"), "surf on a beach")}
    assert archive.count(Filter(labels_all=("beach", "sea"))) == 4
    assert all(record.footprint is not None for record in records)


def test_scales_are_told_apart(archive: Archive, tmp_path: Path) -> None:
    path = save_scene(tmp_path / "scene.tif", noise(128, 128))
    ingest(archive, FakeEncoder(), path, IngestOptions(chip=ChipConfig(size=32, scales=(1, 2, 4))))
    scales = [record.properties.get("scale", 1) for record in archive.get(archive.ids())]
    assert {scale: scales.count(scale) for scale in scales} == {1: 16, 2: 4, 4: 1}


# What does not.


def damaged_folder(folder: Path) -> dict[str, bool]:
    """Files of every bad kind; the value says whether the file can be read."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    rgb = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    rgb.save(folder / "good.jpg")
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    rgb.convert("P").save(folder / "palette.png")
    Image.fromarray(rng.integers(0, 65536, (40, 40)).astype(np.uint16)).save(folder / "deep.png")
    rgb.save(folder / "really_a.png", "JPEG")
    rgb.save(folder / "really_a_jpeg.tif", "JPEG")
    save_scene(folder / "deep.tif", noise(40, 40))
    data = (folder / "good.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(data[: len(data) // 2])
    scene = save_scene(folder / "truncated.tif", noise(40, 40)).read_bytes()
    (folder / "truncated.tif").write_bytes(scene[:300])
    (folder / "empty.png").write_bytes(b"")
    (folder / "empty.tif").write_bytes(b"")
    (folder / "text.jpg").write_text("not an image")
    (folder / "vrt.tif").write_text("<VRTDataset rasterXSize='4' rasterYSize='4'></VRTDataset>")
    (folder / "notes.txt").write_text("not looked at")
    bad = {"truncated.jpg", "truncated.tif", "empty.png", "empty.tif", "text.jpg", "vrt.tif"}
    return {path.name: path.name not in bad for path in folder.iterdir() if path.suffix != ".txt"}


def test_bad_files_are_listed_and_everything_else_is_in(archive: Archive, tmp_path: Path) -> None:
    expected = damaged_folder(tmp_path / "mixed")
    report = ingest(archive, FakeEncoder(), tmp_path / "mixed", IngestOptions(chip=ChipConfig(size=64)))
    assert {Path(refused.source).name for refused in report.refused} == {n for n, good in expected.items() if not good}
    assert all(refused.reason and "\n" not in refused.reason for refused in report.refused)
    assert all(refused.source not in refused.reason for refused in report.refused)
    sources = {Path(record.source).name for record in archive.get(archive.ids())}
    assert sources == {name for name, good in expected.items() if good}
    assert report.added == len(sources)
    again = ingest(archive, FakeEncoder(), tmp_path / "mixed", IngestOptions(chip=ChipConfig(size=64)))
    assert again == IngestReport(unchanged=len(sources), refused=report.refused)


def test_hostile_rasters_neither_stop_nor_enter(archive: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "hostile"
    save_scene(folder / "good.tif", noise(64, 64))
    save_scene(folder / "all_nodata.tif", np.zeros((64, 64, 3), np.uint16), nodata=0)
    save_scene(folder / "nan.tif", np.full((64, 64, 3), np.nan, np.float32))
    save_scene(folder / "half_nan.tif", np.where(np.arange(64)[:, None, None] < 32, np.nan, noise(64, 64)))
    turned = Affine(7, 7, 500_000, 7, -7, 4_000_000)
    save_scene(folder / "rotated.tif", noise(64, 64), transform=turned)
    (folder / "missing_link.tif").symlink_to(folder / "gone.tif")
    (folder / "loop.tif").symlink_to(folder / "loop.tif")
    report = ingest(archive, FakeEncoder(), folder, IngestOptions(chip=SMALL))
    counts = {
        path.stem: archive.count(Filter(sources=(str(path),))) for path in folder.iterdir() if not path.is_symlink()
    }
    assert counts == {"good": 4, "all_nodata": 0, "nan": 0, "half_nan": 2, "rotated": 4}
    refused = {Path(item.source).name: item.reason for item in report.refused}
    assert refused["all_nodata.tif"] == "no valid pixel, all of it is nodata"
    assert refused["gone.tif"] == f"no such file (by the link {folder / 'missing_link.tif'})"
    assert len(refused) == 4


def test_torn_tiles_cost_their_chips_and_are_listed_every_time(archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    save_torn(path, noise(128, 128))
    report = ingest(archive, FakeEncoder(), path, IngestOptions(chip=SMALL))
    assert report.added == 15
    (refused,) = report.refused
    assert refused.reason.startswith("1 window unreadable, the first at column 32, row 32: damaged or truncated")
    encoder = FakeEncoder()
    assert ingest(archive, encoder, path, IngestOptions(chip=SMALL)) == IngestReport(unchanged=1, refused=(refused,))
    assert encoder.encoded == 0


def save_torn(path: Path, pixels: np.ndarray) -> None:
    """A scene of which the tile in the second row and column cannot be decoded."""
    save_scene(path, pixels, tiled=True, blockxsize=32, blockysize=32, compress="deflate")
    with rasterio.open(path) as raster:
        offset = int(raster.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[offset : offset + 30] = bytes(30)
    path.write_bytes(data)


def test_a_damaged_window_of_a_changed_scene_keeps_its_former_record(archive: Archive, tmp_path: Path) -> None:
    path = save_scene(tmp_path / "a.tif", noise(128, 128))
    ingest(archive, FakeEncoder(), path, IngestOptions(chip=SMALL))
    ids = archive.ids()
    (torn,) = (record.id for record in archive.get(ids) if record.window == (32, 32, 32, 32))
    before = archive.vectors([torn])
    save_torn(path, noise(128, 128, seed=1))
    touch(path)
    report = ingest(archive, FakeEncoder(), path, IngestOptions(chip=SMALL))
    assert (report.added, report.updated, report.removed) == (0, 15, 0)
    assert report.refused[0].reason.endswith("; 1 former record of these kept")
    assert archive.ids() == ids
    np.testing.assert_array_equal(archive.vectors([torn]), before)
    assert ingest(archive, FakeEncoder(), path, IngestOptions(chip=SMALL)).unchanged == 1
    save_scene(path, noise(128, 128, seed=2))
    touch(path)
    assert ingest(archive, FakeEncoder(), path, IngestOptions(chip=SMALL)) == IngestReport(updated=16)


class BlindEncoder(FakeEncoder):  # type: ignore[misc, valid-type]
    """Answers with `answer` in every dimension for pictures that begin with a pixel of this value."""

    def __init__(self, value: float, answer: float) -> None:
        super().__init__()
        self.value, self.answer = value, answer

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        vectors: np.ndarray = super().encode_images(images)
        vectors[[bool((image[0, 0] == self.value).all()) for image in images]] = self.answer
        return vectors


def marked(*windows: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A scene of 16 chips; those at these columns and rows begin with 4001."""
    pixels = noise(128, 128, seed=seed)
    for column, row in windows:
        pixels[row, column] = 4001
    return pixels


MEASURED = ChipConfig(size=32, scaling=Scaling(kind="none"))


@pytest.mark.parametrize(
    ("answer", "reason"), [(np.nan, "a value that is not finite"), (np.inf, "not finite"), (0.0, "zero")]
)
def test_a_vector_that_cannot_be_kept_costs_its_window_and_is_listed_every_time(
    archive: Archive, tmp_path: Path, answer: float, reason: str
) -> None:
    path = save_scene(tmp_path / "a.tif", marked((32, 0), (64, 96)))
    beside = save_scene(tmp_path / "b.tif", marked(seed=1))
    options = IngestOptions(chip=MEASURED, batch_size=4)  # the two windows are in different batches
    report = ingest(archive, BlindEncoder(4001, answer), [path, beside], options)
    assert (report.added, len(archive)) == (30, 30)
    (refused,) = report.refused
    assert refused.source == str(path)
    assert refused.reason.startswith("2 windows left out, the first at column 32, row 0: its vector ")
    assert reason in refused.reason
    encoder = BlindEncoder(4001, answer)
    assert ingest(archive, encoder, [path, beside], options) == IngestReport(unchanged=2, refused=(refused,))
    assert encoder.encoded == 0


def test_a_window_whose_vector_cannot_be_kept_any_more_keeps_its_former_record(
    archive: Archive, tmp_path: Path
) -> None:
    path = save_scene(tmp_path / "a.tif", marked())
    options = IngestOptions(chip=MEASURED)
    ingest(archive, FakeEncoder(), path, options)
    ids = archive.ids()
    (lost,) = (record.id for record in archive.get(ids) if record.window == (32, 32, 32, 32))
    before = archive.vectors([lost])
    save_scene(path, marked((32, 32), seed=1))
    touch(path)
    report = ingest(archive, BlindEncoder(4001, np.nan), path, options)
    assert (report.updated, report.removed) == (15, 0)
    assert report.refused[0].reason.endswith("; 1 former record of these kept")
    assert archive.ids() == ids
    np.testing.assert_array_equal(archive.vectors([lost]), before)


def test_torn_windows_and_vectors_that_cannot_be_kept_are_told_together(archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    save_torn(path, marked((64, 64)))
    report = ingest(archive, BlindEncoder(4001, np.nan), path, IngestOptions(chip=MEASURED))
    assert report.added == 14
    (refused,) = report.refused
    assert "1 window unreadable, the first at column 32, row 32" in refused.reason
    assert "; 1 window left out, the first at column 64, row 64" in refused.reason


def test_an_image_without_a_vector_is_refused_and_seen_again_when_it_changes(archive: Archive, images: Path) -> None:
    path = images / "odd" / "03.png"
    value = np.asarray(Image.open(path))[0, 0]
    encoder = BlindEncoder(value, 0.0)
    report = ingest(archive, encoder, path)
    assert report == IngestReport(refused=report.refused)
    assert report.refused[0].reason == "its vector is zero, it has no direction"
    assert ingest(archive, encoder, path) == IngestReport(unchanged=1, refused=report.refused)
    touch(path)
    assert ingest(archive, FakeEncoder(), path) == IngestReport(added=1)


def test_nodata_that_nobody_declared_does_not_end_an_ingest(make_model: Callable[..., Path], tmp_path: Path) -> None:
    archive, encoder = create_archive(tmp_path / "measured", make_model())
    pixels = np.random.default_rng(0).uniform(0, 1, (64, 64, 3)).astype(np.float32)
    pixels[:32, 32:] = np.finfo(np.float32).min
    path = save_scene(tmp_path / "a.tif", pixels)
    report = ingest(archive, encoder, path, IngestOptions(chip=MEASURED))
    assert report.added == 3
    assert report.refused[0].reason.startswith("1 window left out, the first at column 32, row 0: its vector")


@pytest.mark.parametrize("step", ["remove", "note"])
def test_a_crash_beside_a_removal_leaves_more_never_less(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = save_scene(tmp_path / "a.tif", noise(128, 128))
    ingest(archive, FakeEncoder(), path, IngestOptions(chip=SMALL))
    coarse = ChipConfig(size=64)
    add = archive.add

    def pulled_plug(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    def add_without_note(records: Any, vectors: Any, **options: Any) -> AddResult:
        if not records:
            raise KeyboardInterrupt
        return add(records, vectors, **options)

    with monkeypatch.context() as broken:
        broken.setattr(archive, *(("remove", pulled_plug) if step == "remove" else ("add", add_without_note)))
        with pytest.raises(KeyboardInterrupt):
            ingest(archive, FakeEncoder(), path, IngestOptions(chip=coarse, redeclare=True))
    old = 16 if step == "remove" else 0
    assert len(archive) == old + 4
    encoder = FakeEncoder()
    expected = IngestReport(removed=old) if old else IngestReport(unchanged=1)
    assert ingest(archive, encoder, path, IngestOptions(chip=coarse)) == expected
    assert (len(archive), encoder.encoded) == (4, 0)
    assert ingest(archive, encoder, path, IngestOptions(chip=coarse)) == IngestReport(unchanged=1)


def test_names_that_cannot_be_kept_are_refused(archive: Archive, images: Path) -> None:
    original = images / "even" / "00.png"
    original.with_name("line\nbreak.png").write_bytes(original.read_bytes())
    original.with_name("right\u202eleft<b>.png").write_bytes(original.read_bytes())
    report = ingest(archive, FakeEncoder(), images)
    assert report.added == 13
    (refused,) = report.refused
    assert "control character" in refused.reason
    assert "\n" not in refused.source


def test_paths_that_are_not_there_and_addresses(archive: Archive, tmp_path: Path) -> None:
    report = ingest(
        archive, FakeEncoder(), [tmp_path / "none", "https://example.org/a.tif", "s3://bucket/a.tif", "a\0"]
    )
    assert report.added == 0
    assert len(report.refused) == 4
    assert "name it with --allow-host example.org" in report.refused[1].reason


def test_the_wrong_model_is_refused_before_anything_is_read(archive: Archive, images: Path) -> None:
    other = FakeEncoder()
    other.fingerprint = "other"
    with pytest.raises(ModelMismatchError):
        ingest(archive, other, images)
    with pytest.raises(ConfigError, match="batch_size must be at least 1"):
        ingest(archive, FakeEncoder(), images, IngestOptions(batch_size=0))
    with pytest.raises(ConfigError, match="commit_size must be at least 1"):
        IngestOptions(commit_size=0)
    assert len(archive) == 0


# What is done twice: nothing.


def test_the_second_time_nothing_is_embedded(archive: Archive, images: Path, tmp_path: Path) -> None:
    save_scene(images / "scene.tif", noise())
    assert ingest(archive, FakeEncoder(), images, IngestOptions(chip=SMALL)).added == 24
    encoder = FakeEncoder()
    assert ingest(Archive.open(archive.uri), encoder, images, IngestOptions(chip=SMALL)) == IngestReport(unchanged=13)
    assert encoder.encoded == 0
    Image.new("RGB", (9, 9)).save(images / "new.png")
    assert ingest(archive, encoder, images, IngestOptions(chip=SMALL)) == IngestReport(added=1, unchanged=13)
    assert encoder.encoded == 1


def test_a_changed_source_is_made_anew_and_keeps_its_ids(archive: Archive, images: Path) -> None:
    ingest(archive, FakeEncoder(), images)
    path = images / "even" / "04.png"
    ids = archive.ids()
    Image.new("RGB", (8, 8), "red").save(path)
    touch(path)
    encoder = FakeEncoder()
    assert ingest(archive, encoder, images) == IngestReport(updated=1, unchanged=11)
    assert archive.ids() == ids
    (identity,) = archive.ids(Filter(sources=(str(path),)))
    red = np.asarray(Image.open(path))
    np.testing.assert_allclose(archive.vectors([identity]), encoder.encode_images([red]), atol=1e-6)


def test_records_of_windows_that_are_no_longer_cut_go(archive: Archive, tmp_path: Path) -> None:
    path = save_scene(tmp_path / "a.tif", noise(96, 128))
    ingest(archive, FakeEncoder(), path, IngestOptions(chip=SMALL))
    save_scene(path, noise(64, 128, seed=1))
    touch(path)
    assert ingest(archive, FakeEncoder(), path, IngestOptions(chip=SMALL)) == IngestReport(updated=8, removed=4)
    assert len(archive) == 8
    coarse = ChipConfig(size=64)
    report = ingest(archive, FakeEncoder(), path, IngestOptions(chip=coarse, redeclare=True))
    assert report == IngestReport(added=2, removed=8, declared=coarse)


def test_collections_do_not_touch_each_other(archive: Archive, tmp_path: Path) -> None:
    path = save_scene(tmp_path / "a.tif", noise(128, 128))
    ingest(archive, FakeEncoder(), path, IngestOptions(chip=SMALL, collection="fine"))
    assert ingest(archive, FakeEncoder(), path, IngestOptions(chip=ChipConfig(size=64), collection="coarse")).added == 4
    assert archive.facets()["collections"] == {"fine": 16, "coarse": 4}
    for collection, size in (("fine", 32), ("coarse", 64)):
        report = ingest(archive, FakeEncoder(), path, IngestOptions(chip=ChipConfig(size=size), collection=collection))
        assert report == IngestReport(unchanged=1)


def test_removed_records_stay_removed_until_their_source_changes(archive: Archive, tmp_path: Path) -> None:
    path = save_scene(tmp_path / "a.tif", noise(64, 64))
    ingest(archive, FakeEncoder(), path, IngestOptions(chip=SMALL))
    archive.remove(archive.ids()[:1])
    assert ingest(archive, FakeEncoder(), path, IngestOptions(chip=SMALL)) == IngestReport(unchanged=1)
    assert ingest(archive, FakeEncoder(), path, IngestOptions(chip=SMALL, refresh=True)) == IngestReport(
        added=1, updated=3
    )
    archive.remove(archive.ids())
    assert ingest(archive, FakeEncoder(), path, IngestOptions(chip=SMALL)) == IngestReport(added=4)


def test_a_dry_run_counts_and_changes_nothing(archive: Archive, images: Path) -> None:
    save_scene(images / "scene.tif", noise())
    (images / "bad.tif").write_bytes(b"II*\0")
    # Without a place: a picture where Pillow reads it, else a scene.
    Image.fromarray(noise(64, 96).astype(np.uint8)).save(images / "picture.tif")
    for name, pixels in {"float": noise(64, 96, 1).astype(np.float32), "bands": noise(64, 96, 7)}.items():
        with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
            save_scene(images / f"{name}.tif", pixels, crs=None, transform=None)
    encoder = FakeEncoder()
    report = ingest(archive, encoder, images, IngestOptions(chip=SMALL), dry_run=True)
    assert (report.added, report.updated, report.unchanged) == (37, 0, 0)
    assert (len(archive), encoder.encoded) == (0, 0)
    assert ingest(archive, encoder, images, IngestOptions(chip=SMALL)).added == 37
    touch(images / "scene.tif")
    report = ingest(archive, encoder, images, IngestOptions(chip=SMALL), dry_run=True)
    assert (report.added, report.updated, report.unchanged) == (0, 12, 15)


def test_progress_ends_where_it_said(archive: Archive, images: Path) -> None:
    save_scene(images / "scene.tif", noise())
    seen: list[tuple[int, int]] = []
    ingest(
        archive,
        FakeEncoder(),
        images,
        IngestOptions(chip=SMALL, batch_size=5),
        progress=lambda *step: seen.append(step),
    )
    assert seen[-1] == (24, 24)
    assert {expected for _, expected in seen} == {24}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


# Being interrupted.


class FailingEncoder(FakeEncoder):  # type: ignore[misc, valid-type]
    """Breaks down after so many images, as a pulled plug does."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        if self.encoded + len(images) > self.after:
            raise KeyboardInterrupt
        vectors: np.ndarray = super().encode_images(images)
        return vectors


@pytest.mark.parametrize("after", [0, 8, 16, 30])
def test_an_interrupted_ingest_goes_on_where_it_was(archive: Archive, tmp_path: Path, after: int) -> None:
    path = save_scene(tmp_path / "a.tif", noise(192, 192))
    threads = threading.active_count()
    options = IngestOptions(chip=SMALL, batch_size=8, commit_size=8)
    with pytest.raises(KeyboardInterrupt):
        ingest(archive, FailingEncoder(after), path, options)
    kept = len(archive)
    assert kept == after // 8 * 8
    assert threading.active_count() <= threads + 1  # Lance keeps one of its own
    encoder = FakeEncoder()
    assert ingest(archive, encoder, path, options).added == 36 - kept
    assert encoder.encoded == 36 - kept
    assert len(archive) == 36


@pytest.mark.parametrize("kills", [(90,), pytest.param((9, 50, 60, 80, 100, 130), marks=pytest.mark.slow)])
def test_killed_ingests_lose_and_double_nothing(tmp_path: Path, kills: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(60):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{number:03}.png")
    save_scene(folder / "scene.tif", noise(320, 320))
    command = [sys.executable, str(WORKER), str(tmp_path / "archive"), str(folder)]
    before = 0
    for kill_at in kills:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line.split()[0]) >= kill_at - before:
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.returncode == -signal.SIGKILL
        kept = len(Archive.open(tmp_path / "archive"))
        assert before <= kept < 160
        before = kept
    archive = Archive.open(tmp_path / "archive")
    encoder = FakeEncoder()
    assert ingest(archive, encoder, folder, IngestOptions(chip=SMALL)).added == 160 - before == encoder.encoded
    ids = archive.ids()
    assert len(ids) == len(set(ids)) == len(archive) == 160
    fresh = Archive.create(tmp_path / "fresh", FakeEncoder())
    ingest(fresh, FakeEncoder(), folder, IngestOptions(chip=SMALL))
    assert fresh.ids() == ids
    np.testing.assert_allclose(fresh.vectors(ids), archive.vectors(ids), atol=1e-6)
    assert ingest(archive, FakeEncoder(), folder, IngestOptions(chip=SMALL)) == IngestReport(unchanged=61)


def test_reading_and_committing_overlap_with_encoding(
    archive: Archive, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, read, read_ahead, committed = 0, sources.read_image, threading.Event(), threading.Event()

    def counting_read(path: Path) -> np.ndarray:
        nonlocal reads
        reads += 1
        if reads > 2:
            read_ahead.set()
        return read(path)

    add = archive.add

    def telling_add(*arguments: Any, **options: Any) -> AddResult:
        result = add(*arguments, **options)
        committed.set()
        return result

    class WaitingEncoder(FakeEncoder):  # type: ignore[misc, valid-type]
        """Encodes the first batch of two only when a third image has been read, the second when the first is in."""

        def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
            waited = (read_ahead if self.encoded == 0 else committed).wait(30)
            assert waited, "nothing happens while the encoder is at work"
            vectors: np.ndarray = super().encode_images(images)
            return vectors

    monkeypatch.setattr(sources, "read_image", counting_read)
    monkeypatch.setattr(archive, "add", telling_add)
    assert ingest(archive, WaitingEncoder(), images, IngestOptions(batch_size=2, commit_size=2)).added == 12


def test_a_batch_is_encoded_in_parts_and_committed_whole(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_scene(tmp_path / "a.tif", noise(16 * 20, 16 * 20))
    encoded: list[int] = []
    committed: list[int] = []
    add = archive.add

    class CountingEncoder(FakeEncoder):  # type: ignore[misc, valid-type]
        def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
            encoded.append(len(images))
            vectors: np.ndarray = super().encode_images(images)
            return vectors

    def counting_add(records: Sequence[Record], *arguments: Any, **options: Any) -> AddResult:
        committed.append(len(records))
        return add(records, *arguments, **options)

    monkeypatch.setattr(archive, "add", counting_add)
    options = IngestOptions(chip=ChipConfig(size=16), batch_size=150, commit_size=150)
    assert ingest(archive, CountingEncoder(), path, options).added == 400
    assert committed == [150, 150, 100]
    assert encoded == [37, 37, 37, 37, 2] * 2 + [37, 37, 26]
    whole = IngestOptions(chip=ChipConfig(size=16), batch_size=30)  # too small to be divided
    other = Archive.create(tmp_path / "whole", FakeEncoder())
    ingest(other, FakeEncoder(), path, whole)
    assert other.ids() == archive.ids()
    np.testing.assert_array_equal(other.vectors(other.ids()), archive.vectors(other.ids()))


def versions_of_an_ingest(archive: Archive, path: Path, **options: Any) -> list[int]:
    """How many records each version has that an ingest of 1,024 makes."""
    sizes: list[int] = []
    merge = archive_module.merge

    def counting_merge(table: Any, rows: Any) -> AddResult:
        result: AddResult = merge(table, rows)
        sizes.append(table.count_rows())
        return result

    before = archive.snapshot().version
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive_module, "merge", counting_merge)
        chip = ChipConfig(size=8)
        assert ingest(archive, FakeEncoder(), path, IngestOptions(chip=chip, batch_size=32, **options)).added == 1024
    assert archive.snapshot().version == before + len(sizes)
    return sizes


def test_batches_are_gathered_into_few_commits(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_scene(tmp_path / "a.tif", noise(256, 256))
    assert versions_of_an_ingest(archive, path) == [1024]
    by_count = Archive.create(tmp_path / "by-count", FakeEncoder())
    assert versions_of_an_ingest(by_count, path, commit_size=300) == [320, 640, 960, 1024]
    monkeypatch.setattr(INGEST, "_COMMIT_BYTES", 1)
    by_bytes = Archive.create(tmp_path / "by-bytes", FakeEncoder())
    assert versions_of_an_ingest(by_bytes, path) == list(range(32, 1025, 32))


def test_no_more_than_a_minute_is_gathered(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_scene(tmp_path / "a.tif", noise(256, 256))
    now = 0.0

    def monotonic() -> float:  # looked at before the first batch of a commit and after each
        nonlocal now
        now += 7
        return now

    monkeypatch.setattr(INGEST, "time", SimpleNamespace(monotonic=monotonic))
    assert versions_of_an_ingest(archive, path) == [*range(288, 1025, 288), 1024]


# Names.


def test_ids_are_stable_readable_and_distinct() -> None:
    source = Source(href="/data/Scene (1).tif", files={"": Path("/data/Scene (1).tif")})
    from terraseek.geo import Window

    first = record_id(source, "default", 1, Window(0, 0, 64, 64))
    assert first == record_id(source, "default", 1, Window(0, 0, 64, 64)) == "Scene_1-" + first[-20:]
    others = {
        record_id(source, "default", 2, Window(0, 0, 64, 64)),
        record_id(source, "other", 1, Window(0, 0, 64, 64)),
        record_id(source, "default", 1, Window(64, 0, 64, 64)),
        record_id(source, "default", 1, None),
    }
    assert len(others | {first}) == 5


def test_folders_are_searched_in_order_past_hidden_files(images: Path) -> None:
    (images / ".hidden.png").write_bytes(b"")
    (images / ".git").mkdir()
    (images / ".git" / "a.png").write_bytes(b"")
    found = list(find_sources([images]))
    assert [source.path.name for source in found if isinstance(source, Source)] == [
        f"{number:02}.png" for number in (*range(0, 12, 2), *range(1, 12, 2))
    ]
    assert not any(isinstance(source, Refused) for source in found)


# Real imagery.


@pytest.mark.data
def test_real_scenes(archive: Archive, terraseek_data: Path) -> None:
    report = ingest(archive, FakeEncoder(), terraseek_data / "scenes", IngestOptions(chip=ChipConfig(size=256)))
    assert report.added > 100
    assert [Path(refused.source).name for refused in report.refused] == []
    assert all(record.footprint is not None for record in archive.get(archive.ids()[:50]))


@pytest.mark.data
def test_bigearthnet_patches(archive: Archive, terraseek_data: Path) -> None:
    chip = ChipConfig(size=120, bands=("B04", "B03", "B02"))
    report = ingest(archive, FakeEncoder(), terraseek_data / "bigearthnet_tiny" / "tiny", IngestOptions(chip=chip))
    assert report == IngestReport(added=11, declared=chip)
    records = archive.get(archive.ids())
    assert all(record.window == (0, 0, 120, 120) and record.footprint is not None for record in records)
    assert all(set(record.properties["files"]) == {"B04", "B03", "B02"} for record in records)
