"""The machine that figures were measured on, in one line."""

from __future__ import annotations

import os
import platform

import torch

__all__ = ["describe_machine"]


def describe_machine() -> str:
    """Processor architecture, cores, and the versions that decide the speed."""
    cores, python = os.cpu_count(), platform.python_version()
    return f"{platform.machine()}, {cores} CPU cores, Python {python}, torch {torch.__version__}"
