"""A model kept in a table: where an archive lies on object storage, its model lies with it by the same means.

The files are one commit, in rows of at most 32 MiB. Only the files that make a model directory are written back, by
their known names.
"""

from __future__ import annotations

import contextlib
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..encoders import CONFIG_FILE, IMAGE_FILE, TEXT_FILE, TOKENIZER_FILE, WEIGHTS_FILE
from ..errors import CorruptError, NotFoundError
from .storage import open_table, storage_errors

__all__ = ["fetch_model", "keep_model"]

TABLE = "model"
FILES = (CONFIG_FILE, WEIGHTS_FILE, IMAGE_FILE, TEXT_FILE, TOKENIZER_FILE, "README.md")
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
    """Write a model directory into the archive's storage, unless one is there."""

    def batches() -> Iterator[pa.RecordBatch]:
        for name in FILES:
            path = directory / name
            if not path.is_file():
                continue
            with path.open("rb") as file:
                part = 0
                while data := file.read(PART_BYTES):
                    row = {"name": name, "part": part, "data": data, "crc": zlib.crc32(data)}
                    yield pa.RecordBatch.from_pylist([row], schema=SCHEMA)
                    part += 1

    with storage_errors(uri, "keeping its model"):
        connection.create_table(TABLE, data=batches(), schema=SCHEMA, exist_ok=True)


def fetch_model(connection: Any, uri: str, target: Path) -> bool:
    """Write the kept model to `target`, which is whole or not there whatever happens; False if none is kept.

    Raises:
        CorruptError: a file is not what was written.
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
        with contextlib.suppress(OSError):  # another process was faster: its copy is the same
            folder.replace(target)
    return True


def _write_part(folder: Path, row: dict[str, Any], uri: str) -> None:
    if row["name"] not in FILES:
        return
    if zlib.crc32(row["data"]) != row["crc"]:
        raise CorruptError(f"{uri}: the kept model's {row['name']} has changed; name the model with --model")
    path = folder / row["name"]
    path.touch()
    with path.open("r+b") as file:
        file.seek(row["part"] * PART_BYTES)
        file.write(row["data"])
