"""Objectives between two kinds of embeddings, as image to text: who attracts whom is given, pair by pair."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError, UsageError
from ..registry import Registry
from .base import mean_over
from .functional import weighted_supcon

__all__ = [
    "CROSS_MODAL_LOSSES",
    "CrossModalLoss",
    "CrossModalPairs",
    "HardTripletLoss",
    "InfoNCELoss",
    "MultiPositiveLoss",
    "SigmoidLoss",
]

CROSS_MODAL_LOSSES: Registry[type[CrossModalLoss]] = Registry("cross-modal loss")
"""Every cross-modal loss by its name; `build_cross_modal_loss` makes one."""


@dataclass(frozen=True)
class CrossModalPairs:
    """Similarities of queries and keys with what is known of each pair; only the similarities carry a gradient."""

    similarity_NM: Tensor
    relevance_NM: Tensor
    valid_NM: Tensor
    query_rarity_N: Tensor

    @cached_property
    def positive_NM(self) -> Tensor:  # noqa: N802
        """Valid pairs of relevance 1, bool."""
        return (self.relevance_NM >= 1) & self.valid_NM

    @cached_property
    def negative_NM(self) -> Tensor:  # noqa: N802
        """Valid pairs of relevance below 1, bool."""
        return (self.relevance_NM < 1) & self.valid_NM


class CrossModalLoss(nn.Module, ABC):
    """A loss of one direction: queries of one kind against keys of the other.

    A training step calls it for image to text and for text to image, with the batch's keys, a queue's, or both side by
    side. Which pairs belong together comes from outside (`pair_relevance`), so that captions which occur twice, queues
    and graded overlap need nothing special here.

    The value is a mean over queries that have a positive; the others contribute neither value nor gradient, and a batch
    without any gives 0. Half and bfloat16 are computed in float32. Memory is a few (N, M) tables.
    """

    def forward(
        self,
        query_ND: Tensor,
        key_MD: Tensor,
        relevance_NM: Tensor,
        valid_NM: Tensor | None = None,
        *,
        query_rarity_N: Tensor | None = None,
    ) -> Tensor:
        """The loss, a scalar in at least float32.

        Args:
            query_ND: (N, D) unit rows; they are not normalised here.
            key_MD: (M, D) unit rows; gradients flow into them too.
            relevance_NM: (N, M) in 0..1: 1 for a positive, 0 for a negative, graded overlap between. Without gradient.
            valid_NM: (N, M) bool, False where a pair is left out of everything; all count without it.
            query_rarity_N: (N,) in 0..1, how rare what the query shows is (`anchor_rarity`); 0 without it. Losses that
                do not adapt to it take no notice.

        Raises:
            UsageError: shapes that do not fit, or a relevance or rarity outside 0..1.
        """
        with torch.autocast(query_ND.device.type, enabled=False):
            pairs = _checked(query_ND, key_MD, relevance_NM, valid_NM, query_rarity_N)
            # A queue that is still empty: no row has a positive, and there is nothing to take a maximum of.
            return self.compute(pairs) if len(key_MD) else pairs.similarity_NM.sum()

    @property
    def adapts_to_rarity(self) -> bool:
        """Whether `query_rarity_N` makes a difference, so that callers need not compute it where it does not."""
        return False

    @abstractmethod
    def compute(self, pairs: CrossModalPairs) -> Tensor:
        """The scalar loss of checked input."""


def _checked(
    query_ND: Tensor, key_MD: Tensor, relevance_NM: Tensor, valid_NM: Tensor | None, query_rarity_N: Tensor | None
) -> CrossModalPairs:
    for name, rows in (("queries", query_ND), ("keys", key_MD)):
        if rows.ndim != 2 or not rows.is_floating_point():
            raise UsageError(f"{name} must be floating point (rows, D), not {rows.dtype} {tuple(rows.shape)}")
    if query_ND.shape[1] != key_MD.shape[1]:
        raise UsageError(f"queries have D={query_ND.shape[1]}, keys D={key_MD.shape[1]}: they must agree")
    shape = (len(query_ND), len(key_MD))
    if relevance_NM.shape != shape:
        raise UsageError(f"relevance must be (queries, keys) = {shape}, not {tuple(relevance_NM.shape)}")
    if valid_NM is not None and (valid_NM.shape != shape or valid_NM.dtype != torch.bool):
        raise UsageError(f"valid must be bool {shape}, not {valid_NM.dtype} {tuple(valid_NM.shape)}")
    if query_rarity_N is not None and query_rarity_N.shape != shape[:1]:
        raise UsageError(f"query rarity must be {shape[:1]}, one per query, not {tuple(query_rarity_N.shape)}")
    dtype = torch.promote_types(query_ND.dtype, torch.float32)
    query_ND = query_ND.to(dtype)
    relevance_NM = _unit_range("relevance", relevance_NM, query_ND)
    if query_rarity_N is None:
        query_rarity_N = query_ND.new_zeros(len(query_ND))
    return CrossModalPairs(
        query_ND @ key_MD.to(query_ND).T,
        relevance_NM,
        torch.ones_like(relevance_NM, dtype=torch.bool) if valid_NM is None else valid_NM.to(query_ND.device),
        _unit_range("query rarity", query_rarity_N, query_ND),
    )


def _unit_range(name: str, values: Tensor, like: Tensor) -> Tensor:
    values = values.detach().to(like)
    # Written so that NaN is refused as well.
    if not ((values >= 0) & (values <= 1)).all():
        raise UsageError(f"{name} must be within 0..1, found {values.min():.4g}..{values.max():.4g}")
    return values


class _Tempered(CrossModalLoss):
    def __init__(self, temperature: float) -> None:
        super().__init__()
        if not temperature > 0:
            raise ConfigError(f"temperature is {temperature}, it must be above 0")
        self.temperature = temperature


@CROSS_MODAL_LOSSES.register("info-nce")
class InfoNCELoss(_Tempered):
    r"""InfoNCE: find the query's own key among the negatives.

    Formula:
        :math:`L_i = -\frac{1}{|P(i)|} \sum_{p \in P(i)} \log
        \frac{\exp(s_{ip}/\tau)}{\exp(s_{ip}/\tau) + \sum_{n \in N(i)} \exp(s_{in}/\tau)}`, P(i) the keys of relevance
        1, N(i) all other valid ones. Each positive stands against the negatives and itself: positives do not compete.

    Source:
        van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018,
        https://arxiv.org/abs/1807.03748, eq. 4; with a queue as in He et al., Momentum Contrast, 2020,
        https://arxiv.org/abs/1911.05722.

    Relations:
        With one positive a row it is the cross entropy of a softmax, and equal to `MultiPositiveLoss`; with several,
        that one lets them compete.

    Args:
        temperature: tau.

    Raises:
        ConfigError: a temperature that is not above 0.

    Examples:
        >>> InfoNCELoss(temperature=1.0)(torch.eye(3), torch.eye(3), torch.eye(3))
        tensor(0.5514)
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__(temperature)

    def compute(self, pairs: CrossModalPairs) -> Tensor:
        """Mean over a query's positives, then over queries."""
        logit_NM = pairs.similarity_NM / self.temperature
        # Finite, so that a row without negatives has no NaN gradient.
        lowest = torch.finfo(logit_NM.dtype).min
        against_N1 = logit_NM.masked_fill(~pairs.negative_NM, lowest).logsumexp(1, keepdim=True)
        return _mean_over_positives(F.softplus(against_N1 - logit_NM), pairs.positive_NM)


@CROSS_MODAL_LOSSES.register("multi-positive")
class MultiPositiveLoss(_Tempered):
    r"""InfoNCE with several positives a row, which share the softmax: SupCon across modalities.

    Formula:
        :math:`L_i = -\frac{1}{|P(i)|} \sum_{p \in P(i)} \log
        \frac{\exp(s_{ip}/\tau)}{\sum_a \exp(s_{ia}/\tau)}`, P(i) the keys of relevance 1, a over all valid keys.

    Source:
        Khosla et al., Supervised Contrastive Learning, 2020, https://arxiv.org/abs/2004.11362, eq. 2 (L_out).

    Relations:
        With one positive a row equal to `InfoNCELoss`. `GradedLoss` adds graded positives, temperatures that follow the
        overlap, and fading negatives.

    Args:
        temperature: tau.

    Raises:
        ConfigError: a temperature that is not above 0.

    Examples:
        >>> relevance = torch.tensor([[1.0, 1.0, 0.0]])
        >>> MultiPositiveLoss(temperature=1.0)(torch.eye(3)[:1], torch.eye(3), relevance)
        tensor(1.0514)
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__(temperature)

    def compute(self, pairs: CrossModalPairs) -> Tensor:
        """Mean over queries with positives."""
        weight_NM = pairs.positive_NM.to(pairs.similarity_NM.dtype)
        return mean_over(weighted_supcon(pairs.similarity_NM, weight_NM, self.temperature, pairs.valid_NM), weight_NM)


@CROSS_MODAL_LOSSES.register("hard-triplet")
class HardTripletLoss(CrossModalLoss):
    r"""Triplet margin loss against the most similar negative, or against all.

    Formula:
        :math:`L_i = \frac{1}{|P(i)|} \sum_{p \in P(i)} \max_{n \in N(i)} [m + s_{in} - s_{ip}]_+`, with N(i) the valid
        keys whose relevance is below `negative_below`; `negatives` "all" has the sum over n in place of the maximum.

    Source:
        Faghri et al., VSE++: Improving Visual-Semantic Embeddings with Hard Negatives, 2018,
        https://arxiv.org/abs/1707.05612, eq. 5 (sum of hinges) and eq. 6 (maximum of hinges). There the value is the
        sum over the batch; here it is the mean, so that its weight does not depend on the batch size.

    Relations:
        Compares two similarities; the softmax losses compare one with all. As many of the captions at hand as one likes
        may be overlapping ones: `negative_below` keeps them from being the hardest negative.

    Args:
        margin: m, in units of cosine similarity.
        negatives: "hardest" or "all".
        negative_below: keys of at least this relevance are no negatives; 1 takes all that are not positive.

    Raises:
        ConfigError: a margin below 0, an unknown choice, or `negative_below` outside 0..1 (0 leaves no negative).

    Examples:
        >>> keys = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
        >>> HardTripletLoss(margin=0.2)(keys, keys, torch.eye(2))
        tensor(0.)
        >>> HardTripletLoss(margin=0.5)(keys, keys, torch.eye(2))
        tensor(0.3000)
    """

    def __init__(
        self, margin: float = 0.2, *, negatives: Literal["hardest", "all"] = "hardest", negative_below: float = 1.0
    ) -> None:
        super().__init__()
        if not margin >= 0:
            raise ConfigError(f"margin is {margin}, it must be at least 0")
        if negatives not in ("hardest", "all"):
            raise ConfigError(f"negatives is {negatives!r}, allowed are 'hardest', 'all'")
        if not 0 < negative_below <= 1:
            raise ConfigError(f"negative_below is {negative_below}, it must be above 0 and at most 1")
        self.margin, self.negatives, self.negative_below = margin, negatives, negative_below

    def compute(self, pairs: CrossModalPairs) -> Tensor:
        """Mean over a query's positives, then over queries."""
        similarity_NM = pairs.similarity_NM
        negative_NM = pairs.valid_NM & (pairs.relevance_NM < self.negative_below)
        if self.negatives == "all":
            hinge_NM = _sum_of_hinges(similarity_NM, negative_NM, similarity_NM - self.margin)
        else:
            # Finite: without a negative the hinge is closed, and infinities would make its gradient NaN.
            lowest = torch.finfo(similarity_NM.dtype).min / 2
            hardest_N1 = similarity_NM.masked_fill(~negative_NM, lowest).amax(1, keepdim=True)
            hinge_NM = (self.margin + hardest_N1 - similarity_NM).relu()
        return _mean_over_positives(hinge_NM, pairs.positive_NM)


def _sum_of_hinges(similarity_NM: Tensor, negative_NM: Tensor, least_NM: Tensor) -> Tensor:
    """Sum over negatives n of max(0, s_in - least_ip), for every (i, p), without an (N, M, M) table.

    With the negatives of a row sorted, those above a threshold are a prefix: their number and their sum suffice.
    """
    lowest = torch.finfo(similarity_NM.dtype).min
    sorted_NM = similarity_NM.masked_fill(~negative_NM, lowest).sort(1, descending=True).values
    # searchsorted wants rising rows: - s is rising, and s > least is - s < - least.
    count_NM = torch.searchsorted(-sorted_NM.detach(), -least_NM.detach().contiguous())
    sums_NM = sorted_NM.where(sorted_NM > lowest, 0).cumsum(1)
    prefix_NM = F.pad(sums_NM, (1, 0)).gather(1, count_NM)
    return prefix_NM - count_NM * least_NM


@CROSS_MODAL_LOSSES.register("sigmoid")
class SigmoidLoss(CrossModalLoss):
    r"""SigLIP: every pair on its own, together or not.

    Formula:
        :math:`L = -\frac{1}{N} \sum_i \sum_a \log \sigma(z_{ia} (t s_{ia} + b))` over valid pairs, with z = 1 for
        positives and -1 for all others, and learnt t = exp(`log_scale`) and b = `bias`.

    Source:
        Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023, https://arxiv.org/abs/2303.15343, eq. 1 and
        algorithm 1: t starts at 10 and b at -10, so that at first almost all pairs are rightly held for negatives.

    Relations:
        No softmax: several positives do not compete, and the value of a pair does not depend on the other keys. The sum
        over keys grows with their number, as published. Has parameters: give them to the optimiser.

    Args:
        temperature: 1 / t at the start.
        bias: b at the start.

    Raises:
        ConfigError: a temperature that is not above 0.

    Examples:
        >>> SigmoidLoss()(torch.eye(3), torch.eye(3), torch.eye(3))
        tensor(0.6932, grad_fn=...)
    """

    def __init__(self, temperature: float = 0.1, *, bias: float = -10.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ConfigError(f"temperature is {temperature}, it must be above 0")
        # The logarithm is learnt: the scale stays above 0 whatever the step.
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def compute(self, pairs: CrossModalPairs) -> Tensor:
        """Sum over keys, mean over queries with positives."""
        dtype = pairs.similarity_NM.dtype
        logit_NM = pairs.similarity_NM * self.log_scale.to(dtype).exp() + self.bias.to(dtype)
        loss_NM = F.softplus(torch.where(pairs.positive_NM, -logit_NM, logit_NM))
        counted_N = pairs.positive_NM.any(1)
        return (loss_NM * (pairs.valid_NM & counted_N[:, None])).sum() / counted_N.sum().clamp_min(1)


def _mean_over_positives(loss_NM: Tensor, positive_NM: Tensor) -> Tensor:
    """Mean over each query's positives, then over the queries that have any; 0 with gradient 0 where none has."""
    count_N = positive_NM.sum(1)
    loss_N = (loss_NM * positive_NM).sum(1) / count_N.clamp_min(1)
    return loss_N.sum() / (count_N > 0).sum().clamp_min(1)
