"""Rasters: open safely, read by windows, cut into chips, place on the Earth; STAC items."""

from .chips import Chip, ChipConfig, iter_chips, plan_windows
from .footprints import Georeference
from .overview import read_overview, read_scaled
from .raster import (
    RASTER_SUFFIXES,
    Raster,
    RasterFile,
    RasterLimits,
    Window,
    default_bands,
    find_bands,
    guessed_bands,
    open_raster,
)
from .remote import RemoteFile
from .scaling import Scaling, Stretch, fit_stretch, sample_pixels
from .stac import BandFile, StacScene, is_address, read_stac
from .stac_api import StacQuery, find_scenes
from .stack import BandStack, open_stack
from .web import Web

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
    "RemoteFile",
    "Scaling",
    "StacQuery",
    "StacScene",
    "Stretch",
    "Web",
    "Window",
    "default_bands",
    "find_bands",
    "find_scenes",
    "fit_stretch",
    "guessed_bands",
    "is_address",
    "iter_chips",
    "open_raster",
    "open_stack",
    "plan_windows",
    "read_overview",
    "read_scaled",
    "read_stac",
    "sample_pixels",
]
