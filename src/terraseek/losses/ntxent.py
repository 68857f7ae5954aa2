"""NT-Xent: every positive pair on its own against the negatives."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import LOSSES, Pairs, SoftmaxLoss

__all__ = ["NTXentLoss"]


@LOSSES.register("nt-xent")
class NTXentLoss(SoftmaxLoss):
    r"""Normalised temperature-scaled cross entropy, a positive being a pair that shares a label.

    Formula:
        :math:`L = -\frac{1}{|P|} \sum_{(i,p) \in P} \log
        \frac{\exp(s_{ip}/\tau)}{\exp(s_{ip}/\tau) + \sum_{n \in N(i)} \exp(s_{in}/\tau)}`, P all pairs that share a
        label, N(i) the references that share none with i.

    Source:
        Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020,
        https://arxiv.org/abs/2002.05709, eq. 1, with label positives as in pytorch-metric-learning.

    Relations:
        `AnySupConLoss` keeps the other positives in the denominator, so they compete; here they do not, and every pair,
        not every anchor, counts the same.

    Args:
        temperature: see `SoftmaxLoss`.
        ref_views: see `ContrastiveLoss`.

    Examples:
        >>> labels = torch.tensor([[1, 1], [1, 0], [0, 1], [0, 1]])
        >>> NTXentLoss(1.0)(torch.eye(4), labels)
        tensor(0.4839)
    """

    def pair_weights(self, pairs: Pairs) -> Tensor:
        """1 where a label is shared."""
        return pairs.positive_NM.to(pairs.shared_NM.dtype)

    def compute(self, pairs: Pairs) -> Tensor:
        """Mean over positive pairs."""
        with torch.no_grad():
            positive_NM = self.pair_weights(pairs)
            negative_NM = pairs.valid_NM & ~pairs.positive_NM
        logit_NM = pairs.similarity_NM / self.temperature
        lowest = torch.finfo(logit_NM.dtype).min
        against_N1 = logit_NM.masked_fill(~negative_NM, lowest).logsumexp(1, keepdim=True)
        loss_NM = torch.nn.functional.softplus(against_N1 - logit_NM)
        return (loss_NM * positive_NM).sum() / positive_NM.sum().clamp_min(1)
