"""The machine that figures were measured on, in one line."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

__all__ = ["cpu_name", "describe_machine"]


def describe_machine() -> str:
    """Processor, cores, and the versions that decide the speed."""
    cores, python = os.cpu_count(), platform.python_version()
    return f"{cpu_name()}, {cores} CPU cores, Python {python}, torch {torch.__version__}"


def cpu_name() -> str:
    """The processor's name where the system tells it, its architecture elsewhere."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
