"""Raster files on the web, read by ranges through `Web`; GDAL sees a file without a name and never the network."""

from __future__ import annotations

import io
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from ..errors import ImageError
from ..images import printable
from .web import Answer, Web

__all__ = ["RangeReader", "RemoteFile"]

_BLOCK = 1 << 16
_CACHED_BLOCKS = 512
_LONGEST_READ = 1 << 22
_LONGEST_RUN = 64
_WHOLE = 256 << 20


@dataclass(frozen=True)
class RemoteFile:
    """A file on a host that `web` allows.

    Attributes:
        url: its https address.
        web: how it may be asked for.
        version: a text that changes with the file, where a STAC item says one; the host is asked otherwise.
    """

    url: str
    web: Web
    version: str | None = None

    def __str__(self) -> str:
        return self.url

    @property
    def suffix(self) -> str:
        """That of its path, `.tif` say."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).suffix

    def state(self) -> str:
        """What changes when the file does: its `version`, or the tag, time and size that its host tells.

        Raises:
            ImageError: the host cannot be asked.
        """
        if self.version is not None:
            return self.version
        with _named(self.url):
            answer = self.web.fetch(self.url, headers={"Range": "bytes=0-0"}, limit=_BLOCK)
        told = (answer.headers.get(name, "") for name in ("etag", "last-modified", "content-range"))
        return " ".join(told)

    def open(self) -> RangeReader:
        """Its bytes, read by ranges.

        Raises:
            ImageError: it cannot be fetched, or its host serves no ranges.
        """
        return RangeReader(self.url, self.web)

    def read(self) -> bytes:
        """All of it, at most 256 MiB.

        Raises:
            ImageError: it cannot be fetched.
        """
        with _named(self.url):
            return self.web.fetch(self.url, limit=_WHOLE).data


class RangeReader:
    """A remote file's bytes. Blocks are kept (32 MiB at most), reads that follow each other grow longer.

    Attributes:
        url: of the file.
        size: in bytes.
        error: why the last read failed, if it did.
    """

    def __init__(self, url: str, web: Web) -> None:
        self.url = url
        self.size = 0
        self.error: ImageError | None = None
        self._web = web
        self._tag = ""
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._run, self._run_end = 1, -1
        with _named(url):
            self._fetch(0, 1)

    def read(self, start: int, size: int) -> bytes:
        """Bytes from `start`; none where they cannot be had.

        It does not raise: GDAL, which calls it through `handle`, could not pass an exception on. GDAL takes what is
        missing for the end of the file, and `error` says what it was.
        """
        end = min(self.size, start + size)
        parts = []
        try:
            while start < end:
                block = self._block(start // _BLOCK, (end - 1) // _BLOCK)
                part = block[start % _BLOCK :][: end - start]
                parts.append(part)
                start += len(part)
        except ImageError as error:
            self.error = ImageError(f"{printable(self.url)}: {error}")
            return b""
        return b"".join(parts)

    def handle(self) -> io.RawIOBase:
        """A file object over it, with a position of its own."""
        return _Handle(self)

    def _block(self, number: int, last: int) -> bytes:
        if number not in self._blocks:
            wanted = next((n for n in range(number, last + 1) if n in self._blocks), last + 1) - number
            # Rasters are read tile after tile: one request for many of them, once that is seen to be so.
            self._run = min(2 * self._run, _LONGEST_RUN) if number == self._run_end else 1
            self._fetch(number, min(max(wanted, self._run), _LONGEST_READ // _BLOCK))
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _fetch(self, first: int, count: int) -> None:
        start = first * _BLOCK
        stop = start + count * _BLOCK
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        answer = self._web.fetch(self.url, headers=headers, limit=stop - start)
        begins, size = _content_range(answer)
        tag = answer.headers.get("etag") or answer.headers.get("last-modified") or ""
        if self.size and (size, tag) != (self.size, self._tag):
            raise ImageError("the file changed while it was read")
        self.size, self._tag = size, tag
        if begins != start or len(answer.data) != min(stop, size) - start:
            raise ImageError("the host sent another range than was asked for")
        for at in range(0, len(answer.data), _BLOCK):
            self._blocks[first + at // _BLOCK] = answer.data[at : at + _BLOCK]
        self._run_end = first + count
        while len(self._blocks) > max(_CACHED_BLOCKS, count):
            self._blocks.popitem(last=False)


class _Handle(io.RawIOBase):
    def __init__(self, reader: RangeReader) -> None:
        super().__init__()
        self._reader = reader
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._reader.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._reader.size if size is None or size < 0 else size
        data = self._reader.read(self._at, wanted)
        self._at += len(data)
        return data


def _content_range(answer: Answer) -> tuple[int, int]:
    found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})", answer.headers.get("content-range", ""))
    if answer.status != 206 or found is None:
        raise ImageError("its host serves no ranges of files; download it first")
    return int(found[1]), int(found[2])


@contextmanager
def _named(url: str) -> Iterator[None]:
    """Put the address before the reason."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{printable(url)}: {error}") from None
