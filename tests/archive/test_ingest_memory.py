"""A scene far larger than memory should hold is taken in within a bound."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.windows import Window

WORKER = Path(__file__).with_name("ingest_worker.py")
SIDE, FULL = 40_000, 4096

INGEST = """
import importlib.util, sys
from terraseek.archive import Archive, IngestOptions, ingest
from terraseek.geo import ChipConfig
spec = importlib.util.spec_from_file_location("ingest_worker", sys.argv[1])
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
archive = Archive.create(sys.argv[2], worker.FakeEncoder())
report = ingest(archive, worker.FakeEncoder(), sys.argv[3], IngestOptions(chip=ChipConfig(size=256, scales=(1, 8))))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak_mib = int(status["VmHWM"].split()[0]) // 1024  # ru_maxrss would begin with the parent's
print(len(archive), len(report.refused), peak_mib)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("layout", ["tiles", "strips"])
def test_a_scene_of_40000_by_40000_pixels_stays_below_a_gigabyte_and_a_half(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "big.tif"
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512} if layout == "tiles" else {}
    size = {"width": SIDE, "height": SIDE, "count": 3, "dtype": "uint16", "nodata": 0}
    place = {"crs": "EPSG:32618", "transform": Affine(1, 0, 5e5, 0, -1, 4e6)}
    pixels = np.random.default_rng(0).integers(1, 4000, (3, FULL, FULL)).astype(np.uint16)
    with rasterio.open(path, "w", driver="GTiff", SPARSE_OK=True, BIGTIFF="YES", **size, **place, **tiles) as out:
        out.write(pixels, window=Window(10_240, 20_480, FULL, FULL))
        out.write(pixels[:, :1024, :1024], window=Window(SIDE - 1024, SIDE - 1024, 1024, 1024))
    command = [sys.executable, "-c", INGEST, str(WORKER), str(tmp_path / "archive"), str(path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    records, refused, peak_mib = map(int, output.split())
    # 16 x 16 chips in the large patch; the last chip of a row is moved back, so 4 x 4 whole ones in the corner and the
    # ones before them in part; at scale 8 a chip shows 2,048 pixels.
    assert records >= 16 * 16 + 4 * 4 + 2 * 2
    assert refused == 0
    assert peak_mib < 1536, f"{peak_mib} MiB"
