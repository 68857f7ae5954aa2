"""Chips: the windows planned, the pixels in them, what is left out, and how little is held at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.errors import ConfigError, ImageError
from terraseek.geo import Chip, ChipConfig, Scaling, Window, chips, iter_chips, open_raster, plan_windows

Write = Callable[..., Path]
RAW = Scaling(kind="none")


def cover(width: int, height: int, config: ChipConfig) -> np.ndarray:
    count = np.zeros((height, width), int)
    for _, (column, row, w, h) in plan_windows(width, height, config):
        count[row : row + h, column : column + w] += 1
    return count


@settings(deadline=None)
@given(
    width=st.integers(1, 80),
    height=st.integers(1, 80),
    size=st.integers(1, 30),
    stride=st.none() | st.integers(1, 30),
    edge=st.sampled_from(["shift", "pad", "drop"]),
    scale=st.integers(1, 4),
)
def test_windows_lie_inside_and_cover_by_their_rule(
    width: int, height: int, size: int, stride: int | None, edge: str, scale: int
) -> None:
    config = ChipConfig(size=size, stride=stride, edge=edge, scales=(scale,))  # type: ignore[arg-type]
    windows = [window for _, window in plan_windows(width, height, config)]
    assert len(set(windows)) == len(windows)
    level_width, level_height = width // scale, height // scale
    for column, row, w, h in windows:
        assert column >= 0
        assert row >= 0
        assert column + w <= level_width * scale
        assert row + h <= level_height * scale
        assert column % scale == row % scale == w % scale == h % scale == 0
        if edge != "pad":
            assert w == min(size, level_width) * scale
    if edge != "drop" and (stride or size) <= size and min(level_width, level_height) > 0:
        assert (cover(width, height, config)[: level_height * scale, : level_width * scale] > 0).all()


def test_the_edge_rules() -> None:
    def columns(edge: str, **options: int) -> list[tuple[int, int]]:
        config = ChipConfig(size=64, edge=edge, **options)  # type: ignore[arg-type]
        return [(window.column, window.width) for _, window in plan_windows(150, 64, config)]

    assert columns("shift") == [(0, 64), (64, 64), (86, 64)]
    assert columns("drop") == [(0, 64), (64, 64)]
    assert columns("pad") == [(0, 64), (64, 64), (128, 22)]
    assert columns("shift", stride=32) == [(0, 64), (32, 64), (64, 64), (86, 64)]


@pytest.mark.parametrize("layout", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16}])
@pytest.mark.parametrize("read_bytes", [1, 50_000, 96 << 20])
def test_chips_hold_the_pixels_of_their_windows(
    write_raster: Write, pixels: np.ndarray, layout: dict, read_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chips, "_READ_BYTES", read_bytes)
    config = ChipConfig(size=20, stride=15, scaling=RAW)
    with open_raster(write_raster("a.tif", pixels, **layout)) as raster:
        got = {chip.window: chip.pixels_HWB for chip in iter_chips(raster, config)}
    assert set(got) == {window for _, window in plan_windows(128, 96, config)}
    for (column, row, width, height), chip in got.items():
        np.testing.assert_array_equal(chip, pixels[row : row + height, column : column + width])


def test_padding_is_zero_and_counts_as_nodata(write_raster: Write, pixels: np.ndarray) -> None:
    with open_raster(write_raster("a.tif", pixels)) as raster:
        padded = list(iter_chips(raster, ChipConfig(size=100, edge="pad", max_nodata=1, scaling=RAW)))
        kept = list(iter_chips(raster, ChipConfig(size=100, edge="pad", max_nodata=0.5, scaling=RAW)))
    assert [chip.window for chip in padded] == [Window(0, 0, 100, 96), Window(100, 0, 28, 96)]
    assert [chip.window for chip in kept] == [Window(0, 0, 100, 96)]
    last = padded[1]
    assert last.pixels_HWB.shape == (100, 100, 3)
    assert last.valid == pytest.approx(0.28 * 0.96)
    np.testing.assert_array_equal(last.pixels_HWB[:96, :28], pixels[:, 100:])
    assert (last.pixels_HWB[96:] == 0).all()


def test_a_scene_smaller_than_a_chip_is_one_chip(write_raster: Write, pixels: np.ndarray) -> None:
    for edge in ("shift", "drop"):
        config = ChipConfig(size=500, edge=edge, scales=(1, 2), scaling=RAW)  # type: ignore[arg-type]
        with open_raster(write_raster("a.tif", pixels)) as raster:
            (chip,) = iter_chips(raster, config)
        assert chip.window == (0, 0, 128, 96)
        np.testing.assert_array_equal(chip.pixels_HWB, pixels)


def test_empty_chips_are_left_out(write_raster: Write, pixels: np.ndarray) -> None:
    pixels[:, :50] = 0
    with open_raster(write_raster("a.tif", pixels, nodata=0)) as raster:
        config = ChipConfig(size=32, max_nodata=0.6, scaling=RAW)
        left = {chip.window.column: chip.valid for chip in iter_chips(raster, config)}
    assert left == {32: pytest.approx(14 / 32), 64: 1.0, 96: 1.0}


def test_coarser_scales_show_more_ground(write_raster: Write) -> None:
    ramp = np.broadcast_to(np.arange(256, dtype=np.float32), (256, 256))
    with open_raster(write_raster("a.tif", ramp)) as raster:
        config = ChipConfig(size=32, scales=(1, 4), scaling=RAW)
        coarse = [chip for chip in iter_chips(raster, config) if chip.scale == 4]
    assert [chip.window for chip in coarse] == [Window(c, r, 128, 128) for r in (0, 128) for c in (0, 128)]
    assert {chip.pixels_HWB.shape for chip in coarse} == {(32, 32, 3)}
    np.testing.assert_allclose(coarse[0].pixels_HWB[0, :, 0], 4 * np.arange(32) + 1.5)


def test_unwanted_chips_are_not_read(write_raster: Write, pixels: np.ndarray) -> None:
    with open_raster(write_raster("a.tif", pixels)) as raster:
        reads: list[Window] = []
        read = raster.read

        def counting(window: Window, *arguments: object) -> object:
            reads.append(window)
            return read(window, *arguments)  # type: ignore[arg-type]

        raster.read = counting  # type: ignore[method-assign, assignment]
        config = ChipConfig(size=32, scaling=RAW)
        got = list(iter_chips(raster, config, wanted=lambda scale, window: window == (64, 32, 32, 32)))
        assert [chip.window for chip in got] == [(64, 32, 32, 32)]
        assert reads == [(64, 32, 32, 32)]
        assert not list(iter_chips(raster, config, wanted=lambda scale, window: False))
        assert len(reads) == 1


def test_torn_tiles_cost_only_the_chips_they_touch(write_raster: Write, pixels: np.ndarray) -> None:
    big = np.tile(pixels, (4, 4, 1))
    path = write_raster("a.tif", big, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    with rasterio.open(path) as source:
        offset = int(source.tags(1, ns="TIFF")["BLOCK_OFFSET_2_3"]) if source.tags(1, ns="TIFF") else None
        offset = offset or int(source.get_tag_item("BLOCK_OFFSET_2_3", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = bytes(40)
    path.write_bytes(data)
    torn: list[Window] = []
    config = ChipConfig(size=32)
    with open_raster(path) as raster:
        got = [chip.window for chip in iter_chips(raster, config, on_error=lambda window, _: torn.append(window))]
        with pytest.raises(ImageError, match="damaged or truncated"):
            list(iter_chips(raster, config))
    expected = {Window(c, r, 32, 32) for c in (128, 160) for r in (192, 224)}
    assert set(torn) == expected
    assert set(got) == {window for _, window in plan_windows(512, 384, config)} - expected


def test_a_scene_of_nodata_alone_has_no_chips(write_raster: Write) -> None:
    empty = np.zeros((64, 64, 3), np.uint8)
    with open_raster(write_raster("a.tif", empty, nodata=0)) as raster:
        assert list(iter_chips(raster, ChipConfig(size=32))) == []


def test_a_chip_does_not_keep_its_region_alive(write_raster: Write, pixels: np.ndarray) -> None:
    with open_raster(write_raster("a.tif", pixels)) as raster:
        chip: Chip = next(iter_chips(raster, ChipConfig(size=32)))
    assert chip.pixels_HWB.base is None


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"stride": 0}, {"max_nodata": 1.5}, {"scales": ()}, {"scales": (1, 1)}, {"scales": (0,)}]
)
def test_a_config_that_cannot_be_is_refused(options: dict) -> None:
    with pytest.raises(ConfigError):
        ChipConfig(**options)


@pytest.mark.data
def test_real_scenes(terraseek_data: Path) -> None:
    counts = {}
    for path in sorted((terraseek_data / "scenes").rglob("*.tif")):
        with open_raster(path) as raster:
            got = list(iter_chips(raster, ChipConfig(size=128)))
            assert raster.georeference is not None
            assert all(raster.georeference.footprint(*chip.window) is not None for chip in got)
        assert all(chip.pixels_HWB.shape == (128, 128, 3) and chip.pixels_HWB.dtype == np.uint8 for chip in got)
        assert max(chip.pixels_HWB.std() for chip in got) > 20, path
        counts[path.name] = len(got)
    assert len(counts) == 9
    assert counts["cog.tif"] > 300
