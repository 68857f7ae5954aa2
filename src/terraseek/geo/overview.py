"""A scene, or a part of it, in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..typing import ImageArray
from .raster import Raster, Window, default_bands, find_bands
from .scaling import Scaling, fit_stretch

__all__ = ["read_overview", "read_scaled"]


def read_overview(
    raster: Raster, bands: Sequence[str] = (), longest_edge: int = 1024, scaling: Scaling | None = None
) -> NDArray[np.uint8]:
    """The scene shrunk until its longer edge has `longest_edge` pixels, (H, W, B) uint8; overviews are used.

    Args:
        raster: an open scene.
        bands: names of bands; by default red, green and blue, see `default_bands`.
        longest_edge: in pixels; a smaller scene is not enlarged.
        scaling: how samples become 8 bits; by default as for chips.
    """
    scaled_HWB = read_scaled(raster, bands, scaling or Scaling(), longest_edge=longest_edge)
    shown: NDArray[np.uint8] = scaled_HWB.clip(0, 255).astype(np.uint8)
    return shown


def read_scaled(
    raster: Raster,
    bands: Sequence[str],
    scaling: Scaling,
    *,
    window: tuple[int, int, int, int] | None = None,
    longest_edge: int = 1024,
) -> ImageArray:
    """A part of a scene as its chips are scaled, (H, W, B), shrunk until its longer edge has `longest_edge` pixels.

    Args:
        raster: an open scene.
        bands: names of bands; empty for red, green and blue, see `default_bands`.
        scaling: how samples become 8 bits; with `none` they keep their type. Percentiles are those of the whole scene.
        window: (column, row, width, height), inside the scene; all of it where it is not given.
        longest_edge: in pixels; what is smaller is not enlarged.
    """
    numbers = find_bands(raster, bands) if bands else default_bands(raster)
    part = Window(*(window or (0, 0, raster.width, raster.height)))
    shrink = min(1.0, longest_edge / max(part.width, part.height))
    shape = (max(1, round(part.height * shrink)), max(1, round(part.width * shrink)))
    pixels_HWB, valid_HW = raster.read(part, numbers, shape)
    stretch = fit_stretch(raster, numbers, scaling)
    if stretch is not None:
        return stretch.apply(pixels_HWB, valid_HW)
    return np.where(valid_HW[..., None], pixels_HWB, np.zeros((), dtype=pixels_HWB.dtype))
