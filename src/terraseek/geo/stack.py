"""Several single-band files as one raster, as Sentinel-2 and Landsat scenes are delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio.windows
from numpy.typing import NDArray
from rasterio import Affine

from ..errors import ImageError, UsageError
from ..images import printable
from ..typing import BoolArray, ImageArray
from .footprints import Georeference
from .raster import RasterFile, RasterLimits, Window, open_raster
from .remote import RemoteFile

__all__ = ["BandStack", "open_stack"]


class BandStack:
    """Bands from several files on the pixel grid of the finest; the others are interpolated onto it.

    The files are placed by their georeference (bands of 10, 20 and 60 m need neither share a corner nor end
    together); files without one must show the same area. Made by `open_stack`; one thread at a time may read from it.
    """

    def __init__(self, name: str, files: Mapping[str, RasterFile]) -> None:
        if not files:
            raise UsageError(f"{name}: a band stack needs at least one file")
        self.name = name
        self.band_names = tuple(files)
        self._files = tuple(files.values())
        self._reference = min(self._files, key=_pixel_size)
        self._to_file = tuple(_grid_to_grid(name, self._reference, file) for file in self._files)
        self.colours = ("undefined",) * len(self._files)
        self.dtype: np.dtype[Any] = np.result_type(*(file.dtype for file in self._files))
        self.width, self.height = self._reference.width, self._reference.height
        self.block_shape = self._reference.block_shape
        self.overviews = self._reference.overviews
        self.georeference: Georeference | None = self._reference.georeference

    def read(
        self, window: Window, bands: Sequence[int], shape: tuple[int, int] | None = None
    ) -> tuple[ImageArray, BoolArray]:
        """See `Raster.read`."""
        shape = shape or (window.height, window.width)
        pixels_HWB = np.zeros((*shape, len(bands)), dtype=self.dtype)
        valid_HW = np.zeros(shape, dtype=np.bool_)
        for position, band in enumerate(bands):
            file_HW, file_valid_HW = self._read_band(band, window, shape)
            pixels_HWB[..., position] = file_HW
            valid_HW |= file_valid_HW
        return pixels_HWB, valid_HW

    def _read_band(self, band: int, window: Window, shape: tuple[int, int]) -> tuple[NDArray[Any], BoolArray]:
        file, grid = self._files[band], self._to_file[band]
        rows = _Span.of(window.row, window.height, grid.e, grid.f, file.height, shape[0])
        columns = _Span.of(window.column, window.width, grid.a, grid.c, file.width, shape[1])
        if rows is None or columns is None:
            return np.zeros(shape, dtype=file.dtype), np.zeros(shape, dtype=np.bool_)
        part = rasterio.windows.Window(columns.start, rows.start, columns.length, rows.length)
        pixels_HW1, valid_HW = file.read_part(part, [0], (rows.count, columns.count))
        if rows.count == shape[0] and columns.count == shape[1]:
            return pixels_HW1[..., 0], valid_HW
        index = np.ix_(rows.index, columns.index)
        near = rows.near[:, None] & columns.near[None, :]
        return np.where(near, pixels_HW1[..., 0][index], 0), valid_HW[index] & near

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Span:
    """One axis of a read: the part of a file to take, and which of its samples each output pixel shows."""

    def __init__(self, start: float, length: float, index: NDArray[np.intp], near: BoolArray) -> None:
        self.start, self.length = start, length
        self.index, self.near = index, near
        self.count = int(index.max()) + 1

    @classmethod
    def of(cls, offset: int, extent: int, scale: float, shift: float, size: int, count: int) -> _Span | None:
        # Edges of the output pixels, in pixels of the file.
        edges = shift + scale * (offset + extent * np.arange(count + 1) / count)
        inside = np.flatnonzero((edges[:-1] >= -1e-6) & (edges[1:] <= size + 1e-6))
        if len(inside) == 0:
            return None
        first, last = int(inside[0]), int(inside[-1])
        pixels = np.arange(count)
        centres = (edges[:-1] + edges[1:]) / 2
        # Coarse bands often end within a pixel of the fine ones: there the last sample is repeated.
        near = (centres >= -1.0) & (centres <= size + 1.0)
        start, stop = max(0.0, float(edges[first])), min(float(size), float(edges[last + 1]))
        return cls(start, stop - start, np.clip(pixels, first, last) - first, near)


def open_stack(
    files: Mapping[str, str | Path | RemoteFile], *, name: str | None = None, limits: RasterLimits | None = None
) -> BandStack:
    """Open one file per band, its first band each, as one raster.

    Args:
        files: band name -> file, in the order that the bands are to have.
        name: what messages call the scene; the name of the first file where it is not given.
        limits: what each header may claim.

    Raises:
        NotFoundError: one of the files does not exist.
        ImageError: one of them is no raster, or they do not lie on parallel grids in one coordinate system.
    """
    opened: dict[str, RasterFile] = {}
    try:
        for band, path in files.items():
            opened[band] = open_raster(path, limits=limits)
        return BandStack(name or printable(next(iter(files.values()), "scene")), opened)
    except BaseException:
        for raster in opened.values():
            raster.close()
        raise


def _pixel_size(file: RasterFile) -> float:
    if file.georeference is not None and file.georeference.transform is not None:
        return abs(float(file.georeference.transform.determinant))
    return 1.0 / (file.width * file.height)


def _grid_to_grid(name: str, reference: RasterFile, file: RasterFile) -> Affine:
    """Pixel coordinates of `reference` to those of `file`."""
    ours, theirs = reference.georeference, file.georeference
    if ours is None and theirs is None:
        return Affine.scale(file.width / reference.width, file.height / reference.height)
    if ours is None or theirs is None or ours.transform is None or theirs.transform is None:
        raise ImageError(f"{name}: of {reference.name} and {file.name} only one says where it lies")
    if ours.crs != theirs.crs:
        raise ImageError(f"{name}: {reference.name} and {file.name} are in different projections; warp them to one")
    # By numpy: affine 3 deprecates `*` for matrices, affine 2 knows no `@`.
    ours_33, theirs_33 = (np.asarray(part.transform, dtype=np.float64).reshape(3, 3) for part in (ours, theirs))
    grid = Affine(*np.linalg.solve(theirs_33, ours_33)[:2].ravel().tolist())
    if abs(grid.b) > 1e-9 or abs(grid.d) > 1e-9 or grid.a <= 0 or grid.e <= 0:
        raise ImageError(f"{name}: the pixel grids of {reference.name} and {file.name} are turned; warp them to one")
    return grid
