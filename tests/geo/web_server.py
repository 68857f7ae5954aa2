"""A web server on loopback: files by ranges, a small STAC API with paging, and answers that misbehave on order."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

SQUARE = {"type": "Polygon", "coordinates": [[[10, 50], [11, 50], [11, 51], [10, 51], [10, 50]]]}
Route = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers by `Host.routes`, else with a file of `Host.folder`."""

    host: Host
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self.host.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        try:
            (self.host.routes.get(path) or _send_file)(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has had enough

    do_POST = do_GET

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_json(self, document: object) -> None:
        self.send(json.dumps(document).encode(), Content_Type="application/geo+json")


def _send_file(handler: Handler) -> None:
    path = handler.host.folder / urlsplit(handler.path).path.lstrip("/")
    if not path.is_file():
        handler.send(b"no such file", 404)
        return
    content = path.read_bytes()
    tag = {"ETag": f'"{path.stat().st_mtime_ns}"'}
    asked = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
    if asked is None:
        handler.send(content, **tag)
        return
    start, stop = int(asked[1]), min(int(asked[2]) + 1, len(content))
    handler.send(content[start:stop], 206, Content_Range=f"bytes {start}-{stop - 1}/{len(content)}", **tag)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None: ...  # clients that leave early are what some tests are about


class Host:
    """The server: `name` is its host and port, `url` its address, `requests` what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.routes: dict[str, Route] = {}
        self.requests: list[str] = []
        handler = type("BoundHandler", (Handler,), {"host": self})
        self.server = _Server(("127.0.0.1", 0), handler)
        self.name = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.name}"

    def item(self, name: str, assets: dict[str, str], **changes: Any) -> dict[str, Any]:
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": name,
            "collection": "s2",
            "geometry": SQUARE,
            "bbox": [10, 50, 11, 51],
            "properties": {"datetime": "2024-06-01T10:00:00Z", "updated": "2024-06-02T00:00:00Z", "eo:cloud_cover": 5},
            "links": [{"rel": "self", "href": f"{self.url}/stac/collections/s2/items/{name}"}],
            "assets": {key: {"href": href, "type": "image/tiff"} for key, href in assets.items()},
        } | changes

    def serve_api(
        self, items: list[dict[str, Any]], *, page: int = 2, methods: tuple[str, ...] = ("GET", "POST")
    ) -> str:
        """Serve `items` as a STAC API does: collections, ids and cloud cover are filtered, results come in pages."""
        searches = [{"rel": "search", "href": f"{self.url}/stac/search", "method": method} for method in methods]
        landing = {"type": "Catalog", "id": "api", "conformsTo": ["https://api.stacspec.org/v1.0.0/item-search"]}

        def search(handler: Handler) -> None:
            sent = json.loads(handler.body) if handler.command == "POST" else {}
            asked = {key: values[0] for key, values in parse_qs(urlsplit(handler.path).query).items()} | sent
            wanted = asked.get("collections")
            wanted = wanted.split(",") if isinstance(wanted, str) else wanted
            least = asked.get("query", {})
            least = (json.loads(least) if isinstance(least, str) else least).get("eo:cloud_cover", {}).get("lt")
            found = [item for item in items if wanted is None or item.get("collection") in wanted]
            found = [item for item in found if least is None or item["properties"]["eo:cloud_cover"] < least]
            start = int(asked.get("token", 0))
            stop = start + min(page, int(asked.get("limit", page)))
            links = []
            if stop < len(found) and handler.command == "POST":
                body = {**sent, "token": str(stop)}
                links = [{"rel": "next", "method": "POST", "href": f"{self.url}/stac/search", "body": body}]
            elif stop < len(found):
                query = urlsplit(handler.path).query.partition("&token=")[0]
                links = [{"rel": "next", "href": f"{self.url}/stac/search?{query}&token={stop}"}]
            handler.send_json({"type": "FeatureCollection", "features": found[start:stop], "links": links})

        self.routes["/stac"] = lambda handler: handler.send_json({**landing, "links": searches})
        self.routes["/stac/search"] = search
        return f"{self.url}/stac"


@contextmanager
def serve(folder: Path) -> Iterator[Host]:
    host = Host(folder)
    thread = threading.Thread(target=host.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield host
    finally:
        host.server.shutdown()
        host.server.server_close()
        thread.join()
