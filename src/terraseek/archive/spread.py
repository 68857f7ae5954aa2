"""How an archive scores at large for a query, so that a reader can tell a high score from a common one.

A cosine means nothing by itself: where it starts to be high differs from model to model and from query to query. What
can be said without any label is where the records at large stand, and a hit among or above them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from ..typing import FloatArray
from .index import SCORE_DIGITS, ExactIndex

__all__ = ["ScoreSpread", "score_spread"]

SAMPLE = 2_000
"""So many records tell the hundredth part within a third or so, and cost less than the search."""
FEWEST = 100
"""Below, one record in a hundred is none."""


@dataclass(frozen=True, kw_only=True)
class ScoreSpread:
    """Scores of an archive's records with a query, whether they pass its conditions or not.

    Attributes:
        median: one record in two scores higher.
        top_percent: one record in a hundred scores higher.
        records: how many were looked at: all, or a sample spread evenly over them.
    """

    median: float
    top_percent: float
    records: int

    def to_json(self) -> dict[str, float | int]:
        """As JSON values."""
        return asdict(self)

    def describe(self) -> str:
        """For a person.

        >>> ScoreSpread(median=0.181, top_percent=0.426, records=2000).describe()
        'half of all records score above 0.18, one in a hundred above 0.43'
        """
        return f"half of all records score above {self.median:.2f}, one in a hundred above {self.top_percent:.2f}"


def score_spread(index: ExactIndex, queries_QD: FloatArray) -> ScoreSpread | None:
    """The spread of each record's best score with some queries; None where there are too few records or no query.

    Args:
        index: of all records.
        queries_QD: unit vectors.
    """
    if index.size < FEWEST or not len(queries_QD):
        return None
    # The same records each time: a spread that changes from page to page would say something that is not so.
    positions = np.unique(np.linspace(0, index.size - 1, min(index.size, SAMPLE)).astype(np.int64))
    scores_N = (index.rows(positions) @ queries_QD.T).max(axis=1)
    median, top = (round(float(value), SCORE_DIGITS) for value in np.quantile(scores_N, (0.5, 0.99)))
    return ScoreSpread(median=median, top_percent=top, records=len(positions))
