"""From marks to a better query: what a person confirmed and rejected moves the search.

Both ways answer with a direction to search with, so that filters, paging and both search modes work as for any query:
inner product with a linear classifier's weights ranks as the classifier does.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from ..errors import QueryError
from ..typing import FloatArray

__all__ = ["GAMMA", "Feedback", "logistic_direction", "rocchio_direction", "unit_direction"]

Feedback: TypeAlias = Literal["rocchio", "logistic"]
GAMMA = 0.15
"""How much the rejected count in Rocchio's formula, beside 1 for the search so far and 0.75 for the confirmed."""


def rocchio_direction(
    query_D: FloatArray,
    positive_PD: FloatArray,
    negative_ND: FloatArray,
    *,
    alpha: float = 1.0,
    beta: float = 0.75,
    gamma: float = GAMMA,
) -> FloatArray:
    """``alpha q + beta mean(positive) - gamma mean(negative)``, as a unit vector (Rocchio, 1971).

    Args:
        query_D: the search so far.
        positive_PD: unit vectors of what was confirmed; may be empty.
        negative_ND: unit vectors of what was rejected; may be empty.
        alpha: weight of the search so far.
        beta: weight of the confirmed.
        gamma: weight of the rejected; small, as they lie in every direction.

    Examples:
        >>> rocchio_direction(np.array([1.0, 0.0]), np.array([[0.0, 1.0]]), np.empty((0, 2))).round(2)
        array([0.8, 0.6])
    """
    moved_D = alpha * np.asarray(query_D, np.float64)
    if len(positive_PD):
        moved_D = moved_D + beta * np.mean(positive_PD, axis=0)
    if len(negative_ND):
        moved_D = moved_D - gamma * np.mean(negative_ND, axis=0)
    return unit_direction(moved_D)


def logistic_direction(
    query_D: FloatArray,
    positive_PD: FloatArray,
    negative_ND: FloatArray,
    *,
    strength: float = 10.0,
    prior: float = 4.0,
    iterations: int = 50,
) -> FloatArray:
    """Weights of a logistic classifier of confirmed against rejected, pulled towards the query, as a unit vector.

    Minimises ``strength * mean log loss + |w - prior * q|^2 / 2`` by Newton's method, each class weighing half of the
    loss however many it has. The pull makes one mark move the search a little and many marks decide it; without marks
    of both kinds there is nothing to tell apart, and Rocchio's formula is used.

    Args:
        query_D: the search so far, unit.
        positive_PD: unit vectors of what was confirmed.
        negative_ND: unit vectors of what was rejected.
        strength: how much the marks count.
        prior: length of the weights that the query stands for.
        iterations: at most so many Newton steps.

    Examples:
        >>> w = logistic_direction(np.array([1.0, 0.0]), np.array([[0.8, 0.6]]), np.array([[0.8, -0.6]]))
        >>> bool(w @ [0.8, 0.6] > w @ [0.8, -0.6])
        True
    """
    if not len(positive_PD) or not len(negative_ND):
        return rocchio_direction(query_D, positive_PD, negative_ND)
    marks_MD = np.concatenate([positive_PD, negative_ND]).astype(np.float64)
    # The minimum lies in the span of the marks and the query: a few dozen coordinates instead of D.
    basis_DR, _ = np.linalg.qr(np.vstack([marks_MD, query_D]).T)
    rows_MR = marks_MD @ basis_DR
    target_M = np.r_[np.ones(len(positive_PD)), np.zeros(len(negative_ND))]
    share_M = np.where(target_M == 1, 0.5 / len(positive_PD), 0.5 / len(negative_ND)) * strength
    centre_R = prior * (np.asarray(query_D, np.float64) @ basis_DR)
    weights_R, bias = centre_R.copy(), -float((rows_MR @ centre_R).mean())
    design = np.c_[rows_MR, np.ones(len(rows_MR))]
    # The bias is free but for a trace of ridge, which keeps the system solvable when classes separate.
    ridge = np.r_[np.ones(len(centre_R)), 1e-6]
    for _ in range(iterations):
        chance_M = 1 / (1 + np.exp(-np.clip(rows_MR @ weights_R + bias, -30, 30)))
        gradient = design.T @ (share_M * (chance_M - target_M)) + ridge * np.r_[weights_R - centre_R, bias]
        curvature_M = share_M * chance_M * (1 - chance_M)
        step = np.linalg.solve((design.T * curvature_M) @ design + np.diag(ridge), gradient)
        # A cap on the step keeps Newton's method from overshooting where the curve is nearly flat.
        step *= min(1.0, 5.0 / max(1e-12, float(np.linalg.norm(step))))
        weights_R, bias = weights_R - step[:-1], bias - step[-1]
        if np.linalg.norm(step) < 1e-8:
            break
    return unit_direction(basis_DR @ weights_R)


def unit_direction(vector_D: FloatArray) -> FloatArray:
    """The vector at length 1.

    Raises:
        QueryError: it is zero, as examples and marks that cancel each other out make it.
    """
    norm = float(np.linalg.norm(vector_D))
    if norm < 1e-9:
        raise QueryError("the examples and marks cancel each other out; change the weights or leave some out")
    unit_D: FloatArray = vector_D / norm
    return unit_D
