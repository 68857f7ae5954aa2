from __future__ import annotations

import io
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from terraseek.errors import ImageError, MissingImageError, NotFoundError, exit_code
from terraseek.geo import open_raster
from terraseek.images import (
    GDAL_OPTIONS,
    check_image,
    decode_image,
    printable,
    read_image,
    refuse,
    resize_image,
    stretch_to_8bit,
    thumbnail,
)

RNG = np.random.default_rng(0)
SMOOTH = np.stack(np.broadcast_arrays(np.arange(48)[:, None] * 4, np.arange(64)[None] * 3, 120), -1).astype(np.uint8)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"\0" * 99)]
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def raster(driver: str, values: np.ndarray, **options: object) -> bytes:
    bands, height, width = values.shape
    profile = {"driver": driver, "width": width, "height": height, "count": bands, "dtype": values.dtype, **options}
    with warnings.catch_warnings(), rasterio.MemoryFile() as memory:
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with memory.open(**profile) as sink:
            sink.write(values)
        return bytes(memory.read())


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP", "PPM"])
def test_lossless_formats_come_back_equal(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(encoded(Image.fromarray(SMOOTH), form))
    read = read_image(path)
    np.testing.assert_array_equal(read, SMOOTH)
    assert read.flags.writeable


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "JPEG2000"])
def test_lossy_formats_come_back_close(form: str) -> None:
    read = decode_image(encoded(Image.fromarray(SMOOTH), form), "a")
    assert np.abs(read.astype(int) - SMOOTH).mean() < 6


@pytest.mark.parametrize(("mode", "form"), [("L", "PNG"), ("1", "PNG"), ("P", "PNG"), ("P", "GIF"), ("CMYK", "JPEG")])
def test_other_modes_become_rgb(mode: str, form: str) -> None:
    image = Image.fromarray(SMOOTH).convert(mode)
    read = decode_image(encoded(image, form), "a")
    assert read.shape == SMOOTH.shape
    assert np.abs(read.astype(int) - np.asarray(image.convert("RGB"))).mean() < 6


def test_alpha_lies_over_black() -> None:
    rgba = np.dstack([np.full((4, 4, 3), 200, np.uint8), np.tile(np.uint8([0, 255, 128, 255]), (4, 1))])
    read = decode_image(encoded(Image.fromarray(rgba), "PNG"), "a")
    assert read[0, :, 0].tolist() == [0, 200, 100, 200]
    grey_alpha = Image.merge("LA", [Image.new("L", (3, 3), 90), Image.new("L", (3, 3), 0)])
    assert decode_image(encoded(grey_alpha, "PNG"), "a").max() == 0
    palette = Image.fromarray(np.zeros((3, 3), np.uint8), "P")
    palette.putpalette([250, 0, 0] * 256)
    assert decode_image(encoded(palette, "PNG", transparency=bytes([0, 255])), "a").max() == 0


def test_16_bit_grey_uses_its_own_range() -> None:
    # 12-bit sensor values: without the stretch all pixels would be nearly black.
    values = np.linspace(1000, 3000, 400).astype(np.uint16).reshape(20, 20)
    for form in ("PNG", "TIFF"):
        read = decode_image(encoded(Image.fromarray(values), form), "a")
        assert read.min() == 0
        assert read.max() == 255
        assert np.ptp(read, axis=-1).max() == 0
        assert abs(int(np.median(read)) - 128) < 3


@pytest.mark.parametrize(("driver", "options"), [("PNG", {}), ("GTiff", {"photometric": "RGB"})])
def test_16_bit_colour_keeps_its_low_byte_and_its_hue(driver: str, options: dict[str, object]) -> None:
    red = np.linspace(100, 1100, 600).astype(np.uint16).reshape(20, 30)
    read = decode_image(raster(driver, np.stack([red, red // 2, red // 4]), **options), "a")
    assert read.shape == (20, 30, 3)
    assert read[-1, -1, 0] == 255
    assert read[-1, -1, 0] > read[-1, -1, 1] > read[-1, -1, 2]


def test_16_bit_colour_is_read_under_the_same_rules_as_rasters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    class Watched(rasterio.MemoryFile):
        def open(self, *arguments: object, **options: object) -> object:
            seen.update(rasterio.env.getenv())
            return super().open(*arguments, **options)

    path = tmp_path / "a.tif"
    values = np.broadcast_to(np.arange(48, dtype=np.uint16)[:, None] * 300, (3, 48, 64))
    path.write_bytes(raster("GTiff", values, photometric="RGB"))
    monkeypatch.setattr(rasterio, "MemoryFile", Watched)
    read_image(path)
    assert GDAL_OPTIONS.items() <= seen.items()
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(path, "r+") as out:
        out.update_tags(ns="OVERVIEWS", OVERVIEW_FILE="/etc/passwd")
    with pytest.raises(ImageError, match="overviews are another file"):
        read_image(path)


def test_the_header_tells_what_is_a_picture(tmp_path: Path) -> None:
    place = np.ones((3, 32, 48))
    contents = {
        "rgb": (raster("GTiff", place.astype(np.uint8), photometric="RGB"), True),
        "deep": (raster("GTiff", place.astype(np.uint16), photometric="RGB"), True),
        "deep.png": (raster("PNG", place.astype(np.uint16)), True),
        "grey": (raster("GTiff", place[:1].astype(np.uint16)), True),
        "float": (raster("GTiff", place[:1].astype(np.float32)), False),
        "float rgb": (raster("GTiff", place.astype(np.float32), photometric="RGB"), False),
        "seven bands": (raster("GTiff", np.ones((7, 32, 48), np.uint16)), False),
        "bomb": (png_header(60_000, 60_000), False),
        "text": (b"hello", False),
    }
    for name, (data, is_picture) in contents.items():
        path = tmp_path / name
        path.write_bytes(data)
        for reads in (check_image, read_image):
            if is_picture:
                reads(path)
            else:
                with pytest.raises(ImageError):
                    reads(path)
    (tmp_path / "torn").write_bytes(contents["rgb"][0][:400])
    check_image(tmp_path / "torn")


def test_32_bit_integers_are_stretched() -> None:
    values = np.arange(100, dtype=np.int32).reshape(10, 10) * 100_000
    assert decode_image(encoded(Image.fromarray(values), "TIFF"), "a").max() == 255


def test_the_suffix_plays_no_part(tmp_path: Path) -> None:
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encoded(Image.fromarray(SMOOTH), "PNG"))
    np.testing.assert_array_equal(read_image(path), SMOOTH)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(SMOOTH)
    upright = decode_image(encoded(image, "WEBP", exif=exif, lossless=True), "a")
    raw = SMOOTH
    expected = {
        1: raw,
        2: raw[:, ::-1],
        3: raw[::-1, ::-1],
        4: raw[::-1],
        5: raw.swapaxes(0, 1),
        6: np.rot90(raw, -1),
        7: np.rot90(raw, 2).swapaxes(0, 1),
        8: np.rot90(raw),
    }[orientation]
    np.testing.assert_array_equal(upright, expected)


HOSTILE = {
    "zero bytes": (b"", "empty file (0 bytes)"),
    "text": (b"Dear all, this is no image", "not an image (it starts with b'Dear all')"),
    "vrt": (b"<VRTDataset rasterXSize='1'>", "not an image"),
    "riff that is sound": (b"RIFF\0\0\0\0WAVEfmt ", "not an image"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "truncated jpeg": (encoded(Image.fromarray(SMOOTH), "JPEG")[:-300], "damaged or truncated JPEG"),
    "truncated png": (encoded(Image.fromarray(SMOOTH), "PNG")[:-40], "damaged or truncated PNG"),
    "truncated tiff": (encoded(Image.fromarray(SMOOTH), "TIFF")[:3000], "TIFF"),
    "magic only": (b"\xff\xd8\xff", "damaged JPEG header"),
    "1 x 2^31": (png_header(1, 2**31), "more pixels than are ever decoded"),
    "2^31 - 1 squared": (png_header(2**31 - 1, 2**31 - 1), "pixels"),
    "bomb": (png_header(20_000, 20_000), "pixels"),
    "bomb that Pillow only warns of": (png_header(10_000, 9_000), "truncated PNG"),
    "float tiff": (encoded(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"), "add it as a raster"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_in_one_line(tmp_path: Path, case: str) -> None:
    data, reason = HOSTILE[case]
    path = tmp_path / "case.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize("options", [{"tiled": True, "blockxsize": 16, "blockysize": 16}, {}])
def test_a_many_band_tiff_belongs_in_a_raster_source(options: dict[str, object]) -> None:
    data = raster("GTiff", RNG.integers(0, 9000, (12, 32, 32)).astype(np.uint16), **options)
    with pytest.raises(ImageError, match="add it as a raster"):
        decode_image(data, "s2.tif")


def test_size_is_judged_before_decoding() -> None:
    with pytest.raises(ImageError, match="64 x 48 pixels, at most 1,000 are read"):
        decode_image(encoded(Image.fromarray(SMOOTH), "PNG"), "a", max_pixels=1000)


def test_things_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    cases = {
        tmp_path / "pipe.jpg": "not a regular file",
        tmp_path / "folder.jpg": "a folder",
        tmp_path / "absent.jpg": "no such file",
        "nul\0name.jpg": "not a usable file name",
        "x" * 5000: "cannot be opened",
    }
    for path, reason in cases.items():
        with pytest.raises(ImageError, match=reason):
            read_image(path)


def test_names_cannot_trick_the_reader_of_a_message(tmp_path: Path) -> None:
    path = tmp_path / "photo\u202egpj.txt"
    path.write_bytes(b"")
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert "\u202e" not in str(caught.value)
    assert "\\u202e" in str(caught.value)
    refused = refuse(path, caught.value)
    assert refused.reason == "empty file (0 bytes)"
    assert refused.source == printable(path)
    undecodable = os.fsdecode(b"caf\xe9.jpg")
    assert printable(undecodable) == "caf\\udce9.jpg"


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP"]), st.data())
def test_flipped_bytes_give_pixels_or_an_image_error(form: str, data: st.DataObject) -> None:
    blob = bytearray(encoded(Image.fromarray(SMOOTH[:16, :16]), form))
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode_image(bytes(blob), "fuzz", max_pixels=1_000_000)
    except ImageError:
        return
    assert image.dtype == np.uint8
    assert image.shape[2] == 3


def test_the_several_picture_jpegs_of_drones_give_their_first_picture() -> None:
    image = Image.fromarray(SMOOTH)
    read = decode_image(encoded(image, "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))]), "a")
    assert read.shape == SMOOTH.shape


def test_threads_do_not_disturb_each_other() -> None:
    good, bad = encoded(Image.fromarray(SMOOTH), "PNG"), HOSTILE["truncated jpeg"][0]
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                assert decode_image(good, "a").shape == SMOOTH.shape
                with pytest.raises(ImageError):
                    decode_image(bad, "b")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_stretch_of_a_constant_image_keeps_its_share() -> None:
    assert stretch_to_8bit(np.zeros((3, 3), np.uint16)).max() == 0
    assert stretch_to_8bit(np.full((3, 3), 65535, np.uint16)).min() == 255


@pytest.mark.parametrize("form", ["WEBP", "JPEG"])
def test_thumbnail_keeps_the_shape(form: str) -> None:
    data = thumbnail(SMOOTH, 32, form=form)  # type: ignore[arg-type]
    small = decode_image(data, "thumb")
    assert small.shape == (24, 32, 3)
    assert len(data) < 2000
    assert decode_image(thumbnail(SMOOTH[:8, :8], 32, form=form), "t").shape == (8, 8, 3)  # type: ignore[arg-type]


def triangle_weights(length: int, size: int) -> np.ndarray:
    """Rows of the antialiased bilinear filter, written out: a triangle as wide as the scale, at pixel centres."""
    scale = length / size
    reach = max(scale, 1.0)
    weights = np.zeros((size, length))
    for out in range(size):
        centre = (out + 0.5) * scale
        for pixel in range(length):
            weights[out, pixel] = max(0.0, 1 - abs(pixel + 0.5 - centre) / reach)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize(("height", "width", "size"), [(40, 52, 16), (7, 30, 9), (5, 5, 12), (64, 64, 1)])
def test_resize_is_the_antialiased_triangle_filter(height: int, width: int, size: int) -> None:
    image = RNG.random((height, width, 5)).astype(np.float32)
    rows, columns = triangle_weights(height, size), triangle_weights(width, size)
    expected = np.einsum("sh,hwb,tw->stb", rows, image, columns)
    np.testing.assert_allclose(resize_image(image, size), expected, atol=1e-5)


def test_resize_keeps_bytes_and_treats_every_band_alike() -> None:
    image = RNG.integers(0, 256, (50, 33, 3), dtype=np.uint8)
    small = resize_image(image, 20)
    assert small.dtype == np.uint8
    one_by_one = np.concatenate([resize_image(image[..., b : b + 1], 20) for b in range(3)], axis=-1)
    np.testing.assert_array_equal(small, one_by_one)
    np.testing.assert_allclose(small, resize_image(image.astype(np.float32), 20), atol=1.0)
    assert resize_image(image.astype(np.uint16), 20).dtype == np.float32


def test_resize_crops_the_middle_of_the_scaled_image() -> None:
    image = RNG.integers(0, 256, (10, 30, 3), dtype=np.uint8)
    whole = np.asarray(Image.fromarray(image).resize((15, 5), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize_image(image, 5, "shorter-crop"), whole[:, 5:10])


def test_resize_leaves_an_image_of_the_right_size_alone() -> None:
    image = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert resize_image(image, 8) is image


def test_a_missing_image_is_both_no_image_and_not_found(tmp_path: Path) -> None:
    with pytest.raises(MissingImageError, match=r"absent\.jpg: no such file$") as caught:
        read_image(tmp_path / "absent.jpg")
    assert isinstance(caught.value, NotFoundError)
    assert exit_code(caught.value) == 3


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="needs a file that opens and cannot be read")
@pytest.mark.parametrize("read", [read_image, check_image, open_raster])
def test_a_file_whose_bytes_cannot_be_read_is_no_image(read: Callable[[str], object]) -> None:
    with pytest.raises(ImageError, match=r"^/proc/self/mem: cannot be read \(Input/output error\)$"):
        read("/proc/self/mem")
