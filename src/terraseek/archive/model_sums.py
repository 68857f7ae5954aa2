"""Checksums of a kept model's files, beside them: the fingerprint covers config and weights and no ONNX file.

They lie in one file of the form that `sha256sum` writes, so that `sha256sum -c SHA256SUMS` checks them as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from ..encoders import CONFIG_FILE, IMAGE_FILE, TEXT_FILE, TOKENIZER_FILE, WEIGHTS_FILE

__all__ = ["MODEL_FILES", "SUMS_FILE", "changed_files", "has_sums", "sums_of", "sums_text"]

MODEL_FILES = (CONFIG_FILE, WEIGHTS_FILE, IMAGE_FILE, TEXT_FILE, TOKENIZER_FILE, "README.md")
SUMS_FILE = "SHA256SUMS"


def sums_of(directory: Path) -> dict[str, str]:
    """The sha256 of every file of a model directory, in hexadecimal digits, by its name."""
    sums = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and name != SUMS_FILE:
            with path.open("rb") as file:
                sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def sums_text(sums: Mapping[str, str]) -> str:
    """As `SUMS_FILE` holds them.

    >>> sums_text({"image.onnx": "0f"}).split()
    ['0f', 'image.onnx']
    """
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items())


def has_sums(directory: Path) -> bool:
    """Whether the checksums of its files are beside them: they are not where an older release kept the model."""
    return (directory / SUMS_FILE).is_file()


def changed_files(directory: Path) -> tuple[str, ...]:
    """The names of the files that are missing or not as they were written; none can be told without checksums."""
    if not has_sums(directory):
        return ()
    try:
        lines = (directory / SUMS_FILE).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return (SUMS_FILE,)
    noted = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = sums_of(directory)
    if not noted.keys() >= found.keys() & set(MODEL_FILES):  # lines are missing
        return (SUMS_FILE,)
    return tuple(name for name, digest in noted.items() if found.get(name) != digest)
