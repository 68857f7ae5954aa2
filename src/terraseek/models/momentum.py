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
            position and cut where the shorter ends, so that only the first `synchronised` parameters are ever copied
            and follow; all others keep the values of `drawn`, buffers are not copied, and training mode is followed.
        synchronised: for "published": how many parameters follow, 38 of 110 in KAMCL's image encoder.
        drawn: for "published": an encoder of the same form from a random draw of its own, which becomes the key
            encoder. What is pretrained is alike in both; heads that do not follow stay random for good.

    Raises:
        UsageError: `momentum` outside [0, 1), no `drawn` for "published" or one for the default, or one with other
            parameters.

    Examples:
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
        drawn: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise UsageError(f"momentum is {momentum}, it must lie in [0, 1)")
        self.momentum, self.variant, self.synchronised = momentum, variant, synchronised
        if (drawn is None) == (variant == "published"):
            raise UsageError(
                "variant 'published' needs `drawn`, an encoder from a draw of its own; the default takes none"
            )
        self.encoder = copy.deepcopy(encoder if drawn is None else drawn).requires_grad_(False)
        self.train(encoder.training)
        self._follow(encoder, momentum=0.0)

    def train(self, mode: bool = True) -> Self:
        """Keep evaluation mode, whatever the module around it is in (but for the published variant)."""
        super().train(mode)
        self.encoder.train(mode and self.variant == "published")
        return self

    def update(self, query: nn.Module) -> None:
        """Move one step towards the query encoder.

        Raises:
            UsageError: its parameters have other names than those that were copied.
        """
        self._follow(query, self.momentum)

    @torch.no_grad()
    def _follow(self, query: nn.Module, momentum: float) -> None:
        ours, theirs = dict(self.encoder.named_parameters()), dict(query.named_parameters())
        if ours.keys() != theirs.keys():
            odd = sorted(ours.keys() ^ theirs.keys())
            raise UsageError(f"the two encoders differ in {len(odd)} parameters, {odd[0]!r} among them")
        names = list(ours)
        if self.variant == "published":
            names = names[: self.synchronised]
        for name in names:
            ours[name].lerp_(theirs[name].to(ours[name]), 1 - momentum)
        if self.variant == "default":
            kept = dict(self.encoder.named_buffers())
            for name, buffer in query.named_buffers():
                kept[name].copy_(buffer)

    @torch.no_grad()
    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the copy makes of the inputs, without gradient."""
        return self.encoder(*inputs, **options)
