"""Cutting a scene of any size into chips, reading it in large pieces and never whole."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from shapely.geometry.base import BaseGeometry

from ..errors import ConfigError, ImageError
from ..typing import BoolArray, ImageArray
from .raster import Raster, Window, default_bands, find_bands
from .scaling import Scaling, Stretch, fit_stretch

__all__ = ["Chip", "ChipConfig", "iter_chips", "plan_windows"]

# What one read may take, in bytes: the samples, their scaled copies and masks. Two are alive while one follows another.
_READ_BYTES = 96 << 20


@dataclass(frozen=True, kw_only=True)
class ChipConfig:
    """How a scene becomes chips.

    Attributes:
        size: edge of a chip in pixels. A scene smaller than that is one chip as it is.
        stride: from one chip to the next; `size` (no overlap) where it is not given.
        edge: what happens where chips do not fill the scene. `shift` moves the last chip back inside, so that it
            overlaps its neighbour and every pixel is in a chip; `pad` fills it with zeros; `drop` leaves the rest out.
        max_nodata: chips with a larger share of invalid pixels (padding included) are left out.
        scales: 1 cuts chips from full resolution, 2 from the scene shrunk to half, and so on; a chip at scale s shows
            s x size pixels of the scene along each side. Overviews inside the file are used.
        bands: names of bands (or numbers, counted from 1), in the order the encoder takes them; by default red, green
            and blue, see `default_bands`.
        scaling: how samples become 8 bits.
    """

    size: int = 256
    stride: int | None = None
    edge: Literal["shift", "pad", "drop"] = "shift"
    max_nodata: float = 0.5
    scales: tuple[int, ...] = (1,)
    bands: tuple[str, ...] = ()
    scaling: Scaling = field(default_factory=Scaling)

    def __post_init__(self) -> None:
        if self.size < 1 or (self.stride is not None and self.stride < 1):
            raise ConfigError(f"chip size and stride must be at least 1, not {self.size} and {self.stride}")
        if not 0 <= self.max_nodata <= 1:
            raise ConfigError(f"max_nodata is a share between 0 and 1, not {self.max_nodata}")
        if not self.scales or min(self.scales) < 1 or len(set(self.scales)) != len(self.scales):
            raise ConfigError(f"scales must be different whole numbers from 1 up, not {self.scales}")


@dataclass(frozen=True)
class Chip:
    """One chip: the `window` of the scene it shows, its `scale`, its pixels (H, W, B), the share of them valid.

    `footprint` is its place in EPSG:4326; None where the scene does not tell.
    """

    window: Window
    scale: int
    pixels_HWB: ImageArray = field(repr=False)
    valid: float = 1.0
    footprint: BaseGeometry | None = field(default=None, repr=False)


def plan_windows(width: int, height: int, config: ChipConfig) -> Iterator[tuple[int, Window]]:
    """All windows of a scene of that size, as (scale, window in pixels of the scene), row by row.

    Windows of `edge="pad"` end at the scene's edge. At scale s the scene counts width // s by height // s pixels; a
    scale at which it is smaller than one chip is left out, except the first.

    Examples:
        >>> [tuple(window) for _, window in plan_windows(100, 64, ChipConfig(size=64))]
        [(0, 0, 64, 64), (36, 0, 64, 64)]
    """
    for level in _levels(width, height, config):
        for row, column in itertools.product(level.rows, level.columns):
            yield level.scale, level.window(column, row)


def iter_chips(
    raster: Raster,
    config: ChipConfig,
    *,
    wanted: Callable[[int, Window], bool] | None = None,
    on_error: Callable[[Window, ImageError], None] | None = None,
) -> Iterator[Chip]:
    """Read the chips of a scene one after another in bounded memory, whatever its size.

    Args:
        raster: the scene.
        config: see `ChipConfig`.
        wanted: called with (scale, window); chips for which it is false are not read.
        on_error: told of windows that cannot be read (torn tiles), which are then left out. Without it the first
            one raises.

    Raises:
        ImageError: the scene has no valid pixel to scale by, or, without `on_error`, a window cannot be read.
        UsageError: the scene lacks a declared band.
    """
    bands = find_bands(raster, config.bands) if config.bands else default_bands(raster)
    stretch = fit_stretch(raster, bands, config.scaling)
    for level in _levels(raster.width, raster.height, config):
        for rows, columns in _regions(level, raster, len(set(bands))):
            cells = [(row, column) for row in rows for column in columns]
            if wanted is not None:
                cells = [(row, column) for row, column in cells if wanted(level.scale, level.window(column, row))]
            if cells:
                yield from _read_cells(raster, bands, stretch, level, cells, config.max_nodata, on_error)


@dataclass(frozen=True)
class _Level:
    """The scene at one scale: offsets of its chips in pixels of that scale."""

    scale: int
    width: int
    height: int
    chip_width: int
    chip_height: int
    columns: tuple[int, ...]
    rows: tuple[int, ...]

    def window(self, column: int, row: int) -> Window:
        width = min(self.chip_width, self.width - column)
        height = min(self.chip_height, self.height - row)
        return Window(*(self.scale * value for value in (column, row, width, height)))


def _levels(width: int, height: int, config: ChipConfig) -> Iterator[_Level]:
    stride = config.stride or config.size
    for index, scale in enumerate(config.scales):
        level_width, level_height = width // scale, height // scale
        if min(level_width, level_height) < config.size and index > 0:
            continue
        if min(level_width, level_height) < 1:
            continue
        padded = config.edge == "pad"
        yield _Level(
            scale,
            level_width,
            level_height,
            config.size if padded else min(config.size, level_width),
            config.size if padded else min(config.size, level_height),
            _offsets(level_width, config.size, stride, config.edge),
            _offsets(level_height, config.size, stride, config.edge),
        )


def _offsets(extent: int, size: int, stride: int, edge: str) -> tuple[int, ...]:
    if extent <= size:
        return (0,)
    offsets = list(range(0, extent - size + 1, stride))
    if offsets[-1] + size < extent:
        if edge == "shift":
            offsets.append(extent - size)
        elif edge == "pad" and offsets[-1] + stride < extent:
            offsets.append(offsets[-1] + stride)
    return tuple(offsets)


def _regions(level: _Level, raster: Raster, bands: int) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """Groups of neighbouring chips that are read at once: row offsets and column offsets.

    Rasters in strips are read in full width, so that no strip is decoded twice; tiled ones in squares of whole tiles.
    """
    bytes_per_pixel = bands * (2 * raster.dtype.itemsize + 7) + 3
    budget = _READ_BYTES // bytes_per_pixel
    block_rows, block_columns = (max(1, side // level.scale) for side in raster.block_shape)
    if block_columns >= level.width:
        width = max(level.chip_width, min(level.width, budget // level.chip_height))
        height = max(level.chip_height, budget // width)
    else:
        side = math.isqrt(budget)
        width = max(level.chip_width, side // block_columns * block_columns or side)
        height = max(level.chip_height, side // block_rows * block_rows or side)
    for rows in _groups(level.rows, height):
        for columns in _groups(level.columns, width):
            yield rows, columns


def _groups(offsets: Sequence[int], extent: int) -> Iterator[list[int]]:
    for _, group in itertools.groupby(offsets, key=lambda offset: offset // extent):
        yield list(group)


def _read_cells(
    raster: Raster,
    bands: Sequence[int],
    stretch: Stretch | None,
    level: _Level,
    cells: list[tuple[int, int]],
    max_nodata: float,
    on_error: Callable[[Window, ImageError], None] | None,
) -> Iterator[Chip]:
    top, left = min(row for row, _ in cells), min(column for _, column in cells)
    bottom = min(level.height, max(row for row, _ in cells) + level.chip_height)
    right = min(level.width, max(column for _, column in cells) + level.chip_width)
    window = Window(*(level.scale * value for value in (left, top, right - left, bottom - top)))
    try:
        pixels_HWB, valid_HW = raster.read(window, bands, (bottom - top, right - left))
    except ImageError as error:
        if on_error is None:
            raise
        if len(cells) == 1:
            on_error(level.window(cells[0][1], cells[0][0]), error)
            return
        # Somewhere in here is a torn tile: find the chips it touches by halves and keep the others.
        half = len(cells) // 2
        for part in (cells[:half], cells[half:]):
            yield from _read_cells(raster, bands, stretch, level, part, max_nodata, on_error)
        return
    if max_nodata < 1 and not valid_HW.any():
        return  # most of a mosaic is often empty, and scaling is what costs
    all_valid = bool(valid_HW.all())
    if stretch is not None:
        pixels_HWB = stretch.apply(pixels_HWB, valid_HW)
    elif not all_valid:
        pixels_HWB = np.where(valid_HW[..., None], pixels_HWB, np.zeros((), dtype=pixels_HWB.dtype))
    place, windows = raster.georeference, [level.window(column, row) for row, column in cells]
    footprints = [None] * len(cells) if place is None else place.footprints(windows)
    for (row, column), footprint in zip(cells, footprints, strict=True):
        chip = _cut(level, pixels_HWB, None if all_valid else valid_HW, row, column, row - top, column - left)
        if 1.0 - chip.valid <= max_nodata:
            yield replace(chip, footprint=footprint)


def _cut(
    level: _Level,
    pixels_HWB: ImageArray,
    valid_HW: BoolArray | None,
    row: int,
    column: int,
    y: int,
    x: int,
) -> Chip:
    """The chip at (row, column) of a level from what was read of it, where it lies at (y, x); None is valid as read."""
    place = slice(y, y + level.chip_height), slice(x, x + level.chip_width)
    chip_HWB = pixels_HWB[place]
    height, width, _ = chip_HWB.shape
    valid = height * width if valid_HW is None else int(np.count_nonzero(valid_HW[place]))
    missing = [(0, level.chip_height - height), (0, level.chip_width - width), (0, 0)]
    # A copy: a view would keep the whole region in memory for as long as one chip of it is alive.
    copied: np.ndarray[Any, Any] = np.pad(chip_HWB, missing) if any(after for _, after in missing) else chip_HWB.copy()
    return Chip(level.window(column, row), level.scale, copied, valid / (level.chip_height * level.chip_width))
