"""A writer in another process, and a way to know how far it came."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from terraseek.archive import Archive

sys.path.insert(0, str(Path(__file__).parent))  # writer_steps is shared with the process that is killed
from writer_steps import MODEL

WRITER = """
import sys
sys.path.insert(0, {here!r})
from writer_steps import Archive, perform
archive = Archive.open({uri!r})
journal = open({journal!r}, "a", buffering=1)
for step in range({first}, {last}):
    journal.write(f"{{step}}\\n")
    perform(archive, step)
journal.write("end\\n")
"""


class Writer:
    """Runs steps in a process of its own and keeps a journal of those it began."""

    def __init__(self, archive: Archive, journal: Path) -> None:
        self.archive = archive
        self.journal = journal
        self.errors = journal.with_suffix(".err")

    def start(self, first: int, last: int) -> subprocess.Popen[bytes]:
        self.journal.unlink(missing_ok=True)
        here = str(Path(__file__).parent)
        code = WRITER.format(here=here, uri=self.archive.uri, journal=str(self.journal), first=first, last=last)
        with self.errors.open("wb") as errors:
            return subprocess.Popen([sys.executable, "-c", code], stderr=errors)

    def begun(self) -> list[str]:
        return self.journal.read_text().split() if self.journal.exists() else []

    def wait_for(self, step: int, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 60
        while str(step) not in self.begun():
            assert process.poll() in (None, 0), self.errors.read_text()
            assert time.monotonic() < deadline, "the writer did not get to its step in a minute"
            time.sleep(0.002)


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(Archive.create(tmp_path / "archive", MODEL), tmp_path / "journal")
