"""A loss by its name."""

from __future__ import annotations

import inspect
from typing import Any

from ..errors import ConfigError
from ..registry import nearest
from .base import LOSSES, ContrastiveLoss
from .macl import MACLConfig, MACLLoss
from .statistics import LabelStatistics

__all__ = ["build_loss"]


def build_loss(
    name: str, statistics: LabelStatistics, embedding_dim: int | None = None, **options: Any
) -> ContrastiveLoss:
    """Make the loss that `LOSSES` knows as `name`.

    Args:
        name: such as "macl" or "supcon".
        statistics: label frequencies of the training split.
        embedding_dim: D, needed by losses with parameters of their own (`needs_embedding_dim`).
        options: keyword arguments of the loss.

    Raises:
        ConfigError: an unknown name or option, a bad value, or no `embedding_dim` where one is needed.

    Example:
        >>> import torch
        >>> statistics = LabelStatistics.from_labels(torch.eye(3))
        >>> build_loss("macl", statistics, gamma=1.0).config.gamma
        1.0
    """
    kind = LOSSES[name]
    known = _options(kind)
    for option in options:
        if option not in known:
            raise ConfigError(f"loss {name!r} has no option {option!r}: {nearest(option, known)}")
    if kind.needs_embedding_dim and embedding_dim is None:
        raise ConfigError(f"loss {name!r} has parameters of its own: give embedding_dim")
    return kind.build(statistics, embedding_dim, **options)


def _options(kind: type[ContrastiveLoss]) -> list[str]:
    """Names of the keyword arguments that a user may set; what `build` supplies is not among them."""
    names = [
        name for name in inspect.signature(kind).parameters if name not in ("statistics", "num_labels", "embedding_dim")
    ]
    if issubclass(kind, MACLLoss):
        names = ["weighted", *inspect.signature(MACLConfig).parameters]
    return names
