"""The one formula that every softmax loss of this package is made of."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["pairwise_jaccard", "weighted_supcon"]


def weighted_supcon(
    similarity_NM: Tensor,
    weight_NM: Tensor,
    temperature_NM: Tensor | float,
    valid_NM: Tensor,
    *,
    denominator_temperature_NM: Tensor | float | None = None,
    denominator_log_weight_NM: Tensor | None = None,
    normaliser_N: Tensor | None = None,
) -> Tensor:
    r"""Supervised contrast with a weight and a temperature for every pair; one loss per anchor, (N,).

    .. math::
        L_i = -\frac{1}{W_i} \sum_p w_{ip} \log
              \frac{\exp(s_{ip} / \tau_{ip})}{\sum_{a\ \mathrm{valid}} \exp(s_{ia} / \tau_{ia})},
        \qquad W_i = \sum_p w_{ip}

    Anchors without weight, and anchors without any valid reference, have loss 0 and gradient 0. Half and bfloat16
    similarities are computed in float32.

    Args:
        similarity_NM: similarity of anchor n to reference m; the only input that receives a gradient from weights
            and temperatures that are constants, as those made of labels are.
        weight_NM: at least 0; 0 where the pair is no positive. Weights of invalid pairs are ignored.
        temperature_NM: above 0; one number, or anything that broadcasts to (N, M).
        valid_NM: which references stand in the denominator; an anchor's own entry does not.
        denominator_temperature_NM: temperature inside the sum over a, where it differs from the numerator's.
        denominator_log_weight_NM: log of the weight that each reference has inside the sum over a.
        normaliser_N: what to divide by instead of W_i.

    Source: Khosla et al., Supervised Contrastive Learning, 2020, https://arxiv.org/abs/2004.11362, eq. 2 (weights and
    temperatures all equal).

    Examples:
        >>> s = torch.tensor([[1.0, 0.8, 0.1], [0.8, 1.0, 0.3], [0.1, 0.3, 1.0]])
        >>> positive = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        >>> weighted_supcon(s, positive, 0.5, ~torch.eye(3, dtype=torch.bool))
        tensor([0.2204, 0.3133, 0.0000])
    """
    dtype = torch.promote_types(similarity_NM.dtype, torch.float32)
    if not similarity_NM.shape[1]:
        return similarity_NM.to(dtype).sum(1)
    similarity_NM, weight_NM = similarity_NM.to(dtype), weight_NM.to(dtype) * valid_NM
    # The lowest finite number, not -inf: a row without valid entries then has a finite log-sum-exp and no NaN gradient.
    lowest = torch.finfo(dtype).min
    logit_NM = (similarity_NM / temperature_NM).masked_fill(~valid_NM, lowest)
    if denominator_temperature_NM is None:
        repelled_NM = logit_NM
    else:
        repelled_NM = (similarity_NM / denominator_temperature_NM).masked_fill(~valid_NM, lowest)
    if denominator_log_weight_NM is not None:
        # Masked entries are the lowest number already: whatever is added must not push them over to -inf.
        repelled_NM = repelled_NM + denominator_log_weight_NM.masked_fill(~valid_NM, 0)
    denominator_N = repelled_NM.logsumexp(1)
    total_N = weight_NM.sum(1)
    if normaliser_N is None:
        normaliser_N = total_N
    normaliser_N = normaliser_N.masked_fill(total_N == 0, 1)
    # sum_p w (logit - lse) / W, with the constant lse taken out of the sum: one (N, M) product instead of three.
    return total_N / normaliser_N * denominator_N - (weight_NM / normaliser_N[:, None] * logit_NM).sum(1)


def pairwise_jaccard(shared_NM: Tensor, size_N: Tensor, size_M: Tensor) -> Tensor:
    """Jaccard index of all pairs from the number of shared labels and the sizes of the label sets; 0 where 0/0."""
    union_NM = size_N[:, None] + size_M[None, :]
    union_NM.sub_(shared_NM).clamp_min_(1)
    return shared_NM / union_NM
