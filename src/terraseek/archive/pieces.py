"""From a source to the pieces that become records: decoded pixels, place, thumbnail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import ImageError, NotFoundError, TerraseekError
from ..geo import ChipConfig, Raster, Window, guessed_bands, iter_chips, plan_windows
from ..images import AS_RASTER, stretch_to_8bit, thumbnail
from ..typing import ImageArray
from .record import CONTROL, SOURCE_STATE, Record
from .sources import Source, record_id

__all__ = ["Piece", "count_pieces", "read_pieces", "reason_of"]

_THUMBNAIL_SIZE = 128


@dataclass(frozen=True)
class Piece:
    """A record without its vector, and the pixels (H, W, B) that the vector is to be made of.

    `guessed` names the bands that it shows where nobody said which, of a scene with more.
    """

    record: Record
    pixels_HWB: ImageArray = field(repr=False)
    guessed: tuple[str, ...] = ()


def read_pieces(
    source: Source,
    chip: ChipConfig,
    collection: str,
    state: str,
    *,
    wanted: Callable[[str], bool] | None,
    on_torn: Callable[[Window, ImageError], None],
) -> Iterator[Piece]:
    """Read a source piece by piece, in bounded memory.

    Args:
        source: image or scene.
        chip: how scenes are cut and scaled.
        collection: of the records.
        state: of the source; kept in the records, by it an interrupted ingest knows what it had done.
        wanted: called with record ids; pieces for which it is false are not read; None reads all.
        on_torn: told of windows that cannot be read.

    Raises:
        ImageError: the source cannot be read at all.
        NotFoundError: a file is not there.
        UsageError: a declared band is not there, or what is known of the source makes no record.
    """
    _check_name(source)
    known = {**source.properties, SOURCE_STATE: state}
    whole = record_id(source, collection, 1, None)
    if source.is_image and wanted is not None and not wanted(whole):
        return
    opened = open_source(source, chip)
    if isinstance(opened, np.ndarray):
        if wanted is None or wanted(whole):
            yield Piece(_record(source, collection, whole, opened, known), opened)
        return
    with closing(opened):
        yield from _scene_pieces(source, opened, _bands(source, chip), collection, known, wanted, on_torn)


def count_pieces(source: Source, chip: ChipConfig) -> int:
    """How many pieces a source has at most, by its header alone; no pixel is decoded.

    Raises:
        ImageError: it cannot be read.
        NotFoundError: a file is not there.
    """
    _check_name(source)
    if source.is_image:
        return 1
    try:
        raster = source.open()
    except ImageError as error:
        if source.kind == "scene":
            raise
        with _preferring(error):
            source.check_picture()
        return 1
    with closing(raster):
        if source.kind == "auto" and raster.georeference is None and not _bands(source, chip).bands:
            try:
                source.check_picture()
            except ImageError:  # measurements without a place, see `open_source`
                pass
            else:
                return 1
        return sum(1 for _ in plan_windows(raster.width, raster.height, chip))


def open_source(source: Source, chip: ChipConfig) -> Raster | ImageArray:
    """The raster of a scene, which is to be closed, or the pixels of an image.

    Raises:
        ImageError: it is neither, or damaged.
        NotFoundError: a file is not there.
    """
    if source.is_image:
        return source.picture()
    if source.kind == "scene":
        return source.open()
    try:
        raster = source.open()
    except ImageError as error:
        with _preferring(error):
            return source.picture()  # a JPEG named .tif, say
    if raster.georeference is not None or _bands(source, chip).bands:
        return raster
    try:
        pixels_HWB = source.picture()
    except ImageError:
        return raster  # float, many bands, too large for a picture: measurements without a place
    raster.close()
    return pixels_HWB


@contextmanager
def _preferring(as_raster: ImageError) -> Iterator[None]:
    """Of two reasons why a file is neither raster nor picture, the one that a person can do something about."""
    try:
        yield
    except ImageError as as_picture:
        raise as_raster if AS_RASTER in str(as_picture) else as_picture from None


def _check_name(source: Source) -> None:
    """Records keep where they come from: refuse a name that no record can have.

    Raises:
        ImageError: it has a line break, say, or bytes that are no text.
    """
    try:
        source.href.encode()
    except UnicodeEncodeError:
        raise ImageError("its name is not valid Unicode, which no record can keep; rename it") from None
    if CONTROL.search(source.href):
        raise ImageError("its name has a control character, which no record can keep; rename it")


def _bands(source: Source, chip: ChipConfig) -> ChipConfig:
    return replace(chip, bands=source.bands) if source.bands else chip


def _scene_pieces(
    source: Source,
    raster: Raster,
    chip: ChipConfig,
    collection: str,
    known: dict[str, Any],
    wanted: Callable[[str], bool] | None,
    on_torn: Callable[[Window, ImageError], None],
) -> Iterator[Piece]:
    place = raster.georeference
    guessed = () if chip.bands else guessed_bands(raster)
    described = {**known, "bands": list(chip.bands)} if chip.bands else known

    def is_wanted(scale: int, window: Window) -> bool:
        return wanted is None or wanted(record_id(source, collection, scale, window))

    for cut in iter_chips(raster, chip, wanted=is_wanted if wanted else None, on_error=on_torn):
        properties = dict(described)
        if cut.scale != 1:
            properties["scale"] = cut.scale
        if cut.valid < 1:
            properties["nodata"] = round(1 - cut.valid, 4)
        record = _record(
            source,
            collection,
            record_id(source, collection, cut.scale, cut.window),
            cut.pixels_HWB,
            properties,
            window=tuple(cut.window),
            footprint=source.footprint if place is None else cut.footprint,
        )
        yield Piece(record, cut.pixels_HWB, guessed)


def _record(
    source: Source, collection: str, identity: str, pixels_HWB: ImageArray, properties: dict[str, Any], **more: Any
) -> Record:
    return Record(
        id=identity,
        source=source.href,
        datetime=source.datetime,
        labels=source.labels,
        caption=source.caption,
        properties=properties,
        collection=collection,
        # JPEG: WebP is a third smaller and costs seven times the time, a twentieth of a small model's.
        thumbnail=thumbnail(_picture(pixels_HWB), _THUMBNAIL_SIZE, form="JPEG", quality=85),
        **{"footprint": source.footprint, **more},
    )


def _picture(pixels_HWB: ImageArray) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Three 8-bit bands to look at, of whatever the encoder is given."""
    shown = pixels_HWB[..., :3] if pixels_HWB.shape[-1] >= 3 else np.repeat(pixels_HWB[..., :1], 3, axis=-1)
    if shown.dtype == np.uint8:
        return np.ascontiguousarray(shown)
    if shown.dtype.kind == "f":
        finite = np.nan_to_num(shown, nan=0.0, posinf=0.0, neginf=0.0)
        low, high = np.percentile(finite, (2, 98))
        shown = np.clip((finite - low) * (255.0 / max(high - low, 1e-12)), 0, 255)
        return np.asarray(shown, dtype=np.uint8)
    return stretch_to_8bit(shown)


def reason_of(error: TerraseekError, name: str) -> str:
    """Why, in one line, without the name said twice."""
    text = " ".join(str(error).split())
    return text.removeprefix(f"{name}: ") if isinstance(error, (ImageError, NotFoundError)) else text
