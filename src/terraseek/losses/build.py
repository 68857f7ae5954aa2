"""Losses by their names."""

from __future__ import annotations

import inspect
from typing import Any

from ..errors import ConfigError
from ..registry import nearest
from .base import LOSSES, ContrastiveLoss
from .cross_modal import CROSS_MODAL_LOSSES, CrossModalLoss
from .graded import GradedConfig, GradedLoss
from .macl import MACLConfig, MACLLoss
from .statistics import LabelStatistics

__all__ = ["build_cross_modal_loss", "build_loss"]


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
    _check_options(name, options, _options(kind))
    if kind.needs_embedding_dim and embedding_dim is None:
        raise ConfigError(f"loss {name!r} has parameters of its own: give embedding_dim")
    return kind.build(statistics, embedding_dim, **options)


def build_cross_modal_loss(name: str, **options: Any) -> CrossModalLoss:
    """Make the loss that `CROSS_MODAL_LOSSES` knows as `name`.

    Args:
        name: such as "graded" or "info-nce".
        options: keyword arguments of the loss.

    Raises:
        ConfigError: an unknown name or option, or a bad value.

    Example:
        >>> build_cross_modal_loss("graded", soft=0.2).config.soft
        0.2
    """
    kind = CROSS_MODAL_LOSSES[name]
    _check_options(name, options, list(inspect.signature(GradedConfig if kind is GradedLoss else kind).parameters))
    return kind(**options)


def _check_options(name: str, options: dict[str, Any], known: list[str]) -> None:
    for option in options:
        if option not in known:
            raise ConfigError(f"loss {name!r} has no option {option!r}: {nearest(option, known)}")


def _options(kind: type[ContrastiveLoss]) -> list[str]:
    """Names of the keyword arguments that a user may set; what `build` supplies is not among them."""
    names = [
        name for name in inspect.signature(kind).parameters if name not in ("statistics", "num_labels", "embedding_dim")
    ]
    if issubclass(kind, MACLLoss):
        names = ["weighted", *inspect.signature(MACLConfig).parameters]
    return names
