"""Rasters on the web: the same pixels as from disk, by ranges, and named errors when the network fails."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from terraseek.errors import ImageError
from terraseek.geo import RemoteFile, Web, Window, open_raster, open_stack

from .web_server import Handler, Host, _send_file, serve


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with serve(tmp_path) as running:
        yield running


def remote(host: Host, name: str, **limits: float) -> RemoteFile:
    options = {"pause": 0.01, "timeout": 5.0, "retries": 1, **limits}
    return RemoteFile(f"{host.url}/{name}", Web(hosts=(host.name,), **options))  # type: ignore[arg-type]


def noise(side: int = 1024, bands: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4000, (side, side, bands)).astype(np.uint16)


TILED = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "overviews": (2, 4)}


def test_a_window_is_read_by_ranges(host: Host, write_raster: Callable[..., Path]) -> None:
    pixels = noise()
    path = write_raster("scene.tif", pixels, **TILED)
    with open_raster(path) as disk, open_raster(remote(host, "scene.tif")) as web:
        assert (web.width, web.height, web.overviews, web.dtype) == (1024, 1024, (2, 4), np.uint16)
        assert web.georeference is not None
        window = Window(300, 400, 100, 90)
        got, valid = web.read(window, [2, 0])
        np.testing.assert_array_equal(got, pixels[400:490, 300:400, [2, 0]])
        assert valid.all()
        small, _ = web.read(Window(0, 0, 1024, 1024), [0], (128, 128))
        np.testing.assert_array_equal(small, disk.read(Window(0, 0, 1024, 1024), [0], (128, 128))[0])
    fetched = sum(
        int(end) - int(start) + 1
        for start, end in (request.rpartition("=")[2].split("-") for request in host.requests if "bytes=" in request)
    )
    assert fetched < path.stat().st_size / 2
    assert {request.split()[1] for request in host.requests} == {"/scene.tif"}  # no sidecar is looked for


def test_reading_in_order_takes_few_requests(host: Host, write_raster: Callable[..., Path]) -> None:
    path = write_raster("scene.tif", noise(), **{**TILED, "overviews": ()})
    with open_raster(remote(host, "scene.tif")) as web:
        for row in range(0, 1024, 256):
            for column in range(0, 1024, 256):
                web.read(Window(column, row, 256, 256), [0, 1, 2])
    assert path.stat().st_size > 50 << 16
    assert len(host.requests) <= 16


def test_bands_from_several_hosts(host: Host, write_raster: Callable[..., Path]) -> None:
    pixels = noise(256, 2)
    for band in (0, 1):
        write_raster(f"b{band}.tif", pixels[..., band], **TILED | {"overviews": ()})
    with open_stack({"a": remote(host, "b1.tif"), "b": remote(host, "b0.tif")}) as stack:
        got, _ = stack.read(Window(10, 20, 30, 40), [0, 1])
    np.testing.assert_array_equal(got, pixels[20:60, 10:40, ::-1])


def test_what_is_no_raster_says_so(host: Host, write_raster: Callable[..., Path], tmp_path: Path) -> None:
    whole = write_raster("scene.tif", noise(256), **TILED).read_bytes()
    (tmp_path / "text.tif").write_text("not a raster " * 10)
    (tmp_path / "vrt.tif").write_text("<VRTDataset><SourceFilename>/etc/passwd</SourceFilename></VRTDataset>")
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "torn.tif").write_bytes(whole[: len(whole) // 2])
    host.routes["/whole.tif"] = lambda handler: handler.send(whole)
    host.routes["/lies.tif"] = lambda handler: handler.send(whole[:500], 206, Content_Range="bytes 900-1399/9999")
    for name, reason in {
        "text.tif": "neither TIFF nor JPEG 2000",
        "vrt.tif": "neither TIFF nor JPEG 2000",
        "empty.tif": "serves no ranges",
        "gone.tif": "status 404",
        "whole.tif": "serves no ranges|longer than",
        "lies.tif": "another range",
    }.items():
        with pytest.raises(ImageError, match=reason) as caught:
            open_raster(remote(host, name))
        assert str(caught.value).startswith(f"{host.url}/{name}: ")
    with pytest.raises(ImageError, match="damaged or truncated"), open_raster(remote(host, "torn.tif")) as torn:
        torn.read(Window(0, 0, 256, 256), [0])


def test_a_host_that_fails_midway_is_named(host: Host, write_raster: Callable[..., Path]) -> None:
    write_raster("scene.tif", noise(), **TILED)
    with open_raster(remote(host, "scene.tif")) as web:
        host.routes["/scene.tif"] = lambda handler: handler.send(b"", 503)
        with pytest.raises(ImageError, match=r"scene\.tif: the host answered with status 503"):
            web.read(Window(500, 500, 300, 300), [0])
        del host.routes["/scene.tif"]
        assert web.read(Window(500, 500, 300, 300), [0])[1].all()


def test_a_file_that_changes_while_it_is_read(host: Host, write_raster: Callable[..., Path]) -> None:
    path = write_raster("scene.tif", noise(), **TILED)
    with open_raster(remote(host, "scene.tif")) as web:
        os.utime(path, ns=(1, 1))
        with pytest.raises(ImageError, match="changed while it was read"):
            web.read(Window(500, 500, 300, 300), [0])


def test_the_state_of_a_file_changes_with_it(host: Host, write_raster: Callable[..., Path]) -> None:
    path = write_raster("scene.tif", noise(256), **TILED)
    file = remote(host, "scene.tif")
    first = file.state()
    assert file.state() == first
    os.utime(path, ns=(1, 1))
    assert file.state() != first
    asked = len(host.requests)
    assert RemoteFile(file.url, file.web, version="2024").state() == "2024"
    assert len(host.requests) == asked
    assert pickle.loads(pickle.dumps(file)) == file


def test_a_host_that_answers_ranges_of_another_length(host: Host, write_raster: Callable[..., Path]) -> None:
    write_raster("scene.tif", noise(256), **TILED)

    def short(handler: Handler) -> None:
        handler.headers.replace_header("Range", "bytes=0-99")
        _send_file(handler)

    host.routes["/scene.tif"] = short
    with pytest.raises(ImageError, match="another range"):
        open_raster(remote(host, "scene.tif"))
