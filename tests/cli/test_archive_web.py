"""`archive add` with addresses: a STAC API on loopback from search to records, and what is refused on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio import Affine

from ..geo.web_server import Host, serve
from .conftest import Run

BANDS = ("--band", "red", "--band", "green", "--band", "blue")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    folder = tmp_path / "web"
    folder.mkdir()
    rng = np.random.default_rng(0)
    place = {"crs": "EPSG:32632", "transform": Affine(10, 0, 600_000, 0, -10, 5_550_000)}
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    for name in ("a-red", "a-green", "a-blue", "b-red", "b-green", "b-blue"):
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", width=128, height=64, count=1, dtype="uint16", **place, **tiles
        ) as out:
            out.write(rng.integers(1, 3000, (1, 64, 128)).astype(np.uint16))
    with serve(folder) as running:
        yield running


@pytest.fixture
def empty(run: Run, make_model: Callable[..., Path], tmp_path: Path) -> Path:
    uri = tmp_path / "archive"
    assert run("archive", "create", uri, "--model", make_model()).code == 0
    return uri


def colours(host: Host, name: str) -> dict[str, str]:
    return {band: f"{host.url}/{name}-{band}.tif" for band in ("red", "green", "blue")}


def test_a_stac_api_from_search_to_records(run: Run, empty: Path, host: Host) -> None:
    api = host.serve_api([host.item("a", colours(host, "a")), host.item("b", colours(host, "b"))], page=1)
    add = ("archive", "add", empty, api, "--allow-host", host.name, *BANDS, "--chip", 64, "--json")
    result = run(
        *add, "--stac-collection", "s2", "--bbox=9,49,12,52", "--datetime", "2024-06", "--where", "eo:cloud_cover < 20"
    )
    assert (result.code, result.json["added"], result.json["refused"]) == (0, 4, [])

    hits = run("search", empty, "--source", f"{api}/collections/s2/items/a", "--json").json["hits"]
    assert len(hits) == 2
    assert hits[0]["bbox"][0] == pytest.approx(10.4, abs=0.1)  # the raster's own place
    # Nothing changed: the search is made again, no raster is opened.
    before = len(host.requests)
    assert run(*add).json["unchanged"] == 2
    assert not [request for request in host.requests[before:] if ".tif" in request]


def test_the_same_vectors_as_from_disk(run: Run, empty: Path, host: Host) -> None:
    api = host.serve_api([host.item("a", colours(host, "a"))])
    assert run("archive", "add", empty, api, "--allow-host", host.name, *BANDS, "--chip", 64).code == 0
    remote = run("search", empty, "--collection", "default", "--json").json["hits"]
    folder = host.folder / "stack"
    folder.mkdir()
    for band in ("red", "green", "blue"):
        (host.folder / f"a-{band}.tif").rename(folder / f"a_{band}.tif")
    assert run("archive", "add", empty, folder, *BANDS, "--chip", 64, "--collection", "stack").code == 0
    for hit in remote:
        (same,) = run("search", empty, "--like", hit["id"], "--collection", "stack", "-k", 1, "--json").json["hits"]
        assert same["score"] == pytest.approx(1.0, abs=1e-5)


def test_hostile_items_are_listed_and_the_rest_goes_in(run: Run, empty: Path, host: Host, tmp_path: Path) -> None:
    with serve(tmp_path) as other:
        host.routes["/moved.tif"] = lambda handler: handler.send(b"", 302, Location=f"{other.url}/web/a-red.tif")
        secret = host.folder / "a-red.tif"
        hrefs = {
            "file": secret.as_uri(),
            "path": str(secret),
            "vsi": f"/vsicurl/{host.url}/a-red.tif",
            "s3": "s3://bucket/a.tif",
            "elsewhere": f"{other.url}/web/a-red.tif",
            "meta": "http://169.254.169.254/latest/meta-data",
            "moved": f"{host.url}/moved.tif",
            "gone": f"{host.url}/gone.tif",
            "upwards": f"{host.url}/../../etc/passwd",
        }
        items = [host.item(name, {"red": href, "green": href, "blue": href}) for name, href in hrefs.items()]
        api = host.serve_api([*items, host.item("good", colours(host, "a"))], page=3)
        result = run("archive", "add", empty, api, "--allow-host", host.name, *BANDS, "--chip", 64, "--json")
        assert other.requests == []
    assert (result.code, result.json["added"]) == (5, 2)
    reasons = {item["source"].rpartition("/")[2]: item["reason"] for item in result.json["refused"]}
    assert reasons.keys() == hrefs.keys()
    for name, part in {
        "file": "may not name files of this disk",
        "path": "status 404",  # relative to the host, as in any web page
        "vsi": "status 404",
        "s3": "s3: addresses are not read",
        "elsewhere": f"--allow-host {other.name}",
        "meta": "plain http to 169.254.169.254 is not read",
        "moved": f"redirects to {other.url}/web/a-red.tif",
        "gone": "status 404",
        "upwards": "status 404",
    }.items():
        assert part in reasons[name]


def test_no_host_is_allowed_by_default(
    run: Run, empty: Path, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = host.serve_api([host.item("a", colours(host, "a"))])
    local = tmp_path / "item.json"
    local.write_text(json.dumps(host.item("a", colours(host, "a"))))
    for source in (api, local, f"{host.url}/a-red.tif"):
        result = run("archive", "add", empty, source, *BANDS, "--json")
        assert result.code == 5
        assert f"name it with --allow-host {host.name}" in result.json["refused"][0]["reason"]
    assert host.requests == []
    monkeypatch.setenv("TERRASEEK_ALLOW_HOSTS", f"example.org, {host.name}")
    file = (f"{host.url}/a-red.tif", "--collection", "files")
    for source in ((api, *BANDS), (local, *BANDS), file):
        assert run("archive", "add", empty, *source, "--chip", 64, "--json").json["added"] == 2


def test_a_picture_on_the_web(run: Run, empty: Path, host: Host, pictures: Path) -> None:
    (host.folder / "sea.png").write_bytes((pictures / "sea0.png").read_bytes())
    assert run("archive", "add", empty, f"{host.url}/sea.png", "--allow-host", host.name).code == 0
    assert run("search", empty, "--image", pictures / "sea0.png", "--json").json["hits"][0]["score"] > 0.9999


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("pictures", "--stac-collection", "s2"), 2, "no source is the address of one"),
        (("https://example.org", "--bbox", "1,2"), 2, "4 are needed"),
        (("https://example.org", "--where", "cloudy"), 2, "is no comparison"),
        (("https://example.org", "--allow-host", "https://example.org"), 2, "is no host"),
        (("https://example.org", "--max-items", "0"), 2, ""),
    ],
)
def test_usage(run: Run, empty: Path, options: tuple[str, ...], code: int, message: str) -> None:
    result = run("archive", "add", empty, *options)
    assert result.code == code
    assert message in result.err


def test_a_time_that_is_none(run: Run, empty: Path, host: Host) -> None:
    api = host.serve_api([])
    result = run("archive", "add", empty, api, "--allow-host", host.name, "--datetime", "yesterday")
    assert result.code == 2
    assert "not a search" in result.err
