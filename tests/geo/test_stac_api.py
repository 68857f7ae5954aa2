"""STAC APIs: the items a search finds, page by page, and what becomes of answers that are not what they should be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from terraseek.errors import ConfigError, ImageError, QueryError, Refused
from terraseek.geo import StacQuery, StacScene, Web, find_scenes, read_stac

from .web_server import Handler, Host, serve


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with serve(tmp_path) as running:
        yield running


def web(host: Host) -> Web:
    return Web(hosts=(host.name,), pause=0.01, timeout=5, retries=1, max_document_bytes=1 << 20)


def find(host: Host, url: str, *bands: str, **query: Any) -> tuple[list[StacScene], list[Refused]]:
    found = list(find_scenes(url, bands, web=web(host), query=StacQuery(**query)))
    scenes = [scene for scene in found if isinstance(scene, StacScene)]
    return scenes, [refused for refused in found if isinstance(refused, Refused)]


def items(host: Host, count: int = 5, **changes: Any) -> list[dict[str, Any]]:
    return [host.item(f"i{n}", {"visual": f"{host.url}/{n}.tif"}, **changes) for n in range(count)]


@pytest.mark.parametrize("methods", [("GET",), ("POST",), ("GET", "POST"), ()])
def test_all_pages_of_a_search(host: Host, methods: tuple[str, ...]) -> None:
    url = host.serve_api(items(host), methods=methods)
    scenes, refused = find(host, url)
    assert [scene.id for scene in scenes] == ["i0", "i1", "i2", "i3", "i4"]
    assert refused == []
    first = scenes[0]
    assert first.href == f"{url}/collections/s2/items/i0"
    assert (first.picture, first.collection) == (f"{host.url}/0.tif", "s2")
    assert first.properties["updated"] == "2024-06-02T00:00:00Z"
    searches = [request for request in host.requests if "/stac/search" in request]
    assert len(searches) == 3
    assert {request.split()[0] for request in searches} == {"POST" if "POST" in methods else "GET"}


@pytest.mark.parametrize("methods", [("GET",), ("POST",)])
def test_what_the_api_is_asked_for(host: Host, methods: tuple[str, ...]) -> None:
    cloudy = host.item("cloudy", {"visual": "v.tif"}, properties={"datetime": None, "eo:cloud_cover": 90})
    url = host.serve_api([*items(host, 2), cloudy, host.item("other", {}, collection="landsat")], methods=methods)
    sent = []
    search = host.routes["/stac/search"]

    def listen(handler: Handler) -> None:
        sent.append(handler.body.decode() or handler.path)
        search(handler)

    host.routes["/stac/search"] = listen
    scenes, refused = find(
        host,
        url,
        collections=("s2",),
        bbox=(9.0, 49.0, 12.0, 52.0),
        datetime="2024-06",
        where=("eo:cloud_cover < 10",),
        page_size=50,
    )
    assert [scene.id for scene in scenes] == ["i0", "i1"]
    assert not refused
    for part in ("s2", "9.0", "2024-06-30T23", "50"):
        assert part in sent[0]


def test_assets_relative_to_the_item(host: Host) -> None:
    url = host.serve_api([host.item("a", {"visual": "./pictures/v.tif", "root": "/r.tif"})])
    assert find(host, url)[0][0].picture == f"{url}/collections/s2/items/pictures/v.tif"
    assert find(host, url, "root")[0][0].bands["root"].href == f"{host.url}/r.tif"


def test_an_item_cannot_pass_for_another_source(host: Host) -> None:
    links = [{"rel": "self", "href": "/data/mine.json"}]
    url = host.serve_api([host.item("a", {"visual": "v.tif"}, links=links)])
    (scene,), _ = find(host, url)
    assert (scene.href, scene.picture) == (f"{url}/collections/s2/items/a", f"{url}/collections/s2/items/v.tif")


def test_the_number_of_items_is_bounded(host: Host) -> None:
    url = host.serve_api(items(host), page=3)
    scenes, refused = find(host, url, max_items=4)
    assert len(scenes) == 4
    assert "more than 4 items; narrow the search, or raise --max-items" in refused[0].reason
    assert find(host, url, max_items=5)[1] == []


def test_endless_paging_ends(host: Host) -> None:
    url = host.serve_api(items(host))
    served = 0

    def ever_the_same(handler: Handler) -> None:
        nonlocal served
        served += 1
        link = {"rel": "next", "href": f"{host.url}/stac/search?token={served}"}
        handler.send_json({"type": "FeatureCollection", "features": items(host), "links": [link]})

    host.routes["/stac/search"] = ever_the_same
    scenes, refused = find(host, url)
    assert (len(scenes), served) == (5, 2)
    assert "repeats the one before" in refused[0].reason

    def ever_new(handler: Handler) -> None:
        nonlocal served
        served += 1
        link = {"rel": "next", "href": f"{host.url}/stac/search?token={served}"}
        handler.send_json({"features": [host.item(f"n{served}", {"visual": "v.tif"})], "links": [link]})

    host.routes["/stac/search"] = ever_new
    scenes, refused = find(host, url, max_items=20)
    assert len(scenes) == 20
    assert "more than 20 items" in refused[0].reason


def test_a_next_page_that_is_the_same_page(host: Host) -> None:
    url = host.serve_api(items(host))
    link = {"rel": "next", "href": f"{host.url}/stac/search?token=1"}
    fresh = iter(range(100))
    host.routes["/stac/search"] = lambda handler: handler.send_json(
        {"features": [host.item(f"n{next(fresh)}", {"visual": "v.tif"})], "links": [link]}
    )
    scenes, refused = find(host, url)
    assert len(scenes) == 2
    assert "its pages go in a circle" in refused[0].reason


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ({"features": None, "links": None}, None),
        ({"features": {}, "links": []}, None),
        ({}, None),
        ({"features": [], "links": [{"rel": "next", "href": "x"}]}, None),
        ({"features": "abc", "links": []}, "its features are no list"),
        ({"features": {"a": 1}, "links": []}, "its features are no list"),
    ],
)
def test_pages_without_items(host: Host, page: dict[str, Any], reason: str | None) -> None:
    url = host.serve_api([])
    host.routes["/stac/search"] = lambda handler: handler.send_json(page)
    scenes, refused = find(host, url)
    assert scenes == []
    assert [reason in item.reason for item in refused if reason] == [True] * len(refused)


@pytest.mark.parametrize(
    "links",
    [
        None,
        7,
        [None],
        [{}],
        [{"rel": "next"}],
        [{"rel": "next", "href": 5}],
        [{"rel": "next", "href": "file:///etc/passwd"}],
        [{"rel": "next", "href": "/etc/passwd"}],
        [{"rel": "next", "href": "http://169.254.169.254/latest/meta-data"}],
        [{"rel": "next", "href": "https://evil.example.org/"}],
        [{"rel": "next", "href": "HOST/stac/search", "method": "DELETE"}],
        [{"rel": "next", "href": "HOST/stac/search", "method": 3, "body": 3, "merge": True}],
        [{"rel": "next", "href": "HOST/moved"}],
        [{"rel": "next", "href": "HOST/broken"}],
        [{"rel": "next", "href": "HOST/long"}],
        [{"rel": "next", "href": "HOST/gone"}],
    ],
)
def test_what_came_before_a_broken_page_is_kept(host: Host, links: Any) -> None:
    url = host.serve_api([])
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and isinstance(link.get("href"), str):
            link["href"] = link["href"].replace("HOST", host.url)
    pages = iter([{"features": items(host, 2), "links": links}, {"features": 3}])
    host.routes |= {
        "/stac/search": lambda handler: handler.send_json(next(pages)),
        "/moved": lambda handler: handler.send(b"", 302, Location="https://evil.example.org/"),
        "/broken": lambda handler: handler.send(b'{"features": ['),
        "/long": lambda handler: handler.send(b" " * (2 << 20)),
    }
    scenes, refused = find(host, url)
    assert [scene.id for scene in scenes] == ["i0", "i1"]
    assert len(refused) == 1
    assert "the search ended after 2 items: " in refused[0].reason
    assert "\n" not in refused[0].reason
    assert "root:" not in refused[0].reason


def test_bad_items_are_refused_one_by_one(host: Host) -> None:
    good = host.item("good", {"visual": "v.tif"})
    bad: list[Any] = [
        None,
        7,
        {},
        {"id": 5},
        {"id": None, "type": "Feature"},
        {"id": "bare"},
        host.item("no-assets", {}),
        host.item("assets", {}) | {"assets": None},
        host.item("date", {"visual": "v.tif"}, properties={"datetime": "soon"}),
        host.item("links", {"visual": "v.tif"}, links=None),
        host.item("type", {"visual": "v.tif"}, type="Catalog"),
        host.item("extensions", {"visual": "v.tif"}, stac_extensions=3),
    ]
    url = host.serve_api([*bad, good], page=100)
    scenes, refused = find(host, url)
    assert [scene.id for scene in scenes] == ["good"]
    assert len(refused) == len(bad)
    assert all("\n" not in item.reason for item in refused)


def test_what_is_no_stac(host: Host) -> None:
    host.routes |= {
        "/page": lambda handler: handler.send(b"<html>"),
        "/other": lambda handler: handler.send_json({"type": "Point"}),
        "/collections/s2": lambda handler: handler.send_json({"type": "Collection", "links": [{"rel": "items"}]}),
    }
    for path, reason in {
        "/page": "not a JSON document",
        "/other": "no STAC Item",
        "/gone": "status 404",
        "/collections/s2": "give the address of the API, and --stac-collection",
    }.items():
        with pytest.raises(ImageError, match=reason):
            find(host, host.url + path)
    with pytest.raises(ImageError, match="name it with --allow-host"):
        list(find_scenes(host.url, web=Web()))


def test_a_static_catalog_on_the_web(host: Host) -> None:
    def link(rel: str, href: str) -> dict[str, str]:
        return {"rel": rel, "href": href}

    root = {
        "type": "Catalog",
        "id": "root",
        "links": [link("child", "sub/catalog.json"), link("item", "file:///a.json")],
    }
    sub = {"type": "Catalog", "id": "sub", "links": [link("item", "a.json"), link("child", "../catalog.json")]}
    sub["links"] += [link("item", "https://evil.example.org/b.json")]  # type: ignore[operator]
    host.routes |= {
        "/catalog.json": lambda handler: handler.send_json(root),
        "/sub/catalog.json": lambda handler: handler.send_json(sub),
        "/sub/a.json": lambda handler: handler.send_json(host.item("a", {"visual": "a.tif"}, links=[])),
    }
    (scene,), refused = find(host, f"{host.url}/catalog.json")
    assert (scene.href, scene.picture) == (f"{host.url}/sub/a.json", f"{host.url}/sub/a.tif")
    assert [item.source for item in refused] == ["file:///a.json", "https://evil.example.org/b.json"]


def test_one_page_is_not_taken_for_all(host: Host) -> None:
    page = {"type": "FeatureCollection", "features": items(host, 2), "links": [{"rel": "next", "href": "?page=2"}]}
    host.routes["/items"] = lambda handler: handler.send_json(page)
    scenes, refused = find(host, f"{host.url}/items")
    assert len(scenes) == 2
    assert "one page of several" in refused[0].reason


def test_documents_on_the_web_need_an_allowed_host(host: Host) -> None:
    with pytest.raises(ImageError, match="not allowed"):
        list(read_stac(f"{host.url}/a.json"))


@pytest.mark.parametrize("where", ["", "cloud", "a b < 3", "< 3", "a <"])
def test_what_is_no_comparison(where: str) -> None:
    with pytest.raises(QueryError, match="is no comparison"):
        StacQuery(where=(where,))


def test_what_is_no_search(host: Host) -> None:
    with pytest.raises(ConfigError):
        StacQuery(max_items=0)
    url = host.serve_api([])
    with pytest.raises(QueryError, match="not a search"):
        find(host, url, datetime="yesterday")
