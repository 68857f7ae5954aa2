"""One version of an archive, asked several things that must agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..errors import NotFoundError, UsageError
from ..typing import FloatArray
from .filters import Filter
from .hints import unknown_names
from .masks import mask_of
from .ranking import Mode, Ranking, rank
from .record import Record
from .schema import check_vectors
from .snapshot import Snapshot
from .spread import ScoreSpread, score_spread
from .storage import storage_errors
from .values import given_labels, predicted_labels

__all__ = ["View"]


class View:
    """What an archive holds at one moment; stays the same whatever is written meanwhile.

    Attributes:
        uri: of the archive.
        snapshot: the version in memory.
        dim: number of dimensions D of its vectors.

    A view that is kept may be outlived by its files: `Archive.compact` removes those that the newest version does not
    need, and then reading raises `CorruptError`. `Archive.read` sees to that.
    """

    def __init__(self, uri: str, snapshot: Snapshot, dim: int) -> None:
        self.uri = uri
        self.snapshot = snapshot
        self.dim = dim

    @property
    def version(self) -> int:
        """Number of the version."""
        return self.snapshot.version

    def __len__(self) -> int:
        return self.snapshot.size

    def count(self, where: Filter) -> int:
        """How many records pass a filter."""
        return int(self._positions(where).size)

    def ids(self, where: Filter | None = None) -> tuple[str, ...]:
        """The ids of the records that pass, sorted."""
        with storage_errors(self.uri, "reading ids"):
            return tuple(sorted(self.snapshot.ids(self._positions(where or Filter()))))

    def get(self, ids: Sequence[str], *, thumbnails: bool = True) -> tuple[Record, ...]:
        """The records with these ids, in this order.

        Raises:
            NotFoundError: there is no record of one of the ids.
            CorruptError: a record is not what was written.
        """
        with storage_errors(self.uri, "reading records"):
            return tuple(self.snapshot.records(self._find(ids), thumbnails=thumbnails))

    def vectors(self, ids: Sequence[str]) -> FloatArray:
        """The unit vectors of the records with these ids, (N, D) float32, in this order.

        Raises:
            NotFoundError: there is no record of one of the ids.
            CorruptError: a vector is not what was written.
        """
        with storage_errors(self.uri, "reading vectors"):
            return self.snapshot.vectors(self._find(ids), self.dim)

    def search(
        self, vector_D: FloatArray, k: int = 10, where: Filter | None = None, *, mode: Mode = "exact"
    ) -> Ranking:
        """The `k` records nearest to a vector among those that pass the filter, best first; ties go by id.

        Args:
            vector_D: any length but zero; only its direction counts.
            k: how many; fewer come back only where fewer pass.
            where: applied before ranking.
            mode: "exact" looks at every vector in memory; "ann" uses the index on disk (see `Archive.build_index`).

        Raises:
            UsageError: a vector of another dimension, not finite or zero; k below 1.
            QueryError: the filter names a label that no record has.
        """
        query_D = check_vectors(["query"], np.atleast_2d(np.asarray(vector_D)), self.dim)[0]
        if k < 1:
            raise UsageError(f"k is {k}, it must be at least 1")
        with storage_errors(self.uri, "searching it"):
            return rank(self.snapshot, query_D, k, where or Filter(), mode)

    def spread(self, vectors_ND: FloatArray) -> ScoreSpread | None:
        """Where the records at large score for these vectors, each by its best; None where there are too few to say.

        Reads the vectors into memory, where an exact search has them already.
        """
        with storage_errors(self.uri, "reading vectors"):
            return score_spread(self.snapshot.index(self.dim), np.asarray(vectors_ND, np.float32))

    def sources(self, collection: str | None = None) -> frozenset[str]:
        """The sources that have records, in one collection or in any."""
        with storage_errors(self.uri, "reading its sources"):
            return self.snapshot.sources(collection)

    def facets(self, where: Filter | None = None) -> dict[str, dict[str, int]]:
        """How many of the records that pass have each label, are in each collection and were taken in each year.

        "labels" are those given; "predicted" are those that a model predicted with the filter's `min_score` or more.
        Most come first, but "years" (of UTC) in their order; records without a time are in none.
        """
        condition = where or Filter()
        with storage_errors(self.uri, "counting facets"):
            mask = mask_of(self.snapshot, condition)

            def counted(having: Mapping[str, NDArray[np.int64]]) -> dict[str, int]:
                return {at: len(rows) if mask is None else int(mask[rows].sum()) for at, rows in having.items()}

            def passing(column: str) -> pa.Array:
                values = self.snapshot.column(column)
                return values if mask is None else values.filter(pa.array(mask))

            years = _tally(pc.year(passing("datetime")).drop_null())
            return {
                "labels": _most_first(counted(given_labels(self.snapshot))),
                "predicted": _most_first(counted(predicted_labels(self.snapshot, float(condition.min_score)))),
                "collections": _most_first(_tally(passing("collection"))),
                "years": {str(year): years[year] for year in sorted(years)},
            }

    def hints(self, where: Filter) -> list[str]:
        """What may be wrong with a filter that keeps nothing: names in it that no record has, a line for each."""
        with storage_errors(self.uri, "reading names"):
            return unknown_names(self.snapshot, where)

    def _positions(self, where: Filter) -> NDArray[np.int64]:
        mask = mask_of(self.snapshot, where)
        return np.arange(self.snapshot.size) if mask is None else np.flatnonzero(mask)

    def _find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        positions = self.snapshot.find(ids)
        if (positions < 0).any():
            missing = ids[int(np.argmin(positions))]
            raise NotFoundError(f"{self.uri} has no record {missing!r:.100}")
        return positions


def _tally(values: pa.Array) -> dict[Any, int]:
    return {found["values"]: found["counts"] for found in values.value_counts().to_pylist()}


def _most_first(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: n for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if n}
