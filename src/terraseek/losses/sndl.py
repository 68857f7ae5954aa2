"""SNDL: neighbours weighted by how many labels agree, against a memory of earlier embeddings."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError
from .base import LOSSES, Pairs, SoftmaxLoss
from .queue import EmbeddingQueue
from .statistics import LabelStatistics

__all__ = ["SNDLoss"]


@LOSSES.register("sndl")
class SNDLoss(SoftmaxLoss):
    r"""Scalable neighbour discriminative loss: a soft leave-one-out nearest-neighbour vote over a memory bank.

    Formula:
        :math:`L_i = -\log \frac{\sum_a h_{ia} e^{s_{ia}/\tau - m}}
        {\sum_a h_{ia} e^{s_{ia}/\tau - m} + \sum_a (1 - h_{ia}) e^{s_{ia}/\tau}}` with
        :math:`h_{ia} = 1 - Hamming(y_i, y_a) / C`, the share of labels on which both agree, absent ones included.

    Source:
        Kang et al., Graph Relation Network: Modeling Relations Between Scenes for Multilabel Remote-Sensing Image
        Classification and Retrieval, TGRS 2021, https://doi.org/10.1109/TGRS.2020.3016020. There the memory holds one
        slot per training sample; here it is the last `memory` samples, newest first to be kept, and the batch itself.

    Relations:
        The logarithm stands outside the sum over neighbours (the "L_in" form of SupCon), so one good neighbour is
        enough. Every sample is a neighbour to some degree since shared absences agree too.

    While training, the memory joins the references and then takes in the batch. Give `ids`, or a sample meets its own
    past there.

    Args:
        num_labels: C.
        embedding_dim: D.
        temperature: see `SoftmaxLoss`.
        margin: m, what neighbours are handicapped by.
        memory: how many earlier samples are remembered while training; 0 for none.

    Raises:
        ConfigError: a negative memory or margin, or a bad temperature.

    Examples:
        >>> labels = torch.tensor([[1, 1], [1, 1], [0, 0]])
        >>> SNDLoss(2, 3, memory=0)(torch.eye(3), labels)
        tensor(...)
    """

    needs_embedding_dim: ClassVar[bool] = True

    def __init__(
        self,
        num_labels: int,
        embedding_dim: int,
        temperature: float = 0.1,
        *,
        margin: float = 0.0,
        memory: int = 4096,
    ) -> None:
        super().__init__(temperature)
        if memory < 0 or not margin >= 0:
            raise ConfigError(f"memory is {memory} and margin {margin}, both must be at least 0")
        self.margin = margin
        self.queue = EmbeddingQueue(memory, embedding_dim, num_labels) if memory else None
        self._num_labels, self._embedding_dim = num_labels, embedding_dim

    @classmethod
    def build(cls, statistics: LabelStatistics, embedding_dim: int | None, **options: Any) -> Self:
        """Make the loss from what `build_loss` knows."""
        assert embedding_dim is not None
        return cls(statistics.num_labels, embedding_dim, **options)

    @property
    def num_labels(self) -> int:
        """Number of labels C."""
        return self._num_labels

    @property
    def embedding_dim(self) -> int:
        """Number of dimensions D."""
        return self._embedding_dim

    def _pairs(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor | None,
        ref_labels: Tensor | None,
        ids: Tensor | None,
        ref_ids: Tensor | None,
        with_batch: bool = False,
    ) -> Pairs:
        pairs = super()._pairs(embeddings, labels, ref_emb, ref_labels, ids, ref_ids, with_batch)
        if self.queue is None or not self.training:
            return pairs
        past = self.queue.view()
        self.queue.push(pairs.anchors_ND, pairs.labels_NC, ids)
        # Unnamed samples are unlike all that the memory holds, -1 for unnamed included.
        ids_N = torch.full((len(embeddings),), -2) if ids is None else ids
        return pairs.followed_by(
            past.embeddings_MD, past.labels_MC, ids_N.to(past.ids_M)[:, None] != past.ids_M[None, :]
        )

    def pair_weights(self, pairs: Pairs) -> Tensor:
        """Share of labels on which both agree."""
        size_N, size_M = pairs.labels_NC.sum(1), pairs.ref_labels_MC.sum(1)
        differing_NM = size_N[:, None] + size_M[None, :] - 2 * pairs.shared_NM
        return (1 - differing_NM / self._num_labels) * pairs.valid_NM

    def compute(self, pairs: Pairs) -> Tensor:
        """Mean over the anchors that have a neighbour."""
        with torch.no_grad():
            agree_NM = self.pair_weights(pairs)
            differ_NM = (1 - agree_NM) * pairs.valid_NM
            counted_N = (agree_NM > 0).any(1)
        logit_NM = pairs.similarity_NM / self.temperature
        against_N = _log_weighted_sum(logit_NM, differ_NM) - _log_weighted_sum(logit_NM - self.margin, agree_NM)
        # -log(a / (a + d)) = log(1 + d / a); anchors without neighbours leave before their d / a overflows.
        loss_N = F.softplus(against_N.masked_fill(~counted_N, 0)) * counted_N
        return loss_N.sum() / counted_N.sum().clamp_min(1)


def _log_weighted_sum(logit_NM: Tensor, weight_NM: Tensor) -> Tensor:
    """Log sum_m w e^logit, per row; a very low finite number where no weight is above 0."""
    none_NM = weight_NM <= 0
    # A quarter of the lowest number: differences of two such stay finite.
    lowest = torch.finfo(logit_NM.dtype).min / 4
    return (logit_NM + weight_NM.masked_fill(none_NM, 1).log()).masked_fill(none_NM, lowest).logsumexp(1)
