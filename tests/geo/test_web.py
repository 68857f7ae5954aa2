"""The door to the network: who may be asked, what may come back, and how long it may take."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from terraseek.errors import ConfigError, ImageError
from terraseek.geo import Web

from .web_server import Handler, Host, serve


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with serve(tmp_path) as running:
        yield running


def web_of(*hosts: Host | str, **limits: Any) -> Web:
    names = tuple(host if isinstance(host, str) else host.name for host in hosts)
    return Web(hosts=names, **{"pause": 0.01, "timeout": 5.0, **limits})


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://other.example.org/a.tif", "the host other.example.org is not allowed"),
        ("https://data.example.org.evil.com/a.tif", "not allowed"),
        ("https://evil.com/data.example.org", "not allowed"),
        ("https://data.example.org:8443/a.tif", "data.example.org:8443 is not allowed"),
        ("https://data.example.org@evil.com/a.tif", "user name or password"),
        ("https://user:secret@data.example.org/a.tif", "user name or password"),
        ("http://data.example.org:443/a.tif", "only https"),
        ("http://other.example.org/a.tif", "plain http to other.example.org is not read, only https"),
        ("http://plain.example.org:80/a.tif", "only https"),
        ("ftp://data.example.org/a.tif", "ftp: addresses are not read"),
        ("file:///etc/passwd", "file: addresses are not read"),
        ("s3://data.example.org/a.tif", "s3: addresses are not read"),
        ("/vsicurl/https://data.example.org/a.tif", "no: addresses are not read"),
        ("https://[::1", "not a valid address"),
        ("https://data.example.org:99999/", "not a valid address"),
        ("https:///a.tif", "https: addresses are not read"),
    ],
)
def test_what_may_not_be_asked_for(url: str, reason: str) -> None:
    web = Web(hosts=("data.example.org", "plain.example.org:80"))
    with pytest.raises(ImageError, match=r"\A.+\Z") as caught:
        web.check(url)
    assert reason in str(caught.value)
    assert ("--allow-host" in str(caught.value)) == ("not allowed" in reason)  # advice that helps


def test_what_may_be_asked_for() -> None:
    web = Web(hosts=("Data.Example.org", "other.org:8443", "127.0.0.1:9000", "::1", "localhost:80"))
    for url in (
        "https://data.example.org/a.tif",
        "https://DATA.example.org:443/a?b=c#d",
        "https://data.example.org./a",
        "https://other.org:8443/",
        "http://127.0.0.1:9000/stac",
        "http://[::1]/stac",
        "http://localhost/stac",
    ):
        web.check(url)


@pytest.mark.parametrize("entry", ["https://host/", "host/path", "*", "*.org", "user@host", "", "host:99999", "a b:c"])
def test_what_is_no_host(entry: str) -> None:
    with pytest.raises(ConfigError):
        Web(hosts=(entry,))


@pytest.mark.parametrize("limits", [{"timeout": 0}, {"retries": -1}, {"max_document_bytes": 0}])
def test_limits_are_positive(limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Web(**limits)


PRIVATE = "127.0.0.1 10.1.2.3 192.168.0.9 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 ::1 fe80::1 fd00::1"


@pytest.mark.parametrize("address", [*PRIVATE.split(), "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"])
def test_a_public_name_with_a_private_address_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (address, 443))])
    with pytest.raises(ImageError, match="no public address"):
        Web(hosts=("data.example.org",)).resolve("data.example.org", 443)
    if not address.startswith(("0.", "224.")):
        allowed = Web(hosts=("data.example.org", address))
        assert ip_address(allowed.resolve("data.example.org", 443)) == ip_address(address)


def test_the_connection_goes_to_the_address_that_was_looked_at(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that changes between the look and the connection (DNS rebinding) gains nothing: it is looked up once."""
    host.routes["/"] = lambda handler: handler.send_json({"host": handler.headers["Host"]})
    port = host.server.server_port
    looked_up = []

    def lookup(name: str, *rest: Any, **options: Any) -> list[Any]:
        looked_up.append(name)
        return real(name, *rest, **options) if name == "127.0.0.1" else [(2, 1, 6, "", ("127.0.0.1", port))]

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(ImageError, match="plain http"):
        web_of(f"intern.example:{port}", "127.0.0.1").json(f"http://intern.example:{port}/")
    assert not looked_up
    assert web_of(f"localhost:{port}").json(f"http://localhost:{port}/") == {"host": f"localhost:{port}"}
    assert looked_up == ["localhost", "127.0.0.1"]


def test_nothing_listens_behind_a_refusal(host: Host) -> None:
    host.routes["/"] = lambda handler: handler.send_json({})
    for web in (Web(), web_of("127.0.0.1"), web_of("localhost")):
        with pytest.raises(ImageError, match="not allowed"):
            web.json(host.url)
    assert host.requests == []
    assert web_of(host).json(host.url) == {}


def redirect(target: str, status: int = 302) -> Any:
    return lambda handler: handler.send(b"", status, Location=target)


def test_redirects_are_followed_on_the_list_and_nowhere_else(host: Host, tmp_path: Path) -> None:
    with serve(tmp_path) as other:
        other.routes["/there"] = lambda handler: handler.send_json({"at": "other"})
        host.routes |= {
            "/a": redirect("/b"),
            "/b": redirect(f"{other.url}/there"),
            "/c": redirect("file:///etc/passwd"),
        }
        with pytest.raises(ImageError, match=f"redirects to {other.url}/there: the host {other.name} is not allowed"):
            web_of(host).json(f"{host.url}/a")
        assert other.requests == []
        assert web_of(host, other).json(f"{host.url}/a") == {"at": "other"}
        with pytest.raises(ImageError, match="file: addresses are not read"):
            web_of(host).json(f"{host.url}/c")
    host.routes["/circle"] = redirect("/circle")
    with pytest.raises(ImageError, match="more than 5 redirects"):
        web_of(host).json(f"{host.url}/circle")
    host.routes["/post"] = redirect("/b")
    with pytest.raises(ImageError, match="redirects a POST"):
        web_of(host).json(f"{host.url}/post", method="POST", body={})


def test_what_may_pass_is_tried_again(host: Host) -> None:
    answers = [503, 429, 200]

    def moody(handler: Handler) -> None:
        status = answers.pop(0)
        handler.send(b'{"done": true}', status, Retry_After="0")

    host.routes["/"] = moody
    assert web_of(host).json(host.url) == {"done": True}
    answers[:] = [500, 500, 500]
    with pytest.raises(ImageError, match="status 500"):
        web_of(host, retries=2).json(host.url)
    assert answers == []
    answers[:] = [404, 200]
    with pytest.raises(ImageError, match="status 404"):
        web_of(host).json(host.url)
    assert answers == [200]


def test_a_connection_that_breaks_is_made_again(host: Host) -> None:
    breaks = [True, True, False]

    def fragile(handler: Handler) -> None:
        if breaks.pop(0):
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            handler.wfile.write(b"{")
            handler.close_connection = True
        else:
            handler.send_json({"whole": True})

    host.routes["/"] = fragile
    assert web_of(host).json(host.url) == {"whole": True}
    with pytest.raises(ImageError, match="cannot be reached"):
        Web(hosts=("127.0.0.1:9",), retries=0, timeout=2).fetch("http://127.0.0.1:9/")


def test_an_endless_answer_is_cut_off(host: Host) -> None:
    sent = 0

    def endless(handler: Handler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        while sent < 1 << 30:
            sent += handler.wfile.write(b"[" * 65536)

    host.routes["/"] = endless
    with pytest.raises(ImageError, match="longer than 1,048,576 bytes"):
        web_of(host, max_document_bytes=1 << 20).json(host.url)
    assert sent < 64 << 20


def test_slow_hosts_cost_what_was_allowed(host: Host) -> None:
    def trickle(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b" ")
            time.sleep(0.05)

    host.routes["/trickle"] = trickle
    host.routes["/silent"] = lambda _: time.sleep(1)
    started = time.monotonic()
    with pytest.raises(ImageError, match=r"takes longer than 0\.3 s"):
        web_of(host, patience=0.3).json(f"{host.url}/trickle")
    with pytest.raises(ImageError, match="does not answer in time"):
        web_of(host, timeout=0.2, retries=1).json(f"{host.url}/silent")
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b"<html>"])
def test_what_is_no_json_object_says_so(host: Host, body: bytes) -> None:
    host.routes["/"] = lambda handler: handler.send(body)
    with pytest.raises(ImageError, match="not a JSON"):
        web_of(host).json(host.url)


def test_compressed_answers_are_not_unpacked(host: Host) -> None:
    host.routes["/"] = lambda handler: handler.send(b"\x1f\x8b", Content_Encoding="gzip")
    with pytest.raises(ImageError, match="compressed"):
        web_of(host).json(host.url)


def test_a_body_is_sent_as_json(host: Host) -> None:
    host.routes["/"] = lambda handler: handler.send_json({"got": json.loads(handler.body)})
    assert web_of(host).json(host.url, method="POST", body={"limit": 3}) == {"got": {"limit": 3}}
