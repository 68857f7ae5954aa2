"""What can be ingested: images, scenes, scenes of several files, STAC documents and APIs, folders of all that."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import shapely
from shapely.geometry.base import BaseGeometry

from ..config import to_mapping
from ..data import ImageDataset
from ..errors import ImageError, NotFoundError, Refused
from ..geo import (
    RASTER_SUFFIXES,
    ChipConfig,
    Raster,
    RemoteFile,
    StacQuery,
    StacScene,
    Web,
    Window,
    find_scenes,
    is_address,
    open_raster,
    open_stack,
    read_stac,
)
from ..images import IMAGE_SUFFIXES, check_image, decode_image, printable, read_image
from ..typing import ImageArray
from .folder import BandFiles, group_by_band, look_into

__all__ = ["Source", "dataset_sources", "find_sources", "record_id"]

logger = logging.getLogger(__name__)

# Part of every state: raising it makes each source be read again, for when the same file gives other pixels.
_PIPELINE = 2


@dataclass(frozen=True, kw_only=True)
class Source:
    """One image or scene to ingest, with what is known about it.

    Attributes:
        href: its name for good: records carry it, ids are made from it, and by it the next ingest knows the source.
        files: band name -> file, on disk or on the web. One file under the name "" is a raster or image with its own
            bands.
        kind: `image` becomes one record, `scene` is cut into chips; `auto` is a scene where it is placed on the Earth
            or where bands are declared, and an image otherwise.
        bands: bands to read, in place of those that the chip configuration declares.
        id: record id of an image, start of the ids of a scene's chips; from `href` where it is not given.
        labels: of all its records.
        caption: of all its records.
        datetime: when it was taken.
        footprint: EPSG:4326; of records whose own place the raster does not tell.
        properties: of all its records.
        reader: reads the file, or the folder, of an image, where it is not a picture that `read_image` knows.
    """

    href: str
    files: Mapping[str, Path | RemoteFile]
    kind: Literal["auto", "image", "scene"] = "auto"
    bands: tuple[str, ...] = ()
    id: str | None = None
    labels: tuple[str, ...] = ()
    caption: str | None = None
    datetime: datetime | None = None
    footprint: BaseGeometry | None = field(default=None, repr=False)
    properties: Mapping[str, Any] = field(default_factory=dict)
    reader: Callable[[Path], ImageArray] | None = field(default=None, repr=False)

    @classmethod
    def of_file(cls, path: str | Path, **known: Any) -> Source:
        """The source of a single file; `known` are other attributes."""
        path = Path(path)
        return cls(href=str(_resolved(path)), files={"": path}, **known)

    @property
    def path(self) -> Path | RemoteFile:
        """Its first file."""
        return next(iter(self.files.values()))

    @property
    def is_image(self) -> bool:
        """Whether it is known to be an image without opening it."""
        return self.kind == "image" or (self.kind == "auto" and self.path.suffix.lower() not in RASTER_SUFFIXES)

    def picture(self) -> ImageArray:
        """Its first file as an image, (H, W, B).

        Raises:
            ImageError: it is none, or damaged.
        """
        if isinstance(self.path, RemoteFile):
            return decode_image(self.path.read(), str(self.path))
        return (self.reader or read_image)(self.path)

    def check_picture(self) -> None:
        """Look at the header of its first file.

        Raises:
            ImageError: it is no image.
        """
        if isinstance(self.path, RemoteFile):
            self.picture()  # it comes whole in any case
        else:
            check_image(self.path)

    def open(self) -> Raster:
        """Its raster.

        Raises:
            ImageError: a file is no raster or damaged.
            NotFoundError: a file is not there.
        """
        if set(self.files) == {""}:
            return open_raster(self.path)
        return open_stack(self.files, name=printable(self.href))

    def state(self, chip: ChipConfig) -> str:
        """16 hex digits that change whenever its records would: sizes and times of its files, chips, what is known.

        Chips are no part of it where it is known to be an image, which is never cut.

        Of a file on the web it is what its STAC item says of its last change, else what its host says.

        Raises:
            ImageError: a file has an unusable name.
            NotFoundError: a file is not there.
        """
        known: tuple[object, ...]
        known = (self.kind, self.bands, self.id, self.labels, self.caption, str(self.datetime), dict(self.properties))
        # Bands and size of a loader that reads more than pictures are arguments bound to its reader.
        known += () if self.reader is None else (getattr(self.reader, "keywords", {}),)
        place = None if self.footprint is None else self.footprint.wkb_hex
        files = [(band, *_state_of(path)) for band, path in self.files.items()]
        cut = to_mapping(ChipConfig() if self.is_image else chip)  # as older releases noted images by default
        text = json.dumps([_PIPELINE, files, cut, known, place], sort_keys=True, default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def record_id(source: Source, collection: str, scale: int, window: Window | None) -> str:
    """The id of a record: the same whenever the same window of the same source is ingested.

    An image whose source declares an id has that; all others have a readable start and 20 hex digits of the sha256
    over collection, href, scale and window.
    """
    if window is None and source.id is not None:
        return source.id
    text = json.dumps([collection, source.href, scale, window])
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]
    stem = source.id or re.split(r"[/\\#]", source.href)[-1].rsplit(".", 1)[0]
    stem = re.sub(r"[^\w.-]+", "_", stem, flags=re.ASCII).strip("._-")[:48]
    return f"{stem}-{digest}" if stem else digest


def find_sources(
    paths: Iterable[str | Path | Source | Refused],
    *,
    bands: Sequence[str] = (),
    kind: Literal["auto", "image", "scene"] = "auto",
    web: Web | None = None,
    query: StacQuery | None = None,
) -> Iterator[Source | Refused]:
    """All sources that `paths` name: files, folders with everything below them, STAC documents (`.json`) and APIs.

    STAC documents inside a folder are not followed: they may describe the very files that lie beside them, and a folder
    may hold any other JSON. Where there are some, a warning names one.

    Args:
        paths: sources, and what was refused already, pass through unchanged. Links to folders inside folders are not
            followed.
        bands: where band names are declared, files of a folder that end in them (``..._B04.tif``, ``..._B03.tif``)
            are one scene, which is refused where one of them has no file.
        kind: what files are taken for, see `Source`.
        web: the hosts that files, documents and APIs may be read from; by default none.
        query: what a STAC API is asked for.

    Yields:
        Sources in sorted order of their files, and what was refused already.
    """
    for path in paths:
        if isinstance(path, (Source, Refused)):
            yield path
        elif is_address(str(path)):
            yield from _web_sources(str(path), bands, kind, web or Web(), query)
        elif Path(path).suffix.lower() in (".json", ".geojson"):
            yield from _scene_sources(printable(path), read_stac(path, bands), web or Web())
        elif _is_folder(path):
            yield from _folder_sources(Path(path), bands, kind)
        else:
            yield Source.of_file(path, kind=kind)


def dataset_sources(dataset: ImageDataset, split: str | None = None) -> Iterator[Source | Refused]:
    """The images of a data set with their ids, given labels, captions, splits, times and places.

    A record keeps the first caption as its own; where there are several, all of them are its property `captions`.

    Args:
        dataset: what its loader left out is passed on as refused.
        split: only its images; None takes all.

    Raises:
        ConfigError: the data set has no such split.
    """
    chosen = dataset if split is None else dataset.subset(split)
    yield from chosen.problems
    reader = None if dataset.reader is read_image else dataset.reader
    for sample in chosen.samples:
        properties: dict[str, Any] = {"dataset": dataset.name}
        if sample.split:
            properties["split"] = sample.split
        if len(sample.captions) > 1:
            properties["captions"] = list(sample.captions)
        yield Source.of_file(
            sample.path,
            kind="image",
            id=sample.id,
            labels=sample.labels,
            caption=sample.captions[0] if sample.captions else None,
            datetime=sample.datetime,
            footprint=None if sample.geometry is None else shapely.geometry.shape(sample.geometry),
            properties=properties,
            reader=reader,
        )


def _folder_sources(
    folder: Path, bands: Sequence[str], kind: Literal["auto", "image", "scene"]
) -> Iterator[Source | Refused]:
    found = look_into(folder)
    yield from found.refused
    if document := found.stac_document():
        logger.warning(
            "%s holds STAC documents, which are not added with their folder: add %s by its own name",
            printable(folder),
            printable(document),
        )
    scenes, grouped = group_by_band(found.files, bands)
    for first in found.files:
        if first in scenes:
            yield _band_source(scenes[first])
        elif first not in grouped:
            yield Source.of_file(first, kind=kind)


def _band_source(scene: BandFiles) -> Source | Refused:
    href = str(_resolved(scene.prefix))
    if scene.missing:
        return Refused(source=printable(href), reason=scene.describe_missing())
    return Source(href=href, files=scene.files, kind="scene", properties={"files": _names(scene.files)})


def _web_sources(
    url: str, bands: Sequence[str], kind: Literal["auto", "image", "scene"], web: Web, query: StacQuery | None
) -> Iterator[Source | Refused]:
    """The file at an address, by the suffix of its path, or the scenes of the STAC there."""
    file = RemoteFile(url, web)
    if file.suffix.lower() not in IMAGE_SUFFIXES | RASTER_SUFFIXES:
        yield from _scene_sources(printable(url), find_scenes(url, bands, web=web, query=query), web)
        return
    if kind == "auto":
        kind = "scene" if file.suffix.lower() in RASTER_SUFFIXES else "image"
    yield Source(href=url, files={"": file}, kind=kind)


def _scene_sources(name: str, scenes: Iterator[StacScene | Refused], web: Web) -> Iterator[Source | Refused]:
    try:
        for scene in scenes:
            yield scene if isinstance(scene, Refused) else _scene_source(scene, web)
    except (ImageError, NotFoundError) as error:
        yield Refused(source=name, reason=str(error).removeprefix(f"{name}: "))


def _scene_source(scene: StacScene, web: Web) -> Source | Refused:
    hrefs = [scene.picture] if scene.picture else [file.href for file in scene.bands.values()]
    try:
        found = {href: _asset(href, scene, web) for href in hrefs}
    except ImageError as error:
        return Refused(source=printable(scene.href), reason=str(error))
    bands: tuple[str, ...] = ()
    if scene.picture or len(found) == 1:
        files = {"": next(iter(found.values()))}
        bands = tuple(str(file.index) for file in scene.bands.values())
    elif any(file.index > 1 for file in scene.bands.values()):
        return Refused(source=printable(scene.href), reason="its bands lie in several files of several bands each")
    else:
        files = {band: found[file.href] for band, file in scene.bands.items()}
        bands = tuple(files)
    shared = {"collection": scene.collection} if scene.collection else {}
    return Source(
        href=scene.href,
        files=files,
        kind="scene",
        bands=bands,
        id=scene.id,
        labels=scene.labels,
        caption=scene.caption,
        datetime=scene.datetime,
        footprint=scene.footprint,
        properties={**scene.properties, **shared, "files": _names(files)},
    )


def _asset(href: str, scene: StacScene, web: Web) -> Path | RemoteFile:
    """The file that an item names.

    Raises:
        ImageError: it may not be read: a host that is not allowed, or a file of this disk named by an item of the web.
    """
    if is_address(href):
        try:
            web.check(href)
        except ImageError as error:
            raise ImageError(f"its asset {printable(href)}: {error}") from None
        updated = scene.properties.get("updated")
        return RemoteFile(href, web, version=updated if isinstance(updated, str) and updated else None)
    if is_address(scene.href):
        raise ImageError(
            f"its asset {printable(href)} is no address; an item of the web may not name files of this disk"
        )
    return Path(href)


def _names(files: Mapping[str, Path | RemoteFile]) -> dict[str, str] | list[str]:
    named = {band: str(_resolved(path) if isinstance(path, Path) else path) for band, path in files.items()}
    return list(named.values()) if set(named) == {""} else named


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):  # a NUL in the name, a loop of links: reading it will say so
        return path


def _is_folder(path: str | Path) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def _state_of(path: Path | RemoteFile) -> tuple[str | int, ...]:
    if isinstance(path, RemoteFile):
        return str(path), path.state()
    try:
        status = path.stat()
    except FileNotFoundError:
        raise NotFoundError(f"{printable(path)}: no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{printable(path)}: cannot be looked at ({reason})") from None
    return str(_resolved(path)), status.st_size, status.st_mtime_ns
