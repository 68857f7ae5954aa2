"""Reading image files that may be anything: safely, to 8-bit RGB, or with one line that says why not.

What comes out is always (H, W, 3) uint8. The rules, the same wherever an image enters terraseek:

    palette, grey, 1 bit, CMYK, YCbCr   converted to RGB
    alpha (LA, RGBA, transparent palette)   laid over black, the colour of missing pixels in mosaics
    integers above 8 bit    stretched linearly from the image's own 2nd..98th percentile, all bands together
    EXIF orientation        applied (drones write it)
    several frames          the first one

Float or many-band TIFFs are not pictures but measurements: they are refused here and belong in a raster source,
where band choice and scaling are declared.
"""

from __future__ import annotations

import io
import stat
import threading
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from .errors import ImageError, MissingImageError, Refused
from .typing import ImageArray, IntArray

__all__ = [
    "AS_RASTER",
    "GDAL_OPTIONS",
    "IMAGE_SUFFIXES",
    "Fit",
    "check_image",
    "decode_image",
    "open_regular",
    "printable",
    "read_image",
    "refuse",
    "resize_image",
    "stretch_to_8bit",
    "thumbnail",
]

Fit: TypeAlias = Literal["squash", "shorter-crop"]
"""How an image becomes square: all of it with its aspect lost, or its middle."""

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".jp2", ".ppm", ".pgm")
)
"""Suffixes (lower case) by which folders are searched for images. What a file is, its first bytes decide."""

GDAL_OPTIONS: dict[str, str | int] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no sidecars: GDAL opens them with any driver it has
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_CACHEMAX": 64,  # MiB; the default is 5 % of the machine's memory
    "GDAL_MAX_DATASET_POOL_SIZE": 64,
}
"""What GDAL is held to wherever terraseek opens a file with it."""

_MAX_PIXELS = 178_956_970  # twice Image.MAX_IMAGE_PIXELS: where Pillow itself refuses

# First bytes -> Pillow formats that may open the file. Nothing else is tried: Pillow has plugins (EPS, for one)
# that start other programs.
_MAGIC: tuple[tuple[bytes, tuple[str, ...]], ...] = (
    (b"\xff\xd8\xff", ("JPEG",)),  # whose plugin also opens the several-picture JPEGs of drones (MPO)
    (b"\x89PNG\r\n\x1a\n", ("PNG",)),
    (b"II*\0", ("TIFF",)),
    (b"MM\0*", ("TIFF",)),
    (b"II+\0", ("TIFF",)),
    (b"MM\0+", ("TIFF",)),
    (b"RIFF", ("WEBP",)),
    (b"BM", ("BMP",)),
    (b"GIF8", ("GIF",)),
    (b"\0\0\0\x0cjP  ", ("JPEG2000",)),
    (b"\xff\x4f\xff\x51", ("JPEG2000",)),
    (b"P4", ("PPM",)),
    (b"P5", ("PPM",)),
    (b"P6", ("PPM",)),
)

# EXIF orientation -> the transposition that makes the picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

AS_RASTER = "add it as a raster"
"""What the reason says where a file is a TIFF that may be no picture and still a raster."""
_FLOAT = f"float samples; {AS_RASTER}"
_TILED = "if they are there, make it a tiled GeoTIFF and add that as a raster"
_SAMPLE_FORMAT = 339  # the TIFF tag; 3 is IEEE floating point

# warnings.catch_warnings swaps the interpreter's global filters, so only one thread at a time may be inside it.
_QUIET = threading.Lock()


def read_image(path: str | Path, *, max_pixels: int = _MAX_PIXELS) -> NDArray[np.uint8]:
    """Read one image file into (H, W, 3) uint8 RGB by the rules of this module.

    Args:
        path: a regular file; its suffix plays no part.
        max_pixels: larger images are refused on the size in their header, before anything is decoded.

    Raises:
        ImageError: ``<path>: <reason>`` for whatever is not such an image: empty, truncated, text, too big; as
            `MissingImageError` where there is no such file.
    """
    name = printable(path)
    with open_regular(path, name) as file:
        return _decode(file, name, max_pixels)


def check_image(path: str | Path, *, max_pixels: int = _MAX_PIXELS) -> None:
    """Look at an image file's header only: whether `read_image` would take it, were its pixels whole.

    Raises:
        ImageError: as `read_image`, except for damage behind the header.
    """
    name = printable(path)
    with open_regular(path, name) as file, _decoding(name, formats := _sniff(file, name)):
        picture, _ = _open(file, formats)
        with picture:
            _check_size(picture, name, max_pixels)
            if not _is_deep_colour(picture):
                _refuse_float(picture)
            elif picture.format == "TIFF" and 3 in picture.tag_v2.get(_SAMPLE_FORMAT, ()):  # type: ignore[attr-defined]
                raise ValueError(_FLOAT)


def decode_image(data: bytes, name: str, *, max_pixels: int = _MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode image bytes into (H, W, 3) uint8 RGB; `name` is what an ImageError calls them.

    Raises:
        ImageError: as `read_image`.

    Examples:
        >>> decode_image(b"hello", "upload")
        Traceback (most recent call last):
        terraseek.errors.ImageError: upload: not an image (it starts with b'hello')
    """
    return _decode(io.BytesIO(data), printable(name), max_pixels)


def thumbnail(
    image: NDArray[np.uint8], size: int = 128, *, form: Literal["WEBP", "JPEG"] = "WEBP", quality: int = 80
) -> bytes:
    """Encode `image`, (H, W, 3) uint8, as a small picture whose longer side is at most `size` pixels."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    # First by a whole number, which takes a tenth of the time: half of a 256-pixel chip is such a thumbnail already.
    picture.thumbnail((size, size), Image.Resampling.BICUBIC, reducing_gap=1.0)
    buffer = io.BytesIO()
    picture.save(buffer, form, quality=quality)
    return buffer.getvalue()


def resize_image(image: ImageArray, size: int, fit: Fit = "squash") -> ImageArray:
    """Resample `image`, (H, W, B) of any band count and numeric type, to (size, size, B).

    The one resampling of terraseek, so that the pixels a model is trained on are those it is searched with: Pillow's
    bilinear filter, widened when shrinking (antialiased). uint8 stays uint8, rounded; every other type becomes
    float32. An image that already has the size comes back as it is.

    Args:
        image: pixels, H and W at least 1.
        size: side of the result, in pixels.
        fit: "squash" scales both sides; "shorter-crop" scales the shorter side to `size` and takes the middle.

    Examples:
        >>> resize_image(np.array([[[0], [100]], [[100], [200]]], dtype=np.uint8), 1).tolist()
        [[[100]]]
    """
    height, width, bands = image.shape
    if image.dtype != np.uint8:
        image = image.astype(np.float32, copy=False)
    if (height, width) == (size, size):
        return image
    side = min(height, width)
    left, top = ((width - side) / 2, (height - side) / 2) if fit == "shorter-crop" else (0.0, 0.0)
    box = (left, top, width - left, height - top)

    def resample(plane: ImageArray) -> ImageArray:
        picture = Image.fromarray(np.ascontiguousarray(plane))
        return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR, box=box))

    if image.dtype == np.uint8 and bands == 3:  # three planes in one go, the same bytes as one by one
        return resample(image)
    return np.stack([resample(image[..., band]) for band in range(bands)], axis=-1)


def stretch_to_8bit(values: IntArray) -> NDArray[np.uint8]:
    """Map integers linearly to 0..255 so that the 2nd percentile becomes 0 and the 98th 255.

    A constant image keeps its share of the type's range, so that blank stays blank.

    >>> stretch_to_8bit(np.array([[100, 300], [500, 300]], dtype=np.uint16)).tolist()
    [[0, 128], [255, 128]]
    """
    low, high = np.percentile(values, (2, 98))
    if high <= low:
        low, high = 0.0, float(np.iinfo(values.dtype).max)
    scaled = (values.astype(np.float32) - low) * (255.0 / (high - low))
    stretched: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return stretched


def printable(name: object) -> str:
    r"""The name as text that is safe to show: control, bidirectional and undecodable characters are escaped.

    Spaces of all widths stay: captions have them.

    >>> printable("photo\u202egpj.exe"), printable("a\0b")
    ('photo\\u202egpj.exe', 'a\\x00b')
    """
    text = str(name)
    if text.isprintable():
        return text
    shown = (c if c.isprintable() or unicodedata.category(c) == "Zs" else _escaped(c) for c in text)
    return "".join(shown)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def refuse(source: str | Path, error: ImageError) -> Refused:
    """What a batch notes of an image it left out: the reason without the name said twice."""
    name = printable(source)
    return Refused(source=name, reason=str(error).removeprefix(f"{name}: "))


@contextmanager
def open_regular(path: str | Path, name: str, kind: str = "an image file") -> Iterator[BinaryIO]:
    """Open a regular file to read its bytes, or say in one line why that cannot be.

    Args:
        path: of the file.
        name: what messages call it.
        kind: what it should be.

    Raises:
        MissingImageError: there is no such file.
        ImageError: it is a folder, a pipe, or may not be opened; its name cannot be that of a file; reading it fails.
    """
    try:
        path = Path(path)
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise ImageError(f"{name}: {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}, not {kind}")
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise MissingImageError(f"{name}: no such file") from None
    except OSError as error:
        raise ImageError(f"{name}: cannot be opened ({error.strerror or error})") from None
    except ValueError as error:  # a NUL in the name, or a lone surrogate
        raise ImageError(f"{name}: not a usable file name ({error})") from None
    with file:
        try:
            yield file
        except OSError as error:  # a bad sector, a share that went away: one file stops no batch
            raise ImageError(f"{name}: cannot be read ({error.strerror or error})") from None


def _decode(file: BinaryIO, name: str, max_pixels: int) -> NDArray[np.uint8]:
    with _decoding(name, formats := _sniff(file, name)):
        picture, orientation = _open(file, formats)
        with picture:
            _check_size(picture, name, max_pixels)
            if _is_deep_colour(picture):
                pixels = stretch_to_8bit(_read_deep(file, formats[0]))
            else:
                picture.load()
                pixels = _to_rgb(picture, orientation)
    return pixels


def _check_size(picture: Image.Image, name: str, max_pixels: int) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        advice = AS_RASTER if picture.format == "TIFF" else _TILED
        raise ImageError(f"{name}: {width} x {height} pixels, at most {max_pixels:,} are read; {advice}")


@contextmanager
def _decoding(name: str, formats: tuple[str, ...]) -> Iterator[None]:
    """Turn whatever a decoder raises into one line."""
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        advice = AS_RASTER if formats == ("TIFF",) else _TILED
        raise ImageError(f"{name}: its header claims more pixels than are ever decoded; {advice}") from None
    except UnidentifiedImageError:
        if formats == ("TIFF",):
            raise ImageError(f"{name}: a TIFF with bands or samples that are no picture; {AS_RASTER}") from None
        raise ImageError(f"{name}: damaged {formats[0]} header") from None
    except Exception as error:  # decoders meet hostile bytes with nearly any exception; one bad file stops no batch
        raise ImageError(f"{name}: damaged or truncated {formats[0]} ({_one_line(error)})") from None


def _sniff(file: BinaryIO, name: str) -> tuple[str, ...]:
    head = file.read(16)
    file.seek(0)
    if not head:
        raise ImageError(f"{name}: empty file (0 bytes)")
    for magic, formats in _MAGIC:
        if head.startswith(magic) and (magic != b"RIFF" or head[8:12] == b"WEBP"):
            return formats
    raise ImageError(f"{name}: not an image (it starts with {head[:8]!r})")


def _open(file: BinaryIO, formats: tuple[str, ...]) -> tuple[Image.Image, int]:
    """The image with only its header read, and its EXIF orientation."""
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on odd metadata are not the user's business
        picture = Image.open(file, formats=formats)
        # A TIFF turns itself while loading; a PNG would be decoded here to look for EXIF behind its pixels.
        turns = picture.format in ("JPEG", "MPO", "WEBP")
        return picture, picture.getexif().get(0x0112, 1) if turns else 1


def _is_deep_colour(picture: Image.Image) -> bool:
    # Pillow reads 16-bit colour by dropping the low byte, which turns 12-bit imagery black.
    if picture.format == "PNG":
        tile = picture.tile[0] if picture.tile else None  # type: ignore[attr-defined]
        raw_mode = tile[3] if tile else ""
        return isinstance(raw_mode, str) and ";16" in raw_mode and picture.mode in ("RGB", "RGBA", "LA")
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(258, (1,))  # type: ignore[attr-defined]
        return len(bits) > 1 and max(bits) > 8
    return False


def _read_deep(file: BinaryIO, form: str) -> IntArray:
    import rasterio  # here: half a second that only 16-bit colour images should cost

    file.seek(0)
    driver = {"PNG": "PNG", "TIFF": "GTiff"}[form]
    with _QUIET, warnings.catch_warnings(), rasterio.Env(**GDAL_OPTIONS):
        warnings.simplefilter("ignore")
        with rasterio.MemoryFile(file.read()) as memory, memory.open(driver=driver, sharing=False) as source:
            if source.tags(ns="OVERVIEWS"):  # a tag that would have GDAL open another file
                raise ValueError("its overviews are another file")
            bands = source.read([1, 2, 3] if source.count >= 3 else [1, 1, 1])
            mask = source.dataset_mask()
    if not np.issubdtype(bands.dtype, np.integer):
        raise ValueError(_FLOAT)
    bands[:, mask == 0] = 0
    return np.moveaxis(bands, 0, -1)


def _to_rgb(picture: Image.Image, orientation: int) -> NDArray[np.uint8]:
    _refuse_float(picture)
    if picture.mode == "I" or picture.mode.startswith("I;"):
        grey = stretch_to_8bit(np.asarray(picture))
        return np.repeat(grey[..., None], 3, axis=-1)
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        picture = Image.new("RGB", rgba.size)
        picture.paste(rgba, mask=rgba.getchannel("A"))
    elif picture.mode != "RGB":
        picture = picture.convert("RGB")
    if orientation in _UPRIGHT:
        picture = picture.transpose(_UPRIGHT[orientation])
    return np.array(picture)


def _refuse_float(picture: Image.Image) -> None:
    if picture.mode == "F":
        raise ValueError(_FLOAT)


def _one_line(error: Exception) -> str:
    text = printable(" ".join(str(error).split()))
    return text[:120] or type(error).__name__
