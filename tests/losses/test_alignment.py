"""Concept alignment against a loop, and what its weights may and may not do."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from terraseek.errors import ConfigError, UsageError
from terraseek.losses import ConceptAlignment
from terraseek.relevance import label_rarity


def case(n: int = 4, c: int = 5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, c, generator=g, dtype=torch.float64)
    return logits.requires_grad_(), torch.rand(n, c, generator=g), 0.1 + torch.rand(c, generator=g)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 1000))
def test_equals_the_loop_in_value_and_gradient(n: int, c: int, seed: int) -> None:
    logits, targets, weights = case(n, c, seed)
    slow = logits.sum() * 0
    for i in range(n):
        for k in range(c):
            p, y = torch.sigmoid(logits[i, k]), float(targets[i, k])
            term = -(y * torch.log(p) + (1 - y) * torch.log(1 - p))
            slow = slow + float(weights[k]) * term / (n * float(weights.sum()))
    fast = ConceptAlignment(weights)(logits, targets)
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-7)
    grads = (torch.autograd.grad(value, logits)[0] for value in (fast, slow))
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-7)


def test_without_weights_it_is_the_published_mean() -> None:
    logits, targets, _ = case()
    published = F.binary_cross_entropy(torch.sigmoid(logits), targets.double())
    torch.testing.assert_close(ConceptAlignment()(logits, targets), published)
    torch.testing.assert_close(ConceptAlignment(torch.full((5,), 0.3))(logits, targets), published)


def test_scale_of_the_weights_does_not_matter() -> None:
    logits, targets, weights = case()
    torch.testing.assert_close(
        ConceptAlignment(weights)(logits, targets), ConceptAlignment(weights * 40)(logits, targets)
    )


def test_rare_concepts_weigh_more() -> None:
    frequency = torch.tensor([0.5, 0.25, 0.01])
    logits = torch.zeros(2, 3, requires_grad=True)
    (grad,) = torch.autograd.grad(ConceptAlignment.by_rarity(frequency, kappa=10.0)(logits, torch.ones(2, 3)), logits)
    ratio = label_rarity(frequency, kappa=10.0)
    torch.testing.assert_close(grad[0] / grad[0, 1], ratio / ratio[1])


def test_saved_with_nothing_and_moved_with_the_module() -> None:
    alignment = ConceptAlignment(torch.ones(3)).double()
    assert not alignment.state_dict()
    assert alignment.weight_C is not None
    assert alignment.weight_C.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits, targets, weights = case()
    low = (logits.detach() * 5).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ConceptAlignment(weights)(low, targets.to(dtype))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, ConceptAlignment(weights)(low.float(), targets.to(dtype).float()))


def test_extreme_logits_and_no_rows_are_finite() -> None:
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    value = ConceptAlignment()(logits, torch.tensor([[0.0, 1.0]]))
    assert value.item() == pytest.approx(1e4)
    (grad,) = torch.autograd.grad(value, logits)
    assert grad.tolist() == [[0.5, -0.5]]
    assert ConceptAlignment()(torch.zeros(0, 3), torch.zeros(0, 3)).item() == 0


@pytest.mark.parametrize(
    "weights", [torch.tensor([1.0, -1.0]), torch.zeros(2), torch.tensor([1.0, math.inf]), torch.ones(2, 2)]
)
def test_bad_weights_are_named(weights: Tensor) -> None:
    with pytest.raises(ConfigError, match="concept weights must be"):
        ConceptAlignment(weights)


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 2), r"both be \(N, C\)"),
        (torch.zeros(3), torch.zeros(3), r"both be \(N, C\)"),
        (torch.zeros(2, 4), torch.zeros(2, 4), "4 concepts, the weights are for 3"),
        (torch.zeros(2, 3), torch.full((2, 3), 1.1), "within 0..1"),
        (torch.zeros(2, 3), torch.full((2, 3), math.nan), "within 0..1"),
    ],
)
def test_bad_calls_are_named(logits: Tensor, targets: Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ConceptAlignment(torch.ones(3))(logits, targets)
