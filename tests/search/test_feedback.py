from __future__ import annotations

import numpy as np
import pytest

from terraseek.errors import UsageError
from terraseek.search import logistic_direction, rocchio_direction


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def average_precision(scores: np.ndarray, relevant: np.ndarray) -> float:
    ranked = relevant[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return float((precision * ranked).sum() / ranked.sum())


@pytest.fixture(scope="module")
def scenes() -> tuple[np.ndarray, np.ndarray]:
    """20 overlapping classes of 60 vectors."""
    rng = np.random.default_rng(0)
    centres = unit(rng.standard_normal((20, 32)))
    labels = np.repeat(np.arange(20), 60)
    return unit(centres[labels] + 0.28 * rng.standard_normal((1200, 32))), labels


@pytest.mark.parametrize("direction", [rocchio_direction, logistic_direction])
def test_marking_the_first_page_finds_more_of_the_rest(scenes, direction) -> None:
    vectors, labels = scenes
    before, after = [], []
    for query in range(0, 1200, 40):
        relevant = labels == labels[query]
        scores = vectors @ vectors[query]
        page = np.argsort(-scores)[1:21]
        moved = direction(vectors[query], vectors[page][relevant[page]], vectors[page][~relevant[page]])
        rest = np.ones(1200, bool)
        rest[[query, *page]] = False  # what was marked does not count
        before.append(average_precision(scores[rest], relevant[rest].astype(float)))
        after.append(average_precision((vectors @ moved)[rest], relevant[rest].astype(float)))
    assert np.mean(after) > np.mean(before) + 0.1


def test_the_classifier_is_where_its_gradient_vanishes() -> None:
    rng = np.random.default_rng(1)
    query, positive, negative = (
        unit(rng.standard_normal(6)),
        unit(rng.standard_normal((5, 6))),
        unit(rng.standard_normal((9, 6))),
    )
    strength, prior = 10.0, 4.0
    found = logistic_direction(query, positive, negative, strength=strength, prior=prior)

    def loss(parameters: np.ndarray) -> float:
        weights, bias = parameters[:-1], parameters[-1]
        up, down = positive @ weights + bias, negative @ weights + bias
        fit = 0.5 * np.logaddexp(0, -up).mean() + 0.5 * np.logaddexp(0, down).mean()
        return float(strength * fit + 0.5 * ((weights - prior * query) ** 2).sum() + 0.5e-6 * bias**2)

    # Plain gradient descent with numerical gradients, as an independent way to the same minimum.
    at = np.r_[prior * query, 0.0]
    for _ in range(2500):
        gradient = np.array([(loss(at + 1e-6 * e) - loss(at - 1e-6 * e)) / 2e-6 for e in np.eye(7)])
        at = at - 0.25 * gradient
    np.testing.assert_allclose(found, unit(at[:-1]), atol=1e-4)


def test_marks_of_one_kind_and_none() -> None:
    query = np.array([1.0, 0.0])
    none = np.empty((0, 2))
    np.testing.assert_allclose(logistic_direction(query, none, none), query)
    np.testing.assert_allclose(rocchio_direction(query, none, np.array([[0.0, 1.0]])), unit(np.array([1.0, -0.15])))
    with pytest.raises(UsageError, match="cancel"):
        rocchio_direction(query, np.array([[-1.0, 0.0]]), none, beta=1.0)
