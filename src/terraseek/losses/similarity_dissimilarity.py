"""Similarity-Dissimilarity loss: overlap seen from the anchor, damped by what the positive has besides."""

from __future__ import annotations

from torch import Tensor

from .base import LOSSES, Pairs, SoftmaxLoss

__all__ = ["SimilarityDissimilarityLoss"]


@LOSSES.register("similarity-dissimilarity")
class SimilarityDissimilarityLoss(SoftmaxLoss):
    r"""SupCon weighted by the share of the anchor's labels met and by the number of foreign labels.

    Formula:
        :math:`w_{ip} = \frac{|y_i \cap y_p|}{|y_i|} \cdot \frac{1}{1 + |y_p \setminus y_i|}`, normalised over p.

    Source:
        Huang et al., Similarity-Dissimilarity Loss for Multi-label Supervised Contrastive Learning, 2024,
        https://arxiv.org/abs/2410.13439.

    Relations:
        Like `MultiSupConLoss` a graded overlap, but not symmetric: the first factor is recall of the anchor's labels.
        Knows nothing of rarity.

    Args:
        temperature: see `SoftmaxLoss`.
        ref_views: see `ContrastiveLoss`.

    Examples:
        >>> import torch
        >>> labels = torch.tensor([[1, 1], [1, 1], [1, 0]])
        >>> SimilarityDissimilarityLoss()(torch.eye(3), labels)
        tensor(0.6931)
    """

    def pair_weights(self, pairs: Pairs) -> Tensor:
        """Similarity factor times dissimilarity factor."""
        shared_NM = pairs.shared_NM
        foreign_NM = pairs.ref_labels_MC.sum(1)[None, :] - shared_NM
        recall_NM = shared_NM / pairs.labels_NC.sum(1).clamp_min(1)[:, None]
        return recall_NM / (1 + foreign_NM) * pairs.positive_NM
