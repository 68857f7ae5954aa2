"""Every error that terraseek raises on purpose, and what a door makes of it.

TerraseekError                  1   something failed, the message says what to do next
├── UsageError                  2   the caller asked for something that cannot be
│   ├── ConfigError             2   a recipe, option or config file: unknown key, wrong type, bad value
│   └── QueryError              2   a search: bad bbox, unknown label, malformed date
├── NotFoundError               3   a data set, model, archive or record that is not there
├── IntegrityError              4   what is there is not what it should be
│   ├── ModelMismatchError      4   an archive opened, or filled, with another model than made it
│   └── CorruptError            4   a truncated or altered file
├── PartialError                5   a batch went through except for the items it lists
├── ImageError                  1   one image that cannot be read (a batch collects these)
│   └── MissingImageError       3   its file is not there; a NotFoundError too
├── DatasetError                1   a data set whose files contradict each other
├── BusyError                   1   another writer holds the archive
├── UnreachableError            1   object storage that does not answer, or lets nobody in
└── MissingExtraError           1   an optional dependency is not installed
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

__all__ = [
    "EXIT_CODES",
    "EXIT_INTERRUPTED",
    "HTTP_STATUS",
    "BusyError",
    "ConfigError",
    "CorruptError",
    "DatasetError",
    "ImageError",
    "IntegrityError",
    "MissingExtraError",
    "MissingImageError",
    "ModelMismatchError",
    "NotFoundError",
    "PartialError",
    "QueryError",
    "Refused",
    "TerraseekError",
    "UnreachableError",
    "UsageError",
    "exit_code",
    "require",
]


class TerraseekError(Exception):
    """Base of all errors raised on purpose; `str(error)` is one line for a person."""


class UsageError(TerraseekError):
    """The caller asked for something that cannot be."""


class ConfigError(UsageError):
    """A recipe, option or config file has an unknown key, a wrong type or a bad value."""


class QueryError(UsageError):
    """A search has a bad bbox, an unknown label or a malformed date."""


class NotFoundError(TerraseekError):
    """A data set, model, archive or record is not where it was looked for."""


class IntegrityError(TerraseekError):
    """What is there is not what it should be."""


class ModelMismatchError(IntegrityError):
    """An archive was opened or filled with another model than the one that made it."""


class CorruptError(IntegrityError):
    """A file is truncated or altered."""


class ImageError(TerraseekError):
    """One image cannot be read."""


class MissingImageError(ImageError, NotFoundError):
    """The file of an image is not there."""


class DatasetError(TerraseekError):
    """The files of a data set contradict each other or its documented layout."""


class BusyError(TerraseekError):
    """Another writer holds the archive."""


class UnreachableError(TerraseekError):
    """Object storage does not answer, or lets nobody in; says nothing about what lies there."""


@dataclass(frozen=True, kw_only=True)
class Refused:
    """One item that a batch left out: where it is (`source`) and why (`reason`)."""

    source: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


class PartialError(TerraseekError):
    """A batch went through except for `refused`."""

    def __init__(self, message: str, refused: Sequence[Refused]) -> None:
        super().__init__(message)
        self.refused = tuple(refused)


class MissingExtraError(TerraseekError):
    """An optional dependency is not installed; the message names the extra that brings it."""


EXIT_INTERRUPTED = 130

# One table each, looked up along the class hierarchy: a subclass without a row inherits its parent's.
EXIT_CODES: dict[type[TerraseekError], int] = {
    TerraseekError: 1,
    UsageError: 2,
    NotFoundError: 3,
    IntegrityError: 4,
    PartialError: 5,
}
HTTP_STATUS: dict[type[TerraseekError], int] = {
    TerraseekError: 500,
    UsageError: 400,
    NotFoundError: 404,
    IntegrityError: 409,
    BusyError: 503,
    UnreachableError: 503,
    MissingExtraError: 501,
    PartialError: 207,
}


def exit_code(error: TerraseekError | type[TerraseekError]) -> int:
    """The process exit code for an error: 1 failure, 2 usage, 3 not found, 4 integrity, 5 partial.

    >>> exit_code(QueryError("bbox has 3 numbers, 4 are needed"))
    2
    """
    kind = error if isinstance(error, type) else type(error)
    return next(EXIT_CODES[base] for base in kind.__mro__ if base in EXIT_CODES)


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say in one line which extra brings it.

    Raises:
        MissingExtraError: `module` is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name.split(".")[0]):
            raise
        raise MissingExtraError(f"{module} is not installed; it comes with: pip install 'terraseek[{extra}]'") from None
