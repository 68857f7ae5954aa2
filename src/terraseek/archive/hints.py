"""Why a filter keeps nothing: the names in it that no record has, with what was probably meant.

A label that no record has is refused, as it can only be a mistake. A collection, a source or a property that is not
there may be meant (a script that removes what is gone already), so that these are told only when nothing passes; and so
is that photos say nothing of place and time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow.compute as pc

from ..images import printable
from ..registry import nearest
from .filters import Filter
from .record import INTERNAL_PROPERTIES
from .snapshot import Snapshot
from .values import values_of
from .where import RECORD_FIELDS

__all__ = ["unknown_names"]

LENGTH = 400
SHOWN = 50
"""So many names are known at most where the nearest one is looked for: comparing texts takes time."""


def unknown_names(snapshot: Snapshot, condition: Filter) -> list[str]:
    """A line for whatever a filter asks for and no record has: collections, sources, places, times, each property."""
    if not snapshot.size:
        return ["the archive is empty"]
    return [
        *_missing(snapshot, "collection", "no record is in the collection", condition.collections),
        *_missing(snapshot, "source", "no record is of the source", condition.sources),
        *_untold(snapshot, "footprint", "no record says where it lies", bool(condition.areas())),
        *_untold(snapshot, "datetime", "no record says when it was taken", condition.datetime is not None),
        *_missing_properties(snapshot, condition),
    ]


def _missing(snapshot: Snapshot, column: str, what: str, wanted: Sequence[str] | None) -> Iterator[str]:
    if not wanted:
        return
    known = pc.unique(snapshot.column(column)).to_pylist()
    # Any of them is enough for a record; the first stands for all, as a file may be named in two ways at once.
    if not set(wanted) & set(known):
        yield _line(what, wanted[0], known)


def _untold(snapshot: Snapshot, column: str, what: str, wanted: bool) -> Iterator[str]:
    if wanted and snapshot.column(column).null_count == snapshot.size:
        yield what


def _missing_properties(snapshot: Snapshot, condition: Filter) -> Iterator[str]:
    names = frozenset() if condition.expression is None else condition.expression.names - set(RECORD_FIELDS)
    for name in sorted(names):
        values = values_of(snapshot, name)
        absent = np.isnan(values).all() if values.dtype.kind == "f" else all(value is None for value in values)
        known = _property_names(snapshot) if absent else {name}
        if name not in known:  # a list compares with nothing, and is there all the same
            yield _line("no record has the property", name, known)


def _property_names(snapshot: Snapshot) -> set[str]:
    texts = pc.unique(snapshot.column("properties")).to_pylist()
    return {name for text in texts for name in json.loads(text)} - INTERNAL_PROPERTIES


def _line(what: str, name: str, known: Iterable[str]) -> str:
    choices = sorted(known)
    hint = nearest(name, choices) if len(choices) <= SHOWN else f"there are {len(choices):,} others"
    return printable(f"{what} {name!r}: {hint}"[:LENGTH])
