"""Small multi-label batches for every loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]


def make_batch(n: int = 13, c: int = 5, d: int = 7, seed: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
    """Embeddings (n, d) that want a gradient and labels (n, c) with an empty row."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, c, generator=generator) < 0.4).long()
    labels[0] = 0
    return torch.randn(n, d, generator=generator, dtype=dtype).requires_grad_(), labels


@pytest.fixture
def batch() -> Batch:
    return make_batch()


@pytest.fixture
def make() -> Callable[..., Batch]:
    return make_batch
