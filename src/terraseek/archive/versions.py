"""Following an archive from version to version."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from ..errors import CorruptError
from .snapshot import Snapshot
from .storage import local_directory, open_table, storage_errors

__all__ = ["ASIDE", "TRIES", "Versions"]

ASIDE = "damaged"
"""The folder of an archive that `archive repair` puts manifests in that cannot be read."""
TRIES = 5
"""Versions that are asked one question: it would take as many compactions, each while it was being answered, for an
archive that is whole to fail it."""
SETTLED_NS = 1_000_000_000


class Versions:
    """The versions of a table, of which the newest is kept in memory as a `Snapshot`.

    Attributes:
        guard: held by whoever moves `table` to another version or changes it.
        table: moves along with what is written, through it or by others.
    """

    def __init__(self, uri: str, connection: Any, name: str, table: Any) -> None:
        self.table = table
        self.guard = threading.RLock()
        self._uri = uri
        self._connection = connection
        self._name = name
        directory = local_directory(uri)
        self._home = None if directory is None else directory / f"{name}.lance" / "_versions"
        self._aside = None if directory is None else directory / ASIDE
        self._snapshot: Snapshot | None = None
        self._repaired = _changed_at(self._aside)
        self._version = 0
        self._settled: int | None = None

    def newest(self) -> int:
        """Move `table` to the newest version, and tell its number.

        Where nothing was committed this costs a look at two folders on a local disk.
        """
        self._begin_again_after_repair()
        changed = _changed_at(self._home)
        if changed is None or changed != self._settled:
            with storage_errors(self._uri, "reading it"):
                self.table.checkout_latest()
                self._version = int(self.table.version)
            # Two commits within a tick of the file system's clock show one time: only a time long past is trusted.
            self._settled = changed if changed is not None and time.time_ns() - changed > SETTLED_NS else None
        return self._version

    def snapshot(self) -> Snapshot:
        """The newest version, pinned: it stays as it is whatever is written meanwhile."""
        with self.guard:
            for _ in range(TRIES - 1):
                version = self.newest()
                try:
                    return self._snapshot_of(version)
                except CorruptError:
                    if self.newest() == version:  # else it was compacted away while it was being read
                        raise
            return self._snapshot_of(self.newest())

    def is_newest(self, snapshot: Snapshot) -> bool:
        """Whether nothing was committed since; else files of the snapshot's version may be gone."""
        with self.guard:
            return self.newest() == snapshot.version

    def _begin_again_after_repair(self) -> None:
        """Keep nothing over a repair that went back: what comes next gets numbers of versions and rows again."""
        repaired = _changed_at(self._aside)
        if repaired != self._repaired:
            self.table = open_table(self._connection, self._name, self._uri)  # Lance moves on to later versions alone
            self._snapshot = self._settled = None
            self._repaired = repaired

    def _snapshot_of(self, version: int) -> Snapshot:
        previous = self._snapshot
        if previous is None or previous.version != version:
            with storage_errors(self._uri, "reading it"):
                table = open_table(self._connection, self._name, self._uri, version)
                if previous is None:
                    fresh = Snapshot.load(self._uri, table, version)
                else:
                    fresh = previous.successor(table, version)
            self._snapshot = previous = fresh
        return previous


def _changed_at(folder: Path | None) -> int | None:
    """When something was last put into a folder or taken out, in ns; None where there is no folder to look at."""
    if folder is None:
        return None
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return None
