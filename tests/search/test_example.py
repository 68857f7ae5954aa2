"""Example images from files: pictures by the rules of pictures, scenes as the collections are declared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terraseek.archive import Archive, IngestOptions, ingest
from terraseek.errors import QueryError, UsageError
from terraseek.geo import ChipConfig, Scaling, iter_chips, open_raster
from terraseek.images import read_image
from terraseek.search import Query, Retriever, read_example

from ..archive.test_ingest import noise, save_scene

RANGE = Scaling(kind="range", low=(0.0,), high=(3000.0,))


@pytest.mark.parametrize("scaling", [Scaling(), RANGE], ids=["percentiles of the scene", "range"])
def test_a_window_of_a_scene_is_the_chip_that_was_embedded(archive, encoder, tmp_path: Path, scaling: Scaling) -> None:
    path = save_scene(tmp_path / "scene.tif", noise(64, 96, 5))
    chip = ChipConfig(size=32, bands=("5", "2", "1"), scaling=scaling)
    ingest(archive, encoder, path, IngestOptions(chip=chip, collection="s2"))
    with open_raster(path) as raster:
        for cut in iter_chips(raster, chip):
            np.testing.assert_array_equal(read_example(archive, path, window=tuple(cut.window)), cut.pixels_HWB)


def test_a_scene_of_one_chip_finds_itself(archive: Archive, encoder, tmp_path: Path) -> None:
    paths = [save_scene(tmp_path / f"{seed}.tif", noise(32, 32, 4, seed=seed)) for seed in range(3)]
    chip = ChipConfig(size=32, bands=("4", "2", "1"), scaling=RANGE)
    ingest(archive, encoder, paths, IngestOptions(chip=chip, collection="s2"))
    page = Retriever(archive, encoder).search(Query(image=paths[1], collections=("s2",), k=1))
    assert (page.hits[0].score, page.hits[0].record.source) == (1.0, str(paths[1]))


def test_collections_that_are_read_in_two_ways_must_be_told_apart(archive: Archive, encoder, tmp_path: Path) -> None:
    path = save_scene(tmp_path / "scene.tif", noise(32, 32, 4))
    archive.declare("a", {"bands": ["1", "2", "3"]})
    archive.declare("b", {"bands": ["4", "2", "1"]})
    archive.declare("c", {"bands": ["1", "2", "3"], "size": 64})
    with pytest.raises(QueryError, match="collections a and b are read with other bands"):
        read_example(archive, path)
    of_b = read_example(archive, path, collections=("b",))
    of_a = read_example(archive, path, collections=("a", "c"))
    np.testing.assert_array_equal(of_b[..., 1:], of_a[..., [1, 0]])
    assert not np.array_equal(of_b[..., 0], of_a[..., 2])
    Image.fromarray(of_a).save(tmp_path / "picture.png")
    np.testing.assert_array_equal(read_example(archive, tmp_path / "picture.png"), of_a)  # no scene, nothing to tell


def test_a_large_scene_is_read_shrunk_and_a_tiff_picture_as_a_picture(archive: Archive, tmp_path: Path) -> None:
    large = save_scene(tmp_path / "large.tif", noise(40, 4096, 3))
    assert read_example(archive, large).shape == (20, 2048, 3)
    Image.fromarray(noise(8, 8, 1)[..., 0]).save(tmp_path / "deep.tif")
    np.testing.assert_array_equal(read_example(archive, tmp_path / "deep.tif"), read_image(tmp_path / "deep.tif"))


def test_a_window_outside_and_a_band_that_is_not_there_are_named(archive: Archive, tmp_path: Path) -> None:
    path = save_scene(tmp_path / "scene.tif", noise(32, 48, 3))
    for window in ((40, 0, 9, 9), (0, 0, 0, 9), (-1, 0, 9, 9), (0, 24, 9, 9)):
        with pytest.raises(UsageError, match="does not lie within its 48 x 32 pixels"):
            read_example(archive, path, window=window)
    archive.declare("s2", {"bands": ["B04", "B03", "B02"]})
    with pytest.raises(UsageError, match="has no bands 'B04', 'B03', 'B02'; it has 1, 2, 3"):
        read_example(archive, path)
