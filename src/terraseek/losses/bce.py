"""The classification baseline: an encoder trained by predicting labels."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from .base import LOSSES, ContrastiveLoss, Pairs
from .statistics import LabelStatistics

__all__ = ["BCELoss"]


@LOSSES.register("bce")
class BCELoss(ContrastiveLoss):
    r"""Binary cross-entropy of a linear classifier on the embeddings; retrieval uses the embeddings alone.

    Formula:
        :math:`L = -\frac{1}{NC} \sum_{i,c} y_{ic} \log \sigma(z_{ic}) + (1 - y_{ic}) \log(1 - \sigma(z_{ic}))`,
        :math:`z = W x + b` on the embedding x before normalisation.

    Source:
        The usual multi-label classification objective; as an encoder for retrieval it is the baseline that metric
        learning must beat (Musgrave et al., A Metric Learning Reality Check, 2020, https://arxiv.org/abs/2003.08505).

    Relations:
        Compares samples with labels, not with each other, as `ProxyAnchorLoss` does; references are not used. Has
        parameters (`head`): give them to the optimiser.

    Args:
        num_labels: C.
        embedding_dim: D.

    Examples:
        >>> import torch
        >>> loss = BCELoss(2, 3)
        >>> _ = nn.init.zeros_(loss.head.weight), nn.init.zeros_(loss.head.bias)
        >>> loss(torch.eye(3), torch.tensor([[1, 0], [1, 1], [0, 0]]))
        tensor(0.6931, grad_fn=...)
    """

    needs_embedding_dim: ClassVar[bool] = True
    normalises: ClassVar[bool] = False

    def __init__(self, num_labels: int, embedding_dim: int) -> None:
        super().__init__()
        if num_labels < 1 or embedding_dim < 1:
            raise ConfigError(f"num_labels is {num_labels} and embedding_dim {embedding_dim}, both must be at least 1")
        self.head = nn.Linear(embedding_dim, num_labels)

    @classmethod
    def build(cls, statistics: LabelStatistics, embedding_dim: int | None, **options: Any) -> Self:
        """Make the loss from what `build_loss` knows."""
        assert embedding_dim is not None
        return cls(statistics.num_labels, embedding_dim, **options)

    @property
    def num_labels(self) -> int:
        """Number of labels C."""
        return self.head.out_features

    @property
    def embedding_dim(self) -> int:
        """Number of dimensions D."""
        return self.head.in_features

    def compute(self, pairs: Pairs) -> Tensor:
        """Mean over samples and labels; references take no part."""
        weight_CD, bias_C = self.head.weight.to(pairs.anchors_ND.dtype), self.head.bias.to(pairs.anchors_ND.dtype)
        return F.binary_cross_entropy_with_logits(F.linear(pairs.anchors_ND, weight_CD, bias_C), pairs.labels_NC)
