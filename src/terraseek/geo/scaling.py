"""From measurements of any type to the 8 bits per band that encoders and eyes take."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, ImageError
from ..typing import BoolArray, ImageArray
from .raster import Raster, Window

__all__ = ["Scaling", "Stretch", "fit_stretch", "sample_pixels"]

# Up to here GDAL keeps the decoded scene until the chips are cut from it: looking at all of it costs next to nothing.
_WHOLE_PIXELS = 1 << 22
_OVERVIEW_SIDE = 768
# Of a larger scene, so many pixels are decoded twice, once for the percentiles, whatever its size. Whole blocks, as no
# less is ever decoded; in a grid of so many along each side.
_DECODED_PIXELS = 10 << 20
_FEWEST_BLOCKS, _MOST_BLOCKS = 6, 16
_SMALLEST_SIDE, _LARGEST_SIDE = 64, 1024
_SAMPLES = 1 << 19
_ENOUGH_SAMPLES = 4096
_ROWS_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How samples become 0..255; to be the same for all scenes of a collection, so that they compare.

    Attributes:
        kind: `range` maps `low`..`high`; `percentile` maps the scene's own `percentiles`, band by band; `none` passes
            samples through in their own type, for encoders that normalise measurements themselves; `auto` is `none`
            for 8-bit rasters and `percentile` for all others.
        low: value that becomes 0, one for all bands or one each.
        high: value that becomes 255, likewise.
        percentiles: of the valid pixels of the scene.
    """

    kind: Literal["auto", "range", "percentile", "none"] = "auto"
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    percentiles: tuple[float, float] = (2.0, 98.0)

    def __post_init__(self) -> None:
        if self.kind == "range":
            if not self.low or len(self.low) != len(self.high):
                raise ConfigError(f"scaling by range needs low and high of one length, not {self.low} and {self.high}")
            # Written so that NaN is refused as well.
            if not all(-math.inf < low < high < math.inf for low, high in zip(self.low, self.high, strict=True)):
                raise ConfigError(f"scaling by range needs numbers, low below high, not {self.low} and {self.high}")
        elif self.low or self.high:
            raise ConfigError(f"low and high belong to scaling by range, not by {self.kind}")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ConfigError(f"percentiles must rise within 0..100, not {self.percentiles}")


@dataclass(frozen=True)
class Stretch:
    """A linear map per band to 0..255: `low_B` becomes 0, `high_B` becomes 255; outside is clipped."""

    low_B: NDArray[np.float32]
    high_B: NDArray[np.float32]

    def apply(self, pixels_HWB: ImageArray, valid_HW: BoolArray) -> NDArray[np.uint8]:
        """Samples to (H, W, B) uint8; pixels that are not valid become 0."""
        scaled_HWB = np.empty(pixels_HWB.shape, dtype=np.uint8)
        scale = self._scale_of(pixels_HWB)
        # By a few rows at a time: copies of a whole piece would come from memory that is fetched anew for each.
        for first in range(0, len(pixels_HWB), _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            for band in range(pixels_HWB.shape[2]):
                scaled_HWB[rows, :, band] = scale(pixels_HWB[rows, :, band], band)
        if not valid_HW.all():
            scaled_HWB[~valid_HW] = 0
        return scaled_HWB

    def _scale_of(self, pixels_HWB: ImageArray) -> Callable[[NDArray[Any], int], NDArray[np.uint8]]:
        """What scales samples of a band: `_scaled`, or a table of its results where they are fewer than the pixels."""
        kind = pixels_HWB.dtype
        if kind.kind not in "ui" or kind.itemsize > 2 or pixels_HWB[..., 0].size < 2 << 8 * kind.itemsize:
            return self._scaled
        unsigned, native = np.dtype(f"u{kind.itemsize}"), kind.newbyteorder("=")
        values_V = np.arange(1 << 8 * kind.itemsize, dtype=unsigned).view(native)
        table_BV = [self._scaled(values_V, band) for band in range(pixels_HWB.shape[2])]
        # Used again and again: `take` would make room for its numbers anew each time, and "clip" spares checking them.
        places = np.empty((_ROWS_AT_ONCE, pixels_HWB.shape[1]), dtype=np.intp)
        found = np.empty(places.shape, dtype=np.uint8)

        def look_up(samples: NDArray[Any], band: int) -> NDArray[np.uint8]:
            rows = slice(len(samples))
            places[rows] = samples.astype(native, copy=False).view(unsigned)
            return table_BV[band].take(places[rows], mode="clip", out=found[rows])

        return look_up

    def _scaled(self, samples: NDArray[Any], band: int) -> NDArray[np.uint8]:
        scaled = samples.astype(np.float32)
        scaled -= self.low_B[band]
        scaled *= 255.0 / (self.high_B[band] - self.low_B[band])
        np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled)
        if samples.dtype.kind == "f":
            np.nan_to_num(scaled, copy=False, nan=0.0)
        return scaled.astype(np.uint8)


def fit_stretch(raster: Raster, bands: Sequence[int], scaling: Scaling) -> Stretch | None:
    """The stretch that `scaling` means for this raster; None where samples pass through unchanged.

    Raises:
        ImageError: percentiles are asked of a raster without a valid pixel, or `low` and `high` have another number
            of bands.
    """
    if scaling.kind == "none" or (scaling.kind == "auto" and raster.dtype == np.uint8):
        return None
    if scaling.kind == "range":
        if len(scaling.low) not in (1, len(bands)):
            raise ImageError(f"{raster.name}: scaling declares {len(scaling.low)} bands, {len(bands)} are read")
        low = np.broadcast_to(np.asarray(scaling.low, dtype=np.float32), len(bands))
        return Stretch(low, np.broadcast_to(np.asarray(scaling.high, dtype=np.float32), len(bands)))
    values_NB = sample_pixels(raster, bands)
    if len(values_NB) == 0:
        raise ImageError(f"{raster.name}: no valid pixel, all of it is nodata")
    low, high = np.nanpercentile(values_NB, scaling.percentiles, axis=0).astype(np.float32)
    # A constant band has nothing to stretch; it becomes 0 instead of a division by nothing.
    return Stretch(low, np.where(high > low, high, low + 1).astype(np.float32))


def sample_pixels(raster: Raster, bands: Sequence[int]) -> NDArray[Any]:
    """Valid pixels from all over the raster, (N, B), for no more than so much decoding whatever its size.

    All of a small raster is looked at, an overview of a larger one, and where it has none some of its blocks: one at a
    random place in each cell of a grid, the same ones whenever asked. Infinite and NaN samples come as NaN; a band
    without a finite sample comes as zeros.

    Raises:
        ImageError: nothing of the raster can be read.
    """
    small = raster.width * raster.height <= _WHOLE_PIXELS
    # The first way is the cheap one; those after it are for what it fails on: a torn tile, valid pixels only here and
    # there.
    ways: list[Callable[[Raster, Sequence[int]], Iterator[tuple[ImageArray, BoolArray]]]]
    if small or raster.overviews:
        ways = [_read_whole if small else _read_overview, _read_blocks]
    else:
        ways = [_read_blocks, partial(_read_blocks, many=_MOST_BLOCKS), _read_overview]
    best_NB: NDArray[Any] | None = None
    failure: ImageError | None = None
    for way in ways:
        try:
            parts = list(way(raster, bands))
        except ImageError as error:
            failure = error
            continue
        values_NB = np.concatenate([pixels_HWB[valid_HW] for pixels_HWB, valid_HW in parts])
        if best_NB is None or len(values_NB) > len(best_NB):
            best_NB = values_NB
        if len(best_NB) >= _ENOUGH_SAMPLES or small:
            break
    if best_NB is None:
        raise failure or ImageError(f"{raster.name}: nothing of it can be read")
    if best_NB.dtype.kind == "f":
        best_NB = np.where(np.isfinite(best_NB), best_NB, np.nan)
        best_NB[:, np.isnan(best_NB).all(axis=0)] = 0
    return best_NB


def _read_whole(raster: Raster, bands: Sequence[int]) -> Iterator[tuple[ImageArray, BoolArray]]:
    yield _thinned(*raster.read(Window(0, 0, raster.width, raster.height), bands), raster.width * raster.height)


def _read_overview(raster: Raster, bands: Sequence[int]) -> Iterator[tuple[ImageArray, BoolArray]]:
    """The scene at the size of a stored overview; shrunken, which decodes all of it, where there is none."""
    longest = max(raster.width, raster.height)
    coarse = [factor for factor in raster.overviews if longest / factor >= _OVERVIEW_SIDE]
    factor = max(coarse, default=min(raster.overviews, default=longest / _OVERVIEW_SIDE))
    shape = math.ceil(raster.height / factor), math.ceil(raster.width / factor)
    yield raster.read(Window(0, 0, raster.width, raster.height), bands, shape)


def _read_blocks(
    raster: Raster, bands: Sequence[int], many: int | None = None
) -> Iterator[tuple[ImageArray, BoolArray]]:
    windows = _scattered_blocks(raster, many or _affordable(raster))
    pixels = sum(window.width * window.height for window in windows)
    failure: ImageError | None = None
    readable = False
    for window in windows:
        try:
            yield _thinned(*raster.read(window, bands), pixels)
            readable = True
        except ImageError as error:
            failure = error
    if failure is not None and not readable:
        raise failure


def _thinned(pixels_HWB: ImageArray, valid_HW: BoolArray, pixels: int) -> tuple[ImageArray, BoolArray]:
    """Every n-th row and column, so that of so many pixels in all enough are left."""
    # Odd: an even step would meet the same columns of every tile, and with them the stripes of a sensor.
    step = math.isqrt(pixels // _SAMPLES) | 1
    return pixels_HWB[::step, ::step], valid_HW[::step, ::step]


def _affordable(raster: Raster) -> int:
    """How many blocks along each side of the scene to look at."""
    decoded = max(raster.block_shape[0] * min(raster.block_shape[1], raster.width), _SMALLEST_SIDE**2)
    return min(max(math.isqrt(_DECODED_PIXELS // decoded), _FEWEST_BLOCKS), _MOST_BLOCKS)


def _scattered_blocks(raster: Raster, many: int) -> list[Window]:
    """Blocks of the file, one at a random place in each cell of a grid of `many` by `many` over the raster.

    Of blocks that are long, as strips are, a part is taken that stands for the rest; tiny ones are taken by several.
    """
    in_strips = raster.block_shape[1] >= raster.width
    down, across = (many**2, 1) if in_strips else (many, many)
    if in_strips:
        step_rows, step_columns = raster.block_shape[0], raster.width
        height, width = min(step_rows, max(1, _LARGEST_SIDE**2 // raster.width)), raster.width
    else:
        step_rows, step_columns = (max(side, _SMALLEST_SIDE) for side in raster.block_shape)
        height, width = min(step_rows, _LARGEST_SIDE), min(step_columns, _LARGEST_SIDE)
    rows, columns = math.ceil(raster.height / step_rows), math.ceil(raster.width / step_columns)
    shift_RC2 = np.random.default_rng(0).random((down, across, 2))
    corners = {
        (int((row + down_by) / down * rows) * step_rows, int((column + along_by) / across * columns) * step_columns)
        for row, shift_C2 in enumerate(shift_RC2)
        for column, (down_by, along_by) in enumerate(shift_C2)
    }
    return [
        Window(column, row, min(width, raster.width - column), min(height, raster.height - row))
        for row, column in sorted(corners)
    ]
