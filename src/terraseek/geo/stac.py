"""STAC: items, item collections and static catalogs, read into scenes that name the files of their bands.

Catalog links and assets are local files here. Nothing is fetched: an address in a document read from disk is reported,
not followed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import shapely
import shapely.geometry
from shapely.geometry.base import BaseGeometry

from ..errors import ImageError, NotFoundError, Refused
from ..images import printable

if TYPE_CHECKING:
    import pystac

__all__ = ["BandFile", "StacScene", "is_address", "read_stac", "scene_of"]

_MAX_DOCUMENT_BYTES = 256 << 20
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
    """

    id: str
    href: str
    collection: str | None = None
    datetime: datetime | None = None
    footprint: BaseGeometry | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    bands: Mapping[str, BandFile] = field(default_factory=dict)
    picture: str | None = None


def read_stac(path: str | Path, bands: Sequence[str] = ()) -> Iterator[StacScene | Refused]:
    """Read a STAC document: an Item, an ItemCollection, or a Catalog or Collection with all that it links to.

    Args:
        path: a local JSON file.
        bands: names of bands as in the items: asset keys, or names or common names of the bands that assets list. By
            default a picture asset (`visual`), else red, green and blue, else the only raster there is.

    Yields:
        A scene per item, or the item refused with the reason.

    Raises:
        NotFoundError: there is no such file.
        ImageError: it is no STAC document.
    """
    import pystac  # here: 0.15 s that only readers of STAC should wait for

    document = _load(Path(path))
    kind = document.get("type")
    base = str(Path(path).resolve())
    try:
        if kind == "Feature":
            yield _scene_or_refused(lambda: pystac.Item.from_dict(document, href=base), base, bands)
        elif kind == "FeatureCollection":
            for number, feature in enumerate(document.get("features", [])):
                name = f"{base}#{feature.get('id', number) if isinstance(feature, dict) else number}"
                yield _scene_or_refused(lambda feature=feature: pystac.Item.from_dict(feature, href=base), name, bands)
        elif kind in ("Catalog", "Collection"):
            yield from _walk(Path(base), bands, set())
        else:
            raise ImageError(f"{printable(path)}: no STAC Item, ItemCollection, Catalog or Collection (type {kind!r})")
    except pystac.STACError as error:
        raise ImageError(f"{printable(path)}: not a valid STAC {kind} ({_one_line(error)})") from None


def scene_of(item: pystac.Item, bands: Sequence[str] = ()) -> StacScene:
    """What an item offers for `bands`; see `read_stac`.

    Raises:
        ImageError: it has no such bands; the message lists its assets.
    """
    assets = {key: _absolute(asset) for key, asset in item.assets.items()}
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
        properties={key: value for key, value in item.properties.items() if key != "datetime" and _is_plain(value)},
        bands=found,
        picture=picture,
    )


def is_address(href: str) -> bool:
    """Whether an href names something on a network rather than a local file.

    >>> is_address("https://example.org/a.tif"), is_address("s3://bucket/a.tif"), is_address("/data/a.tif")
    (True, True, False)
    """
    scheme = urlsplit(href).scheme
    return len(scheme) > 1 and scheme != "file"  # one letter is a Windows drive


def _load(path: Path) -> dict[str, Any]:
    name = printable(path)
    try:
        if path.stat().st_size > _MAX_DOCUMENT_BYTES:
            raise ImageError(f"{name}: a JSON document of more than {_MAX_DOCUMENT_BYTES >> 20} MiB is not read")
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"{name}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ImageError(f"{name}: not a JSON document ({_one_line(error)})") from None
    if not isinstance(document, dict):
        raise ImageError(f"{name}: not a STAC document")
    return document


def _walk(path: Path, bands: Sequence[str], seen: set[Path]) -> Iterator[StacScene | Refused]:
    """A catalog, its items and its children, each document once however they link to one another."""
    import pystac

    waiting = [path.resolve()]
    while waiting:
        current = waiting.pop(0)
        if current in seen:
            continue
        seen.add(current)
        try:
            document = _load(current)
        except (ImageError, NotFoundError) as error:
            yield Refused(source=printable(current), reason=str(error).removeprefix(f"{printable(current)}: "))
            continue
        if document.get("type") == "Feature":
            yield _scene_or_refused(
                lambda document=document, current=current: pystac.Item.from_dict(document, href=str(current)),
                str(current),
                bands,
            )
            continue
        for link in document.get("links", []):
            if not isinstance(link, dict) or link.get("rel") not in ("child", "item"):
                continue
            href = str(link.get("href", ""))
            if is_address(href):
                yield Refused(source=printable(href), reason=f"a link of {printable(current)} that leaves this disk")
            elif href:
                waiting.append((current.parent / _local(href)).resolve())


def _scene_or_refused(make: Any, name: str, bands: Sequence[str]) -> StacScene | Refused:
    import pystac

    try:
        return scene_of(make(), bands)
    except ImageError as error:
        return Refused(source=printable(name), reason=str(error))
    except (pystac.STACError, KeyError, TypeError, ValueError, AttributeError) as error:
        # An item that lacks what the standard requires fails in the reader in as many ways.
        return Refused(source=printable(name), reason=f"not a valid STAC item ({_one_line(error)})")


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


def _absolute(asset: pystac.Asset) -> str:
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


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, bool, int, float)) and value == value  # NaN is no JSON


def _one_line(error: BaseException) -> str:
    return printable(" ".join(str(error).split()))[:160] or type(error).__name__
