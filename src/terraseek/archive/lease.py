"""One writer at a time on object storage, where there is no file to lock.

Lance commits a change only if nobody else committed first; two writers that add the same new id at the same time would
still both succeed, and a compaction would remove files that another writer is about to commit. So writers take turns
by a table of one row that says who writes. Taking it over is one conditional update (`where holder = ... and beat =
...`), which of several contenders exactly one commits.

A holder raises the row's beat every few seconds. Who finds the same beat for longer than `LEASE_SECONDS`, by his own
clock, takes the holder for dead; clocks are never compared. A holder that was only stalled that long notices, and says
so instead of claiming success.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from ..errors import BusyError, CorruptError, NotFoundError
from .storage import is_conflict, open_table, quote, remove_old_versions, storage_errors

__all__ = ["WRITER", "writer_lease"]

logger = logging.getLogger(__name__)

WRITER = "writer"
SCHEMA = pa.schema([pa.field("holder", pa.string(), nullable=False), pa.field("beat", pa.int64(), nullable=False)])
BEAT_SECONDS = 4.0
LEASE_SECONDS = 20.0
POLL_SECONDS = 0.25
TIDY_VERSIONS = 100
"""Every turn leaves two versions of the table; after so many they are removed."""


@contextlib.contextmanager
def writer_lease(connection: Any, uri: str, wait: float = 10.0) -> Iterator[None]:
    """Be the writer of an archive on object storage.

    Args:
        connection: of the archive.
        uri: for messages.
        wait: seconds to wait for another writer; 0 tries once. To find out that it is dead takes `LEASE_SECONDS`,
            which are waited in any other case.

    Raises:
        BusyError: another writer holds the archive, or took it over because this one was stalled.
    """
    with storage_errors(uri, "waiting for its writer"):
        lease = _Lease(_table(connection, uri), uri)
        lease.acquire(wait)
    with lease.kept_alive():
        yield
    if lease.lost:
        raise BusyError(
            f"{uri}: this writer was stalled for so long that another took over; run `archive verify`, then try again"
        )


class _Lease:
    def __init__(self, table: Any, uri: str) -> None:
        self._table = table
        self._uri = uri
        self._me = f"{os.getpid()} on {socket.gethostname()}, {uuid.uuid4().hex[:8]}"
        self._beat = 0
        self.lost = False

    def acquire(self, wait: float) -> None:
        started = seen_at = time.monotonic()
        seen, alive = self._row(), False
        while True:
            holder = seen[0]
            dead = time.monotonic() - seen_at > LEASE_SECONDS
            if (not holder or dead) and self._take(seen):
                if dead:
                    logger.warning("%s: the writer %s has been silent for too long, taking over", self._uri, holder)
                return
            # A dead holder that nobody can follow, each commit being refused, is not waited for without end either.
            patience = wait if alive or not wait else max(wait, 2 * LEASE_SECONDS)
            if time.monotonic() - started >= patience:
                raise BusyError(
                    f"{self._uri} is being written to by another process ({holder or 'just begun'}); wait for it to end"
                )
            time.sleep(POLL_SECONDS)
            now = self._row()
            if now != seen:
                seen, seen_at, alive = now, time.monotonic(), True

    def _take(self, seen: tuple[str, int]) -> bool:
        """Put oneself in the place of what was seen, unless somebody else did or was about to."""
        try:
            return self._set(seen, self._me)
        except (OSError, RuntimeError, ValueError) as error:
            if not is_conflict(error):
                raise
            return False  # contenders were in each other's way: the next look at the row says whose turn it is

    @contextlib.contextmanager
    def kept_alive(self) -> Iterator[None]:
        done = threading.Event()
        thread = threading.Thread(target=self._beat_until, args=(done,), name="writer lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self._release()

    def _beat_until(self, done: threading.Event) -> None:
        while not done.wait(BEAT_SECONDS) and not self.lost:
            self._move_on(self._me)

    def _release(self) -> None:
        if not self.lost:
            self._move_on("")
        if not self.lost and self._table.version % TIDY_VERSIONS < 3:
            with contextlib.suppress(OSError, RuntimeError, ValueError):  # a later turn will do it
                remove_old_versions(self._table, self._uri)

    def _move_on(self, holder: str) -> None:
        try:
            self.lost = not self._set((self._me, self._beat), holder)
        except (OSError, RuntimeError, ValueError) as error:  # the network: the next beat tries again, or it runs out
            logger.info("cannot renew the writer's lease of %s: %s", self._uri, error)

    def _row(self) -> tuple[str, int]:
        self._table.checkout_latest()
        row = self._table.search().limit(1).to_list()[0]
        return row["holder"], row["beat"]

    def _set(self, seen: tuple[str, int], holder: str) -> bool:
        """Put `holder` in the place of what was seen, unless somebody else did."""
        beat = seen[1] + 1
        self._table.checkout_latest()
        done = self._table.update(
            where=f"holder = {quote(seen[0])} AND beat = {seen[1]}", values={"holder": holder, "beat": beat}
        )
        # The answer to an update that went through may be lost, and its repetition then finds nothing to change.
        if not done.rows_updated and self._row() != (holder, beat):
            return False
        self._beat = beat
        return True


def _table(connection: Any, uri: str) -> Any:
    try:
        return open_table(connection, WRITER, uri)
    except (NotFoundError, CorruptError):
        pass
    free = pa.Table.from_pylist([{"holder": "", "beat": 0}], schema=SCHEMA)
    try:
        return connection.create_table(WRITER, data=free, exist_ok=True)
    except (OSError, RuntimeError, ValueError):  # another writer made it at the same moment, or else this fails too
        return open_table(connection, WRITER, uri)
