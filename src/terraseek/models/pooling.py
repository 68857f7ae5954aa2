"""Pooling a set of vectors into one: the learned pooling operator, and means that ignore padding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..errors import UsageError

__all__ = ["GPO", "masked_mean", "position_codes"]


class GPO(nn.Module):
    """Generalised pooling operator: learned weights over each dimension's values in descending order.

    Mean, max and top-k pooling are special cases. The weights of a set depend on its size alone: sinusoidal codes of
    the positions 0..n-1 run through a bidirectional GRU whose directions are averaged, a linear map gives one score
    per position, and a softmax at `temperature` the weights. At inference they are therefore computed once per size
    and kept until a parameter changes.

    Chen et al., 2021, Learning the Best Pooling Strategy for Visual Semantic Embedding,
    https://arxiv.org/abs/2011.04305.

    Args:
        d_pe: width of the position codes, even.
        d_hidden: width of the GRU.
        temperature: of the softmax; low ones start close to max pooling.

    Examples:
        >>> pool = GPO(32, 32)
        >>> pool(torch.randn(2, 5, 8), torch.tensor([5, 3])).shape
        torch.Size([2, 8])
    """

    frozen_LK: Tensor | None

    def __init__(self, d_pe: int = 32, d_hidden: int = 32, temperature: float = 0.1) -> None:
        super().__init__()
        if d_pe < 2 or d_pe % 2:
            raise UsageError(f"d_pe is {d_pe}, it must be even and at least 2")
        self.d_pe, self.temperature = d_pe, temperature
        self.gru = nn.GRU(d_pe, d_hidden, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(d_hidden, 1, bias=False)
        self._kept: dict[int, Tensor] = {}
        self._kept_for: tuple[object, ...] = ()
        self.register_buffer("frozen_LK", None, persistent=False)

    def forward(self, features_NKD: Tensor, lengths_N: Tensor | None = None) -> Tensor:
        """Pool each set, (N, K, D) -> (N, D).

        Args:
            features_NKD: the sets' vectors; what stands at or after a set's length plays no part.
            lengths_N: number of vectors of each set, 1..K; None where all have K.

        Raises:
            UsageError: a length outside 1..K.
        """
        most = features_NKD.shape[1]
        if lengths_N is None:
            sorted_NKD = self._sorted(features_NKD)
            return (sorted_NKD * self._weights_of(most).to(features_NKD.dtype)[:, None]).sum(1)
        inside_NK = torch.arange(most, device=features_NKD.device) < lengths_N[:, None]
        low = torch.finfo(features_NKD.dtype).min  # sorts behind every value; -inf times weight 0 would be NaN
        sorted_NKD = self._sorted(features_NKD.masked_fill(~inside_NK[..., None], low))
        weights_NK = self.weights(lengths_N, most).to(features_NKD.dtype)
        return (sorted_NKD.masked_fill(~inside_NK[..., None], 0) * weights_NK[..., None]).sum(1)

    def weights(self, lengths_N: Tensor, most: int) -> Tensor:
        """Weights of the sorted positions, (N, K) with K = `most`: rows sum to 1, zero at and after the length."""
        if self.frozen_LK is not None:
            return self.frozen_LK[lengths_N - 1, :most]
        sizes, row_of = torch.unique(lengths_N, return_inverse=True)
        listed: list[int] = sizes.tolist()
        if listed and not 1 <= listed[0] <= listed[-1] <= most:
            raise UsageError(f"set sizes are {listed[0]}..{listed[-1]}, they must lie in 1..{most}")
        table = torch.stack(
            [nn.functional.pad(self._weights_of(size), (0, most - size)) for size in listed]
            if not self._differentiable
            else self._compute(listed, most)
        )
        return table[row_of]

    def freeze(self, largest: int) -> None:
        """Replace the GRU by the table of its weights for all sizes up to `largest`: for export, equal in value."""
        with torch.no_grad():
            self.frozen_LK = torch.stack(self._compute(list(range(1, largest + 1)), largest))

    def _sorted(self, features_NKD: Tensor) -> Tensor:
        """The values of each dimension in descending order, (N, K, D)."""
        # numpy cannot be traced, and sorts NaN to the other end.
        traced = torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling()
        plain = not traced and features_NKD.device.type == "cpu" and features_NKD.dtype == torch.float32
        if plain and not features_NKD.isnan().any():
            sorted_NKD: Tensor = _SortedOnCPU.apply(features_NKD)  # type: ignore[no-untyped-call]
            return sorted_NKD
        return features_NKD.sort(dim=1, descending=True).values

    @property
    def _differentiable(self) -> bool:
        return torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self.parameters())

    def _weights_of(self, size: int) -> Tensor:
        if self.frozen_LK is not None:
            return self.frozen_LK[size - 1, :size]
        if self._differentiable:
            return self._compute([size], size)[0]
        # Every in-place change counts up a tensor's version; moving the module gives its tensors other places.
        state = tuple((p.data_ptr(), p._version) for p in self.parameters())
        if state != self._kept_for:
            self._kept, self._kept_for = {}, state
        if size not in self._kept:
            self._kept[size] = self._compute([size], size)[0]
        return self._kept[size]

    def _compute(self, sizes: list[int], most: int) -> list[Tensor]:
        """Weights for each size, padded with zeros to `most`."""
        parameter = self.linear.weight
        codes = position_codes(max(sizes), self.d_pe).to(parameter)
        packed = pack_padded_sequence(
            codes.expand(len(sizes), -1, -1), torch.tensor(sizes), batch_first=True, enforce_sorted=False
        )
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=most)
        forward, backward = states.chunk(2, dim=-1)
        scores = self.linear((forward + backward) / 2).squeeze(-1).float() / self.temperature
        return [
            nn.functional.pad(score[:size].softmax(0), (0, most - size))
            for score, size in zip(scores, sizes, strict=True)
        ]


class _SortedOnCPU(torch.autograd.Function):
    """`torch.sort` along dimension 1, descending, values alone: numpy's vectorised sort is faster on one thread."""

    @staticmethod
    def forward(ctx: FunctionCtx, features_NKD: Tensor) -> Tensor:
        ascending_NDK = -features_NKD.detach().transpose(1, 2).contiguous().numpy()
        if features_NKD.requires_grad:
            order_NDK = np.argsort(ascending_NDK, axis=2)
            ctx.save_for_backward(torch.from_numpy(order_NDK))
            ascending_NDK = np.take_along_axis(ascending_NDK, order_NDK, axis=2)
        else:
            ascending_NDK.sort(axis=2)
        return torch.from_numpy(-ascending_NDK).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, gradient_NKD: Tensor) -> Tensor:
        (order_NDK,) = ctx.saved_tensors
        gradient_NDK = gradient_NKD.transpose(1, 2).contiguous()
        return torch.empty_like(gradient_NDK).scatter_(2, order_NDK, gradient_NDK).transpose(1, 2)


def position_codes(length: int, width: int) -> Tensor:
    """Sinusoidal position codes, (length, width): sines at even columns, cosines at odd ones.

    Vaswani et al., 2017, https://arxiv.org/abs/1706.03762.

    >>> position_codes(2, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angle = torch.arange(length)[:, None] * rate
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)


def masked_mean(features_NKD: Tensor, mask_NK: Tensor) -> Tensor:
    """Mean of the vectors whose mask is 1, (N, D); zero for a set without any."""
    kept = mask_NK[..., None].to(features_NKD.dtype)
    return (features_NKD * kept).sum(1) / kept.sum(1).clamp(min=1)
