"""A disk that is full, a file that may not grow, no file left to open: one clear line, and nothing lost."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from writer_steps import KINDS, MODEL, held, perform

from terraseek.archive import Archive, Record, repair_archive, verify, verify_archive
from terraseek.errors import TerraseekError


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of 4 MiB; skips where a test may not mount one."""
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(mount)], capture_output=True)
    if made.returncode:
        pytest.skip("mounting a small disk needs root; test_a_file_that_may_not_grow covers the same without")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def fill(ballast: Path) -> None:
    """Leave not a byte."""
    with ballast.open("wb", buffering=0) as out:
        size = 1 << 20
        while size:
            try:
                if out.write(bytes(size)) < size:
                    size //= 2
            except OSError:
                size //= 2


@pytest.mark.parametrize("kind", sorted(set(KINDS)))
def test_a_full_disk_loses_nothing(small_disk, kind) -> None:
    archive = Archive.create(small_disk / "a", MODEL)
    for step in range(KINDS.index("compact")):
        perform(archive, step)
    before = held(archive)
    ballast = small_disk / "ballast"
    fill(ballast)
    step = KINDS.index(kind) + len(KINDS)
    with pytest.raises(TerraseekError, match="the disk is full") as caught:
        perform(archive, step)
    assert "\n" not in str(caught.value)
    fresh = Archive.open(archive.uri, MODEL)
    assert held(fresh) == before
    assert verify_archive(fresh).ok
    ballast.unlink()
    fresh.compact()
    perform(fresh, step)
    assert verify_archive(Archive.open(archive.uri)).ok


def test_a_full_disk_while_an_archive_is_made_leaves_none(small_disk) -> None:
    (small_disk / "a").mkdir()
    fill(small_disk / "ballast")
    with pytest.raises(TerraseekError, match="the disk is full"):
        Archive.create(small_disk / "a", MODEL)
    (small_disk / "ballast").unlink()
    assert len(Archive.create(small_disk / "a", MODEL)) == 0


LIMITED = """
import os, resource, sys
sys.path.insert(0, {here!r})
from writer_steps import Archive, Record
import numpy as np
from terraseek.errors import TerraseekError
archive = Archive.open({uri!r})
len(archive)  # connected: what follows is the change alone
big = [Record(id=f"big{{at}}", source="s", thumbnail=np.random.default_rng(at).bytes(60_000)) for at in range(40)]
def attempt(limit, value):
    before = resource.getrlimit(limit)
    resource.setrlimit(limit, (value, before[1]))
    try:
        archive.add(big, np.ones((40, 8)))
    except TerraseekError as error:
        print(type(error).__name__, error, flush=True)
    finally:
        resource.setrlimit(limit, before)
attempt(resource.RLIMIT_NOFILE, len(os.listdir("/proc/self/fd")))  # enough for the lock, not for a file more
attempt(resource.RLIMIT_FSIZE, 500_000)
print("held", len(archive))
"""


def test_a_limit_of_the_system_is_no_damage(archive) -> None:
    perform(archive, 0)
    before = held(archive)
    code = LIMITED.format(here=str(Path(__file__).parent), uri=archive.uri)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    files, size, count = done.stdout.splitlines()
    assert files.startswith("TerraseekError ")
    assert "too many open files" in files.lower()
    assert size.startswith("TerraseekError ")
    assert "would exceed the size limit" in size
    assert count == f"held {len(before)}"
    fresh = Archive.open(archive.uri)
    assert held(fresh) == before
    assert verify_archive(fresh).ok
    assert fresh.add([Record(id="big0", source="s")], np.ones((1, 8))).added == 1


def test_what_may_pass_takes_no_record_out(archive, monkeypatch) -> None:
    perform(archive, 0)
    before = held(archive)

    def no_file_left(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(verify, "take", no_file_left)
    for read in (verify_archive, lambda place: repair_archive(place.uri)):
        with pytest.raises(TerraseekError, match="too many open files while verifying it; raise the limit"):
            read(archive)
    assert held(Archive.open(archive.uri)) == before
