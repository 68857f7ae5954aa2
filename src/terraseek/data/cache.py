"""Decoded pixels on disk, read through a memory map: decode once, train for many epochs.

A cache is two files in a folder of the user's choice (never in the data set's): ``<key>.pixels``, the raw array, and
``<key>.json``, which says its shape and what was refused. The key covers every file's name, size and modification
time, how it is read, and the target size: a changed data set gets a new cache. The JSON file is renamed into place
last, so that a build that was interrupted leaves nothing that could be mistaken for a cache. Deleting the folder
loses nothing but time.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import DatasetError, ImageError, Refused, TerraseekError
from ..images import Fit, printable, refuse, resize_image
from ..typing import ImageArray
from .dataset import ImageDataset

__all__ = ["PixelCache"]

_log = logging.getLogger(__name__)
_FORMAT = 1
_CHUNK = 256  # images decoded ahead of the writer: bounds memory whatever the data set's size


@dataclass(frozen=True, kw_only=True)
class PixelCache:
    """The decoded images of a data set at one size.

    `images` is a read-only memory map, (N, size, size, B): row j is sample ``kept[j]`` of the data set it was built
    from. uint8 images stay uint8, all others are float32. `refused` lists the samples that could not be decoded.
    """

    images: ImageArray
    kept: tuple[int, ...]
    refused: tuple[Refused, ...]
    path: Path

    def __len__(self) -> int:
        return len(self.kept)

    @classmethod
    def build(
        cls,
        dataset: ImageDataset,
        size: int,
        directory: str | Path,
        *,
        fit: Fit = "squash",
        progress: Callable[[int, int], None] | None = None,
    ) -> PixelCache:
        """Open the cache of `dataset` in `directory`, decoding the images only if it is not there yet.

        Args:
            dataset: whose images, in its order.
            size: side in pixels to which every image is resampled (`terraseek.images.resize_image`).
            directory: created if need be; may hold the caches of many data sets.
            fit: how an image that is not square becomes so.
            progress: called with (done, total) while decoding.

        Raises:
            DatasetError: no image could be decoded.
            TerraseekError: the disk has too little space for the cache; nothing is left on it.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        stem = directory / _key(dataset, size, fit)
        if (cache := cls._open(stem, dataset)) is not None:
            return cache
        _write(stem, dataset, size, fit, progress)
        cache = cls._open(stem, dataset)
        if cache is None:
            raise DatasetError(f"{stem}.json: the pixel cache just written cannot be read back; is the disk full?")
        return cache

    @classmethod
    def _open(cls, stem: Path, dataset: ImageDataset) -> PixelCache | None:
        """The cache if it is complete; None, and a log line if there is something broken, otherwise."""
        try:
            note = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
            shape, dtype = tuple(note["shape"]), np.dtype(note["dtype"])
            pixels = stem.with_suffix(".pixels")
            if pixels.stat().st_size != int(np.prod(shape)) * dtype.itemsize:
                raise ValueError(f"{pixels.name} has {pixels.stat().st_size} bytes")
            images = np.memmap(pixels, dtype=dtype, mode="r", shape=shape)
            refused = tuple(Refused(**item) for item in note["refused"])
            return cls(images=images, kept=tuple(note["kept"]), refused=refused, path=pixels)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("pixel cache of %s is damaged (%s); decoding again", dataset.name, error)
            return None


def _key(dataset: ImageDataset, size: int, fit: Fit) -> str:
    digest = hashlib.sha256(f"{_FORMAT}|{size}|{fit}|{_reader_name(dataset.reader)}\n".encode())
    for sample in dataset.samples:
        files = sorted(sample.path.iterdir()) if sample.path.is_dir() else [sample.path]
        for file in files:
            try:
                status = file.stat()
                stamp = f"{status.st_size}|{status.st_mtime_ns}"
            except OSError:
                stamp = "absent"
            digest.update(f"{sample.id}|{file.absolute()}|{stamp}\n".encode("utf-8", "surrogateescape"))
    return f"{dataset.name}-{size}-{digest.hexdigest()[:16]}"


def _reader_name(reader: Callable[..., ImageArray]) -> str:
    # repr() of a function holds its address, which no other process shares.
    if isinstance(reader, functools.partial):
        return f"{_reader_name(reader.func)}{reader.args}{sorted(reader.keywords.items())}"
    return f"{reader.__module__}.{reader.__qualname__}"


def _write(stem: Path, dataset: ImageDataset, size: int, fit: Fit, progress: Callable[[int, int], None] | None) -> None:
    # The process id keeps apart the ranks of a distributed run that build the same cache at once: the last rename wins.
    pixels, note = (stem.with_suffix(f".{os.getpid()}.{kind}.tmp") for kind in ("pixels", "json"))
    try:
        with pixels.open("wb") as file:
            content = _decode_into(file, dataset, size, fit, progress)
            _flush(file)
        with note.open("wb") as file:
            file.write(json.dumps(content).encode())
            _flush(file)
        pixels.replace(stem.with_suffix(".pixels"))
        note.replace(stem.with_suffix(".json"))
    finally:
        pixels.unlink(missing_ok=True)
        note.unlink(missing_ok=True)


def _decode_into(
    file: BinaryIO, dataset: ImageDataset, size: int, fit: Fit, progress: Callable[[int, int], None] | None
) -> dict[str, Any]:
    kept: list[int] = []
    refused: list[Refused] = []
    first: ImageArray | None = None
    for index, image in enumerate(_decoded(dataset, size, fit)):
        if not isinstance(image, Refused) and first is None:
            first = image
            _require_space(Path(file.name).parent, dataset, size, len(dataset) * image.nbytes)
        if not isinstance(image, Refused) and first is not None and image.shape != first.shape:
            reason = f"has {image.shape[2]} bands, the others have {first.shape[2]}"
            image = Refused(source=str(dataset.samples[index].path), reason=reason)
        if isinstance(image, Refused):
            refused.append(image)
        else:
            kept.append(index)
            file.write(np.ascontiguousarray(image).tobytes())
        if progress:
            progress(index + 1, len(dataset))
    if first is None:
        why = f"; {refused[0]}" if refused else ""
        raise DatasetError(f"{dataset.name}: none of its {len(dataset)} images can be decoded{why}")
    return {
        "format": _FORMAT,
        "shape": [len(kept), *first.shape],
        "dtype": first.dtype.str,
        "kept": kept,
        "refused": [{"source": item.source, "reason": item.reason} for item in refused],
    }


def _require_space(directory: Path, dataset: ImageDataset, size: int, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise TerraseekError(
            f"{printable(directory)}: {len(dataset):,} images of {dataset.name} at {size} pixels need {needed:,} bytes "
            f"of decoded pixels, the disk has {free:,} free; free space, name a folder on another disk (data.cache of "
            "a recipe, or TERRASEEK_HOME), or choose a smaller size (data.pixels, model.input_size) or fewer bands"
        )


def _decoded(dataset: ImageDataset, size: int, fit: Fit) -> Iterator[ImageArray | Refused]:
    def decode(index: int) -> ImageArray | Refused:
        try:
            return resize_image(dataset.read(index), size, fit)
        except ImageError as error:
            return refuse(dataset.samples[index].path, error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(dataset), _CHUNK):
            yield from pool.map(decode, range(start, min(start + _CHUNK, len(dataset))))


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
