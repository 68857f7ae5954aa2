from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from terraseek.data import PixelCache, load_dataset
from terraseek.errors import DatasetError, TerraseekError
from terraseek.images import resize_image

Make = Callable[[str], Path]


def test_rows_are_the_decoded_images(miniature: Make, tmp_path: Path) -> None:
    dataset = load_dataset("ucmerced-ml", miniature("ucmerced-ml"))
    seen: list[tuple[int, int]] = []
    cache = PixelCache.build(dataset, 16, tmp_path / "cache", progress=lambda *done: seen.append(done))
    assert cache.images.shape == (len(dataset), 16, 16, 3)
    assert cache.images.dtype == np.uint8
    assert cache.kept == tuple(range(len(dataset)))
    for row in (0, 17, len(dataset) - 1):
        np.testing.assert_array_equal(cache.images[row], resize_image(dataset.read(row), 16))
    assert seen == [(i + 1, len(dataset)) for i in range(len(dataset))]
    with pytest.raises(ValueError, match="read-only"):
        cache.images[0] = 0


def test_an_unchanged_data_set_is_not_decoded_again(miniature: Make, tmp_path: Path) -> None:
    dataset = load_dataset("ucmerced-ml", miniature("ucmerced-ml"))
    first = PixelCache.build(dataset, 16, tmp_path / "cache")
    calls: list[int] = []
    again = PixelCache.build(dataset, 16, tmp_path / "cache", progress=lambda done, total: calls.append(done))
    assert not calls
    assert again.path == first.path
    path = dataset.samples[0].path
    os.utime(path, ns=(1, 1))
    assert PixelCache.build(dataset, 16, tmp_path / "cache").path != first.path
    assert PixelCache.build(dataset, 8, tmp_path / "cache").images.shape[1] == 8


def test_damaged_images_are_skipped_counted_and_listed(miniature: Make, tmp_path: Path) -> None:
    dataset = load_dataset("ucmerced-ml", miniature("ucmerced-ml"))
    for index, content in ((2, b""), (5, b"no image"), (7, dataset.samples[7].path.read_bytes()[:200])):
        dataset.samples[index].path.write_bytes(content)
    for _ in range(2):  # built, then opened
        cache = PixelCache.build(dataset, 16, tmp_path / "cache")
        assert [refused.source for refused in cache.refused] == [str(dataset.samples[i].path) for i in (2, 5, 7)]
        assert cache.refused[0].reason == "empty file (0 bytes)"
        assert len(cache) == len(dataset) - 3
        assert not {2, 5, 7} & set(cache.kept)
        np.testing.assert_array_equal(cache.images[2], resize_image(dataset.read(3), 16))


def test_nothing_decodable_is_an_error(miniature: Make, tmp_path: Path) -> None:
    dataset = load_dataset("table", miniature("table"))
    for sample in dataset.samples:
        sample.path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"none of its 30 images can be decoded; .*00.png: empty file"):
        PixelCache.build(dataset, 16, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(("name", "needed"), [("table", 30 * 16 * 16 * 3), ("bigearthnet", 8 * 16 * 16 * 12 * 4)])
def test_a_cache_that_the_disk_cannot_hold_is_not_begun(
    miniature: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, needed: int
) -> None:
    dataset, folder = load_dataset(name, miniature(name)), tmp_path / "cache"
    free = [needed - 1]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free[0]))
    with pytest.raises(TerraseekError) as caught:
        PixelCache.build(dataset, 16, folder)
    for part in (f"{folder}: ", f"need {needed:,} bytes", f"has {needed - 1:,} free", "data.cache", "TERRASEEK_HOME"):
        assert part in str(caught.value)
    assert list(folder.iterdir()) == []
    free[0] = needed
    assert PixelCache.build(dataset, 16, folder).path.stat().st_size == needed


@pytest.mark.parametrize("damage", ["truncate", "garbage", "half"])
def test_a_damaged_cache_is_built_anew(miniature: Make, tmp_path: Path, damage: str) -> None:
    dataset = load_dataset("table", miniature("table"))
    cache = PixelCache.build(dataset, 16, tmp_path / "cache")
    expected = cache.images.copy()
    note = cache.path.with_suffix(".json")
    if damage == "truncate":
        cache.path.write_bytes(cache.path.read_bytes()[:-1])
    elif damage == "garbage":
        note.write_text("{")
    else:
        note.unlink()
    np.testing.assert_array_equal(PixelCache.build(dataset, 16, tmp_path / "cache").images, expected)


def test_a_killed_build_leaves_no_cache(miniature: Make, tmp_path: Path) -> None:
    root, folder = miniature("table"), tmp_path / "cache"
    code = (
        "import sys, time; from terraseek.data import PixelCache, load_dataset\n"
        "PixelCache.build(load_dataset('table', sys.argv[1]), 16, sys.argv[2],"
        " progress=lambda done, total: (print(done, flush=True), time.sleep(0.05)))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, root, folder], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not list(folder.glob("*.json"))
    assert not list(folder.glob("*.pixels"))
    subprocess.run([sys.executable, "-c", code.replace("0.05", "0"), root, folder], check=True, capture_output=True)
    calls: list[int] = []
    cache = PixelCache.build(load_dataset("table", root), 16, folder, progress=lambda done, total: calls.append(done))
    assert not calls, "another process's cache is used"
    assert len(cache) == 30
