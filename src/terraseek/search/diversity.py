"""Hits that differ from one another: maximal marginal relevance."""

from __future__ import annotations

import numpy as np

from ..errors import UsageError
from ..typing import FloatArray

__all__ = ["mmr"]


def mmr(vectors_ND: FloatArray, scores_N: FloatArray, k: int, diversity: float) -> list[int]:
    """Positions of `k` of N candidates, chosen one by one for being near the query and unlike those chosen before.

    Each choice maximises ``(1 - d) * score_i - d * max over chosen j of <v_i, v_j>`` (Carbonell and Goldstein, The Use
    of MMR, SIGIR 1998, with lambda = 1 - d).

    Args:
        vectors_ND: unit rows.
        scores_N: cosine of each with the query.
        k: how many to choose; at most N are.
        diversity: d in 0..1; 0 sorts by score.

    Examples:
        >>> rows = np.array([[1.0, 0.0], [0.999, 0.045], [0.6, 0.8]])
        >>> mmr(rows, rows @ np.array([0.9, 0.436]), k=2, diversity=0.5)
        [1, 2]
    """
    if not 0 <= diversity <= 1:
        raise UsageError(f"diversity is {diversity}, it must be in 0..1")
    nearest_N = np.full(len(scores_N), -np.inf)
    free_N = np.ones(len(scores_N), np.bool_)
    chosen: list[int] = []
    while len(chosen) < min(k, len(scores_N)):
        # Before the first choice there is nothing to be unlike.
        penalty_N = diversity * nearest_N if chosen else 0.0
        gain_N = np.where(free_N, (1 - diversity) * scores_N - penalty_N, -np.inf)
        best = int(np.argmax(gain_N)) if chosen else int(np.argmax(scores_N))
        chosen.append(best)
        free_N[best] = False
        nearest_N = np.maximum(nearest_N, vectors_ND @ vectors_ND[best])
    return chosen
