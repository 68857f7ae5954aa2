"""What all losses have in common: the call, its checks, and which pairs count."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError, UsageError
from ..registry import Registry
from .functional import pairwise_jaccard, weighted_supcon
from .statistics import LabelStatistics

__all__ = ["LOSSES", "ContrastiveLoss", "Pairs", "SoftmaxLoss"]

LOSSES: Registry[type[ContrastiveLoss]] = Registry("loss")
"""Every loss by its name; `build_loss` makes one."""


@dataclass(frozen=True)
class Pairs:
    """Anchors, references and which of their pairs count; what is derived from labels carries no gradient.

    Without references the batch is its own reference set. `anchors_ND` and `references_MD` are unit rows where the loss
    `normalises`.
    """

    anchors_ND: Tensor
    labels_NC: Tensor
    references_MD: Tensor
    ref_labels_MC: Tensor
    valid_NM: Tensor

    @cached_property
    def similarity_NM(self) -> Tensor:  # noqa: N802
        """Cosine similarity."""
        return self.anchors_ND @ self.references_MD.T

    @cached_property
    def shared_NM(self) -> Tensor:  # noqa: N802
        """Number of labels that both carry."""
        return self.labels_NC @ self.ref_labels_MC.T

    @cached_property
    def jaccard_NM(self) -> Tensor:  # noqa: N802
        """Shared labels over labels of either."""
        return pairwise_jaccard(self.shared_NM, self.labels_NC.sum(1), self.ref_labels_MC.sum(1))

    @cached_property
    def with_label_NC(self) -> Tensor:  # noqa: N802
        """Number of valid references that carry each label, per anchor."""
        return self.valid_NM.to(self.labels_NC.dtype) @ self.ref_labels_MC

    @cached_property
    def positive_NM(self) -> Tensor:  # noqa: N802
        """Valid pairs that share a label, bool."""
        return (self.shared_NM > 0).logical_and_(self.valid_NM)

    def followed_by(self, references_MD: Tensor, ref_labels_MC: Tensor, valid_NM: Tensor) -> Pairs:
        """The same anchors with further references after these."""
        return Pairs(
            self.anchors_ND,
            self.labels_NC,
            torch.cat([self.references_MD, references_MD.to(self.references_MD)]),
            torch.cat([self.ref_labels_MC, ref_labels_MC.to(self.ref_labels_MC)]),
            torch.cat([self.valid_NM, valid_NM.to(self.valid_NM.device)], dim=1),
        )


class ContrastiveLoss(nn.Module, ABC):
    """A loss on embeddings and multi-hot labels, called as pytorch-metric-learning calls its losses.

    ``loss(embeddings, labels)`` compares each sample of the batch with all others of the batch.
    ``loss(embeddings, labels, ref_emb, ref_labels)`` compares it with the references instead, and with
    ``with_batch=True`` with both, as a queue wants.

    Which pairs count: a batch entry is never compared with itself. A second view of a sample in the same batch
    carries the same labels and counts as any other entry: a positive of full overlap wherever there are labels.
    Among references, entries whose id equals the anchor's are left out of numerator and denominator (in a queue they
    are the anchor's own past) unless `ref_views` is "label", which counts them by their labels as the
    momentum-contrast losses do. The batch given as its own references, with its ids, leaves out second views too.

    Embeddings are normalised here (unless the class says `normalises` is False); half and bfloat16 are computed in
    float32.

    Args:
        ref_views: what a reference with the anchor's id is: "exclude" or "label".
    """

    needs_statistics: ClassVar[bool] = False
    needs_embedding_dim: ClassVar[bool] = False
    normalises: ClassVar[bool] = True

    def __init__(self, *, ref_views: Literal["exclude", "label"] = "exclude") -> None:
        super().__init__()
        if ref_views not in ("exclude", "label"):
            raise ConfigError(f"ref_views is {ref_views!r}, allowed are 'exclude', 'label'")
        self.ref_views = ref_views

    @classmethod
    def build(cls, statistics: LabelStatistics, embedding_dim: int | None, **options: Any) -> Self:
        """Make the loss from what `build_loss` knows; losses that need more than options override it."""
        return cls(**options)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        ids: Tensor | None = None,
        ref_ids: Tensor | None = None,
        with_batch: bool = False,
    ) -> Tensor:
        """The loss, a scalar in at least float32; 0 of no sample.

        Args:
            embeddings: (N, D), of any norm.
            labels: (N, C) multi-hot, or (N,) class indices.
            ref_emb: (M, D) references instead of the batch; gradients flow into them too.
            ref_labels: (M, C) or (M,), as `labels`.
            ids: (N,) integers; equal ids are the same sample.
            ref_ids: (M,) integers.
            with_batch: the batch stands before the references, so that no reference at all, an empty queue, gives
                what the batch alone gives.

        Raises:
            UsageError: shapes that do not fit, labels that are neither 0 nor 1, half of a pair of arguments missing.
        """
        device_type = embeddings.device.type
        with torch.autocast(device_type, enabled=False):
            pairs = self._pairs(embeddings, labels, ref_emb, ref_labels, ids, ref_ids, with_batch)
            return self.compute(pairs) if len(embeddings) else pairs.anchors_ND.sum()

    @abstractmethod
    def compute(self, pairs: Pairs) -> Tensor:
        """The scalar loss of checked, normalised input."""

    @property
    def num_labels(self) -> int | None:
        """Number of labels C the loss was made for; None where it takes any."""
        return None

    @property
    def embedding_dim(self) -> int | None:
        """Number of dimensions D the loss was made for; None where it takes any."""
        return None

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
        """Check and normalise the arguments of a call."""
        if (ref_emb is None) != (ref_labels is None):
            raise UsageError("ref_emb and ref_labels go together: give both or neither")
        if ref_ids is not None and ref_emb is None:
            raise UsageError("ref_ids were given without ref_emb")
        if ref_emb is not None and (ids is None) != (ref_ids is None):
            raise UsageError("ids and ref_ids go together when references are given: give both or neither")
        labels, ref_labels = self._multi_hot(labels, ref_labels)
        anchors_ND, labels_NC = _checked(embeddings, labels, ids, "", self.normalises)
        count = self.num_labels
        if count is not None and labels_NC.shape[1] != count:
            raise UsageError(f"labels have {labels_NC.shape[1]} columns, this loss was made for {count} labels")
        dim = self.embedding_dim
        if dim is not None and anchors_ND.shape[1] != dim:
            raise UsageError(f"embeddings have {anchors_ND.shape[1]} dimensions, this loss was made for {dim}")
        off_diagonal_NN = ~torch.eye(len(anchors_ND), dtype=torch.bool, device=anchors_ND.device)
        batch = Pairs(anchors_ND, labels_NC, anchors_ND, labels_NC, off_diagonal_NN)
        if ref_emb is None or ref_labels is None:
            return batch
        references_MD, ref_labels_MC = _checked(ref_emb, ref_labels, ref_ids, "ref_", self.normalises)
        references_MD, ref_labels_MC = references_MD.to(anchors_ND), ref_labels_MC.to(labels_NC)
        if references_MD.shape[1] != anchors_ND.shape[1] or ref_labels_MC.shape[1] != labels_NC.shape[1]:
            raise UsageError(
                f"anchors have D={anchors_ND.shape[1]}, C={labels_NC.shape[1]}, "
                f"references D={references_MD.shape[1]}, C={ref_labels_MC.shape[1]}: they must agree"
            )
        valid_NM = torch.ones(len(anchors_ND), len(references_MD), dtype=torch.bool, device=anchors_ND.device)
        if ids is not None and ref_ids is not None and self.ref_views == "exclude":
            valid_NM = ids.to(anchors_ND.device)[:, None] != ref_ids.to(anchors_ND.device)[None, :]
        if with_batch:
            return batch.followed_by(references_MD, ref_labels_MC, valid_NM)
        return Pairs(anchors_ND, labels_NC, references_MD, ref_labels_MC, valid_NM)

    def _multi_hot(self, labels: Tensor, ref_labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Class indices become one-hot rows over the classes of both sides."""
        if labels.ndim != 1:
            return labels, ref_labels
        if ref_labels is not None and ref_labels.ndim != 1:
            raise UsageError(f"labels are class indices (N,), so must ref_labels be, not {tuple(ref_labels.shape)}")
        both = labels if ref_labels is None else torch.cat([labels, ref_labels.to(labels)])
        if both.is_floating_point() or both.dtype == torch.bool or (both.numel() and int(both.min()) < 0):
            raise UsageError("1-D labels are class indices: they must be integers of at least 0")
        known, largest = self.num_labels, int(both.max()) if both.numel() else 0
        if known is not None and largest >= known:
            raise UsageError(f"found the class index {largest}, this loss was made for {known} labels")
        one_hot = F.one_hot(both.long(), known or largest + 1)
        return one_hot[: len(labels)], None if ref_labels is None else one_hot[len(labels) :]


def _checked(
    embeddings: Tensor, labels: Tensor, ids: Tensor | None, prefix: str, normalise: bool
) -> tuple[Tensor, Tensor]:
    if embeddings.ndim != 2 or not embeddings.is_floating_point():
        raise UsageError(
            f"{prefix}embeddings must be floating point (N, D), not {embeddings.dtype} {tuple(embeddings.shape)}"
        )
    if labels.ndim != 2 or len(labels) != len(embeddings):
        raise UsageError(
            f"{prefix}labels must be multi-hot ({len(embeddings)}, C), one row per embedding, not {tuple(labels.shape)}"
        )
    if ids is not None and ids.shape != (len(embeddings),):
        raise UsageError(f"{prefix}ids must be ({len(embeddings)},), one per embedding, not {tuple(ids.shape)}")
    dtype = torch.promote_types(embeddings.dtype, torch.float32)
    labels = labels.detach().to(embeddings.device, dtype)
    # x * x == x holds for 0 and 1 alone.
    if not torch.equal(labels * labels, labels):
        raise UsageError(f"{prefix}labels must be multi-hot: found an entry that is neither 0 nor 1")
    embeddings = embeddings.to(dtype)
    return F.normalize(embeddings, dim=1) if normalise else embeddings, labels


class SoftmaxLoss(ContrastiveLoss):
    """A loss that is `weighted_supcon` with weights (and temperatures) made of labels.

    The loss is the mean over anchors that have positives (0, with gradient 0, where none has).

    Args:
        temperature: what cosine similarities are divided by.
        ref_views: see `ContrastiveLoss`.

    Raises:
        ConfigError: a temperature that is not above 0.
    """

    def __init__(self, temperature: float = 0.1, *, ref_views: Literal["exclude", "label"] = "exclude") -> None:
        super().__init__(ref_views=ref_views)
        if not temperature > 0:
            raise ConfigError(f"temperature is {temperature}, it must be above 0")
        self.temperature = temperature

    @abstractmethod
    def pair_weights(self, pairs: Pairs) -> Tensor:
        """Weight of each pair, (N, M), 0 for pairs that are no positives; any scale per anchor."""

    def compute(self, pairs: Pairs) -> Tensor:
        """Mean of `weighted_supcon` over anchors with positives."""
        with torch.no_grad():
            weight_NM = self.pair_weights(pairs)
        return mean_over(weighted_supcon(pairs.similarity_NM, weight_NM, self.temperature, pairs.valid_NM), weight_NM)


def mean_over(loss_N: Tensor, weight_NM: Tensor) -> Tensor:
    """Mean over the anchors that have any weight; 0 with gradient 0 where none has."""
    counted_N = (weight_NM > 0).any(1)
    return (loss_N * counted_N).sum() / counted_N.sum().clamp_min(1)
