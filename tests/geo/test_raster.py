"""Opening what may be anything, and reading exactly what is there."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp

from terraseek.errors import ImageError, NotFoundError, UsageError
from terraseek.geo import RasterLimits, Window, default_bands, find_bands, open_raster

Write = Callable[..., Path]


def vrt_over(target: Path, side: int) -> str:
    source = f"<SimpleSource><SourceFilename>{target}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
    band = f'<VRTRasterBand dataType="Byte" band="1">{source}</VRTRasterBand>'
    return f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}">{band}</VRTDataset>'


def classic_tiff(width: int, height: int) -> bytes:
    """A well-formed header of a TIFF whose one strip is 16 bytes."""
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    entries += [(273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, 16)]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<I", 24) + bytes(16) + struct.pack("<H", len(entries)) + directory + bytes(4)


def test_reads_exactly_the_window(write_raster: Write, pixels: np.ndarray) -> None:
    with open_raster(write_raster("a.tif", pixels)) as raster:
        assert (raster.width, raster.height, raster.dtype) == (128, 96, np.uint16)
        got, valid = raster.read(Window(5, 7, 30, 20), (2, 0))
    np.testing.assert_array_equal(got, pixels[7:27, 5:35][..., [2, 0]])
    assert valid.all()


def test_one_band_may_be_read_three_times(write_raster: Write, pixels: np.ndarray) -> None:
    with open_raster(write_raster("grey.tif", pixels[..., 0])) as raster:
        assert default_bands(raster) == (0, 0, 0)
        got, _ = raster.read(Window(0, 0, 128, 96), (0, 0, 0))
    np.testing.assert_array_equal(got, np.repeat(pixels[..., :1], 3, axis=-1))


def test_jpeg_2000_is_read(write_raster: Write, pixels: np.ndarray) -> None:
    path = write_raster("a.jp2", pixels, driver="JP2OpenJPEG", REVERSIBLE="YES", QUALITY="100")
    with open_raster(path) as raster:
        got, _ = raster.read(Window(0, 0, 128, 96), (0, 1, 2))
    np.testing.assert_array_equal(got, pixels)


def test_the_first_bytes_decide_not_the_suffix(write_raster: Write, pixels: np.ndarray) -> None:
    path = write_raster("a.tif", pixels)
    with open_raster(path.rename(path.with_suffix(".jp2"))) as raster:
        assert raster.width == 128


def test_shrinking_averages_and_leaves_nodata_out(write_raster: Write) -> None:
    pixels = np.array([[10, 30, 0, 0], [10, 30, 0, 80]], dtype=np.uint16)
    with open_raster(write_raster("a.tif", pixels, nodata=0)) as raster:
        got, valid = raster.read(Window(0, 0, 4, 2), (0,), (1, 2))
    assert got[..., 0].tolist() == [[20, 80]]
    assert valid.tolist() == [[True, True]]


def test_overviews_are_used(write_raster: Write, pixels: np.ndarray) -> None:
    path = write_raster("a.tif", np.kron(pixels[:64, :64], np.ones((8, 8, 1), np.uint16)), overviews=(8,), tiled=True)
    with rasterio.open(path, "r+", OVERVIEW_LEVEL=0) as overview:
        overview.write(np.full((3, 64, 64), 9, np.uint16))  # only a read of the overview can see these
    with open_raster(path) as raster:
        assert raster.overviews == (8,)
        assert (raster.read(Window(0, 0, 512, 512), (0, 1, 2), (64, 64))[0] == 9).all()
        assert (raster.read(Window(0, 0, 512, 512), (0, 1, 2))[0] != 9).any()


@pytest.mark.parametrize("nodata", [0, 7])
def test_a_pixel_is_valid_if_any_band_is(write_raster: Write, nodata: int) -> None:
    pixels = np.full((2, 2, 3), nodata, np.uint8)
    pixels[0, 1] = (nodata, 50, nodata)
    pixels[1, 1] = 60
    with open_raster(write_raster("a.tif", pixels, nodata=nodata)) as raster:
        _, valid = raster.read(Window(0, 0, 2, 2), (0, 1, 2))
        _, valid_of_first = raster.read(Window(0, 0, 2, 2), (0,))
    assert valid.tolist() == [[False, True], [False, True]]
    assert valid_of_first.tolist() == [[False, False], [False, True]]


def test_nan_and_infinity_are_not_valid(write_raster: Write) -> None:
    pixels = np.array([[1.5, np.nan], [np.inf, -2]], dtype=np.float32)
    for nodata in (None, np.nan, -2):
        with open_raster(write_raster("a.tif", pixels, nodata=nodata)) as raster:
            _, valid = raster.read(Window(0, 0, 2, 2), (0,))
        assert valid.tolist() == [[True, False], [False, nodata != -2]]


def test_alpha_is_a_mask_and_not_a_colour(write_raster: Write) -> None:
    pixels = np.full((2, 2, 4), 90, np.uint8)
    pixels[..., 3] = [[255, 0], [0, 255]]
    colours = [ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.alpha]
    with open_raster(write_raster("a.tif", pixels, colours=colours)) as raster:
        assert default_bands(raster) == (2, 1, 0)
        _, valid = raster.read(Window(0, 0, 2, 2), (0, 1, 2))
    assert valid.tolist() == [[True, False], [False, True]]


def test_bands_by_name_and_by_number(write_raster: Write, pixels: np.ndarray) -> None:
    path = write_raster("a.tif", pixels)
    with rasterio.open(path, "r+") as out:
        out.descriptions = ("B04", "B03", "B02")
    with open_raster(path) as raster:
        assert find_bands(raster, ("B02", "1")) == (2, 0)
        with pytest.raises(UsageError, match=r"has no band 'B08'; it has B04, B03, B02"):
            find_bands(raster, ("B08",))
        with pytest.raises(UsageError, match=r"has no bands 'B08', '9'; it has B04, B03, B02"):
            find_bands(raster, ("B08", "B04", "9", "B08"))


def test_georeference_by_transform_gcps_or_none(write_raster: Write, pixels: np.ndarray) -> None:
    with open_raster(write_raster("plain.tif", pixels)) as raster:
        assert raster.georeference is not None
        straight = raster.georeference.footprint(0, 0, 128, 96)
    corners = [(0, 0), (0, 128), (96, 0), (96, 128)]
    points = [GroundControlPoint(row, column, 5e5 + 10 * column, 4e6 - 10 * row) for row, column in corners]
    with open_raster(write_raster("gcps.tif", pixels, gcps=(points, "EPSG:32618"))) as raster:
        assert raster.georeference is not None
        placed = raster.georeference.footprint(0, 0, 128, 96)
    assert straight is not None
    assert placed is not None
    np.testing.assert_allclose(placed.bounds, straight.bounds, atol=1e-9)
    with open_raster(write_raster("nowhere.tif", pixels, crs=None, transform=None)) as raster:
        assert raster.georeference is None
    local = 'LOCAL_CS["workshop",UNIT["metre",1]]'
    with open_raster(write_raster("local.tif", pixels, crs=local)) as raster:
        assert raster.georeference is None


# What must not get in.


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        open_raster(tmp_path / "none.tif")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes"),
        (b"hello", "neither TIFF nor JPEG 2000"),
        (b"\xff\xd8\xff\xe0 JFIF", "neither TIFF nor JPEG 2000"),
        (b"II*\0\x10\0\0\0", "damaged or truncated"),
        (b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftyp", "damaged or truncated"),
    ],
)
def test_what_is_no_raster_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bad.tif"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        open_raster(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["/vsicurl/http://example.org/a.tif", "/vsizip/a.zip/a.tif", "http://example.org/a.tif"]
)
def test_virtual_file_systems_are_no_files(name: str) -> None:
    with pytest.raises(NotFoundError):
        open_raster(name)


def test_folders_pipes_and_unusable_names(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    for path in (tmp_path, tmp_path / "pipe.tif", "a\0.tif", "a\udcff" * 2000):
        with pytest.raises(ImageError):
            open_raster(path)


def test_a_vrt_is_not_followed_under_any_name(write_raster: Write, tmp_path: Path) -> None:
    secret = write_raster("secret.tif", np.full((64, 64), 200, np.uint8))
    for name in ("a.tif", "a.vrt", "a.jp2"):
        (tmp_path / name).write_text(vrt_over(secret, 64))
        with pytest.raises(ImageError, match="neither TIFF nor JPEG 2000"):
            open_raster(tmp_path / name)


@pytest.mark.parametrize("sidecar", [".ovr", ".msk", ".aux.xml"])
def test_sidecars_do_not_bring_other_files_in(write_raster: Write, tmp_path: Path, sidecar: str) -> None:
    path = write_raster("a.tif", np.full((512, 512), 7, np.uint8))
    secret = write_raster("secret.tif", np.full((256, 256), 0 if sidecar == ".msk" else 200, np.uint8))
    text = vrt_over(secret, 512 if sidecar == ".msk" else 256)
    if sidecar == ".aux.xml":
        (tmp_path / "secret.vrt").write_text(text)
        item = f'<MDI key="OVERVIEW_FILE">{tmp_path / "secret.vrt"}</MDI>'
        text = f'<PAMDataset><Metadata domain="OVERVIEWS">{item}</Metadata></PAMDataset>'
    Path(f"{path}{sidecar}").write_text(text)
    with open_raster(path) as raster:
        assert raster.overviews == ()
        got, valid = raster.read(Window(0, 0, 512, 512), (0,), (64, 64))
    assert (got == 7).all()
    assert valid.all()


def test_a_tag_naming_other_overviews_is_refused(write_raster: Write, tmp_path: Path) -> None:
    secret = write_raster("secret.tif", np.full((256, 256), 200, np.uint8))
    path = write_raster("a.tif", np.full((512, 512), 7, np.uint8))
    with rasterio.open(path, "r+") as out:
        out.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(secret))
    Path(f"{path}.aux.xml").unlink(missing_ok=True)
    with rasterio.open(path) as plain:  # GDAL left to itself does follow it
        assert (plain.read(1, out_shape=(64, 64)) == 200).all()
    with pytest.raises(ImageError, match="overviews are another file"):
        open_raster(path)


@pytest.mark.parametrize(("width", "height"), [(1, 2**31 - 1), (2**31 - 1, 1), (1, 2**31), (2**22, 2**22)])
def test_headers_that_claim_too_much_are_refused_at_once(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "bomb.tif"
    path.write_bytes(classic_tiff(width, height))
    with pytest.raises(ImageError) as caught:
        open_raster(path)
    assert str(path) in str(caught.value)


def test_limits(write_raster: Write, pixels: np.ndarray) -> None:
    path = write_raster("a.tif", pixels)
    for limits, reason in (
        (RasterLimits(max_side=127), "128 x 96 pixels"),
        (RasterLimits(max_pixels=96 * 128 - 1), "128 x 96 pixels"),
        (RasterLimits(max_bands=2), "3 bands, at most 2"),
        (RasterLimits(max_block_bytes=1000), "rewrite it in tiles"),
    ):
        with pytest.raises(ImageError, match=reason):
            open_raster(path, limits=limits)
    with open_raster(path, limits=RasterLimits(max_side=128, max_pixels=96 * 128, max_bands=3)) as raster:
        assert raster.height == 96


def test_complex_samples_are_refused(write_raster: Write) -> None:
    path = write_raster("sar.tif", np.ones((4, 4), np.complex64))
    with pytest.raises(ImageError, match="complex64"):
        open_raster(path)


def test_a_file_cut_off_before_its_overviews(write_raster: Write) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8)
    path = write_raster("a.tif", noise, tiled=True, blockxsize=256, blockysize=256, overviews=(2, 4))
    path.write_bytes(path.read_bytes()[:500_000])
    with pytest.raises(ImageError, match=r"a\.tif: damaged or truncated GTiff"):
        open_raster(path)


def test_a_truncated_file_reads_up_to_the_tear(write_raster: Write, pixels: np.ndarray) -> None:
    # The directory comes first in a COG-like file: cutting the end off leaves a header that opens.
    path = write_raster("a.tif", np.tile(pixels, (8, 8, 1)), tiled=True, blockxsize=64, blockysize=64)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with open_raster(path) as raster:
        np.testing.assert_array_equal(raster.read(Window(0, 0, 64, 64), (0, 1, 2))[0], pixels[:64, :64])
        with pytest.raises(ImageError, match="damaged or truncated") as caught:
            raster.read(Window(0, raster.height - 64, 64, 64), (0, 1, 2))
    assert "\n" not in str(caught.value)


def test_nothing_of_the_outer_transform_is_lost(write_raster: Write, pixels: np.ndarray) -> None:
    transform = Affine(0.001, 0, 3, 0, -0.002, 50)
    with open_raster(write_raster("a.tif", pixels, crs="EPSG:4326", transform=transform)) as raster:
        assert raster.georeference is not None
        assert raster.georeference.transform == transform
