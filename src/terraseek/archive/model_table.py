"""A model kept in a table: where an archive lies on object storage, its model lies with it by the same means.

The files are one commit, in rows of at most 32 MiB. Only the files that make a model directory are written back, by
their known names.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..encoders import model_fingerprint
from ..errors import CorruptError, NotFoundError
from .model_sums import MODEL_FILES, SUMS_FILE, changed_files, sums_text
from .storage import open_table, storage_errors

__all__ = ["fetch_model", "keep_model"]

TABLE = "model"
PART_BYTES = 32 << 20
SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("part", pa.int32(), nullable=False),
        pa.field("data", pa.large_binary(), nullable=False),
        pa.field("crc", pa.uint32(), nullable=False),
    ]
)


def keep_model(connection: Any, uri: str, directory: Path) -> None:
    """Write a model directory into the archive's storage, with checksums, unless one is there."""

    def batches() -> Iterator[pa.RecordBatch]:
        sums = {}
        for name in MODEL_FILES:
            path = directory / name
            if not path.is_file():
                continue
            whole = hashlib.sha256()
            with path.open("rb") as file:
                part = 0
                while data := file.read(PART_BYTES):
                    whole.update(data)
                    yield _part(name, part, data)
                    part += 1
            sums[name] = whole.hexdigest()
        yield _part(SUMS_FILE, 0, sums_text(sums).encode())

    with storage_errors(uri, "keeping its model"):
        connection.create_table(TABLE, data=batches(), schema=SCHEMA, exist_ok=True)


def _part(name: str, part: int, data: bytes) -> pa.RecordBatch:
    row = {"name": name, "part": part, "data": data, "crc": zlib.crc32(data)}
    return pa.RecordBatch.from_pylist([row], schema=SCHEMA)


def fetch_model(connection: Any, uri: str, target: Path, fingerprint: str) -> bool:
    """Write the kept model to `target`, which is whole or not there whatever happens; False if none is kept.

    Args:
        connection: of the archive.
        uri: of the archive.
        target: the folder that the model directory becomes.
        fingerprint: that the model has to have.

    Raises:
        CorruptError: a file is not what was written, or the model has another fingerprint.
    """
    try:
        table = open_table(connection, TABLE, uri)
    except (NotFoundError, CorruptError):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as draft:
        folder = Path(draft) / target.name
        folder.mkdir()
        with storage_errors(uri, "reading its model"):
            for batch in table.search().to_batches(batch_size=1):
                for row in batch.to_pylist():
                    _write_part(folder, row, uri)
        _check(folder, uri, fingerprint)
        with contextlib.suppress(OSError):  # another process was faster: its copy is the same
            folder.replace(target)
    return True


def _check(folder: Path, uri: str, fingerprint: str) -> None:
    """Before it takes its place: what lies there is not fetched again."""
    if changed := changed_files(folder):
        raise CorruptError(f"{uri}: the kept model's {', '.join(changed)} has changed; name the model with --model")
    try:
        found = model_fingerprint(folder)
    except NotFoundError:
        raise CorruptError(f"{uri}: the kept model lacks config or weights; name the model with --model") from None
    if found != fingerprint:
        raise CorruptError(
            f"{uri}: the kept model has the fingerprint {found[:12]}, the archive's vectors are of {fingerprint[:12]}; "
            "name the model with --model"
        )


def _write_part(folder: Path, row: dict[str, Any], uri: str) -> None:
    if row["name"] not in (*MODEL_FILES, SUMS_FILE):
        return
    if zlib.crc32(row["data"]) != row["crc"]:
        raise CorruptError(f"{uri}: the kept model's {row['name']} has changed; name the model with --model")
    path = folder / row["name"]
    path.touch()
    with path.open("r+b") as file:
        file.seek(row["part"] * PART_BYTES)
        file.write(row["data"])
