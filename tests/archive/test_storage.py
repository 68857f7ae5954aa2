"""What the system and the storage say, as errors that send a person the right way."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from terraseek.archive import Archive
from terraseek.archive.storage import check_place, connect, is_damage, storage_errors
from terraseek.errors import BusyError, CorruptError, TerraseekError, UnreachableError, UsageError, exit_code


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


LISTING = "RetryErrorImpl { method: GET, uri: Some(http://10.0.0.9:9000/pile?list-type=2), retry_timeout: 180s, inner: "
READING = (
    "LanceError(IO): Generic S3 error: Error performing GET http://10.0.0.9:9000/pile/a in 4s, retry_timeout: 180s"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            LISTING + 'Http(HttpError { kind: Connect, message: "Connection refused" }',
            "9000 cannot be .* refuses the con",
        ),
        (LISTING + 'Http(HttpError { kind: Connect, ConnectError("dns error")', "its name is not known"),
        (LISTING + "Http(HttpError { kind: Timeout", "does not answer in time"),
        (
            LISTING + "Http(HttpError { kind: Unknown, source: reqwest::Error { source: BadScheme",
            "plain http to 10.0.0.9",
        ),
        (LISTING + "BareRedirect", r"does not take the request .* \(it redirects\); check region"),
        (
            LISTING + 'Status { status: 403, body: Some("<Code>AccessDenied</Code>")',
            r"\(status 403, AccessDenied\); check",
        ),
        (READING + " - HTTP error: error sending request", "10.0.0.9:9000 cannot be reached while reading .* network"),
        (READING + " - Server returned non-2xx status code: 503 Slow Down: ", r"fails while reading \(status 503\)"),
        (READING + " - Server returned non-2xx status code: 401 Unauthorized: ", "AWS_ACCESS_KEY_ID .* bucket 'pile'"),
        (
            "Failed to get AWS credentials: ProviderError(ProviderError { source: FailedToLoadToken",
            "no credentials were",
        ),
    ],
)
def test_storage_that_cannot_be_used_is_no_damage(text: str, message: str) -> None:
    with pytest.raises(UnreachableError, match=message) as caught, storage_errors("s3://pile/coast", "reading"):
        raise RuntimeError(text)
    assert str(caught.value).startswith("s3://pile/coast: ")
    assert exit_code(caught.value) == 1
    assert not is_damage(caught.value)


def test_a_bucket_that_is_not_there_is_a_place_that_cannot_be() -> None:
    text = LISTING + 'Status { status: 404, body: Some("<Code>NoSuchBucket</Code>") }'
    with (
        pytest.raises(UsageError, match="there is no bucket 'pile' at 10"),
        storage_errors("s3://pile/a", "b"),
    ):
        raise ValueError(text)


def test_a_file_that_is_not_there_is_damage_on_object_storage_too() -> None:
    text = READING + " - Server returned non-2xx status code: 404 Not Found: <Code>NoSuchKey</Code>"
    with pytest.raises(CorruptError) as caught, storage_errors("s3://pile/a", "reading"):
        raise RuntimeError(text)
    assert is_damage(caught.value)


def test_a_disk_that_fails_to_read_is_damage_and_too_many_open_files_are_not() -> None:
    for number, expected in ((errno.EIO, True), (errno.EMFILE, False), (errno.ENOMEM, False)):
        with pytest.raises(TerraseekError) as caught, storage_errors("place", "reading"):
            raise OSError(number, os.strerror(number))
        assert is_damage(caught.value) == expected


def test_mistakes_of_the_program_pass_unchanged() -> None:
    with pytest.raises(KeyError), storage_errors("place", "adding"):
        raise KeyError("name")
    with pytest.raises(KeyboardInterrupt), storage_errors("place", "adding"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENAMETOOLONG])
def test_a_place_that_cannot_be_looked_at_is_said(monkeypatch, tmp_path, number) -> None:
    """Permissions are no obstacle to whoever may do anything, as in a container: the system's answer is put in."""
    closed = tmp_path / "closed"
    look = Path.stat

    def refused(path: Path, **options):
        if closed in path.parents:
            raise OSError(number, os.strerror(number), str(path))
        return look(path, **options)

    monkeypatch.setattr(Path, "stat", refused)
    for step in (check_place, Archive.open):
        with pytest.raises(TerraseekError, match=r"cannot be looked at .*choose another place") as caught:
            step(closed / "a" / "b")
        assert os.strerror(number) in str(caught.value)
        assert exit_code(caught.value) == 1


def test_object_storage_is_not_waited_for_longer_than_was_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[dict[str, str] | None] = []
    monkeypatch.setattr("lancedb.connect", lambda _, storage_options: told.append(storage_options))
    own: dict[str, Any] = {"client_retry_timeout": "5"}
    for uri, options in (("s3://bucket/a", None), ("s3://bucket/a", own), (str(tmp_path), None)):
        connect(uri, options)
    assert told == [{"client_retry_timeout": "20"}, own, None]
