"""The slowly following copy of an encoder that momentum contrast takes its keys from."""

from __future__ import annotations

import copy
from typing import Any, Literal, Self

import torch
from torch import nn

from ..errors import UsageError

__all__ = ["MomentumEncoder"]


class MomentumEncoder(nn.Module):
    """A copy of `encoder` whose parameters follow by ``key = m * key + (1 - m) * query``.

    Parameters are paired by name and buffers (BatchNorm's statistics) are copied, so that the key encoder is at every
    step an average of the query encoder's past. It stays in evaluation mode, without dropout and batch statistics, and
    takes no gradients.

    He et al., 2020, Momentum Contrast, https://arxiv.org/abs/1911.05722.

    Args:
        encoder: the query encoder; it is copied, and is not part of this module's state.
        momentum: m, in [0, 1).
        variant: "published" reproduces what KAMCL's published code does: the lists of parameters are paired by
            position and cut where the shorter ends, so that only the first `synchronised` parameters ever follow, all
            others keep their initial values, buffers are not copied, and training mode is followed.
        synchronised: for "published": how many parameters follow, 38 of 110 in KAMCL's image encoder.

    Raises:
        UsageError: `momentum` outside [0, 1).

    Example:
        >>> query = nn.Linear(2, 2)
        >>> key = MomentumEncoder(query, momentum=0.99)
        >>> key.update(query)
        >>> key(torch.zeros(1, 2)).requires_grad
        False
    """

    def __init__(
        self,
        encoder: nn.Module,
        momentum: float = 0.999,
        variant: Literal["default", "published"] = "default",
        synchronised: int = 38,
    ) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise UsageError(f"momentum is {momentum}, it must lie in [0, 1)")
        self.momentum, self.variant, self.synchronised = momentum, variant, synchronised
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.train(encoder.training)

    def train(self, mode: bool = True) -> Self:
        """Keep evaluation mode, whatever the module around it is in (but for the published variant)."""
        super().train(mode)
        self.encoder.train(mode and self.variant == "published")
        return self

    @torch.no_grad()
    def update(self, query: nn.Module) -> None:
        """Move one step towards the query encoder.

        Raises:
            UsageError: its parameters have other names than those that were copied.
        """
        ours, theirs = dict(self.encoder.named_parameters()), dict(query.named_parameters())
        if ours.keys() != theirs.keys():
            odd = sorted(ours.keys() ^ theirs.keys())
            raise UsageError(f"the two encoders differ in {len(odd)} parameters, {odd[0]!r} among them")
        names = list(ours)
        if self.variant == "published":
            names = names[: self.synchronised]
        for name in names:
            ours[name].lerp_(theirs[name].to(ours[name]), 1 - self.momentum)
        if self.variant == "default":
            kept = dict(self.encoder.named_buffers())
            for name, buffer in query.named_buffers():
                kept[name].copy_(buffer)

    @torch.no_grad()
    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the copy makes of the inputs, without gradient."""
        return self.encoder(*inputs, **options)
