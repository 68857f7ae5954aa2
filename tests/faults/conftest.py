"""A writer in another process, and a way to know how far it came."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from terraseek.archive import Archive

sys.path.insert(0, str(Path(__file__).parent))  # writer_steps is shared with the process that is killed
from writer_steps import MODEL

# Two hundred interpreters that import everything would take longer than what they are killed in: one imports, and
# each writer is a fork of it that opens the archive itself.
NURSERY = """
import os, sys
sys.path.insert(0, {here!r})
from writer_steps import Archive, perform

def write(first, last):
    archive = Archive.open({uri!r})
    journal = open({journal!r}, "w", buffering=1)
    for step in range(first, last):
        journal.write(f"{{step}}\\n")
        perform(archive, step)

for line in sys.stdin:
    child = os.fork()
    if not child:
        write(*map(int, line.split()))
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Writer:
    """Runs steps in a process of its own, which keeps a journal of those it began."""

    def __init__(self, archive: Archive, journal: Path) -> None:
        self.archive = archive
        self.journal = journal
        self._errors = journal.with_suffix(".err").open("wb")
        code = NURSERY.format(here=str(Path(__file__).parent), uri=archive.uri, journal=str(journal))
        self._nursery = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            bufsize=1,
        )

    def start(self, first: int, last: int) -> int:
        """Begin at step `first`; returns the process id."""
        assert self._nursery.stdin is not None
        self.journal.unlink(missing_ok=True)
        self._nursery.stdin.write(f"{first} {last}\n")
        return int(self._said())

    def kill(self, process: int) -> None:
        """kill -9; returns when the process is gone."""
        os.kill(process, signal.SIGKILL)
        assert int(self._said()) in (0, signal.SIGKILL)

    def _said(self) -> str:
        assert self._nursery.stdout is not None
        line = self._nursery.stdout.readline()
        assert line, Path(self._errors.name).read_text()
        return line

    def begun(self) -> list[int]:
        return [int(line) for line in self.journal.read_text().split()] if self.journal.exists() else []

    def wait_for(self, step: int) -> None:
        deadline = time.monotonic() + 300  # a machine may be busy with other things
        while step not in self.begun():
            assert time.monotonic() < deadline, f"step {step} was not begun: {Path(self._errors.name).read_text()}"
            time.sleep(0.002)

    def close(self) -> None:
        self._nursery.kill()
        self._nursery.communicate()
        self._errors.close()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.create(tmp_path / "archive", MODEL)


@pytest.fixture
def writer(archive: Archive, tmp_path: Path) -> Iterator[Writer]:
    found = Writer(archive, tmp_path / "journal")
    yield found
    found.close()
