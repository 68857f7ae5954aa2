"""Supervised contrastive learning and its two classical extensions to label sets."""

from __future__ import annotations

from torch import Tensor

from .base import LOSSES, Pairs, SoftmaxLoss

__all__ = ["AllSupConLoss", "AnySupConLoss", "SupConLoss"]


@LOSSES.register("supcon")
class SupConLoss(SoftmaxLoss):
    r"""Supervised contrastive loss: all samples of the anchor's class attract.

    Formula:
        :math:`L_i = -\frac{1}{|P(i)|} \sum_{p \in P(i)}
        \log \frac{\exp(s_{ip}/\tau)}{\sum_{a \ne i} \exp(s_{ia}/\tau)}` with P(i) the
        other samples of the anchor's class. On label sets the whole set is the class.

    Source:
        Khosla et al., Supervised Contrastive Learning, 2020, https://arxiv.org/abs/2004.11362, eq. 2 (L_out).

    Relations:
        With one label per sample equal to `AnySupConLoss`, `AllSupConLoss`, `MultiSupConLoss` and `MulSupConLoss`,
        and to `MACLLoss` without temperature scaling when labels are equally frequent.

    Examples:
        >>> import torch
        >>> loss = SupConLoss(temperature=0.1)
        >>> loss(torch.eye(4)[[0, 0, 1, 1]], torch.tensor([0, 0, 1, 1]))
        tensor(9.0...e-05)
    """

    def pair_weights(self, pairs: Pairs) -> Tensor:
        """1 where both carry the same labels."""
        # |y_i & y_p| = |y_i| = |y_p| only for equal sets.
        same_NM = (pairs.shared_NM == pairs.labels_NC.sum(1)[:, None]) & (
            pairs.shared_NM == pairs.ref_labels_MC.sum(1)[None, :]
        )
        return (same_NM & pairs.positive_NM).to(pairs.shared_NM.dtype)


@LOSSES.register("all-supcon")
class AllSupConLoss(SupConLoss):
    r"""SupCon where a positive carries exactly the anchor's labels, "ALL".

    Formula:
        SupCon with :math:`P(i) = \{p \ne i : y_p = y_i \ne \emptyset\}`.

    Source:
        The "ALL" baseline of Zhang and Wu, Multi-Label Supervised Contrastive Learning, 2024,
        https://arxiv.org/abs/2402.01613.

    Relations:
        `SupConLoss` under the name that says what it does to label sets. The strictest choice of positives;
        `AnySupConLoss` is the loosest.

    Examples:
        >>> import torch
        >>> labels = torch.tensor([[1, 1], [1, 1], [1, 0]])
        >>> AllSupConLoss()(torch.eye(3), labels)
        tensor(0.6931)
    """


@LOSSES.register("any-supcon")
class AnySupConLoss(SoftmaxLoss):
    r"""SupCon where a positive shares at least one label, "ANY".

    Formula:
        SupCon with :math:`P(i) = \{p \ne i : y_p \cap y_i \ne \emptyset\}`.

    Source:
        The "ANY" baseline of Zhang and Wu, Multi-Label Supervised Contrastive Learning, 2024,
        https://arxiv.org/abs/2402.01613.

    Relations:
        All positives weigh the same however much they share: `MultiSupConLoss` weighs by overlap, `MulSupConLoss`
        by label, `MACLLoss` by rarity and overlap.

    Examples:
        >>> import torch
        >>> labels = torch.tensor([[1, 1], [1, 1], [1, 0]])
        >>> AnySupConLoss()(torch.eye(3), labels)
        tensor(0.6931)
    """

    def pair_weights(self, pairs: Pairs) -> Tensor:
        """1 where a label is shared."""
        return pairs.positive_NM.to(pairs.shared_NM.dtype)
