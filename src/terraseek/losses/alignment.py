"""Concept alignment: what an image or a text shows, predicted and compared with its mined concepts."""

from __future__ import annotations

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError, UsageError
from ..relevance import label_rarity

__all__ = ["ConceptAlignment"]


class ConceptAlignment(nn.Module):
    r"""Binary cross entropy of concept logits with soft concept scores, rare concepts weighing more if asked.

    Formula:
        :math:`L = -\frac{1}{N \sum_c w_c} \sum_{i,c} w_c [y_{ic} \log \sigma(z_{ic}) + (1 - y_{ic})
        \log(1 - \sigma(z_{ic}))]`. The weights are divided by their sum: their scale does not matter.

    Source:
        The knowledge alignment of KAMCL, TGRS 2023, https://doi.org/10.1109/TGRS.2023.3332317, is the plain mean, which
        is what no weights give; weights by rarity are MACL's pairwise reweighting on single concepts.

    Relations:
        `BCELoss` learns a classifier on the embedding from hard labels; here logits come from the model's concept head
        and targets are soft.

    Args:
        weight_C: (C,) at least 0, how much each concept counts; all alike without it.

    Raises:
        ConfigError: weights that are negative, not finite, or all 0.

    Examples:
        >>> ConceptAlignment()(torch.zeros(2, 3), torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.0, 1.0]]))
        tensor(0.6931)
    """

    weight_C: Tensor | None

    def __init__(self, weight_C: Tensor | None = None) -> None:
        super().__init__()
        if weight_C is not None:
            weight_C = weight_C.detach().float()
            if weight_C.ndim != 1 or not (weight_C >= 0).all() or not 0 < float(weight_C.sum()) < float("inf"):
                raise ConfigError("concept weights must be (C,), finite, at least 0 and not all 0")
            weight_C = weight_C / weight_C.mean()
        # Derived from the training split's frequencies, which are what gets saved.
        self.register_buffer("weight_C", weight_C, persistent=False)

    @classmethod
    def by_rarity(cls, frequency_C: Any, gamma: float = 1.0, kappa: float = 30.0) -> Self:
        """Weights are `terraseek.relevance.label_rarity` of the concepts' frequencies in the training split.

        Examples:
            >>> ConceptAlignment.by_rarity(torch.tensor([0.1, 0.2, 0.4])).weight_C
            tensor([1.7143, 0.8571, 0.4286])
        """
        return cls(label_rarity(torch.as_tensor(frequency_C, dtype=torch.float64), gamma, kappa))

    def forward(self, logits_NC: Tensor, targets_NC: Tensor) -> Tensor:
        """The loss, a scalar in at least float32; 0 for no rows.

        Args:
            logits_NC: (N, C), before the sigmoid.
            targets_NC: (N, C) scores in 0..1.

        Raises:
            UsageError: shapes that do not fit, or targets outside 0..1.
        """
        if logits_NC.ndim != 2 or logits_NC.shape != targets_NC.shape:
            raise UsageError(
                f"logits and targets must both be (N, C), not {tuple(logits_NC.shape)} and {tuple(targets_NC.shape)}"
            )
        if self.weight_C is not None and len(self.weight_C) != logits_NC.shape[1]:
            raise UsageError(f"logits have {logits_NC.shape[1]} concepts, the weights are for {len(self.weight_C)}")
        with torch.autocast(logits_NC.device.type, enabled=False):
            logits_NC = logits_NC.to(torch.promote_types(logits_NC.dtype, torch.float32))
            targets_NC = targets_NC.detach().to(logits_NC)
            if not ((targets_NC >= 0) & (targets_NC <= 1)).all():
                raise UsageError("concept targets must be within 0..1")
            weight_C = None if self.weight_C is None else self.weight_C.to(logits_NC.dtype)
            loss = F.binary_cross_entropy_with_logits(logits_NC, targets_NC, weight_C, reduction="sum")
            return loss / max(1, logits_NC.numel())
