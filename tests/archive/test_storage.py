"""What the system and the storage say, as errors that send a person the right way."""

from __future__ import annotations

import errno
import os

import pytest

from terraseek.archive.storage import storage_errors
from terraseek.errors import BusyError, CorruptError, TerraseekError, exit_code


class RustPanic(Exception):  # noqa: N818  (its name is what it is known by)
    """As Lance's panics reach Python: a class that cannot be imported."""


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full while adding", 1),
        (RuntimeError("lance error: IO: No space left on device (os error 28)"), "the disk is full", 1),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "too many open files while adding; raise", 1),
        (RuntimeError("lance error: Too many open files (os error 24), a/b.rs:12"), "too many open files", 1),
        (ValueError("LanceError(IO): Input/output error (os error 5)"), "the disk failed to read or write", 1),
        (OSError(errno.EFBIG, os.strerror(errno.EFBIG)), "size limit", 1),
        (MemoryError(), "not enough memory", 1),
        (RuntimeError("Permission denied (os error 13)"), "no permission", 1),
        (RuntimeError("Retryable commit conflict for version 7"), "another writer committed", 1),
        (RuntimeError("lance error: range end index 9 out of range"), "missing, truncated or altered", 4),
        (RuntimeError("Object at a/b.lance not found: No such file or directory (os error 2)"), "missing", 4),
        (RustPanic("rust future panicked: unknown error"), "cannot be decoded .* `archive verify`", 4),
    ],
)
def test_errors_are_told_apart(error: Exception, message: str, code: int) -> None:
    with pytest.raises(TerraseekError, match=message) as caught, storage_errors("place", "adding"):
        raise error
    assert str(caught.value).startswith("place: ")
    assert "\n" not in str(caught.value)
    assert exit_code(caught.value) == code
    assert isinstance(caught.value, CorruptError) == (code == 4)
    assert isinstance(caught.value, BusyError) == ("another writer" in message)


def test_mistakes_of_the_program_pass_unchanged() -> None:
    with pytest.raises(KeyError), storage_errors("place", "adding"):
        raise KeyError("name")
    with pytest.raises(KeyboardInterrupt), storage_errors("place", "adding"):
        raise KeyboardInterrupt
