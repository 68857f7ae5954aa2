"""Named things: losses, data sets, measures, backbones."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from .errors import ConfigError

__all__ = ["Registry", "nearest"]

T = TypeVar("T")


def nearest(name: str, known: Iterator[str] | list[str] | tuple[str, ...]) -> str:
    """A hint naming what `name` was probably meant to be, with all that is allowed.

    >>> nearest("mcal", ["macl", "supcon"])
    "did you mean 'macl'? (known: macl, supcon)"
    """
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=1)
    listing = f"known: {', '.join(choices)}" if choices else "there are none"
    return f"did you mean {close[0]!r}? ({listing})" if close else listing


class Registry(Generic[T]):
    """A name for each thing of one kind, and a helpful error for a name that is none.

    >>> shapes: Registry[type] = Registry("shape")
    >>> @shapes.register("disk")
    ... class Disk: ...
    >>> shapes["disk"] is Disk
    True
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that enters what it decorates under `name`."""

        def enter(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return enter

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except KeyError:
            raise ConfigError(f"unknown {self.kind} {name!r}: {nearest(name, self.names)}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._entries)
