"""Rasters made on the spot."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.errors import NotGeoreferencedWarning

UTM = {"crs": "EPSG:32618", "transform": Affine(10, 0, 500_000, 0, -10, 4_000_000)}


@pytest.fixture
def write_raster(tmp_path: Path) -> Callable[..., Path]:
    """write_raster(name, pixels_HWB, **profile) -> path; in UTM zone 18N at 10 m unless crs and transform are given."""

    def write(
        name: str, pixels: np.ndarray, *, colours: Any = None, gcps: Any = None, overviews: Any = (), **options: Any
    ) -> Path:
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        profile = {"driver": "GTiff", **(UTM if gcps is None else {}), **options}
        profile = {key: value for key, value in profile.items() if value is not None}
        profile |= dict(zip(("height", "width", "count"), pixels.shape, strict=True), dtype=pixels.dtype)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, "w", **profile) as out:
                if colours:
                    out.colorinterp = colours
                if gcps:
                    out.gcps = gcps
                out.write(np.moveaxis(pixels, -1, 0))
                if overviews:
                    out.build_overviews(list(overviews))
        return path

    return write


@pytest.fixture
def pixels() -> np.ndarray:
    """(96, 128, 3) uint16, every sample different from its neighbours."""
    return np.random.default_rng(0).integers(1, 4000, (96, 128, 3)).astype(np.uint16)
