"""Two archives, or two models over the same imagery, asked the same thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import QueryError
from .page import Page
from .query import Query
from .retriever import Retriever

__all__ = ["Comparison", "compare_searches"]

DEPTHS = (1, 5, 10, 20, 50, 100)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two pages of hits for one query. Hits are the same where their ids are.

    Attributes:
        first: page of the first archive.
        second: page of the second.
        depth: how many hits were asked of each.

    Examples:
        >>> from terraseek.archive import ModelIdentity, Record
        >>> from .page import Hit
        >>> def page(*ids):
        ...     hits = [Hit(rank=at, score=None, record=Record(id=name, source="s")) for at, name in enumerate(ids, 1)]
        ...     return Page(matched=9, hits=tuple(hits), next=None, model=ModelIdentity(fingerprint="m", dim=2))
        >>> both = Comparison(first=page("a", "b", "c"), second=page("b", "a", "d"), depth=3)
        >>> both.shared, both.overlap_at(1), round(both.overlap_at(3), 2), both.rank_correlation
        (('a', 'b'), 0.0, 0.67, -1.0)
    """

    first: Page
    second: Page
    depth: int

    @property
    def shared(self) -> tuple[str, ...]:
        """Ids that are on both pages, in the order of the first."""
        there = frozenset(self.second.ids)
        return tuple(name for name in self.first.ids if name in there)

    def overlap_at(self, k: int) -> float:
        """Share of the first `k` hits that the two have in common; of the longer page, where both have fewer."""
        one, other = set(self.first.ids[:k]), set(self.second.ids[:k])
        longest = max(len(one), len(other))
        return len(one & other) / longest if longest else 1.0

    @property
    def overlaps(self) -> dict[int, float]:
        """`overlap_at` at 1, 5, 10, ... and at the depth that was asked for."""
        return {k: self.overlap_at(k) for k in sorted({k for k in DEPTHS if k < self.depth} | {self.depth})}

    @property
    def rank_correlation(self) -> float | None:
        """Kendall's tau of the two orders of the shared hits, -1 to 1; None where fewer than two are shared.

        Kendall, 1938, https://doi.org/10.1093/biomet/30.1-2.81; ranks have no ties.
        """
        if len(self.shared) < 2:
            return None
        place = {name: at for at, name in enumerate(self.second.ids)}
        order = np.array([place[name] for name in self.shared])
        upper = np.triu_indices(len(order), 1)
        return float(np.sign(np.subtract.outer(order, order).T[upper]).mean())

    def to_json(self) -> dict[str, Any]:
        """As JSON values, schema 1."""
        return {
            "schema": 1,
            "overlap": {str(k): value for k, value in self.overlaps.items()},
            "rank_correlation": self.rank_correlation,
            "shared": list(self.shared),
            "first": self.first.to_json(),
            "second": self.second.to_json(),
        }


def compare_searches(first: Retriever, second: Retriever, query: Query) -> Comparison:
    """Ask two archives the same. Each embeds images and words by its own model; scores of two models do not compare.

    Raises:
        QueryError: the query asks for a later page, or brings vectors and the archives are of two models.
        NotFoundError: `like` names a record that one of them does not have.
        UsageError: as `Retriever.search`.
    """
    if query.after is not None:
        raise QueryError("a comparison has one page; ask for a larger k instead of after")
    models = (first.archive.model, second.archive.model)
    if query.vector is not None and models[0].fingerprint != models[1].fingerprint:
        shown = " and ".join(model.describe() for model in models)
        raise QueryError(f"a vector is of one model, the archives are of {shown}; compare by image, text or record")
    return Comparison(first=first.search(query), second=second.search(query), depth=query.k)
