"""Records that show the same thing, within an archive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..archive import Archive, Filter
from ..errors import UsageError
from ..typing import FloatArray

__all__ = ["DuplicateGroup", "near_duplicates"]

BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class DuplicateGroup:
    """Records joined by pairs that are alike: `ids` sorted, `score` the least alike of those pairs."""

    ids: tuple[str, ...]
    score: float


def near_duplicates(
    archive: Archive,
    threshold: float = 0.98,
    where: Filter | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[DuplicateGroup, ...]:
    """Groups of records whose cosine reaches `threshold`, in pairs or by way of others; the largest first.

    Every pair is compared, by blocks of 1,024 rows: time grows with the square of the number of records, memory does
    not.

    Raises:
        UsageError: a threshold outside 0..1.

    Examples:
        >>> import tempfile
        >>> from terraseek.archive import ModelIdentity, Record
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     archive = Archive.create(f"{folder}/a", ModelIdentity(fingerprint="demo", dim=2))
        ...     vectors = np.array([[0.0, 1.0], [0.01, 1.0], [1.0, 0.0]])
        ...     _ = archive.add([Record(id=name, source="s") for name in "abc"], vectors)
        ...     [group.ids for group in near_duplicates(archive)]
        [('a', 'b')]
    """
    if not 0 < threshold <= 1:
        raise UsageError(f"threshold is {threshold}, it must be above 0 and at most 1")
    ids, vectors_ND = archive.read(lambda view: (found := view.ids(where), view.vectors(found)))
    parent = list(range(len(ids)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    least: dict[int, float] = {}
    for row, column, score in _pairs(vectors_ND, threshold, progress):
        one, other = root(row), root(column)
        lowest = min(score, least.get(one, 1.0), least.get(other, 1.0))
        parent[other] = one
        least[one] = lowest
    members: dict[int, list[str]] = {}
    for at, name in enumerate(ids):
        members.setdefault(root(at), []).append(name)
    groups = [DuplicateGroup(ids=tuple(names), score=least[at]) for at, names in members.items() if len(names) > 1]
    return tuple(sorted(groups, key=lambda group: (-len(group.ids), group.ids)))


def _pairs(
    vectors_ND: FloatArray, threshold: float, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[int, int, float]]:
    count = len(vectors_ND)
    for start in range(0, count, BLOCK):
        rows = vectors_ND[start : start + BLOCK]
        for other in range(start, count, BLOCK):
            scores = np.round(rows @ vectors_ND[other : other + BLOCK].T, 6)
            for i, j in np.argwhere(scores >= threshold):
                if start + i < other + j:
                    yield int(start + i), int(other + j), float(scores[i, j])
        if progress:
            progress(min(count, start + BLOCK), count)
