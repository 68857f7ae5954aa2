"""Rasters: open safely, read by windows, cut into chips, place on the Earth; STAC items."""

from .chips import Chip, ChipConfig, iter_chips, plan_windows
from .footprints import Georeference
from .overview import read_overview
from .raster import RASTER_SUFFIXES, Raster, RasterFile, RasterLimits, Window, default_bands, find_bands, open_raster
from .scaling import Scaling, Stretch, fit_stretch, sample_pixels
from .stac import BandFile, StacScene, is_address, read_stac
from .stack import BandStack, open_stack

__all__ = [
    "RASTER_SUFFIXES",
    "BandFile",
    "BandStack",
    "Chip",
    "ChipConfig",
    "Georeference",
    "Raster",
    "RasterFile",
    "RasterLimits",
    "Scaling",
    "StacScene",
    "Stretch",
    "Window",
    "default_bands",
    "find_bands",
    "fit_stretch",
    "is_address",
    "iter_chips",
    "open_raster",
    "open_stack",
    "plan_windows",
    "read_overview",
    "read_stac",
    "sample_pixels",
]
