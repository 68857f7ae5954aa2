"""Fetching the data sets whose sources allow it: checked against a known checksum, unpacked only when it fits.

Nothing here runs unless asked for by `download_dataset`: loaders never touch the network.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ..errors import ConfigError, CorruptError, TerraseekError, UsageError
from ..images import printable
from .catalog import DATASETS, Download

__all__ = ["download_dataset", "fetch", "unpack"]

_log = logging.getLogger(__name__)
_BLOCK = 1 << 20
_TIMEOUT_S = 60
_MAX_GROWTH = 200  # unpacked bytes per packed byte: imagery reaches 10, a zip bomb thousands


def download_dataset(
    name: str, root: str | Path, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None
) -> tuple[Path, ...]:
    """Fetch a data set's archives and unpack them into `root`.

    Args:
        name: a registered data set.
        root: created if need be.
        dry_run: check what can be checked here, fetch and write nothing.
        progress: called with (bytes done, bytes in all) for each archive.

    Returns:
        What was, or would be, unpacked.

    Raises:
        UsageError: the source allows no direct download; the message says where to get the files by hand.
        CorruptError: what arrived has another checksum, or is no sound archive.
        TerraseekError: the source cannot be reached.
    """
    origin = DATASETS[name].origin
    if not origin.downloads:
        raise UsageError(f"{origin.title} has no direct download: get it from {origin.home} ({origin.terms})")
    root = Path(root).expanduser()
    if not dry_run:
        root.mkdir(parents=True, exist_ok=True)
    _log.info("%s: %s", origin.title, origin.terms)
    unpacked = []
    for download in origin.downloads:
        if (there := root / download.folder).exists():
            raise UsageError(f"{there} exists already; remove it to download again")
        unpacked.append(there)
        if dry_run:
            continue
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as temporary:
            archive = Path(temporary) / "archive.zip"
            fetch(download, archive, progress)
            unpack(archive, Path(temporary) / "unpacked")
            source = Path(temporary) / "unpacked" / download.folder
            if not source.is_dir():
                raise CorruptError(f"{download.url}: the archive has no folder {download.folder}")
            source.rename(there)
    return tuple(unpacked)


def fetch(download: Download, target: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Download one file to `target`, which is there afterwards only if its checksum is right.

    Raises:
        ConfigError: the address is not http(s).
        CorruptError: another checksum.
        TerraseekError: the source cannot be reached.
    """
    if not download.url.startswith(("http://", "https://")):
        raise ConfigError(f"{download.url}: only http and https are fetched")
    digest, done = hashlib.md5(usedforsecurity=False), 0
    try:
        with urllib.request.urlopen(download.url, timeout=_TIMEOUT_S) as source, target.open("wb") as sink:
            total = int(source.headers.get("Content-Length") or 0)
            while block := source.read(_BLOCK):
                sink.write(block)
                digest.update(block)
                done += len(block)
                if progress:
                    progress(done, max(total, done))
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        target.unlink(missing_ok=True)
        raise TerraseekError(f"{download.url} cannot be fetched ({error}); try again or get it by hand") from None
    if digest.hexdigest() != download.md5:
        target.unlink()
        raise CorruptError(
            f"{download.url}: {done:,} bytes with checksum {digest.hexdigest()}, expected {download.md5}"
        )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip file whose every name stays inside `folder`; links and bombs are refused.

    Raises:
        CorruptError: no sound zip file, or one that reaches outside or swells beyond reason.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            size = sum(member.file_size for member in packed.infolist())
            if size > _MAX_GROWTH * max(archive.stat().st_size, 1):
                raise CorruptError(f"{archive.name}: would unpack to {size:,} bytes; refused")
            for member in packed.infolist():
                _check_name(archive, member)
            folder.mkdir(parents=True)
            packed.extractall(folder)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise CorruptError(f"{archive.name}: not a sound zip file ({error})") from None


def _check_name(archive: Path, member: zipfile.ZipInfo) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    link = stat.S_ISLNK(member.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or link:
        raise CorruptError(f"{archive.name}: the entry {printable(member.filename)!r} reaches outside; refused")
