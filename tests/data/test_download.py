from __future__ import annotations

import functools
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from terraseek.data import DATASETS, DatasetSpec, Download, Origin, download_dataset
from terraseek.data.download import fetch, unpack
from terraseek.errors import ConfigError, CorruptError, TerraseekError, UsageError


def zipped(entries: dict[str, bytes], link: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in entries.items():
            packed.writestr(name, data)
        if link:
            member = zipfile.ZipInfo(link)
            member.external_attr = 0o120777 << 16
            packed.writestr(member, "/etc")
    return buffer.getvalue()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    served = tmp_path / "served"
    served.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=served)) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", served
        http.shutdown()
        thread.join()


@pytest.fixture
def offer(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> object:
    """Registers a data set "mini" whose archive the local server has."""
    url, served = server

    def make(data: bytes, md5: str | None = None, path: str = "mini.zip") -> None:
        (served / "mini.zip").write_bytes(data)
        download = Download(url=f"{url}/{path}", md5=md5 or hashlib.md5(data).hexdigest(), folder="Mini")
        origin = Origin(title="Mini", home="here", terms="free", layout="Mini/", downloads=(download,))
        entries = {**DATASETS._entries, "mini": DatasetSpec(origin=origin, load=lambda root: None)}  # type: ignore[arg-type,return-value]
        monkeypatch.setattr(DATASETS, "_entries", entries)

    return make


def test_archive_is_fetched_checked_and_unpacked(offer, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    offer(zipped({"Mini/Images/a.txt": b"hello" * 1000}))
    seen: list[tuple[int, int]] = []
    (folder,) = download_dataset("mini", tmp_path / "out", progress=lambda *done: seen.append(done))
    assert (folder / "Images" / "a.txt").read_bytes() == b"hello" * 1000
    assert list((tmp_path / "out").iterdir()) == [folder]
    assert seen[-1][0] == seen[-1][1] > 0
    with pytest.raises(UsageError, match="exists already"):
        download_dataset("mini", tmp_path / "out")


CORRUPT = {
    "other checksum": ({"data": zipped({"Mini/a": b"1"}), "md5": "0" * 32}, f"expected {'0' * 32}"),
    "no zip": ({"data": b"<html>moved</html>"}, "not a sound zip file"),
    "other folder": ({"data": zipped({"Maxi/a": b"1"})}, "has no folder Mini"),
    "climbs out": ({"data": zipped({"Mini/a": b"1", "../../evil": b"1"})}, "'../../evil' reaches outside"),
    "absolute": ({"data": zipped({"/etc/evil": b"1"})}, "reaches outside"),
    "link": ({"data": zipped({"Mini/a": b"1"}, link="Mini/link")}, "'Mini/link' reaches outside"),
    "bomb": ({"data": zipped({"Mini/a": bytes(10_000_000)})}, "would unpack to 10,000,000 bytes"),
}


@pytest.mark.parametrize("case", CORRUPT)
def test_what_is_not_right_leaves_nothing_behind(offer, tmp_path: Path, case: str) -> None:  # type: ignore[no-untyped-def]
    arguments, message = CORRUPT[case]
    offer(**arguments)
    with pytest.raises(CorruptError, match=message):
        download_dataset("mini", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_unreachable_sources_say_so(offer, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    offer(b"", path="absent.zip")
    with pytest.raises(TerraseekError, match=r"absent\.zip cannot be fetched .*404"):
        download_dataset("mini", tmp_path / "out")


def test_data_sets_without_download_name_their_home(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"DLRSD has no direct download: get it from https://"):
        download_dataset("dlrsd", tmp_path)
    with pytest.raises(ConfigError, match="unknown data set"):
        download_dataset("nope", tmp_path)


def test_only_the_web_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only http and https"):
        fetch(Download(url="file:///etc/hostname", md5="0" * 32, folder="x"), tmp_path / "a")


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    whole = zipped({f"Mini/{i}": bytes(range(256)) for i in range(20)})
    (tmp_path / "a.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptError, match="not a sound zip file"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()
