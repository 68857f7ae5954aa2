"""Text files, decoded in one piece so that an error can name the line."""

from __future__ import annotations

import io
from pathlib import Path

from ..errors import DatasetError

__all__ = ["read_lines", "read_text"]


def read_text(path: Path) -> str:
    """The text of a UTF-8 file without its byte order mark, line ends as they are.

    Raises:
        DatasetError: the file cannot be read, or is not UTF-8; then the message names the line.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DatasetError(f"{path}:{line}: not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from None


def read_lines(path: Path) -> list[str]:
    """What `read_text` gives in lines, whichever ends they have; the last is empty if the text ends in a line end."""
    return io.StringIO(read_text(path), newline=None).read().split("\n")
