"""Hostile inputs, one table: what each is, and what becomes of it. None may stop, hang or enter by a trick."""

from __future__ import annotations

import contextlib
import csv
import inspect
import io
import json
import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio import Affine
from rasterio.control import GroundControlPoint

from terraseek.archive import Archive, Filter, IngestOptions, find_sources, ingest
from terraseek.archive.sources import Source
from terraseek.cli import main
from terraseek.errors import ImageError, NotFoundError, Refused, TerraseekError
from terraseek.geo import ChipConfig, open_raster
from terraseek.images import read_image

from ..archive.test_ingest import FakeEncoder, noise, save_scene

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
SECRET = "secret.tif"

Writer = Callable[[Path], object]


def encoded(form: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RGB).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def data(content: bytes | str) -> Writer:
    return lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content)


def half(form: str) -> Writer:
    return data((content := encoded(form))[: len(content) // 2])


def scene(pixels: np.ndarray, **profile: object) -> Writer:
    return lambda path: save_scene(path, pixels, **profile)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff_header(width: int, height: int) -> bytes:
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 200), (277, 3, 1)]
    tags += [(278, 4, height), (279, 4, width * height % 2**32)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4 + 200)


def gcp_only(path: Path) -> None:
    corners = [(0, 0, 10.0, 50.0), (0, 64, 10.1, 50.0), (64, 0, 10.0, 49.9), (64, 64, 10.1, 49.9)]
    points = [GroundControlPoint(row=r, col=c, x=x, y=y) for r, c, x, y in corners]
    with rasterio.open(
        path, "w", driver="GTiff", width=64, height=64, count=3, dtype="uint16", gcps=points, crs="EPSG:4326"
    ) as out:
        out.write(np.moveaxis(noise(64, 64), -1, 0))


def unplaced(path: Path) -> None:
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        save_scene(path, noise(64, 64), crs=None, transform=None)


def other_overviews(path: Path) -> None:
    save_scene(path, noise(64, 64))
    with rasterio.open(path, "r+") as out:
        out.update_tags(ns="OVERVIEWS", OVERVIEW_FILE="/vsicurl/http://127.0.0.1:9/a.tif")
    Path(f"{path}.aux.xml").unlink(missing_ok=True)


def beside(suffix: str, text: str) -> Writer:
    """A sound scene with a sidecar that names another file."""

    def write(path: Path) -> None:
        save_scene(path, np.full((64, 64, 3), 7, np.uint8))
        Path(f"{path}{suffix}").write_text(text.format(secret=path.parent.parent / SECRET))

    return write


VRT = """<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32618</SRS><VRTRasterBand dataType="Byte" band="1">
<SimpleSource><SourceFilename>{secret}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>
</VRTDataset>"""
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:9/x"/><script>alert(1)</script></svg>'
WMS = "<GDAL_WMS><Service name='TMS'><ServerUrl>http://127.0.0.1:9/${z}</ServerUrl></Service></GDAL_WMS>"

# File name -> how it is made, and how many records it gives: 0 is refused with a reason.
CORPUS: dict[str, tuple[Writer, int]] = {
    "good.jpg": (data(encoded("JPEG")), 1),
    # Nothing, part of something, something else.
    "zero.jpg": (data(b""), 0),
    "zero.png": (data(b""), 0),
    "zero.tif": (data(b""), 0),
    "half.jpg": (half("JPEG"), 0),
    "half.png": (half("PNG"), 0),
    "half.webp": (half("WEBP"), 0),
    "half.tif": (half("TIFF"), 0),
    "text.jpg": (data("not an image"), 0),
    "page.png": (data("<html><script>alert(1)</script></html>"), 0),
    "svg.png": (data(SVG), 0),
    "postscript.jpg": (data("%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run\n"), 0),
    "zip.tif": (data(b"PK\3\4" + bytes(60)), 0),
    "pickle.tif": (data(b"\x80\4\x95" + bytes(60)), 0),
    # Right content under a wrong name, and every way of storing colours.
    "png_inside.jpg": (data(encoded("PNG")), 1),
    "jpeg_inside.tif": (data(encoded("JPEG")), 1),
    "cmyk.jpg": (data(encoded("JPEG", "CMYK")), 1),
    "palette.png": (data(encoded("PNG", "P")), 1),
    "grey.png": (data(encoded("PNG", "L")), 1),
    "alpha.png": (data(encoded("PNG", "RGBA")), 1),
    "bits.png": (data(encoded("PNG", "1")), 1),
    "sixteen.png": (lambda path: Image.fromarray(RNG.integers(0, 65536, (40, 40)).astype(np.uint16)).save(path), 1),
    # Scenes that say odd things about themselves.
    "sixteen.tif": (scene(noise(64, 64)), 1),
    "nan.tif": (scene(np.full((64, 64, 3), np.nan, np.float32)), 0),
    "half_nan.tif": (scene(np.where(np.arange(64)[:, None, None] < 8, np.nan, noise(64, 64)).astype(np.float32)), 1),
    "infinite.tif": (scene(np.full((64, 64, 3), np.inf, np.float32)), 0),
    "nodata.tif": (scene(np.zeros((64, 64, 3), np.uint16), nodata=0), 0),
    "no_crs.tif": (unplaced, 1),
    "gcp_only.tif": (gcp_only, 1),
    "rotated.tif": (scene(noise(64, 64), transform=Affine(7, 7, 5e5, 7, -7, 4e6)), 1),
    "flat.tif": (scene(noise(64, 64), transform=Affine(0, 0, 5e5, 0, 0, 4e6)), 1),
    "complex.tif": (scene(noise(64, 64).astype(np.complex64)), 0),
    # Headers that promise too much.
    "tall.tif": (data(tiff_header(1, 2**31 - 1)), 0),
    "wide.tif": (data(tiff_header(2**31 - 1, 1)), 0),
    "vast.tif": (data(tiff_header(2**31 - 1, 2**31 - 1)), 0),
    "vast.png": (data(png(2**31 - 1, 2**31 - 1, b"")), 0),
    "bomb.png": (data(png(60_000, 60_000, bytes(3_000_000))), 0),
    "bomb.gif": (data(b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + bytes(20) + b";"), 0),
    "bomb.bmp": (
        data(b"BM" + struct.pack("<IHHIIiiHHIIiiII", 80, 0, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0)),
        0,
    ),
    # Files that lead elsewhere.
    "vrt.tif": (data(VRT.format(secret=f"../{SECRET}")), 0),
    "wms.tif": (data(WMS), 0),
    "vsi.jp2": (data("/vsicurl/http://127.0.0.1:9/a.jp2"), 0),
    "overviews.tif": (other_overviews, 0),
    "ovr.tif": (beside(".ovr", VRT), 1),
    "msk.tif": (beside(".msk", VRT), 1),
    "aux.tif": (beside(".aux.xml", "<PAMDataset><Metadata><MDI key='x'>{secret}</MDI></Metadata></PAMDataset>"), 1),
    "dangling.png": (lambda path: path.symlink_to("nowhere.png"), 0),
    "circle.png": (lambda path: path.symlink_to(path.name), 0),
    "device.png": (lambda path: path.symlink_to("/dev/zero"), 0),
    "pipe.png": (os.mkfifo, 0),
    "pipe.tif": (os.mkfifo, 0),
    # Names. A line break cannot be kept in an id or a path; direction and markup are kept and shown escaped.
    "line\nbreak.png": (data(encoded("PNG")), 0),
    "escape\x1b[31m.png": (data(encoded("PNG")), 0),
    "photo\u202egnp.png": (data(encoded("PNG")), 1),
    "<b onclick=x>.png": (data(encoded("PNG")), 1),
    "=cmd()|' '!A0.png": (data(encoded("PNG")), 1),
    "-rf.png": (data(encoded("PNG")), 1),
    "%s{0}$(touch x)`x`;'\"--.png": (data(encoded("PNG")), 1),
    "ä\u0308\U0001f6f0.png": (data(encoded("PNG")), 1),
    os.fsdecode(b"latin\xff1.png"): (data(encoded("PNG")), 0),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile")
    save_scene(root / SECRET, np.full((64, 64, 3), 200, np.uint8))
    (root / "in").mkdir()
    for name, (write, _) in CORPUS.items():
        write(root / "in" / name)
    return root / "in"


def test_the_corpus_comes_in_or_is_named_with_its_reason(corpus: Path, tmp_path: Path) -> None:
    archive = Archive.create(tmp_path / "archive", FakeEncoder())
    report = ingest(archive, FakeEncoder(), corpus, IngestOptions(chip=ChipConfig(size=64)))
    given = {Path(record.source).name for record in archive.get(archive.ids())}
    assert given == {name for name, (_, records) in CORPUS.items() if records}
    assert report.added == len(given)
    refused = len(CORPUS) - len(given)
    assert len(report.refused) == refused
    for item in report.refused:
        assert item.reason
        assert f"{item.source}{item.reason}".isprintable()
    again = ingest(archive, FakeEncoder(), corpus, IngestOptions(chip=ChipConfig(size=64)))
    assert (again.added, again.updated, again.removed, len(again.refused)) == (0, 0, 0, refused)


REASONS = {
    "complex.tif": "take their magnitude first",
    "overviews.tif": "its overviews are another file",
    "tall.tif": "more than 4,194,304 along a side",
    "vast.tif": "more than 4,194,304 along a side",
    "vast.png": "make it a tiled GeoTIFF",
    "bomb.gif": "damaged GIF header",
    "zip.tif": "not an image (it starts with b'PK",
    "zero.tif": "empty file (0 bytes)",
    "half.png": "damaged or truncated PNG",
    "nan.tif": "no valid pixel",
    "dangling.png": "no such file (by the link ",
    "device.png": "not a regular file, not an image file (by the link ",
    "circle.png": "cannot be looked at (Too many levels of symbolic links)",
    "pipe.tif": "not a regular file",
    "line\\nbreak.png": "its name has a control character, which no record can keep; rename it",
    "latin\\udcff1.png": "its name is not valid Unicode, which no record can keep; rename it",
}


@pytest.mark.parametrize("dry_run", [False, True])
def test_reasons_say_what_can_be_done(corpus: Path, tmp_path: Path, dry_run: bool) -> None:
    archive = Archive.create(tmp_path / "archive", FakeEncoder())
    report = ingest(archive, FakeEncoder(), corpus, IngestOptions(chip=ChipConfig(size=64)), dry_run=dry_run)
    told = [str(item) for item in report.refused]
    for name, reason in REASONS.items():
        # A dry run looks at names and at the headers of rasters.
        if not dry_run or name in ("complex.tif", "overviews.tif", "vast.tif", "zero.tif") or "its name" in reason:
            assert [line for line in told if name in line and reason in line], (name, reason)


@contextlib.contextmanager
def one_printable_line() -> Iterator[None]:
    try:
        yield
    except TerraseekError as error:
        if not str(error).isprintable():
            raise AssertionError(f"not one printable line: {error!r}") from error
        raise


@pytest.mark.parametrize("read", [read_image, open_raster])
def test_readers_raise_one_printable_line(corpus: Path, read: Callable[[Path], object]) -> None:
    for name, (_, records) in CORPUS.items():
        if not records:
            # What one reader takes, by its header or as a picture, the ingest refuses by its pixels or its name.
            with contextlib.suppress(ImageError, NotFoundError), one_printable_line():
                read(corpus / name)


def test_no_other_file_is_followed(corpus: Path) -> None:
    for name in ("ovr.tif", "msk.tif", "aux.tif"):
        with open_raster(corpus / name) as raster:
            pixels, valid = raster.read((0, 0, 64, 64), (0, 1, 2), (16, 16))  # type: ignore[arg-type]
        assert (pixels == 7).all(), name
        assert valid.all(), name


def test_the_command_line_survives_the_corpus(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("terraseek.archive.open_archive", lambda uri, *_, **__: (Archive.open(uri), FakeEncoder()))
    uri = str(tmp_path / "archive")
    Archive.create(uri, FakeEncoder())
    add = ["archive", "add", uri, str(corpus), "--chip", "64"]
    assert main([*add, "--dry-run"]) == 5
    assert main(add) == 5
    assert main([*add, "--json"]) == 5
    for form in ("--json", "--geojson", "--csv", "--where=id > ''"):
        assert main(["search", uri, "-k", "100", form]) == 0
    told = capsys.readouterr()
    assert [c for c in told.out + told.err if not c.isprintable() and c != "\n"] == []
    assert "Traceback" not in told.err
    assert main(["search", uri, "-k", "100", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == sum(records > 0 for _, records in CORPUS.values())
    numbers = {"score", "west", "south", "east", "north"}
    texts = [cell for row in rows for name, cell in row.items() if name not in numbers]
    assert not [cell for cell in texts if cell[:1] in tuple("=+-@|%")]


# Folders.


def test_folders_that_go_in_circles_or_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "a" / "b").mkdir(parents=True)
    Image.fromarray(RGB).save(folder / "a" / "b" / "one.png")
    (folder / "a" / "b" / "up").symlink_to(folder)
    (folder / "itself").symlink_to("itself")
    (folder / "named.tif").mkdir()
    (folder / "locked").mkdir()
    (folder / "locked").chmod(0)
    try:
        found = list(find_sources([folder]))
    finally:
        (folder / "locked").chmod(0o755)
    assert [source.path.name for source in found if isinstance(source, Source)] == ["one.png"]
    if os.geteuid():  # root reads everything
        (refused,) = (item for item in found if isinstance(item, Refused))
        assert "cannot be read" in refused.reason


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good").mkdir()
    Image.fromarray(RGB).save(tmp_path / "good" / "one.png")
    (tmp_path / "bad").mkdir()
    scandir = os.scandir

    def failing(path: Path) -> object:
        if Path(path).name == "bad":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    found = list(find_sources([tmp_path]))
    assert [item.reason for item in found if isinstance(item, Refused)] == [
        "this folder cannot be read (Permission denied)"
    ]
    assert len(found) == 2


def test_folders_deeper_than_the_stack(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 150)
    deep.mkdir(parents=True)
    Image.fromarray(RGB).save(deep / "deep.png")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 60)
    try:
        found = list(find_sources([tmp_path]))
    finally:
        sys.setrecursionlimit(limit)
    assert [source.path.name for source in found if isinstance(source, Source)] == ["deep.png"]


# Text that comes with the data.


def test_label_names_with_markup_stay_text(tmp_path: Path) -> None:
    labels = ("<script>alert(1)</script>", "[bold]x[/bold]", "a'; drop table records; --", "\u202etrap")
    archive = Archive.create(tmp_path / "archive", FakeEncoder())
    Image.fromarray(RGB).save(tmp_path / "a.png")
    ingest(archive, FakeEncoder(), [Source.of_file(tmp_path / "a.png", id="a", labels=labels)])
    assert archive.get(["a"])[0].labels == tuple(sorted(labels))
    for label in labels:
        assert archive.count(Filter(labels_all=(label,))) == 1


@pytest.mark.parametrize("name", ["a\0b.png", "a" * 5000 + ".png", "/dev/stdin/x.png", "\ud800.png"])
def test_names_that_no_file_can_have(name: str, tmp_path: Path) -> None:
    archive = Archive.create(tmp_path / "archive", FakeEncoder())
    for path in (name, f"{tmp_path}/{name}", name.replace(".png", ".tif")):
        report = ingest(archive, FakeEncoder(), [path])
        assert (report.added, len(report.refused)) == (0, 1)
        assert str(report.refused[0]).isprintable()
    with pytest.raises(ImageError):
        read_image(name)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"type":' * 100_000, "\ufeff{}", "NaN", json.dumps({"type": "Feature"}), "\0", ""]
)
def test_documents_that_are_no_stac(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    archive = Archive.create(tmp_path / "archive", FakeEncoder())
    report = ingest(archive, FakeEncoder(), [tmp_path / "a.json"])
    assert (report.added, len(report.refused)) == (0, 1)
    assert str(report.refused[0]).isprintable()
