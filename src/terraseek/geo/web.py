"""The one door to the network: requests to hosts that the operator has named, and to no others.

What a STAC document names is somebody else's wish. So before a request leaves, its address must be https (plain http
only to this machine), its host must be on the list, and the host's name is resolved here: the connection is made to
exactly the address that was looked at, which must be a public one unless it is itself on the list. A redirect is a
new request and passes the same checks. Proxies, cookies and credentials in addresses are not used.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import urljoin, urlsplit

from ..errors import ConfigError, ImageError, require
from ..images import printable

__all__ = ["Answer", "Web"]

_PORTS = {"https": 443, "http": 80}
_AGAIN = frozenset((429, 500, 502, 503, 504))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_MAX_REDIRECTS = 5
_MAX_PAUSE = 30.0


@dataclass(frozen=True)
class Answer:
    """What a host answered: `url` is where it came from in the end; the names of `headers` are in lower case."""

    url: str
    status: int
    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Web:
    """The hosts that may be asked for something, and how patiently. By default none.

    Attributes:
        hosts: names or addresses, each with `:port` where it is not the scheme's own. A name that leads to a private
            or loopback address is contacted only if that address is listed too.
        timeout: seconds to wait for a connection, and for the next byte.
        patience: seconds that one answer may take in all, once it has begun.
        retries: how often a request is repeated that failed for a reason that may pass (no connection, 429, 5xx).
        pause: seconds before the first repetition; doubled each time, and at least what the host asks for.
        max_document_bytes: a longer document is refused.

    Raises:
        ConfigError: a host that is none, or a limit that is not positive.

    Examples:
        >>> Web(hosts=("example.org",)).check("https://example.org/scene.tif")
        >>> Web().check("https://example.org/scene.tif")
        Traceback (most recent call last):
        terraseek.errors.ImageError: the host example.org is not allowed; name it with --allow-host example.org
    """

    hosts: tuple[str, ...] = ()
    timeout: float = 20.0
    patience: float = 120.0
    retries: int = 4
    pause: float = 0.5
    max_document_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        for host in self.hosts:
            _host_and_port(host)
        if min(self.timeout, self.patience, self.max_document_bytes) <= 0 or min(self.retries, self.pause) < 0:
            raise ConfigError("timeout, patience and max_document_bytes must be positive, retries and pause at least 0")

    def check(self, url: str) -> None:
        """Refuse an address that may not be asked for. Its host's name is not resolved yet: `fetch` does that.

        Raises:
            ImageError: the reason, in one line.
        """
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            raise ImageError("not a valid address") from None
        if parts.scheme not in _PORTS or not host:
            raise ImageError(f"{printable(parts.scheme) or 'no'}: addresses are not read, only https:")
        if parts.username is not None or parts.password is not None:
            raise ImageError("an address with a user name or password is not used")
        port = port or _PORTS[parts.scheme]
        shown = host if port == _PORTS[parts.scheme] else f"{_bracketed(host)}:{port}"
        if parts.scheme == "http" and not _is_loopback(host):
            raise ImageError(
                f"plain http to {printable(host)} is not read, only https is outside this machine; use an https "
                "address, or fetch the file and add it from the disk"
            )
        if not any(
            name == host and (listed or _PORTS[parts.scheme]) == port
            for name, listed in map(_host_and_port, self.hosts)
        ):
            raise ImageError(
                f"the host {printable(shown)} is not allowed; name it with --allow-host {printable(shown)}"
            )

    def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int | None = None,
    ) -> Answer:
        """Ask for something and take the whole answer, at most `limit` bytes (by default `max_document_bytes`).

        Redirects are followed where `check` lets them; what may pass is tried again. Needs the extra `geo`.

        Raises:
            ImageError: not allowed, not reachable, too slow, too large, or answered by an error; the message does not
                repeat the address.
        """
        limit = self.max_document_bytes if limit is None else limit
        for _ in range(_MAX_REDIRECTS + 1):
            self.check(url)
            answer = self._patiently(url, method, dict(headers or {}), body, limit)
            if answer.status not in _REDIRECTS:
                break
            if body is not None and answer.status not in (307, 308):
                raise ImageError(f"redirects a {method} (status {answer.status}), which is not followed")
            target = urljoin(url, answer.headers.get("location", ""))
            try:
                self.check(target)
            except ImageError as error:
                raise ImageError(f"redirects to {printable(target)}: {error}") from None
            url = target
        else:
            raise ImageError(f"more than {_MAX_REDIRECTS} redirects")
        if answer.status >= 400:
            raise ImageError(f"the host answered with status {answer.status}")
        return answer

    def json(self, url: str, *, method: str = "GET", body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A JSON object from the web.

        Raises:
            ImageError: as `fetch`, or it is no JSON object.
        """
        headers = {"Accept": "application/geo+json, application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        answer = self.fetch(url, method=method, headers=headers, body=data)
        try:
            document = json.loads(answer.data)
        except (ValueError, RecursionError):
            raise ImageError("the answer is not a JSON document") from None
        if not isinstance(document, dict):
            raise ImageError("the answer is not a JSON object")
        return document

    def resolve(self, host: str, port: int) -> str:
        """The address to connect to.

        Raises:
            ImageError: the name leads nowhere, or only to addresses that may not be contacted.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise ImageError(f"the host {printable(host)} cannot be found") from None
        addresses = [str(ipaddress.ip_address(str(entry[4][0]).partition("%")[0])) for entry in found]
        listed = {name for name, _ in map(_host_and_port, self.hosts)}
        for address in addresses:
            if _is_public(address) or address in listed or (host == "localhost" and _is_loopback(address)):
                return address
        raise ImageError(
            f"the host {printable(host)} is at {addresses[0]}, no public address; "
            f"if that is meant, allow it too: --allow-host {addresses[0]}"
        )

    def _patiently(self, url: str, method: str, headers: dict[str, str], body: bytes | None, limit: int) -> Answer:
        for attempt in range(self.retries + 1):
            last = attempt == self.retries
            pause = self.pause * 2**attempt
            try:
                answer = self._once(url, method, headers, body, limit)
            except _MayPassError as error:
                if last:
                    raise ImageError(str(error)) from None
            else:
                if last or answer.status not in _AGAIN:
                    return answer
                asked = answer.headers.get("retry-after", "")
                pause = max(pause, float(asked) if asked.isdecimal() else 0.0)
            time.sleep(min(pause, _MAX_PAUSE))
        raise AssertionError("the last attempt returns or raises")

    def _once(self, url: str, method: str, headers: dict[str, str], body: bytes | None, limit: int) -> Answer:
        urllib3 = require("urllib3", "geo")
        # Uncompressed: what is counted against the limit is then what memory holds.
        headers = {"User-Agent": "terraseek", "Accept-Encoding": "identity", **headers}
        try:
            response = _connections(self).request(
                method, url, headers=headers, body=body, redirect=False, retries=False, preload_content=False
            )
        except urllib3.exceptions.HTTPError as error:
            _give_up(error)
        try:
            data = self._body(response, limit)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            _give_up(error)
        finally:
            response.close()
        return Answer(url, response.status, {name.lower(): text for name, text in response.headers.items()}, data)

    def _body(self, response: Any, limit: int) -> bytes:
        """The body, cut off as soon as it is too long or takes too long."""
        deadline = time.monotonic() + self.patience
        parts: list[bytes] = []
        size = 0
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ImageError("the answer is compressed, which was not asked for")
        while part := response.read1(1 << 16, decode_content=False):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise ImageError(f"the answer is longer than {limit:,} bytes")
            if time.monotonic() > deadline:
                raise ImageError(f"the answer takes longer than {self.patience:g} s")
        return b"".join(parts)


class _MayPassError(Exception):
    """A failure that another attempt may not meet."""


def _give_up(error: Exception) -> NoReturn:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ImageError):  # said by `Web.resolve`, inside the connection
            raise cause from None
        cause = cause.__cause__ or cause.__context__
    text = " ".join(str(error).split())
    if "timed out" in text.lower():
        raise _MayPassError("the host does not answer in time")
    if "certificate" in text.lower():
        raise ImageError("the host's certificate is not valid") from None
    raise _MayPassError(f"the host cannot be reached or breaks off ({printable(type(error).__name__)})")


_CONNECTIONS = threading.Lock()


def _connections(web: Web) -> Any:
    with _CONNECTIONS:
        return _make_connections(web)


@lru_cache(maxsize=8)
def _make_connections(web: Web) -> Any:
    """urllib3's pools, with connections that go to the address `web` has looked at and to no other."""
    urllib3 = require("urllib3", "geo")

    def connect(connection: Any) -> socket.socket:
        address = web.resolve(connection.host.rstrip(".").strip("[]"), connection.port)
        try:
            return socket.create_connection((address, connection.port), web.timeout)
        except TimeoutError as error:
            raise urllib3.exceptions.ConnectTimeoutError(connection, "timed out") from error
        except OSError as error:
            raise urllib3.exceptions.NewConnectionError(connection, str(error)) from error

    plain = type("Plain", (urllib3.connection.HTTPConnection,), {"_new_conn": connect})
    secure = type("Secure", (urllib3.connection.HTTPSConnection,), {"_new_conn": connect})
    manager = urllib3.PoolManager(num_pools=16, maxsize=4, timeout=urllib3.Timeout(web.timeout, web.timeout))
    manager.pool_classes_by_scheme = {
        "http": type("PlainPool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("SecurePool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }
    return manager


@lru_cache(maxsize=256)
def _host_and_port(entry: str) -> tuple[str, int | None]:
    try:
        return str(ipaddress.ip_address(entry)), None
    except ValueError:
        pass
    try:
        parts = urlsplit(f"//{entry}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = (parts.hostname or "").rstrip(".")
    if not host or parts.path or parts.query or parts.fragment or "@" in entry or "*" in entry:
        raise ConfigError(f"{printable(entry)!r} is no host; give a name or an address, with :port if need be")
    return host, port


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_public(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        # An IPv4 address inside an IPv6 one leads to the former.
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is not None:
            return inner.is_global and not inner.is_multicast
        if parsed in _NAT64:
            return ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF).is_global
    return parsed.is_global and not parsed.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
