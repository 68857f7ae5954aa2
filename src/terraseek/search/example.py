"""Example images as they are embedded: read as `archive add` would read the same file into the archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from ..archive import Archive, Source, Window, open_source
from ..errors import QueryError, UsageError
from ..geo import ChipConfig, read_scaled
from ..images import printable
from ..typing import ImageArray

__all__ = ["read_example"]

LONGEST_EDGE = 2048
"""A scene as an example is read no finer: what a model sees of it has some hundred pixels."""


def read_example(
    archive: Archive,
    path: str | Path,
    *,
    collections: Sequence[str] | None = None,
    window: Window | None = None,
) -> ImageArray:
    """The pixels of an example, (H, W, B).

    A picture becomes 8-bit RGB by the rules of pictures. A scene (a raster that is placed on the Earth, or that is no
    picture) is read with the bands and the scaling that are declared for the collections that are searched, so that a
    chip finds itself.

    Args:
        archive: what is searched.
        path: of an image file or a raster.
        collections: those that are searched; None is all.
        window: only this part of it; of a scene no more than this is read, and what scales it is the scene's.

    Raises:
        MissingImageError: there is no such file.
        ImageError: it cannot be read.
        UsageError: the window is not inside, or a scene has no such band.
        QueryError: a scene, and collections whose scenes are read in different ways.
    """
    source = Source.of_file(path)
    ways = {} if source.is_image else _ways(archive.declarations(), collections)
    chip = next(iter(ways.values()), ChipConfig())
    opened = open_source(source, chip)
    if isinstance(opened, np.ndarray):
        column, row, width, height = _inside(window, opened.shape[1], opened.shape[0], path)
        return opened[row : row + height, column : column + width]
    with closing(opened) as raster:
        if len(ways) > 1:
            raise QueryError(
                f"{printable(path)}: scenes of the collections {printable(' and '.join(ways))} are read with other "
                "bands or another scaling; search one of them, so that it is known how to read the example"
            )
        inside = _inside(window, raster.width, raster.height, path)
        return read_scaled(raster, chip.bands, chip.scaling, window=inside, longest_edge=LONGEST_EDGE)


def _ways(declared: Mapping[str, ChipConfig], collections: Sequence[str] | None) -> dict[str, ChipConfig]:
    """The different ways in which the scenes of these collections are read, each under the first collection's name."""
    ways: dict[str, ChipConfig] = {}
    for name, chip in declared.items():
        known = any((chip.bands, chip.scaling) == (other.bands, other.scaling) for other in ways.values())
        if not known and (collections is None or name in collections):
            ways[name] = chip
    return ways


def _inside(window: Window | None, width: int, height: int, path: str | Path) -> Window:
    if window is None:
        return 0, 0, width, height
    column, row, w, h = window
    if column < 0 or row < 0 or w < 1 or h < 1 or column + w > width or row + h > height:
        shown = ",".join(map(str, window))
        raise UsageError(f"{printable(path)}: the window {shown} does not lie within its {width} x {height} pixels")
    return window
