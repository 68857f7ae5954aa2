"""ProxyAnchor: one learnt proxy per label instead of pairs of samples."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from .base import LOSSES, ContrastiveLoss, Pairs
from .statistics import LabelStatistics

__all__ = ["ProxyAnchorLoss"]


@LOSSES.register("proxy-anchor")
class ProxyAnchorLoss(ContrastiveLoss):
    r"""ProxyAnchor with multi-hot labels: an image attracts the proxies of all its labels and repels the others.

    Formula:
        :math:`L = \frac{1}{|P^+|} \sum_{c \in P^+} \log(1 + \sum_{i: c \in y_i} e^{-\alpha (s_{ic} - \delta)})
        + \frac{1}{C} \sum_c \log(1 + \sum_{i: c \notin y_i} e^{\alpha (s_{ic} + \delta)})`,
        :math:`P^+` the labels that occur in the batch, :math:`s_{ic}` the cosine of image i and proxy c.

    Source:
        Kim et al., Proxy Anchor Loss for Deep Metric Learning, 2020, https://arxiv.org/abs/2003.13911, eq. 4, which has
        one label per image.

    Relations:
        The cost is N C instead of N^2 and references are not used. Has parameters (`proxies`): give them to the
        optimiser, usually at a higher rate than the network.

    Args:
        num_labels: C.
        embedding_dim: D.
        margin: delta.
        alpha: scale.

    Examples:
        >>> loss = ProxyAnchorLoss(2, 2)
        >>> _ = loss.proxies.data.copy_(torch.eye(2))
        >>> loss(torch.eye(2), torch.eye(2))
        tensor(3.2400, grad_fn=...)
    """

    needs_embedding_dim: ClassVar[bool] = True

    def __init__(self, num_labels: int, embedding_dim: int, *, margin: float = 0.1, alpha: float = 32.0) -> None:
        super().__init__()
        if num_labels < 1 or embedding_dim < 1:
            raise ConfigError(f"num_labels is {num_labels} and embedding_dim {embedding_dim}, both must be at least 1")
        if not alpha > 0:
            raise ConfigError(f"alpha is {alpha}, it must be above 0")
        self.margin = margin
        self.alpha = alpha
        self.proxies = nn.Parameter(torch.empty(num_labels, embedding_dim))
        nn.init.kaiming_normal_(self.proxies, mode="fan_out")

    @classmethod
    def build(cls, statistics: LabelStatistics, embedding_dim: int | None, **options: Any) -> Self:
        """Make the loss from what `build_loss` knows."""
        assert embedding_dim is not None
        return cls(statistics.num_labels, embedding_dim, **options)

    @property
    def num_labels(self) -> int:
        """Number of labels C."""
        return len(self.proxies)

    @property
    def embedding_dim(self) -> int:
        """Number of dimensions D."""
        return self.proxies.shape[1]

    def compute(self, pairs: Pairs) -> Tensor:
        """The two terms; references take no part."""
        proxies_CD = F.normalize(self.proxies.to(pairs.anchors_ND.dtype), dim=1)
        similarity_NC = pairs.anchors_ND @ proxies_CD.T
        has_NC = pairs.labels_NC > 0
        attract_C = _log_one_plus_sum(-self.alpha * (similarity_NC - self.margin), has_NC)
        repel_C = _log_one_plus_sum(self.alpha * (similarity_NC + self.margin), ~has_NC)
        return attract_C.sum() / has_NC.any(0).sum().clamp_min(1) + repel_C.mean()


def _log_one_plus_sum(exponent_NC: Tensor, keep_NC: Tensor) -> Tensor:
    """log(1 + sum over kept n of exp), per column; a column without any is 0."""
    kept_NC = exponent_NC.masked_fill(~keep_NC, torch.finfo(exponent_NC.dtype).min)
    return torch.cat([torch.zeros_like(kept_NC[:1]), kept_NC]).logsumexp(0)
