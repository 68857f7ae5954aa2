"""STAC APIs: what a search matches, page by page through pystac-client, whose every request goes through `Web`.

Source: STAC API - Item Search 1.0.0, https://github.com/radiantearth/stac-api-spec/tree/main/item-search
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode, urljoin

from ..errors import ConfigError, ImageError, QueryError, Refused, require
from ..images import printable
from .stac import StacScene, is_address, read_item, read_stac
from .web import Web

__all__ = ["StacQuery", "find_scenes"]

_OPERATORS = {"<=": "lte", ">=": "gte", "!=": "neq", "<": "lt", ">": "gt", "=": "eq"}
_COMPARISON = re.compile(r"\s*([\w:.-]+)\s*(<=|>=|!=|<|>|=)\s*(.+?)\s*")


@dataclass(frozen=True, kw_only=True)
class StacQuery:
    """What a STAC API is asked for.

    Attributes:
        collections: of these; of any if there are none.
        bbox: west, south, east, north in degrees.
        datetime: a moment or an interval `A/B`, as `2024-06`, `2024-06-01/2024-06-30` or `2024-06-01/..`.
        where: comparisons of properties, all of which must hold: `eo:cloud_cover < 10`. The API needs the query
            extension for them.
        max_items: no more than so many are taken.
        page_size: items per request; the API may give fewer.

    Raises:
        ConfigError: a number that is not positive.
        QueryError: a comparison that is none.
    """

    collections: tuple[str, ...] = ()
    bbox: tuple[float, float, float, float] | None = None
    datetime: str | None = None
    where: tuple[str, ...] = ()
    max_items: int = 10_000
    page_size: int = 100

    def __post_init__(self) -> None:
        if self.max_items < 1 or not 1 <= self.page_size <= 10_000:
            raise ConfigError("max_items must be at least 1, page_size between 1 and 10,000")
        self.comparisons()

    def comparisons(self) -> dict[str, dict[str, Any]]:
        """`where` in the form of the query extension.

        >>> StacQuery(where=("eo:cloud_cover < 10", "platform = sentinel-2a")).comparisons()
        {'eo:cloud_cover': {'lt': 10.0}, 'platform': {'eq': 'sentinel-2a'}}
        """
        tests: dict[str, dict[str, Any]] = {}
        for text in self.where:
            found = _COMPARISON.fullmatch(text)
            if found is None:
                raise QueryError(f"{printable(text)!r} is no comparison such as 'eo:cloud_cover < 10'")
            name, operator, value = found.groups()
            tests.setdefault(name, {})[_OPERATORS[operator]] = _number_or_text(value)
        return tests


def find_scenes(
    url: str, bands: Sequence[str] = (), *, web: Web, query: StacQuery | None = None
) -> Iterator[StacScene | Refused]:
    """The scenes behind an address: what a STAC API finds for `query`, or all of a STAC document or catalog.

    Args:
        url: of an API's landing page, or of a document.
        bands: see `read_stac`.
        web: the hosts that may be asked, for pages and documents.
        query: for an API.

    Yields:
        A scene per item, or the item refused; and, where a search ends before its end, why.

    Raises:
        ImageError: there is no STAC at the address, or it may not be asked.
        QueryError: `query` has a time that is none.
    """
    try:
        landing = web.json(url)
    except ImageError as error:
        raise ImageError(f"{printable(url)}: {error}") from None
    links = landing.get("links")
    links = [link for link in links if isinstance(link, dict)] if isinstance(links, list) else []
    relations = {str(link.get("rel")) for link in links}
    if landing.get("type") == "Feature" or not ("search" in relations or "conformsTo" in landing):
        if "items" in relations:
            raise ImageError(
                f"{printable(url)}: a collection of a STAC API; give the address of the API, and --stac-collection"
            )
        yield from read_stac(url, bands, web=web)
        if "next" in relations:
            yield Refused(source=printable(url), reason="one page of several; give the address of the API instead")
        return
    yield from _search(url, _search_link(url, links), bands, web, query or StacQuery())


def _search_link(url: str, links: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Where to search and by which method: POST where it is offered, the query extension being written for it."""
    offered: dict[str, str] = {}
    for link in links:
        if link.get("rel") == "search" and isinstance(link.get("href"), str):
            method = str(link.get("method") or "GET").upper()
            offered.setdefault(method, urljoin(url, link["href"]))
    for method in ("POST", "GET"):
        if method in offered:
            return method, offered[method]
    return "GET", url.partition("?")[0].rstrip("/") + "/search"


def _search(
    url: str, link: tuple[str, str], bands: Sequence[str], web: Web, query: StacQuery
) -> Iterator[StacScene | Refused]:
    root = url.partition("?")[0].rstrip("/")
    seen: set[str] = set()
    try:
        for page in _pages(link, web, query):
            before = len(seen)
            for feature in page:
                if not isinstance(feature, dict) or not isinstance(feature.get("id"), str):
                    yield Refused(source=printable(root), reason="an item without an id")
                    continue
                href = _address(root, feature)
                if href in seen:
                    continue
                if len(seen) == query.max_items:
                    reason = f"more than {query.max_items:,} items; narrow the search, or raise --max-items"
                    yield Refused(source=printable(url), reason=reason)
                    return
                seen.add(href)
                yield _scene(feature, href, bands)
            if len(seen) == before:
                raise ImageError("a page of its results repeats the one before")
    except ImageError as error:
        yield Refused(source=printable(url), reason=f"the search ended after {len(seen):,} items: {error}")


def _pages(link: tuple[str, str], web: Web, query: StacQuery) -> Iterator[list[Any]]:
    """The features of each page.

    Raises:
        ImageError: the API does not answer, or not as a STAC API does.
        QueryError: the search cannot be put into words.
    """
    client = require("pystac_client", "geo")
    method, href = link
    try:
        search = client.ItemSearch(
            href,
            method=method,
            stac_io=_api_io()(web),
            limit=min(query.page_size, query.max_items),
            collections=list(query.collections) or None,
            bbox=query.bbox,
            datetime=query.datetime,
            query=query.comparisons() or None,
        )
    except Exception as error:  # pystac-client raises bare Exception
        raise QueryError(f"not a search: {printable(error)}") from None
    pages = search.pages_as_dicts()
    while True:
        try:
            page = next(pages, None)
        except ImageError:
            raise
        except Exception as error:  # an answer that is none fails in the client in as many ways
            text = printable(" ".join(str(error).split()))[:160] or type(error).__name__
            raise ImageError(f"not an answer of a STAC API ({text})") from None
        if page is None:
            return
        features = page.get("features")
        if not isinstance(features, list):
            raise ImageError("not an answer of a STAC API (its features are no list)")
        yield features


@lru_cache(maxsize=1)
def _api_io() -> Any:
    client = require("pystac_client", "geo")

    class _ApiIO(client.stac_api_io.StacApiIO):  # type: ignore[misc, name-defined]
        """pystac-client's requests, made through `Web` and never twice the same: that would be paging in a circle."""

        def __init__(self, web: Web) -> None:
            super().__init__(max_retries=None)
            self._web = web
            self._asked: set[str] = set()

        def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
            if isinstance(source, str):  # the original would open a local file of that name
                return self.request(source, *args, **kwargs)
            return str(super().read_text(source, *args, **kwargs))

        def request(
            self,
            href: str,
            method: str | None = None,
            headers: dict[str, str] | None = None,
            parameters: dict[str, Any] | None = None,
        ) -> str:
            method = (method or "GET").upper()
            if method not in ("GET", "POST"):
                raise ImageError(f"asks for a {printable(method)[:20]}, which a search never needs")
            body = parameters if method == "POST" else None
            if method == "GET" and parameters:
                href += ("&" if "?" in href else "?") + urlencode(parameters)
            asked = f"{method} {href} {body}"
            if asked in self._asked:
                raise ImageError("its pages go in a circle")
            self._asked.add(asked)
            return json.dumps(self._web.json(href, method=method, body=body))

    return _ApiIO


def _address(root: str, feature: Mapping[str, Any]) -> str:
    """The item's address by the standard. What it says of itself could be the name of another source."""
    collection = feature.get("collection")
    folder = f"collections/{quote(collection, safe='')}/" if isinstance(collection, str) else ""
    return f"{root}/{folder}items/{quote(feature['id'], safe='')}"


def _scene(feature: Mapping[str, Any], href: str, bands: Sequence[str]) -> StacScene | Refused:
    links = feature.get("links")
    own = next(
        (
            link["href"]
            for link in (links if isinstance(links, list) else [])
            if isinstance(link, dict) and link.get("rel") == "self" and isinstance(link.get("href"), str)
        ),
        href,
    )
    # Assets may be relative to where the item says it is; whether they may be read is looked at in any case.
    found = read_item(feature, own if is_address(own) else href, bands)
    if isinstance(found, Refused):
        return Refused(source=printable(href), reason=found.reason)
    return replace(found, href=href)


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text.strip("'\"")
