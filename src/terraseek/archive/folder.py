"""What a folder holds: files to read, scenes of one file per band, and STAC documents, which are added by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImageError, Refused
from ..geo import RASTER_SUFFIXES
from ..images import IMAGE_SUFFIXES, open_regular, printable

__all__ = ["BandFiles", "Folder", "group_by_band", "look_into"]

_DOCUMENT_SUFFIXES = frozenset((".json", ".geojson"))
_DOCUMENTS_LOOKED_AT = 32
_HEAD = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Folder:
    """What lies in a folder, at any depth.

    Attributes:
        files: by whose suffix something to read may be in them, sorted.
        documents: JSON files, sorted, whatever is in them.
        refused: folders that cannot be read.
    """

    files: tuple[Path, ...]
    documents: tuple[Path, ...]
    refused: tuple[Refused, ...]

    def stac_document(self) -> Path | None:
        """One of its STAC documents, the outermost catalog if there is one; None where the first few JSON are none."""
        outermost_first = sorted(self.documents, key=lambda path: (path.name != "catalog.json", len(path.parts)))
        return next((path for path in outermost_first[:_DOCUMENTS_LOOKED_AT] if _is_stac(path)), None)


def look_into(folder: Path) -> Folder:
    """List a folder. Hidden files and folders are passed over.

    Links to folders are not followed: they may lead in circles.
    """
    files: list[Path] = []
    documents: list[Path] = []
    refused: list[Refused] = []
    waiting = [folder]
    while waiting:  # a stack of one's own: pathlib recurses, and folders may be deeper than Python's stack
        inside = waiting.pop()
        try:
            with os.scandir(inside) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    suffix = Path(entry.name).suffix.lower()
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(inside / entry.name)
                    elif suffix in IMAGE_SUFFIXES | RASTER_SUFFIXES:
                        files.append(inside / entry.name)
                    elif suffix in _DOCUMENT_SUFFIXES:
                        documents.append(inside / entry.name)
        except OSError as error:
            reason = f"this folder cannot be read ({error.strerror or error})"
            refused.append(Refused(source=printable(inside), reason=reason))
    return Folder(files=tuple(sorted(files)), documents=tuple(sorted(documents)), refused=tuple(refused))


def _is_stac(path: Path) -> bool:
    """Whether a JSON file speaks of STAC near its start; it is not read further, as other JSON may be large."""
    try:
        with open_regular(path, printable(path)) as file:
            return b'"stac_version"' in file.read(_HEAD)
    except ImageError:  # what cannot be read is no reason to end an ingest that does not want it
        return False


@dataclass(frozen=True, kw_only=True)
class BandFiles:
    """A scene of one file per band.

    Attributes:
        prefix: what its files begin with, without the band.
        files: those of the declared bands, in their order.
        missing: declared bands that have no file.
        others: bands that have one and are not declared.
    """

    prefix: Path
    files: dict[str, Path]
    missing: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def describe_missing(self) -> str:
        """Which bands have no file, and which have one."""
        suffix = next(iter(self.files.values())).suffix
        names = ", ".join(f"{self.prefix.name}_{band}{suffix}" for band in self.missing)
        bands = f"band{'s' * (len(self.missing) > 1)} {', '.join(self.missing)}"
        there = ", ".join(sorted({*self.files, *self.others}))
        return printable(f"no file for its {bands} (such as {names}); there are {there}")


def group_by_band(files: Sequence[Path], bands: Sequence[str]) -> tuple[dict[Path, BandFiles], set[Path]]:
    """Scenes of one file per band, by their first file, and all files that belong to such scenes.

    Files of other bands (``..._B05.tif`` beside the declared B04, B03 and B02) share the start of the name and belong
    to the scene without being read.

    Args:
        files: sorted.
        bands: as declared. Where some have no file the scene is an incomplete one, if that can be told from files that
            merely end alike: rasters, two of them or more, of bands that are no numbers.
    """
    found: dict[Path, dict[str, Path]] = {}
    for path in files:
        for band in bands:
            if path.stem.endswith(f"_{band}"):
                found.setdefault(path.with_name(path.stem.removesuffix(f"_{band}")), {})[band] = path
    scenes = {prefix: of_bands for prefix, of_bands in found.items() if _is_scene(of_bands, bands)}
    prefix_of = {path: prefix for prefix, of_bands in scenes.items() for path in of_bands.values()}
    members: dict[Path, list[Path]] = {}
    for path in files:
        prefix = prefix_of.get(path) or path.with_name(path.stem.rpartition("_")[0] or path.name)
        if prefix in scenes:
            members.setdefault(prefix, []).append(path)
    grouped = {path for paths in members.values() for path in paths}
    return {paths[0]: _scene(prefix, scenes[prefix], paths, bands) for prefix, paths in members.items()}, grouped


def _is_scene(found: dict[str, Path], bands: Sequence[str]) -> bool:
    if len(found) == len(set(bands)):
        return True
    named = not any(band.isdecimal() for band in found)
    return len(found) > 1 and named and all(path.suffix.lower() in RASTER_SUFFIXES for path in found.values())


def _scene(prefix: Path, found: dict[str, Path], members: Sequence[Path], bands: Sequence[str]) -> BandFiles:
    return BandFiles(
        prefix=prefix,
        files={band: found[band] for band in bands if band in found},
        missing=tuple(band for band in dict.fromkeys(bands) if band not in found),
        others=tuple(path.stem.rpartition("_")[2] for path in members if path not in found.values()),
    )
