"""Relevance against sets, numpy against torch in every precision, and the promises of each kind."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from terraseek.errors import UsageError
from terraseek.relevance import KINDS, concept_relevance, label_rarity, overlap, relevance

every_kind = pytest.mark.parametrize("kind", KINDS)


@st.composite
def label_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = draw(st.integers(1, 8))
    bits = st.integers(0, 1)
    query = draw(hnp.arrays(np.float64, (draw(st.integers(1, 4)), labels), elements=bits))
    gallery = draw(hnp.arrays(np.float64, (draw(st.integers(1, 5)), labels), elements=bits))
    rarity = draw(hnp.arrays(np.float64, labels, elements=st.floats(0.1, 10)))
    return query, gallery, rarity


def by_sets(query: np.ndarray, gallery: np.ndarray, kind: str, rarity: np.ndarray) -> np.ndarray:
    result = np.zeros((len(query), len(gallery)))
    for i, row in enumerate(query):
        for j, other in enumerate(gallery):
            a, b = set(np.flatnonzero(row).tolist()), set(np.flatnonzero(other).tolist())
            if not a & b:
                continue
            result[i, j] = {
                "any": 1.0,
                "count": len(a & b),
                "jaccard": len(a & b) / len(a | b),
                "cosine": len(a & b) / math.sqrt(len(a) * len(b)),
                "rarity-jaccard": sum(rarity[list(a & b)]) / sum(rarity[list(a | b)]),
            }[kind]
    return result


@every_kind
@settings(max_examples=50, deadline=None)
@given(case=label_pairs())
def test_equals_the_definition_on_sets(kind: str, case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    query, gallery, rarity = case
    np.testing.assert_allclose(
        relevance(query, gallery, kind, rarity),
        by_sets(query, gallery, kind, rarity),
        rtol=1e-9,  # type: ignore[arg-type]
    )


@every_kind
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)],
)
def test_torch_equals_numpy_in_every_precision(kind: str, dtype: torch.dtype, tolerance: float) -> None:
    rng = np.random.default_rng(0)
    query, gallery = (rng.random((6, 17)) < 0.3).astype(float), (rng.random((9, 17)) < 0.3).astype(float)
    query[0] = gallery[0] = 0
    rarity = label_rarity(gallery.mean(0))
    found = relevance(*(torch.tensor(a).to(dtype) for a in (query, gallery)), kind, torch.tensor(rarity).to(dtype))  # type: ignore[arg-type]
    assert found.dtype == dtype
    assert torch.isfinite(found).all()
    expected = relevance(query, gallery, kind, rarity)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=tolerance, atol=tolerance)


@every_kind
def test_half_precision_numpy_keeps_its_type(kind: str) -> None:
    labels = np.eye(3, dtype=np.float16)
    found = relevance(labels, labels, kind, np.ones(3, dtype=np.float16))  # type: ignore[arg-type]
    assert found.dtype == np.float16
    assert found.tolist() == np.eye(3).tolist()


@every_kind
@settings(max_examples=40, deadline=None)
@given(case=label_pairs())
def test_promises(kind: str, case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    query, gallery, rarity = case
    value = relevance(query, gallery, kind, rarity)  # type: ignore[arg-type]
    assert (value >= 0).all()
    assert ((value > 0) == (overlap(query, gallery) > 0)).all()
    np.testing.assert_allclose(relevance(gallery, query, kind, rarity).T, value)  # type: ignore[arg-type]
    if kind != "count":
        assert (value <= 1 + 1e-12).all()
        own = np.diag(relevance(query, query, kind, rarity))  # type: ignore[arg-type]
        np.testing.assert_allclose(own, query.any(axis=1))


@given(case=label_pairs())
def test_equal_rarities_give_plain_jaccard(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    query, gallery, _ = case
    weighted = relevance(query, gallery, "rarity-jaccard", np.full(query.shape[1], 3.0))
    np.testing.assert_allclose(weighted, relevance(query, gallery, "jaccard"))


def test_refusals() -> None:
    with pytest.raises(UsageError, match="known: any, count"):
        relevance(np.eye(2), np.eye(2), "jacard")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="rarity_C"):
        relevance(np.eye(2), np.eye(2), "rarity-jaccard")
    with pytest.raises(UsageError, match="kappa"):
        label_rarity(np.ones(2), kappa=0.5)


@given(
    frequency=hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(1e-4, 1)),
    gamma=st.floats(0, 2),
    kappa=st.floats(1, 100),
    scale=st.floats(0.01, 100),
)
def test_rarity_promises(frequency: np.ndarray, gamma: float, kappa: float, scale: float) -> None:
    rarity = label_rarity(frequency, gamma, kappa)
    assert (rarity >= 1 / kappa - 1e-12).all()
    assert (rarity <= kappa + 1e-12).all()
    assert (np.diff(rarity[np.argsort(frequency)]) <= 1e-9).all()  # the rarer, the larger
    # Only the proportions matter: counts and shares, and a doubled data set, give the same.
    np.testing.assert_allclose(label_rarity(frequency * scale, gamma, kappa), rarity, rtol=1e-9)
    found = label_rarity(torch.tensor(frequency), gamma, kappa)
    np.testing.assert_allclose(found.numpy(), rarity, rtol=1e-9)


def test_rarity_of_labels_that_never_occur() -> None:
    assert label_rarity(np.array([0.5, 0.0]), kappa=9.0).tolist() == [1.0, 9.0]
    assert label_rarity(np.array([0.5, 0.0]), gamma=0.0).tolist() == [1.0, 1.0]
    assert label_rarity(np.zeros(3)).tolist() == [1.0, 1.0, 1.0]
    assert label_rarity(torch.zeros(3)).tolist() == [1.0, 1.0, 1.0]


@st.composite
def score_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    concepts = draw(st.integers(1, 6))
    scores = st.one_of(st.just(0.0), st.just(1.0), st.floats(0.01, 1))
    query = draw(hnp.arrays(np.float64, (draw(st.integers(1, 4)), concepts), elements=scores))
    gallery = draw(hnp.arrays(np.float64, (draw(st.integers(1, 5)), concepts), elements=scores))
    return query, gallery, draw(hnp.arrays(np.float64, concepts, elements=st.floats(0.01, 100)))


@settings(max_examples=50, deadline=None)
@given(case=score_pairs())
def test_concept_relevance_is_its_formula(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    query, gallery, rarity = case
    found = concept_relevance(query, gallery, rarity)
    for i, s in enumerate(query.tolist()):
        for j, t in enumerate(gallery.tolist()):
            shared = sum(r * a * b for r, a, b in zip(rarity, s, t, strict=True))
            total = sum(r * (a * a + b * b - a * b) for r, a, b in zip(rarity, s, t, strict=True))
            assert found[i, j] == pytest.approx(shared / total if shared else 0.0, rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(case=score_pairs())
def test_concept_relevance_promises(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    query, gallery, rarity = case
    value = concept_relevance(query, gallery, rarity)
    assert ((value >= 0) & (value <= 1)).all()
    np.testing.assert_allclose(concept_relevance(gallery, query, rarity).T, value, rtol=1e-9)
    np.testing.assert_allclose(np.diag(concept_relevance(query, query, rarity)), query.any(axis=1), rtol=1e-9)
    np.testing.assert_allclose(concept_relevance(query, gallery, rarity * 7), value, rtol=1e-9)
    np.testing.assert_allclose(concept_relevance(query, gallery), concept_relevance(query, gallery, rarity * 0 + 1))
    torch_value = concept_relevance(torch.tensor(query), torch.tensor(gallery), torch.tensor(rarity))
    np.testing.assert_allclose(torch_value.numpy(), value, rtol=1e-9)


@given(case=label_pairs())
def test_concept_relevance_of_binary_scores_is_rarity_jaccard(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    query, gallery, rarity = case
    expected = relevance(query, gallery, "rarity-jaccard", rarity)
    np.testing.assert_allclose(concept_relevance(query, gallery, rarity), expected, rtol=1e-9)


def test_shared_rare_concepts_count_more() -> None:
    rarity = np.array([1.0, 10.0])
    both = np.array([[1.0, 1.0]])
    common, rare = concept_relevance(both, np.eye(2), rarity)[0]
    assert rare == pytest.approx(10 / 11)
    assert common == pytest.approx(1 / 11)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 3e-3), (torch.bfloat16, 2e-2)])
def test_concept_relevance_in_low_precision(dtype: torch.dtype, tolerance: float) -> None:
    scores = np.random.default_rng(0).random((6, 20))
    found = concept_relevance(torch.tensor(scores).to(dtype), torch.tensor(scores).to(dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(found.double().numpy(), concept_relevance(scores, scores), atol=tolerance)
