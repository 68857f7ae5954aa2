"""Triplet loss with hard pairs from the batch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..errors import ConfigError
from .base import LOSSES, ContrastiveLoss, Pairs

__all__ = ["TripletLoss"]


@LOSSES.register("triplet")
class TripletLoss(ContrastiveLoss):
    r"""Triplet margin loss on cosine similarity; the negative shares no label with the anchor.

    Formula:
        :math:`L = mean_{i,p} \max(0, s_{in} - s_{ip} + m)` over triplets with a loss above 0. `mining` "hard": for
        each anchor its least similar positive and most similar negative; "hard-negative": every positive against the
        most similar negative; "all": every triplet.

    Source:
        Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017,
        https://arxiv.org/abs/1703.07737, eq. 5 (batch hard) and eq. 6 (batch all).

    Relations:
        Compares two similarities at a time; the softmax losses compare one with all. Overlap beyond "shares a label"
        is not used.

    Args:
        margin: m, in units of cosine similarity.
        mining: "hard", "hard-negative" or "all".
        ref_views: see `ContrastiveLoss`.

    Raises:
        ConfigError: a margin below 0 or an unknown mining.

    Examples:
        >>> TripletLoss(margin=0.2)(torch.eye(3), torch.tensor([[1, 0], [1, 0], [0, 1]]))
        tensor(0.2000)
    """

    def __init__(
        self,
        margin: float = 0.2,
        *,
        mining: Literal["hard", "hard-negative", "all"] = "hard",
        ref_views: Literal["exclude", "label"] = "exclude",
    ) -> None:
        super().__init__(ref_views=ref_views)
        if not margin >= 0:
            raise ConfigError(f"margin is {margin}, it must be at least 0")
        if mining not in ("hard", "hard-negative", "all"):
            raise ConfigError(f"mining is {mining!r}, allowed are 'hard', 'hard-negative', 'all'")
        self.margin = margin
        self.mining = mining

    def compute(self, pairs: Pairs) -> Tensor:
        """Mean over the triplets that violate the margin."""
        positive_NM, similarity_NM = pairs.positive_NM, pairs.similarity_NM
        if not similarity_NM.shape[1]:
            return similarity_NM.sum()
        negative_NM = pairs.valid_NM & ~positive_NM
        if self.mining == "all":
            # (N, P, M) triplets: the price of "all", cubic in the batch.
            violation = similarity_NM[:, None, :] - similarity_NM[:, :, None] + self.margin
            return _mean_violation(violation, positive_NM[:, :, None] & negative_NM[:, None, :])
        both_N1 = (positive_NM.any(1) & negative_NM.any(1))[:, None]
        # Infinities leave before the subtraction: inf - inf is NaN, also in the gradient of what is masked later.
        hardest_N1 = similarity_NM.masked_fill(~negative_NM, -torch.inf).amax(1, keepdim=True).where(both_N1, 0)
        if self.mining == "hard":
            lowest_N1 = similarity_NM.masked_fill(~positive_NM, torch.inf).amin(1, keepdim=True).where(both_N1, 0)
            return _mean_violation(hardest_N1 - lowest_N1 + self.margin, both_N1)
        return _mean_violation(hardest_N1 - similarity_NM + self.margin, positive_NM & both_N1)


def _mean_violation(violation: Tensor, counted: Tensor) -> Tensor:
    loss = violation.relu() * counted
    return loss.sum() / (loss > 0).sum().clamp_min(1)
