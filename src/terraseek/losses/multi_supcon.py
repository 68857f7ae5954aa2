"""SupCon for label sets: graded overlap (MultiSupCon) and one contrast per label (MulSupCon)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..errors import ConfigError
from .base import LOSSES, Pairs, SoftmaxLoss
from .functional import weighted_supcon

__all__ = ["MulSupConLoss", "MultiSupConLoss"]


@LOSSES.register("multi-supcon")
class MultiSupConLoss(SoftmaxLoss):
    r"""SupCon weighted by the Jaccard overlap of the label sets (Jaccard-SupCon).

    Formula:
        :math:`w_{ip} = J_{ip}` where :math:`J_{ip} \ge` `threshold` and a label is shared, else 0;
        `normalisation` "sum_w" divides by :math:`\sum_p w_{ip}`, "count" by the number of positives.

    Source:
        Zaigrajew and Zieba, Contrastive Learning for Multi-Label Classification, NeurIPS workshop on self-supervised
        learning, 2022, which has threshold and "count".

    Relations:
        Threshold 0 without weighting is `AnySupConLoss`, threshold 1 is `AllSupConLoss`. Equals `MACLLoss` with eta 1
        and neither rarity nor temperature scaling.

    Args:
        threshold: least Jaccard index of a positive.
        normalisation: "sum_w" or "count".
        temperature: see `SoftmaxLoss`.
        ref_views: see `ContrastiveLoss`.

    Examples:
        >>> import torch
        >>> labels = torch.tensor([[1, 1], [1, 1], [1, 0]])
        >>> MultiSupConLoss(threshold=0.3)(torch.eye(3), labels)
        tensor(0.6931)
    """

    def __init__(
        self,
        temperature: float = 0.1,
        *,
        threshold: float = 0.0,
        normalisation: Literal["sum_w", "count"] = "sum_w",
        ref_views: Literal["exclude", "label"] = "exclude",
    ) -> None:
        super().__init__(temperature, ref_views=ref_views)
        if not 0 <= threshold <= 1:
            raise ConfigError(f"threshold is {threshold}, a Jaccard index is within 0..1")
        if normalisation not in ("sum_w", "count"):
            raise ConfigError(f"normalisation is {normalisation!r}, allowed are 'sum_w', 'count'")
        self.threshold = threshold
        self.normalisation = normalisation

    def pair_weights(self, pairs: Pairs) -> Tensor:
        """The Jaccard index, 0 below the threshold."""
        return pairs.jaccard_NM * (pairs.positive_NM & (pairs.jaccard_NM >= self.threshold))

    def compute(self, pairs: Pairs) -> Tensor:
        """Mean over anchors with positives."""
        with torch.no_grad():
            weight_NM = self.pair_weights(pairs)
            positive_NM = weight_NM > 0
            normaliser_N = positive_NM.sum(1).to(weight_NM.dtype) if self.normalisation == "count" else None
        loss_N = weighted_supcon(
            pairs.similarity_NM, weight_NM, self.temperature, pairs.valid_NM, normaliser_N=normaliser_N
        )
        counted_N = positive_NM.any(1)
        return (loss_N * counted_N).sum() / counted_N.sum().clamp_min(1)


@LOSSES.register("mul-supcon")
class MulSupConLoss(SoftmaxLoss):
    r"""One SupCon for every label of the anchor (MulSupCon).

    Formula:
        :math:`L = \frac{1}{Z} \sum_i \sum_{c \in y_i} \frac{-1}{|P_c(i)|} \sum_{p \in P_c(i)} \log softmax_{ip}` with
        :math:`P_c(i)` the other samples that carry c. That is `weighted_supcon` with
        :math:`w_{ip} = \sum_{c \in y_i \cap y_p} 1 / |P_c(i)|`, whose sum over p is the number of the anchor's labels
        that have positives. `over` "labels" gives every (anchor, label) the same say (the published default),
        "anchors" every anchor.

    Source:
        Zhang and Wu, Multi-Label Supervised Contrastive Learning, AAAI 2024, https://arxiv.org/abs/2402.01613. There
        references come from a momentum queue and include the anchor's second view: give them as `ref_emb` with
        ``ref_views="label"``.

    Relations:
        1 / |P_c(i)| is an inverse label frequency counted in the batch; `MACLLoss` has the same weights with
        gamma 1 and is this loss when eta, alpha and beta are 0 besides.

    Args:
        over: "labels" or "anchors".
        temperature: see `SoftmaxLoss`.
        ref_views: see `ContrastiveLoss`.

    Examples:
        >>> import torch
        >>> labels = torch.tensor([[1, 1], [1, 1], [1, 0]])
        >>> MulSupConLoss()(torch.eye(3), labels)
        tensor(0.6931)
    """

    def __init__(
        self,
        temperature: float = 0.1,
        *,
        over: Literal["labels", "anchors"] = "labels",
        ref_views: Literal["exclude", "label"] = "exclude",
    ) -> None:
        super().__init__(temperature, ref_views=ref_views)
        if over not in ("labels", "anchors"):
            raise ConfigError(f"over is {over!r}, allowed are 'labels', 'anchors'")
        self.over = over

    def pair_weights(self, pairs: Pairs) -> Tensor:
        """Sum over the shared labels of 1 / number of positives for that label."""
        return (pairs.labels_NC / pairs.with_label_NC.clamp_min(1)) @ pairs.ref_labels_MC.T * pairs.valid_NM

    def compute(self, pairs: Pairs) -> Tensor:
        """Mean over (anchor, label) or over anchors."""
        with torch.no_grad():
            weight_NM = self.pair_weights(pairs)
            labels_N = weight_NM.sum(1)
            say_N = labels_N if self.over == "labels" else (labels_N > 0).to(labels_N.dtype)
        loss_N = weighted_supcon(pairs.similarity_NM, weight_NM, self.temperature, pairs.valid_NM)
        return (loss_N * say_N).sum() / say_N.sum().clamp_min(1)
