"""The door to LanceDB: opening tables, scanning columns, and turning its errors into ours."""

from __future__ import annotations

import contextlib
import errno
import re
import warnings
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.background_loop import LOOP
from numpy.typing import NDArray

from ..errors import BusyError, CorruptError, NotFoundError, TerraseekError, UsageError
from ..images import printable
from ..typing import FloatArray, IntArray
from .lock import LOCK_NAME
from .object_storage import storage_failure

__all__ = [
    "check_place",
    "check_vacant",
    "connect",
    "file_of",
    "has_index",
    "is_conflict",
    "is_damage",
    "local_directory",
    "nearest",
    "open_table",
    "quote",
    "remove_old_versions",
    "scan",
    "split_by_file",
    "storage_errors",
    "take",
]

SCHEMES = ("s3", "gs", "az", "file")
RETRY_SECONDS = "20"
"""After so long no request to object storage is made again. Lance goes on for 180, in several layers: each call waited
for a server that stays silent for more than ten minutes. Who is silent for 20 has lost the writer's turn anyway."""
SCAN_ROWS = 65_536
"""Rows of a batch of narrow columns: with the 1,024 that LanceDB takes by itself, handing batches from one thread to
another costs ten times what reading them does."""


def local_directory(uri: str | Path) -> Path | None:
    """The folder that a URI names, or None where it names an object store.

    >>> local_directory("s3://bucket/archive") is None, local_directory("file:///data/a")
    (True, PosixPath('/data/a'))
    """
    text = str(uri)
    if text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    return None if "://" in text else Path(text).expanduser()


def check_place(uri: str | Path) -> None:
    """Refuse what can be no archive's place, before anything is looked for there.

    Raises:
        UsageError: no text, a scheme that is not known, or a file where a folder has to be.
        TerraseekError: the system does not let it be looked at.

    >>> check_place("ftp://host/archive")
    Traceback (most recent call last):
    terraseek.errors.UsageError: ftp://host/archive: archives lie in folders or at s3://, gs:// or az://, not at ftp://
    """
    if not str(uri).strip():  # an empty variable of a script must not mean the folder it runs in
        raise UsageError("the archive has no name: it is an empty text, say where it lies ('.' for this folder)")
    scheme, separator, _ = str(uri).partition("://")
    if separator and scheme not in SCHEMES:
        raise UsageError(f"{uri}: archives lie in folders or at s3://, gs:// or az://, not at {scheme}://")
    directory = local_directory(uri)
    if directory is None:
        return
    for place in (directory, *directory.parents):
        try:
            taken = place.is_file()
        except OSError as error:
            raise TerraseekError(
                f"{uri}: {place} cannot be looked at ({error.strerror}); see to its permissions or choose another place"
            ) from None
        if taken:
            raise UsageError(f"{uri}: {place} is a file, an archive is a folder; choose another place")


def check_vacant(uri: str | Path) -> None:
    """Refuse to make an archive among somebody's other files, as a photo folder named by mistake has.

    Hidden files are nobody's, and what a creation that was cut short has left is our own.

    Raises:
        UsageError: the folder holds other files and nothing of an archive.
    """
    directory = local_directory(uri)
    if directory is None or not directory.is_dir():
        return
    with storage_errors(str(uri), "looking what is there"):
        names = sorted(entry.name for entry in directory.iterdir())
    if LOCK_NAME in names or any(name.endswith(".lance") for name in names):
        return
    others = [name for name in names if not name.startswith(".") and name != "lost+found"]
    if others:
        raise UsageError(
            f"{uri} is a folder of other files ({printable(others[0])}{' ...' if len(others) > 1 else ''}); an archive "
            f"needs one of its own: choose an empty folder, or a new one such as {directory / 'archive'}"
        )


def connect(uri: str | Path, storage_options: dict[str, str] | None = None) -> Any:
    """A LanceDB connection; the folder of a local URI is not made by this.

    Raises:
        UnreachableError: object storage does not answer, or lets nobody in.
        UsageError: there is no such bucket.
    """
    directory = local_directory(uri)
    if directory is None:
        storage_options = {"client_retry_timeout": RETRY_SECONDS, **(storage_options or {})}
    with storage_errors(str(uri), "connecting to it"):
        return lancedb.connect(str(uri if directory is None else directory), storage_options=storage_options)


@contextlib.contextmanager
def storage_errors(uri: str, doing: str) -> Iterator[None]:
    """Turn what Lance and the file system raise into one line of ours.

    Raises:
        BusyError: another writer committed at the same time.
        CorruptError: a file of the archive is missing, truncated or altered.
        UnreachableError: object storage does not answer, or lets nobody in.
        UsageError: there is no such bucket.
        TerraseekError: the machine or the storage failed (disk full, no open files left, a read error), which says
            nothing about the archive's files.
    """
    try:
        yield
    except TerraseekError:
        raise
    except (OSError, RuntimeError, ValueError, MemoryError, pa.ArrowException) as error:
        raise _translated(error, uri, doing) from error
    except BaseException as error:
        # Lance panics on some altered files; its panics are of classes that cannot be imported, one of them not even
        # an Exception.
        if type(error).__name__ in ("PanicException", "RustPanic"):
            raise CorruptError(
                f"{uri}: a file cannot be decoded while {doing} ({_first_line(error)}); "
                "run `archive verify`, then `archive repair`"
            ) from None
        raise


_SYSTEM_ERRORS = {
    errno.ENOSPC: "the disk is full while {doing}; nothing was changed, free space and try again",
    errno.EDQUOT: "the disk quota is used up while {doing}; nothing was changed, free space and try again",
    errno.EFBIG: "a file would exceed the size limit (ulimit -f) while {doing}; nothing was changed",
    errno.EMFILE: "too many open files while {doing}; raise the limit (ulimit -n) and try again",
    errno.ENFILE: "the system has too many open files while {doing}; try again later",
    errno.ENOMEM: "not enough memory while {doing}",
    errno.EIO: "the disk failed to read or write while {doing} ({reason}); see the system's log",
    errno.EACCES: "no permission while {doing} ({reason})",
    errno.EPERM: "no permission while {doing} ({reason})",
    errno.EROFS: "no permission while {doing} ({reason})",
}
_SYSTEM_TEXTS = {"no space left": errno.ENOSPC, "quota": errno.EDQUOT, "permission denied": errno.EACCES}
_BUSY_TEXTS = ("commit conflict", "concurrent", "retryable")


def _translated(error: Exception, uri: str, doing: str) -> TerraseekError:
    folded = str(error).lower()
    if local_directory(uri) is None and (failure := storage_failure(str(error), uri, doing)) is not None:
        return failure
    reason = _SYSTEM_ERRORS.get(_error_number(error, folded))
    if reason is not None:
        return TerraseekError(f"{uri}: " + reason.format(doing=doing, reason=_first_line(error)))
    if is_conflict(error):
        return BusyError(f"{uri}: another writer committed while {doing}; try again")
    return CorruptError(
        f"{uri}: a file is missing, truncated or altered ({_first_line(error)}) while {doing}; "
        "run `archive verify`, then `archive repair`"
    )


def is_conflict(error: Exception) -> bool:
    """Whether Lance gave a commit up because of those of others."""
    folded = str(error).lower()
    return any(text in folded for text in _BUSY_TEXTS)


def _error_number(error: Exception, folded: str) -> int:
    """The system's number of an error, which Lance passes on as text alone; 0 if the system has no part in it."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno:
        return error.errno
    if (match := re.search(r"os error (\d+)", folded)) is not None:
        return int(match[1])
    return next((number for text, number in _SYSTEM_TEXTS.items() if text in folded), 0)


def is_damage(error: BaseException) -> bool:
    """Whether an error of `storage_errors` speaks of the archive's files: altered, or on a disk that fails to read.

    All others (no memory, no file left to open, storage that does not answer) may pass: no reason to give records up.
    """
    cause = error.__cause__
    failing = isinstance(cause, Exception) and _error_number(cause, str(cause).lower()) == errno.EIO
    return isinstance(error, CorruptError) or failing


def _first_line(error: BaseException, limit: int = 240) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:limit]


def open_table(connection: Any, name: str, uri: str, version: int | None = None) -> Any:
    """Open a table, pinned to `version` if one is given (a pinned table reads that version whatever is written).

    Raises:
        NotFoundError: there is no such table.
        CorruptError: it is there and cannot be opened.
        UnreachableError: object storage does not answer, or lets nobody in.
    """
    try:
        return connection.open_table(name, version=version)
    except (OSError, RuntimeError, ValueError) as error:
        translated = _translated(error, uri, "opening it")
        if not isinstance(translated, CorruptError):
            raise translated from error
        if "was not found" in str(error) or ("not found" in str(error).lower() and version is None):
            if _has_data(uri, name):
                raise CorruptError(
                    f"{uri}: the manifest of its table {name!r} is missing or unreadable; `archive repair` may help"
                ) from None
            raise NotFoundError(
                f"no archive at {uri}; make one with: terraseek archive create {uri} --model MODEL"
            ) from None
        raise translated from None


def _has_data(uri: str, name: str) -> bool:
    directory = local_directory(uri)
    return directory is not None and any((directory / f"{name}.lance" / "data").glob("*"))


def has_index(table: Any) -> bool:
    """Whether the table has an index over its vectors."""
    return any("vector" in entry.columns for entry in table.list_indices())


def scan(table: Any, columns: Sequence[str], where: str | None = None) -> pa.Table:
    """The columns of all rows that pass `where`, with `_rowid`, in the order of `_rowid`."""
    query = table.search().with_row_id(True).select([*columns] or ["_rowid"])
    if where:
        query = query.where(where)
    found = query.to_batches(batch_size=SCAN_ROWS).read_all()
    row_ids = found["_rowid"].to_numpy()
    if len(row_ids) > 1 and not (row_ids[1:] > row_ids[:-1]).all():
        found = found.take(pa.array(np.argsort(row_ids, kind="stable")))
    return found


def nearest(table: Any, query_D: FloatArray, count: int, *, probes: int, candidates: int) -> pa.Table:
    """The `count` rows that the table's index finds nearest: `vector` and `_distance`, with `_rowid`.

    Args:
        table: with an index over `vector`, by inner product.
        query_D: unit vector.
        count: of rows.
        probes: graphs to walk.
        candidates: rows to look at in each.
    """

    async def found() -> pa.Table:
        query = table._table.query().nearest_to(query_D).column("vector").distance_type("dot").with_row_id()
        query = query.nprobes(probes).ef(candidates).select(["vector", "_distance"])
        return await query.limit(count).to_arrow()

    # What `table.search` does as well, in five calls that each wait for another thread: on two idle cores that took
    # 11 ms at a million records, the one call takes 8.
    return LOOP.run(found())  # type: ignore[no-untyped-call]


def take(table: Any, row_ids: IntArray, columns: Sequence[str]) -> pa.Table:
    """The columns of the rows with these `_rowid`s, in the order asked.

    Raises:
        CorruptError: a row is not there.
    """
    query = table.take_row_ids([int(row) for row in row_ids]).with_row_id().select([*columns])
    found = query.to_arrow()
    got = found["_rowid"].to_numpy()
    if len(got) != len(row_ids):
        raise CorruptError(f"{len(row_ids) - len(got)} of {len(row_ids)} rows are missing")
    if (got != row_ids).any():
        order = np.argsort(got)[np.argsort(np.argsort(row_ids))]
        found = found.take(pa.array(order))
    return found


def file_of(row_id: int) -> int:
    """The number of the file (Lance: fragment) that a row is in, the upper half of its id; below it is its place there.

    >>> file_of((3 << 32) + 7)
    3
    """
    return int(row_id) >> 32


def split_by_file(row_ids: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
    """Row ids, sorted, in parts of one file each.

    >>> [part.tolist() for part in split_by_file(np.array([5, 9, (1 << 32) + 2], np.uint64))]
    [[5, 9], [4294967298]]
    """
    return np.split(row_ids, np.flatnonzero(np.diff(row_ids >> np.uint64(32))) + 1)


def quote(text: str) -> str:
    """A text as an SQL literal.

    >>> quote("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def remove_old_versions(table: Any, uri: str) -> None:
    """Merge small fragments, drop deleted rows, and remove every file that the newest version does not use.

    On object storage files that no version uses are left for a week: a writer that lost its turn while it was stalled
    might still commit them.
    """
    with warnings.catch_warnings():
        # Lance warns that readers of older versions will fail; ours notice and move on to the newest.
        warnings.simplefilter("ignore")
        table.optimize(cleanup_older_than=timedelta(0), delete_unverified=local_directory(uri) is not None)
