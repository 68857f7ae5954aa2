"""A whole scene at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .raster import Raster, Window, default_bands, find_bands
from .scaling import Scaling, fit_stretch

__all__ = ["read_overview"]


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
    numbers = find_bands(raster, bands) if bands else default_bands(raster)
    shrink = min(1.0, longest_edge / max(raster.width, raster.height))
    shape = (max(1, round(raster.height * shrink)), max(1, round(raster.width * shrink)))
    pixels_HWB, valid_HW = raster.read(Window(0, 0, raster.width, raster.height), numbers, shape)
    stretch = fit_stretch(raster, numbers, scaling or Scaling())
    shown_HWB = pixels_HWB if stretch is None else stretch.apply(pixels_HWB, valid_HW)
    shown: NDArray[np.uint8] = np.where(valid_HW[..., None], shown_HWB, 0).clip(0, 255).astype(np.uint8)
    return shown
