"""STAC: items, item collections and static catalogs, read into scenes that name the files of their bands.

A document on disk leads to documents on disk, one on the web to documents on hosts that are allowed; a link from one
to the other is reported, not followed. Which assets may be read is for the reader of the scenes to decide.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urljoin, urlsplit

import shapely
import shapely.geometry
from shapely.geometry.base import BaseGeometry

from ..errors import ImageError, NotFoundError, Refused
from ..images import printable
from .web import Web

if TYPE_CHECKING:
    import pystac

__all__ = ["BandFile", "StacScene", "is_address", "read_item", "read_stac", "scene_of"]

_MAX_DOCUMENT_BYTES = 256 << 20
_MAX_DOCUMENTS = 1_000_000
_LABELS, _CAPTION = "terraseek:labels", "terraseek:caption"
_OWN = frozenset({"datetime", _LABELS, _CAPTION})
_VISUAL = ("visual", "rgb", "true_color", "true-color", "tci")


@dataclass(frozen=True)
class BandFile:
    """Where one band is: the asset's `href`, and its place in that file, counted from 1."""

    href: str
    index: int = 1


@dataclass(frozen=True, kw_only=True)
class StacScene:
    """One item: what it says of itself, and the files of the bands asked for, in that order.

    `bands` is empty where the item has one picture asset whose own colours are to be used: `picture` then names it.
    `labels` and `caption` are those that the item gives as `terraseek:labels` and `terraseek:caption`.
    """

    id: str
    href: str
    collection: str | None = None
    datetime: datetime | None = None
    footprint: BaseGeometry | None = None
    labels: tuple[str, ...] = ()
    caption: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    bands: Mapping[str, BandFile] = field(default_factory=dict)
    picture: str | None = None


def read_stac(path: str | Path, bands: Sequence[str] = (), *, web: Web | None = None) -> Iterator[StacScene | Refused]:
    """Read a STAC document: an Item, an ItemCollection, or a Catalog or Collection with all that it links to.

    Args:
        path: a JSON file, or the address of one.
        bands: names of bands as in the items: asset keys, or names or common names of the bands that assets list. By
            default a picture asset (`visual`), else red, green and blue, else the only raster there is.
        web: the hosts that may be asked; by default none.

    Yields:
        A scene per item, or the item refused with the reason.

    Raises:
        NotFoundError: there is no such file.
        ImageError: it is no STAC document.
    """
    documents: _Documents = _Web(web or Web()) if is_address(str(path)) else _Disk()
    base = documents.name(str(path))
    document = documents.load(base)
    kind = document.get("type")
    if kind == "Feature":
        yield read_item(document, base, bands)
    elif kind == "FeatureCollection":
        yield from _members(document, base, bands)
    elif kind in ("Catalog", "Collection"):
        yield from _walk(base, document, documents, bands)
    else:
        raise ImageError(f"{printable(path)}: no STAC Item, ItemCollection, Catalog or Collection (type {kind!r:.40})")


def read_item(document: Mapping[str, Any], href: str, bands: Sequence[str] = ()) -> StacScene | Refused:
    """The scene of an item given as JSON, `href` being where it is from; or why it gives none."""
    import pystac  # here: 0.15 s that only readers of STAC should wait for

    name = href if isinstance(document.get("id"), str) and Path(href).stem == document["id"] else None
    name = name or f"{href}#{document.get('id')!s:.80}"
    try:
        _check_times(document.get("properties"))
        return scene_of(pystac.Item.from_dict(dict(document), href=href), bands)
    except ImageError as error:
        return Refused(source=printable(name), reason=str(error))
    except KeyError as error:
        return Refused(source=printable(name), reason=f"not a valid STAC item (it has no {_one_line(error)})")
    except Exception as error:
        # An item that lacks what the standard requires fails in the reader in as many ways, recursion among them.
        return Refused(source=printable(name), reason=f"not a valid STAC item ({_one_line(error)})")


def scene_of(item: pystac.Item, bands: Sequence[str] = ()) -> StacScene:
    """What an item offers for `bands`; see `read_stac`.

    Raises:
        ImageError: it has no such bands, and the message lists its assets; or labels that are no list of names.
    """
    assets = {key: _absolute(asset, item.get_self_href()) for key, asset in item.assets.items()}
    found, picture = _choose(item, assets, bands)
    if not isinstance(item.id, str) or not item.id:
        raise ImageError(f"the item has no id (it says {item.id!r})")
    href = item.get_self_href() or item.id
    return StacScene(
        id=item.id,
        href=href if Path(href).stem == item.id else f"{href}#{item.id}",
        collection=item.collection_id,
        datetime=_moment(item),
        footprint=_geometry(item),
        labels=_labels(item.properties.get(_LABELS)),
        caption=_caption(item.properties.get(_CAPTION)),
        properties={key: value for key, value in item.properties.items() if key not in _OWN and _is_plain(value)},
        bands=found,
        picture=picture,
    )


def is_address(href: str) -> bool:
    """Whether an href names something on a network rather than a local file.

    >>> is_address("https://example.org/a.tif"), is_address("s3://bucket/a.tif"), is_address("/data/a.tif")
    (True, True, False)
    """
    scheme = href.partition(":")[0].lower() if re.match(r"[A-Za-z][\w+.-]*:", href) else ""
    return len(scheme) > 1 and scheme != "file"  # one letter is a Windows drive


class _Documents(Protocol):
    """Where documents come from, and where their links may lead."""

    def name(self, href: str) -> str:
        """The one name that a document has however it is written."""
        ...

    def load(self, name: str) -> dict[str, Any]:
        """The document; an ImageError or NotFoundError where there is none."""
        ...

    def follow(self, name: str, href: str) -> str:
        """The document that a link of document `name` leads to; an ImageError where it may not."""
        ...


class _Disk:
    def name(self, href: str) -> str:
        try:
            return str(_local(href).resolve())
        except (OSError, ValueError, RuntimeError) as error:
            raise ImageError(f"{printable(href)}: not a usable file name ({_one_line(error)})") from None

    def load(self, name: str) -> dict[str, Any]:
        return _load(Path(name))

    def follow(self, name: str, href: str) -> str:
        if is_address(href):
            raise ImageError(f"a link of {printable(name)} that leaves this disk")
        return self.name(str(Path(name).parent / _local(href)))


class _Web:
    def __init__(self, web: Web) -> None:
        self._web = web

    def name(self, href: str) -> str:
        return href.partition("#")[0]

    def load(self, name: str) -> dict[str, Any]:
        try:
            return self._web.json(name)
        except ImageError as error:
            raise ImageError(f"{printable(name)}: {error}") from None

    def follow(self, name: str, href: str) -> str:
        try:
            target = self.name(urljoin(name, href))
            self._web.check(target)
        except (ImageError, ValueError) as error:
            raise ImageError(f"a link of {printable(name)}: {error}") from None
        return target


def _load(path: Path) -> dict[str, Any]:
    name = printable(path)
    try:
        # Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ImageError(f"{name}: not a regular file")
            content = file.read(_MAX_DOCUMENT_BYTES + 1)
        if len(content) > _MAX_DOCUMENT_BYTES:
            raise ImageError(f"{name}: a JSON document of more than {_MAX_DOCUMENT_BYTES >> 20} MiB is not read")
        document = json.loads(content.decode("utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"{name}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ImageError(f"{name}: not a JSON document ({_one_line(error)})") from None
    if not isinstance(document, dict):
        raise ImageError(f"{name}: not a STAC document")
    return document


def _members(document: Mapping[str, Any], base: str, bands: Sequence[str]) -> Iterator[StacScene | Refused]:
    features = document.get("features")
    if not isinstance(features, list):
        raise ImageError(f"{printable(base)}: an ItemCollection without a list of features")
    for number, feature in enumerate(features):
        if isinstance(feature, dict):
            yield read_item(feature, base, bands)
        else:
            yield Refused(source=printable(f"{base}#{number}"), reason="not a STAC item (no JSON object)")


def _walk(
    base: str, document: dict[str, Any], documents: _Documents, bands: Sequence[str]
) -> Iterator[StacScene | Refused]:
    """A catalog, its items and its children, each document once however they link to one another."""
    loaded = {base: document}
    seen, waiting = {base}, deque([base])
    while waiting:
        name = waiting.popleft()
        try:
            current = loaded.pop(name, None) or documents.load(name)
        except (ImageError, NotFoundError) as error:
            yield Refused(source=printable(name), reason=str(error).removeprefix(f"{printable(name)}: "))
            continue
        if current.get("type") == "Feature":
            yield read_item(current, name, bands)
            continue
        for target in _targets(current, name, documents):
            if isinstance(target, Refused):
                yield target
            elif target not in seen:
                seen.add(target)
                waiting.append(target)
        if len(seen) > _MAX_DOCUMENTS:
            yield Refused(source=printable(base), reason=f"a catalog of more than {_MAX_DOCUMENTS:,} documents")
            return


def _targets(document: Mapping[str, Any], name: str, documents: _Documents) -> Iterator[str | Refused]:
    """The children and items of a catalog, by name."""
    links = document.get("links")
    if not isinstance(links, list):
        yield Refused(source=printable(name), reason="a catalog without a list of links")
        return
    for link in links:
        if not isinstance(link, dict) or link.get("rel") not in ("child", "item"):
            continue
        href = link.get("href")
        if not isinstance(href, str) or not href:
            yield Refused(source=printable(name), reason=f"a link to {href!r:.40}, which is no address or path")
            continue
        try:
            yield documents.follow(name, href)
        except ImageError as error:
            yield Refused(source=printable(href), reason=str(error))


def _choose(
    item: pystac.Item, assets: Mapping[str, str], bands: Sequence[str]
) -> tuple[dict[str, BandFile], str | None]:
    if not bands:
        picture = next((key for key in _VISUAL if key in assets), None)
        picture = picture or next((key for key, a in item.assets.items() if "visual" in (a.roles or [])), None)
        if picture is not None:
            return {}, assets[picture]
        bands = ("red", "green", "blue")
        rasters = [key for key, asset in item.assets.items() if _is_raster(asset)]
        if len(rasters) == 1 and not all(_find(item, assets, band) for band in bands):
            return {}, assets[rasters[0]]
    found: dict[str, BandFile] = {}
    for band in bands:
        file = _find(item, assets, band)
        if file is None:
            has = printable(", ".join(item.assets) or "none")
            raise ImageError(f"item {printable(item.id)} has no band {printable(band)!r}; its assets are {has}")
        found[band] = file
    return found, None


def _find(item: pystac.Item, assets: Mapping[str, str], band: str) -> BandFile | None:
    if band in assets:
        return BandFile(assets[band])
    for key, asset in item.assets.items():
        listed = asset.extra_fields.get("bands") or asset.extra_fields.get("eo:bands") or []
        for index, described in enumerate(listed if isinstance(listed, list) else []):
            if isinstance(described, dict) and band in (
                described.get("name"),
                described.get("common_name"),
                described.get("eo:common_name"),
            ):
                return BandFile(assets[key], index + 1)
    return None


def _is_raster(asset: pystac.Asset) -> bool:
    kind = (asset.media_type or "").lower()
    if "thumbnail" in (asset.roles or []) or "overview" in (asset.roles or []):
        return False
    return kind.startswith(("image/tiff", "image/jp2")) or asset.href.lower().endswith((".tif", ".tiff", ".jp2"))


def _absolute(asset: pystac.Asset, base: str | None) -> str:
    if base is not None and is_address(base):
        return urljoin(base, asset.href)  # as it is, file: and all: that it names no local file is for others to check
    href = asset.get_absolute_href() or asset.href
    return href if is_address(href) else str(_local(href))


def _local(href: str) -> Path:
    return Path(unquote(urlsplit(href).path) if href.startswith("file:") else href)


def _moment(item: pystac.Item) -> datetime | None:
    moment = item.datetime or item.common_metadata.start_datetime
    return None if moment is None else moment.replace(tzinfo=moment.tzinfo or UTC)


def _geometry(item: pystac.Item) -> BaseGeometry | None:
    if not item.geometry:
        return None
    try:
        geometry: BaseGeometry = shapely.geometry.shape(item.geometry)
    except (shapely.errors.ShapelyError, ValueError, TypeError, AttributeError, KeyError):
        return None
    return None if geometry.is_empty else geometry


def _check_times(properties: object) -> None:
    """Refuse what is no date in words that say so; the reader of items would speak of integers."""
    from pystac.utils import str_to_datetime

    for name in ("datetime", "start_datetime", "end_datetime"):
        given = properties.get(name) if isinstance(properties, Mapping) else None
        try:
            _ = None if given is None else str_to_datetime(given)
        except (ValueError, TypeError, OverflowError):
            raise ImageError(f"its {name} is no date: {printable(given)!r:.60}") from None


def _labels(given: object) -> tuple[str, ...]:
    """The names that an item was given; labels dropped in silence would look like an image without any."""
    names = [] if given is None else given
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise ImageError(f"its {_LABELS} are no list of names: {printable(given)!r:.80}")
    return tuple(names)


def _caption(given: object) -> str | None:
    if given is not None and not isinstance(given, str):
        raise ImageError(f"its {_CAPTION} is no text: {printable(given)!r:.80}")
    return given or None


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, bool, int, float)) and value == value  # NaN is no JSON


def _one_line(error: BaseException) -> str:
    return printable(" ".join(str(error).split()))[:160] or type(error).__name__
