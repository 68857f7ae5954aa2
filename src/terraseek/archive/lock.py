"""One writer at a time, and no lock that outlives its writer."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import BusyError, TerraseekError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: Lance's own conflict detection is all there is
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK_NAME", "writer_lock"]

LOCK_NAME = "writer.lock"
POLL_SECONDS = 0.05


@contextlib.contextmanager
def writer_lock(directory: Path | None, wait: float = 10.0) -> Iterator[None]:
    """Hold the writer's lock of a local archive.

    The kernel drops a `flock` when its holder ends, however it ends: a lock cannot go stale. The file's text (process
    id and host) is for the message alone. On object storage, where nothing can be locked, there is `writer_lease`.

    Args:
        directory: the archive's folder; None locks nothing.
        wait: seconds to wait for another writer before giving up; 0 tries once.

    Raises:
        BusyError: another writer holds the archive for longer than `wait`.
    """
    if directory is None or fcntl is None:
        yield
        return
    try:
        descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise TerraseekError(f"cannot write to {directory}: {error.strerror}") from None
    try:
        _acquire(descriptor, directory, wait)
        # A note for the other's message; a full disk must not stop a writer that would free space.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, directory: Path, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace") or "unknown"
                raise BusyError(
                    f"{directory} is being written to by another process ({holder}); wait for it to end"
                ) from None
            time.sleep(POLL_SECONDS)
