"""Opening rasters that may be anything, and reading windows of them.

A file is opened only if its first bytes say TIFF or JPEG 2000, by GDAL's driver for exactly that and no other. GDAL
would follow a file's own wishes further than that: a virtual raster (VRT) under any name, `/vsicurl/` addresses,
sidecar files (`.ovr`, `.msk`, `.aux.xml`) opened with any driver, a tag inside a TIFF that names another file as its
overviews. None of these is followed: VRTs fail the first bytes, paths must be regular files, sidecars are not looked
for, the tag is refused. So georeference, nodata and overviews come from inside the file, as in any COG.

Files on the web are read through `Web`, which GDAL calls for bytes as it would a disk: GDAL's own network file systems
follow redirects to wherever they lead.
"""

from __future__ import annotations

import io
import threading
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import pyproj
import pyproj.exceptions
import rasterio
import rasterio.errors
import rasterio.transform
import rasterio.windows
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags, Resampling

from ..errors import ImageError, UsageError
from ..images import GDAL_OPTIONS, open_regular, printable
from ..typing import BoolArray, ImageArray
from .footprints import Georeference
from .remote import RangeReader, RemoteFile

__all__ = [
    "RASTER_SUFFIXES",
    "Raster",
    "RasterFile",
    "RasterLimits",
    "Window",
    "default_bands",
    "find_bands",
    "guessed_bands",
    "open_raster",
]

RASTER_SUFFIXES: frozenset[str] = frozenset((".tif", ".tiff", ".jp2", ".j2k"))
"""Suffixes (lower case) by which folders are searched for rasters. What a file is, its first bytes decide."""

_DRIVERS: tuple[tuple[bytes, str], ...] = (
    (b"II*\0", "GTiff"),
    (b"MM\0*", "GTiff"),
    (b"II+\0", "GTiff"),  # BigTIFF
    (b"MM\0+", "GTiff"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
)

_GDAL_ERRORS = (rasterio.errors.RasterioError, CPLE_BaseError, OSError, ValueError, MemoryError, RuntimeError)

# warnings.catch_warnings swaps the interpreter's global filters, so only one thread at a time may be inside it.
_QUIET = threading.Lock()


class Window(NamedTuple):
    """A rectangle of pixels; (column, row) is its upper left one."""

    column: int
    row: int
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class RasterLimits:
    """What a header may claim before anything is read on its word.

    Attributes:
        max_side: pixels along one side; the default is a global mosaic at 10 m.
        max_pixels: width times height.
        max_bands: more than any imaging spectrometer has.
        max_block_bytes: bytes of one decoded tile or strip. A file stored as one huge strip cannot be read in windows.
    """

    max_side: int = 1 << 22
    max_pixels: int = 1 << 38
    max_bands: int = 1024
    max_block_bytes: int = 1 << 29


class Raster(Protocol):
    """A grid of pixels with bands that is read by windows: one file, or several as one (`BandStack`)."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def width(self) -> int:
        """Columns."""
        ...

    @property
    def height(self) -> int:
        """Rows."""
        ...

    @property
    def band_names(self) -> tuple[str, ...]:
        """One name per band, `"1"`, `"2"` ... where the file gives none."""
        ...

    @property
    def colours(self) -> tuple[str, ...]:
        """What each band shows: red, green, blue, gray, alpha or undefined."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the samples."""
        ...

    @property
    def block_shape(self) -> tuple[int, int]:
        """Rows and columns of the tiles or strips that it is stored in."""
        ...

    @property
    def overviews(self) -> tuple[int, ...]:
        """Factors of the reduced copies stored with it."""
        ...

    @property
    def georeference(self) -> Georeference | None:
        """Where it lies; None for a raster that says nothing about it."""
        ...

    def read(
        self, window: Window, bands: Sequence[int], shape: tuple[int, int] | None = None
    ) -> tuple[ImageArray, BoolArray]:
        """Read `bands` (counted from 0) of a window, resampled to `shape` (rows, columns) where it is given.

        Returns:
            The samples (H, W, B) in the raster's own type, and which pixels are valid, (H, W): in at least one of
            the bands neither nodata, nor masked out, nor NaN.

        Raises:
            ImageError: this part of the file cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go of the files."""
        ...


class RasterFile:
    """One raster file; made by `open_raster`. One thread at a time may read from it."""

    def __init__(self, dataset: Any, name: str, reader: RangeReader | None = None) -> None:
        self._dataset = dataset
        self._reader = reader
        self.name = name
        self.width: int = dataset.width
        self.height: int = dataset.height
        self.dtype: np.dtype[Any] = np.result_type(*dataset.dtypes)
        self.block_shape: tuple[int, int] = dataset.block_shapes[0]
        self.overviews: tuple[int, ...] = tuple(dataset.overviews(1))
        self.colours = tuple(_COLOURS.get(colour, "undefined") for colour in dataset.colorinterp)
        self.band_names = tuple(text or str(i + 1) for i, text in enumerate(dataset.descriptions))
        self.georeference: Georeference | None = _georeference(dataset)
        self._nodata: tuple[float | None, ...] = dataset.nodatavals
        self._has_mask = any(MaskFlags.per_dataset in flags for flags in dataset.mask_flag_enums)

    def read(
        self, window: Window, bands: Sequence[int], shape: tuple[int, int] | None = None
    ) -> tuple[ImageArray, BoolArray]:
        """See `Raster.read`."""
        return self.read_part(rasterio.windows.Window(*window), bands, shape or (window.height, window.width))

    def read_part(
        self, part: rasterio.windows.Window, bands: Sequence[int], shape: tuple[int, int]
    ) -> tuple[ImageArray, BoolArray]:
        """As `read`, for a part with fractional bounds; averaged where it shrinks, bilinear where it grows."""
        wanted = sorted(set(bands))
        shrinks = shape[0] < part.height or shape[1] < part.width
        grows = shape[0] > part.height or shape[1] > part.width
        resampling = Resampling.average if shrinks else Resampling.bilinear if grows else Resampling.nearest
        try:
            with rasterio.Env(**GDAL_OPTIONS):
                pixels_BHW = self._dataset.read(
                    [band + 1 for band in wanted],
                    window=part,
                    out_shape=(len(wanted), *shape),
                    resampling=resampling,
                    out_dtype=self.dtype,
                )
                masks = self._dataset.read_masks(1, window=part, out_shape=shape) if self._has_mask else None
        except _GDAL_ERRORS as error:
            _raise_web_error(self._reader)
            raise ImageError(f"{self.name}: damaged or truncated ({_reason(error)})") from None
        _raise_web_error(self._reader)
        valid_HW = self._valid(pixels_BHW, wanted) if masks is None else masks > 0
        pixels_HWB = np.moveaxis(pixels_BHW, 0, -1)
        if list(bands) != wanted:
            pixels_HWB = pixels_HWB[..., [wanted.index(band) for band in bands]]
        return pixels_HWB, valid_HW

    def _valid(self, pixels_BHW: NDArray[Any], bands: Sequence[int]) -> BoolArray:
        if self.dtype.kind != "f" and any(self._nodata[band] is None for band in bands):
            return np.ones(pixels_BHW.shape[1:], dtype=np.bool_)
        valid = np.zeros(pixels_BHW.shape[1:], dtype=np.bool_)
        for pixels_HW, band in zip(pixels_BHW, bands, strict=True):
            nodata = self._nodata[band]
            band_valid = np.isfinite(pixels_HW) if self.dtype.kind == "f" else np.ones_like(valid)
            if nodata is not None and np.isfinite(nodata):
                band_valid &= pixels_HW != nodata
            valid |= band_valid
        return valid

    def close(self) -> None:
        """Let go of the file."""
        self._dataset.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_raster(path: str | Path | RemoteFile, *, limits: RasterLimits | None = None) -> RasterFile:
    """Open a GeoTIFF, COG or JPEG 2000 file by the rules of this module.

    Args:
        path: a regular file, or one on the web; its suffix plays no part.
        limits: what its header may claim.

    Raises:
        MissingImageError: there is no such file.
        ImageError: it is no such raster, is damaged, cannot be fetched, or claims more than `limits`.
    """
    name = printable(path)
    reader: RangeReader | None = None
    if isinstance(path, RemoteFile):
        reader = path.open()
        driver, target = _driver(reader.read(0, 16), name), _nameless(reader)
        _raise_web_error(reader)
    else:
        driver, target = _driver(_head(path, name), name), {"fp": str(Path(path).resolve())}
    try:
        with _quiet_gdal():
            dataset = rasterio.open(**target, driver=driver, sharing=False)
    except _GDAL_ERRORS as error:
        _raise_web_error(reader)
        raise ImageError(f"{name}: damaged or truncated {driver} ({_reason(error)})") from None
    try:
        with _quiet_gdal():
            _check(dataset, name, limits or RasterLimits())
            return RasterFile(dataset, name, reader)
    except BaseException as error:
        dataset.close()
        if isinstance(error, _GDAL_ERRORS):  # what lies behind the header, overviews say, is read only now
            _raise_web_error(reader)
            raise ImageError(f"{name}: damaged or truncated {driver} ({_reason(error)})") from None
        raise


def default_bands(raster: Raster) -> tuple[int, int, int]:
    """The three bands to show and to embed where none are declared, counted from 0.

    Red, green and blue if the raster says which they are; else its first three bands; one or two bands are grey.
    """
    if _says_colours(raster):
        return tuple(raster.colours.index(colour) for colour in ("red", "green", "blue"))  # type: ignore[return-value]
    useful = _useful_bands(raster)
    return (useful[0], useful[1], useful[2]) if len(useful) >= 3 else (useful[0],) * 3


def guessed_bands(raster: Raster) -> tuple[str, ...]:
    """The names of the `default_bands` where they are no more than the first of several; else none."""
    if _says_colours(raster) or len(_useful_bands(raster)) <= 3:
        return ()
    return tuple(raster.band_names[band] for band in default_bands(raster))


def _says_colours(raster: Raster) -> bool:
    return {"red", "green", "blue"} <= set(raster.colours)


def _useful_bands(raster: Raster) -> list[int]:
    return [band for band, colour in enumerate(raster.colours) if colour != "alpha"] or [0]


def find_bands(raster: Raster, bands: Sequence[str]) -> tuple[int, ...]:
    """Bands by name, or by number counted from 1 as GDAL does; counted from 0.

    Raises:
        UsageError: the raster has no such band; the message lists those it has.
    """
    found = [_find_band(raster, band) for band in bands]
    missing = [repr(printable(band)) for band, at in zip(bands, found, strict=True) if at is None]
    if missing:
        what = f"band{'s' * (len(missing) > 1)} {', '.join(dict.fromkeys(missing))}"
        raise UsageError(f"{raster.name} has no {what}; it has {printable(', '.join(raster.band_names))}")
    return tuple(at for at in found if at is not None)


def _find_band(raster: Raster, band: str) -> int | None:
    if band in raster.band_names:
        return raster.band_names.index(band)
    if band.isdecimal() and 1 <= int(band) <= len(raster.band_names):
        return int(band) - 1
    return None


_COLOURS = {
    ColorInterp.red: "red",
    ColorInterp.green: "green",
    ColorInterp.blue: "blue",
    ColorInterp.gray: "gray",
    ColorInterp.alpha: "alpha",
}


def _head(path: str | Path, name: str) -> bytes:
    with open_regular(path, name, "a raster") as file:
        if str(Path(path).resolve()).startswith("/vsi"):
            raise ImageError(f"{name}: below /vsi, where GDAL sees its virtual file systems; move it elsewhere")
        return file.read(16)


def _driver(head: bytes, name: str) -> str:
    for magic, driver in _DRIVERS:
        if head.startswith(magic):
            return driver
    what = f"it starts with {head[:8]!r}" if head else "empty file (0 bytes)"
    raise ImageError(f"{name}: neither TIFF nor JPEG 2000 ({what})")


def _nameless(reader: RangeReader) -> dict[str, Any]:
    """What to open for GDAL to call `reader`, by a name that says nothing and that nothing lies beside."""
    hidden = f"{uuid.uuid4().hex}/raster"

    def open_only_it(name: str, *_: Any, **__: Any) -> io.RawIOBase:
        if name != hidden:
            raise FileNotFoundError(name)
        return reader.handle()

    return {"fp": hidden, "opener": open_only_it}


def _raise_web_error(reader: RangeReader | None) -> None:
    """What GDAL saw as the end of the file, if it was the network."""
    if reader is not None and reader.error is not None:
        error, reader.error = reader.error, None
        raise error


def _check(dataset: Any, name: str, limits: RasterLimits) -> None:
    if dataset.count == 0:
        raise ImageError(f"{name}: has no bands")
    if dataset.count > limits.max_bands:
        raise ImageError(f"{name}: {dataset.count:,} bands, at most {limits.max_bands:,} are read")
    width, height = dataset.width, dataset.height
    if max(width, height) > limits.max_side or width * height > limits.max_pixels:
        raise ImageError(
            f"{name}: {width:,} x {height:,} pixels, more than {limits.max_side:,} along a side"
            f" or {limits.max_pixels:,} in all are not read"
        )
    if any(np.dtype(kind).kind not in "uif" for kind in dataset.dtypes):
        raise ImageError(f"{name}: samples of type {dataset.dtypes[0]}; take their magnitude first")
    # GDAL decodes a tile or strip whole, with all bands where they are interleaved.
    together = dataset.count if dataset.interleaving and dataset.interleaving.name == "pixel" else 1
    rows, columns = dataset.block_shapes[0]
    block_bytes = rows * columns * together * np.dtype(dataset.dtypes[0]).itemsize
    if block_bytes > limits.max_block_bytes:
        raise ImageError(
            f"{name}: stored in blocks of {columns:,} x {rows:,} pixels, too large to read windows of;"
            " rewrite it in tiles (rio cogeo create)"
        )
    if dataset.tags(ns="OVERVIEWS"):
        raise ImageError(f"{name}: its overviews are another file; only those inside it are read")


def _georeference(dataset: Any) -> Georeference | None:
    gcps, gcp_crs = dataset.gcps
    crs = dataset.crs or gcp_crs
    if not crs:
        return None
    try:
        projected = pyproj.CRS.from_wkt(crs.to_wkt(version="WKT2_2019"))
        if not projected.is_geographic and not projected.is_projected:
            return None  # a local or engineering system lies nowhere on the Earth
    except (pyproj.exceptions.ProjError, rasterio.errors.CRSError):
        return None
    if not dataset.transform.is_identity:
        return Georeference.from_transform(projected, dataset.transform)
    if len(gcps) < 3:
        return None
    transformer = rasterio.transform.GCPTransformer(gcps)

    def to_map(
        columns: NDArray[np.float64], rows: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        x, y = transformer.xy(rows.tolist(), columns.tolist(), offset="ul")
        return np.asarray(x), np.asarray(y)

    return Georeference(projected, to_map)


@contextmanager
def _quiet_gdal() -> Iterator[None]:
    with _QUIET, warnings.catch_warnings(), rasterio.Env(**GDAL_OPTIONS):
        # A raster without georeference is searchable all the same; its records say so by having no footprint.
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield


def _reason(error: BaseException) -> str:
    text = printable(" ".join(str(error.__cause__ or error).split()))
    return text[:160] or type(error).__name__
