"""Freed memory stays with the process, where the C library can be asked for it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# In a process of its own: the setting stays for good. Counts the page faults of large blocks that come and go.
_COUNT = """
import resource
import torch
from terraseek.training.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(8 << 20)  # 32 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

default = faults()
assert keep_freed_memory()
faults()
print(default, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to keep freed memory")
def test_large_blocks_are_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    default, kept = map(int, done.stdout.split())
    assert kept < default / 20


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from terraseek.training import memory

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed_memory() is False
