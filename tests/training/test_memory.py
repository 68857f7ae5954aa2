"""Freed memory stays with the process, where the C library can be asked for it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# In a process of its own: the setting stays for good. Counts the page faults of large blocks that come and go.
_COUNT = """
import resource, sys
import numpy as np
from terraseek.training.memory import keep_freed_memory

assert keep_freed_memory() or sys.argv[1] == "default"
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(4 << 20)  # 32 MB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    code = _COUNT if keep else _COUNT.replace("assert keep_freed_memory() or", "assert")
    done = subprocess.run([sys.executable, "-c", code, "kept" if keep else "default"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to keep freed memory")
def test_large_blocks_are_used_again() -> None:
    assert faults(keep=True) < faults(keep=False) / 4


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from terraseek.training import memory

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed_memory() is False
