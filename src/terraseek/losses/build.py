"""Losses by their names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ConfigError
from ..registry import nearest
from .base import LOSSES, ContrastiveLoss
from .cross_modal import CROSS_MODAL_LOSSES, CrossModalLoss
from .graded import GradedConfig, GradedLoss
from .macl import MACLConfig, MACLLoss
from .statistics import LabelStatistics

__all__ = ["build_cross_modal_loss", "build_loss", "resolve_cross_modal_options", "resolve_options"]


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

    Examples:
        >>> import torch
        >>> statistics = LabelStatistics.from_labels(torch.eye(3))
        >>> build_loss("macl", statistics, gamma=1.0).config.gamma
        1.0
    """
    kind = LOSSES[name]
    _check_options(name, options, _defaults(kind))
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

    Examples:
        >>> build_cross_modal_loss("graded", soft=0.2).config.soft
        0.2
    """
    kind = CROSS_MODAL_LOSSES[name]
    _check_options(name, options, _cross_modal_defaults(kind))
    return kind(**options)


def resolve_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a loss of `LOSSES` with every default written out: what they mean, whatever defaults become.

    Raises:
        ConfigError: an unknown name or option, or a value of the wrong type.

    Examples:
        >>> resolve_options("multi-supcon", {"threshold": 0.2})
        {'temperature': 0.1, 'threshold': 0.2, 'normalisation': 'sum_w', 'ref_views': 'exclude'}
    """
    defaults = _defaults(LOSSES[name])
    _check_options(name, options, defaults)
    given = dict(options)
    if given.pop("weighted", False):
        given = {"eta": 1.0} | given
    defaults.pop("weighted", None)
    return defaults | given


def resolve_cross_modal_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a loss of `CROSS_MODAL_LOSSES`.

    Raises:
        ConfigError: an unknown name or option, or a value of the wrong type.
    """
    defaults = _cross_modal_defaults(CROSS_MODAL_LOSSES[name])
    _check_options(name, options, defaults)
    return defaults | dict(options)


def _check_options(name: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    for option, value in options.items():
        if option not in defaults:
            raise ConfigError(f"loss {name!r} has no option {option!r}: {nearest(option, list(defaults))}")
        default = defaults[option]
        kinds = (int, float) if isinstance(default, float) else type(default)
        wrong = not isinstance(value, kinds) or isinstance(value, bool) != isinstance(default, bool)
        if default is not None and wrong:
            raise ConfigError(f"loss {name!r}: {option} is {value!r}, it must be like its default, {default!r}")


def _defaults(kind: type[ContrastiveLoss]) -> dict[str, Any]:
    """What a user may set, with its default; what `build` supplies is not among it."""
    if issubclass(kind, MACLLoss):
        return {"weighted": False, **_keywords(MACLConfig)}
    supplied = ("statistics", "num_labels", "embedding_dim")
    return {name: default for name, default in _keywords(kind).items() if name not in supplied}


def _cross_modal_defaults(kind: type[CrossModalLoss]) -> dict[str, Any]:
    return _keywords(GradedConfig if kind is GradedLoss else kind)


def _keywords(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: None if p.default is inspect.Parameter.empty else p.default for p in parameters}
