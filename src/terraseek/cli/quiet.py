"""Lines that programs below Python write to stderr and that say nothing to a person."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_lines"]


@contextmanager
def without_lines(*known: str) -> Iterator[None]:
    """Drop what C++ writes to stderr, line by line, where it contains one of these texts; all else passes.

    Python's own stderr is not filtered: a progress bar still sees its terminal.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    python, shown = sys.stderr, _directly(terminal)
    reader, writer = os.pipe()
    os.dup2(writer, 2)
    os.close(writer)
    passing = threading.Thread(target=_pass_on, args=(reader, terminal, known), name="stderr filter", daemon=True)
    passing.start()
    if shown is not None:
        sys.stderr = shown
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = python
        os.dup2(terminal, 2)
        passing.join(1.0)
        if not passing.is_alive():  # a program that lives on may hold the pipe
            os.close(terminal)
        if shown is not None:
            shown.close()


def _directly(terminal: int) -> io.TextIOWrapper | None:
    """Another stderr of Python's that leads to `terminal`; None where it does not write to the process's stderr."""
    try:
        own = sys.stderr.fileno() == 2
    except (OSError, ValueError):  # captured in memory
        return None
    return os.fdopen(os.dup(terminal), "w", buffering=1, encoding="utf-8", errors="backslashreplace") if own else None


def _pass_on(reader: int, terminal: int, known: tuple[str, ...]) -> None:
    with os.fdopen(reader, "rb") as lines:
        for line in lines:
            if not any(text.encode() in line for text in known):
                os.write(terminal, line)
