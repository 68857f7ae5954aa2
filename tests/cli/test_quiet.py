"""Only the lines that are named are dropped, and only those that do not come from Python."""

from __future__ import annotations

import subprocess
import sys

WRITES = """
import os, sys
from terraseek.cli.quiet import without_lines
with without_lines("core_worker.cc", "constructor arguments"):
    os.write(2, b"[E] core_worker.cc:1: has constructor arguments\\nraylet: out of memory\\n")
    os.system("echo core_worker.cc from another program >&2; echo from another program >&2")
    print("core_worker.cc, says Python", file=sys.stderr)
    assert sys.stderr.fileno() != 2
os.write(2, b"core_worker.cc afterwards\\n")
print("end", file=sys.stderr)
"""


def test_known_lines_are_dropped_and_others_pass() -> None:
    done = subprocess.run([sys.executable, "-c", WRITES], capture_output=True, text=True, check=True)
    told = sorted(done.stderr.splitlines())
    assert told == [
        "core_worker.cc afterwards",
        "core_worker.cc, says Python",
        "end",
        "from another program",
        "raylet: out of memory",
    ]
