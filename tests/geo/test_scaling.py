"""Measurements to 8 bits: by declared range, by the scene's percentiles, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from terraseek.errors import ConfigError, ImageError
from terraseek.geo import Scaling, Stretch, Window, fit_stretch, open_raster, sample_pixels

Write = Callable[..., Path]


def test_percentiles_are_those_of_the_valid_pixels(write_raster: Write, pixels: np.ndarray) -> None:
    pixels[:40] = 0
    with open_raster(write_raster("a.tif", pixels, nodata=0)) as raster:
        stretch = fit_stretch(raster, (0, 1, 2), Scaling(percentiles=(5, 90)))
    assert stretch is not None
    np.testing.assert_allclose(stretch.low_B, np.percentile(pixels[40:].reshape(-1, 3), 5, axis=0), rtol=1e-6)
    np.testing.assert_allclose(stretch.high_B, np.percentile(pixels[40:].reshape(-1, 3), 90, axis=0), rtol=1e-6)


def test_eight_bits_pass_through_unless_told(write_raster: Write) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    with open_raster(write_raster("a.tif", pixels)) as raster:
        assert fit_stretch(raster, (0,), Scaling()) is None
        assert fit_stretch(raster, (0,), Scaling(kind="none")) is None
        assert fit_stretch(raster, (0,), Scaling(kind="percentile")) is not None


def test_a_declared_range_holds_for_all_bands_or_each(write_raster: Write, pixels: np.ndarray) -> None:
    with open_raster(write_raster("a.tif", pixels)) as raster:
        for low, high in (((100,), (3000,)), ((100, 100, 100), (3000, 3000, 3000))):
            stretch = fit_stretch(raster, (0, 1, 2), Scaling(kind="range", low=low, high=high))
            assert stretch is not None
            got = stretch.apply(pixels, np.ones(pixels.shape[:2], bool))
            expected = np.clip(np.rint((pixels.astype(float) - 100) / 2900 * 255), 0, 255)
            assert np.abs(got - expected).max() <= 1  # halves may round either way in single precision
        with pytest.raises(ImageError, match="declares 2 bands, 3 are read"):
            fit_stretch(raster, (0, 1, 2), Scaling(kind="range", low=(0, 0), high=(1, 1)))


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "range"},
        {"kind": "range", "low": (1.0,), "high": (1.0,)},
        {"kind": "range", "low": (0.0, 1.0), "high": (2.0,)},
        {"low": (0.0,), "high": (1.0,)},
        {"percentiles": (98.0, 2.0)},
        {"percentiles": (0.0, 101.0)},
        {"kind": "range", "low": (float("nan"),), "high": (1,)},
        {"kind": "range", "low": (0,), "high": (float("inf"),)},
    ],
)
def test_a_scaling_that_cannot_be_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Scaling(**options)  # type: ignore[arg-type]


def test_nodata_alone_cannot_be_scaled(write_raster: Write) -> None:
    with (
        open_raster(write_raster("a.tif", np.zeros((16, 16, 3), np.uint16), nodata=0)) as raster,
        pytest.raises(ImageError, match="all of it is nodata"),
    ):
        fit_stretch(raster, (0, 1, 2), Scaling())


def test_constant_and_nan_bands_become_flat_not_undefined(write_raster: Write, pixels: np.ndarray) -> None:
    floats = pixels.astype(np.float32)
    floats[..., 1], floats[..., 2] = 5.0, np.nan
    with open_raster(write_raster("a.tif", floats)) as raster:
        stretch = fit_stretch(raster, (0, 1, 2), Scaling())
        assert stretch is not None
        got = stretch.apply(floats, np.ones(floats.shape[:2], bool))
    assert got[..., 0].max() == 255
    assert set(np.unique(got[..., 1:])) == {0}


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, (5, 4, 2), elements=st.floats(-(2.0**100), 2.0**100, width=32) | st.just(np.nan)),
    hnp.arrays(bool, (5, 4)),
)
def test_stretch_is_monotone_and_zero_where_not_valid(pixels: np.ndarray, valid: np.ndarray) -> None:
    stretch = Stretch(np.array([-10, 0], np.float32), np.array([10, 1e6], np.float32))
    got = stretch.apply(pixels, valid)
    assert got.dtype == np.uint8
    assert (got[~valid] == 0).all()
    assert (got[np.isnan(pixels)] == 0).all()
    for band in range(2):
        keep = valid & ~np.isnan(pixels[..., band])
        order = np.argsort(pixels[..., band][keep], kind="stable")
        assert (np.diff(got[..., band][keep][order].astype(int)) >= 0).all()


def test_large_scenes_without_overviews_are_sampled_all_over(write_raster: Write) -> None:
    ramp = np.broadcast_to(np.arange(8192, dtype=np.uint16)[:, None], (8192, 2304))
    path = write_raster("a.tif", ramp, tiled=True, compress="deflate", zlevel=1)
    with open_raster(path) as raster:
        low, high = np.percentile(sample_pixels(raster, (0,)), (2, 98))
    assert low == pytest.approx(0.02 * 8192, abs=0.03 * 8192)
    assert high == pytest.approx(0.98 * 8192, abs=0.03 * 8192)


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int16", ">u2", "int32", "float32"])
def test_samples_of_every_type_are_scaled_alike_in_small_pieces_and_large(kind: str) -> None:
    # Large pieces of 8 and 16 bits go through a table of all values, small ones do not.
    dtype = np.dtype(kind)
    rng = np.random.default_rng(0)
    low, high = (-1000, 30_000) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    pixels = rng.integers(low, high, (400, 350, 2)).astype(dtype)
    valid = rng.random((400, 350)) < 0.9
    stretch = Stretch(np.array([20, -50], np.float32), np.array([90, 3000], np.float32))
    expected = (pixels.astype(np.float32) - stretch.low_B) * (np.float32(255) / (stretch.high_B - stretch.low_B))
    expected = np.where(valid[..., None], np.clip(np.rint(expected), 0, 255), 0)
    np.testing.assert_array_equal(stretch.apply(pixels, valid), expected)
    np.testing.assert_array_equal(stretch.apply(pixels[:20], valid[:20]), expected[:20])


class Counting:
    """A raster that notes what is read of it; the pixels are those of `raster`."""

    def __init__(self, raster: Any) -> None:
        self._raster = raster
        self.read_pixels = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raster, name)

    def read(self, window: Window, bands: Sequence[int], shape: tuple[int, int] | None = None) -> Any:
        self.read_pixels += window.width * window.height if shape is None else shape[0] * shape[1]
        return self._raster.read(window, bands, shape)


@pytest.mark.parametrize(
    "layout", [{"tiled": True, "blockxsize": 512, "blockysize": 512}, {"tiled": False, "blockysize": 16}]
)
def test_what_is_decoded_for_percentiles_does_not_grow_with_the_scene(
    write_raster: Write, layout: dict[str, Any]
) -> None:
    for side in (4096, 8192):
        flat = np.zeros((side, side), np.uint8)
        path = write_raster(f"{side}.tif", flat, compress="deflate", zlevel=1, sparse_ok=True, **layout)
        with open_raster(path) as raster:
            counting = Counting(raster)
            assert 1e5 < len(sample_pixels(counting, (0,))) < 1.1e6
        assert counting.read_pixels <= 10 << 20


def test_an_overview_is_looked_at_where_there_is_one(write_raster: Write) -> None:
    rows = np.broadcast_to(np.arange(2304, dtype=np.uint16)[:, None], (2304, 2048))
    with open_raster(write_raster("a.tif", rows, tiled=True, overviews=(2, 4))) as raster:
        counting = Counting(raster)
        low, high = np.percentile(sample_pixels(counting, (0,)), (2, 98))
    assert counting.read_pixels == 1152 * 1024
    assert (low, high) == pytest.approx((0.02 * 2304, 0.98 * 2304), abs=3)
