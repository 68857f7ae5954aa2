"""Two writers: one waits, or is told."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from writer_steps import MODEL, batch, held, perform, state_before

from terraseek.archive import Archive, Record
from terraseek.archive.lock import writer_lock
from terraseek.errors import BusyError, exit_code


def test_the_second_writer_is_told(archive) -> None:
    with writer_lock(Path(archive.uri)):
        started = time.monotonic()
        with pytest.raises(BusyError, match="being written to by another process") as caught:
            archive.add(*batch(0), wait=0.2)
        assert 0.2 <= time.monotonic() - started < 2
    assert exit_code(caught.value) == 1
    assert archive.add(*batch(0)).added == 40


def test_the_second_writer_waits(archive) -> None:
    done = []
    with writer_lock(Path(archive.uri)):
        thread = threading.Thread(target=lambda: done.append(archive.add(*batch(0), wait=30)))
        thread.start()
        time.sleep(0.2)
        assert done == []
    thread.join()
    assert done[0].added == 40


def test_a_dead_writer_leaves_no_lock(archive) -> None:
    path = Path(archive.uri) / "writer.lock"
    holder = "import fcntl, time; f = open({!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", holder.format(str(path))], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(BusyError):
        archive.add(*batch(0), wait=0)
    process.kill()
    process.wait()
    process.stdout.close()
    assert path.exists()
    assert archive.add(*batch(0), wait=0).added == 40


def test_two_writers_lose_nothing(archive) -> None:
    other = Archive.open(archive.uri, MODEL)

    def steps() -> None:
        for step in range(5):
            perform(other, step)

    thread = threading.Thread(target=steps)
    thread.start()
    for at in range(5):
        archive.add([Record(id=f"mine{at}", source="s", properties={"step": -1})], np.ones((1, 8)), wait=60)
    thread.join()
    found = held(Archive.open(archive.uri, MODEL))
    assert {name: step for name, step in found.items() if step >= 0} == state_before(5)
    assert sum(step == -1 for step in found.values()) == 5
