"""A disk that is full: one clear line, and nothing lost."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from writer_steps import MODEL, batch, held, perform

from terraseek.archive import Archive, Record, verify_archive
from terraseek.errors import TerraseekError


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of 4 MiB; skips where a test may not mount one."""
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(mount)], capture_output=True)
    if made.returncode:
        pytest.skip("mounting a small disk needs root")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_full_disk_loses_nothing(small_disk) -> None:
    archive = Archive.create(small_disk / "a", MODEL)
    perform(archive, 0)
    before = held(archive)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(3_000_000))
    big = [Record(id=f"big{at}", source="s", thumbnail=np.random.default_rng(at).bytes(60_000)) for at in range(40)]
    with pytest.raises(TerraseekError, match="the disk is full") as caught:
        archive.add(big, np.ones((40, 8)))
    assert "\n" not in str(caught.value)
    fresh = Archive.open(archive.uri, MODEL)
    assert held(fresh) == before
    assert verify_archive(fresh).ok
    ballast.unlink()
    fresh.compact()
    assert fresh.add(*batch(1)).added > 0
    assert verify_archive(Archive.open(archive.uri)).ok
