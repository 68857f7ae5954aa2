from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from terraseek.losses import weighted_supcon
from terraseek.losses.functional import pairwise_jaccard


def reference(similarity: Tensor, weight: Tensor, temperature: Tensor, valid: Tensor) -> list[Tensor]:
    losses = []
    for i in range(len(similarity)):
        keep = [a for a in range(similarity.shape[1]) if valid[i, a]]
        loss, total = similarity[i].sum() * 0, sum(float(weight[i, p]) for p in keep)
        if total > 0:
            denominator = sum(math.e ** (similarity[i, a] / temperature[i, a]) for a in keep)
            for p in keep:
                probability = math.e ** (similarity[i, p] / temperature[i, p]) / denominator
                loss = loss - weight[i, p] / total * torch.log(probability)
        losses.append(loss)
    return losses


def case(n: int, m: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    similarity = (2 * torch.rand(n, m, generator=g, dtype=torch.float64) - 1).requires_grad_()
    weight = torch.rand(n, m, generator=g, dtype=torch.float64) * (torch.rand(n, m, generator=g) < 0.4)
    temperature = 0.1 + torch.rand(n, m, generator=g, dtype=torch.float64)
    return similarity, weight, temperature, torch.rand(n, m, generator=g) < 0.8


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 10_000))
def test_equals_the_loop_in_value_and_gradient(n: int, m: int, seed: int) -> None:
    similarity, weight, temperature, valid = case(n, m, seed)
    fast = weighted_supcon(similarity, weight, temperature, valid)
    slow = torch.stack(reference(similarity, weight, temperature, valid))
    torch.testing.assert_close(fast, slow)
    upstream = torch.arange(1.0, n + 1, dtype=torch.float64)
    (grad,) = torch.autograd.grad(fast, similarity, upstream)
    (expected,) = torch.autograd.grad(slow, similarity, upstream)
    torch.testing.assert_close(grad, expected)


def test_separate_denominator_temperature_and_normaliser() -> None:
    similarity, weight, _, valid = case(4, 6, 1)
    similarity, weight = similarity.detach(), weight * valid
    loss = weighted_supcon(
        similarity, weight, 0.5, valid, denominator_temperature_NM=0.2, normaliser_N=torch.full((4,), 2.0)
    )
    for i in range(4):
        denominator = sum(math.exp(float(similarity[i, a]) / 0.2) for a in range(6) if valid[i, a])
        terms = [float(weight[i, p]) * (float(similarity[i, p]) / 0.5 - math.log(denominator)) for p in range(6)]
        assert float(loss[i]) == pytest.approx(-sum(terms) / 2)


def test_rows_without_positives_or_references_are_zero_and_finite() -> None:
    similarity = torch.ones(3, 4, requires_grad=True)
    weight = torch.tensor([[0.0] * 4, [1.0] * 4, [1.0] * 4])
    valid = torch.tensor([[True] * 4, [False] * 4, [True] * 4])
    loss = weighted_supcon(similarity, weight, 0.1, valid)
    loss.sum().backward()
    assert loss[:2].tolist() == [0.0, 0.0]
    assert loss[2].item() == pytest.approx(math.log(4), rel=1e-5)
    assert similarity.grad is not None
    assert torch.isfinite(similarity.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_low_precision_is_computed_in_float32(dtype: torch.dtype, scale: float) -> None:
    similarity, weight, temperature, valid = case(5, 5, 3)
    low = (similarity.detach() * scale).to(dtype).requires_grad_()
    loss = weighted_supcon(low, weight.to(dtype), temperature.to(dtype), valid)
    loss.sum().backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss).all()
    assert low.grad is not None
    assert torch.isfinite(low.grad).all()


def test_stable_at_tiny_temperatures() -> None:
    similarity = torch.tensor([[1.0, -1.0, 0.5]], requires_grad=True)
    loss = weighted_supcon(similarity, torch.tensor([[0.0, 1.0, 0.0]]), 1e-4, torch.ones(1, 3, dtype=torch.bool))
    loss.sum().backward()
    assert loss.item() == pytest.approx(20_000, rel=1e-5)
    assert similarity.grad is not None
    assert torch.isfinite(similarity.grad).all()


def test_weight_scale_cancels() -> None:
    similarity, weight, temperature, valid = case(4, 6, 5)
    torch.testing.assert_close(
        weighted_supcon(similarity, weight, temperature, valid),
        weighted_supcon(similarity, weight * 17, temperature, valid),
    )


def test_jaccard_of_empty_sets_is_zero() -> None:
    labels = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    jaccard = pairwise_jaccard(labels @ labels.T, labels.sum(1), labels.sum(1))
    torch.testing.assert_close(jaccard, torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.5], [0.0, 0.5, 1.0]]))
