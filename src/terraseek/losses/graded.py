"""This project's cross-modal objective: overlap of concepts as graded relevance."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..errors import ConfigError
from ..registry import nearest
from .base import mean_over
from .cross_modal import CROSS_MODAL_LOSSES, CrossModalLoss, CrossModalPairs
from .functional import weighted_supcon

__all__ = ["GradedConfig", "GradedLoss"]

Share = Literal["query", "pair"]
Scaled = Literal["graded", "all"]

# What fades altogether could overtake the positives without any cost.
_LEAST_PRESENCE = 0.05


@dataclass(frozen=True, kw_only=True)
class GradedConfig:
    """Every choice of `GradedLoss`; with soft = alpha = beta = fading = 0 it is `MultiPositiveLoss`.

    Attributes:
        temperature: tau_0, what similarities of pairs without overlap are divided by.
        soft: how much graded pairs count as positives, next to the positives themselves; 0 for not at all.
        share: what `soft` is the weight of. "query": of all graded pairs of a query together, in proportion to its
            positives, whatever their number, which grows with a queue; "pair": of each of them.
        threshold: graded pairs below this relevance carry no weight.
        eta: exponent of the relevance in the weight; 0 makes all graded pairs above the threshold alike.
        alpha: how much the temperature grows with relevance.
        scaled: which pairs' temperatures grow with relevance: "graded" ones, below 1, so that positives keep the
            temperature of pairs without overlap; or "all", which is MACL's own form. Within one kind of vectors that
            works. Between two kinds it pays to turn them to opposite poles, where all similarities are -1 and a
            positive's larger temperature is an advantage: training collapses, the faster the larger alpha.
        beta: how much the temperature grows with the rarity of what the query shows.
        fading: how fast overlapping negatives fade from the denominator, where they weigh
            max(0.05, 1 - fading r); positives keep their full weight.
        temperature_min: lower clip of the scaled temperature.
        temperature_max: upper clip of the scaled temperature.
    """

    temperature: float = 0.07
    soft: float = 0.1
    share: Share = "query"
    threshold: float = 0.5
    eta: float = 1.0
    alpha: float = 0.5
    scaled: Scaled = "graded"
    beta: float = 0.0
    fading: float = 0.5
    temperature_min: float = 0.01
    temperature_max: float = 1.0

    def __post_init__(self) -> None:
        for name, kind in (("share", Share), ("scaled", Scaled)):
            if getattr(self, name) not in get_args(kind):
                allowed = ", ".join(map(repr, get_args(kind)))
                raise ConfigError(f"{name} is {getattr(self, name)!r}, allowed are {allowed}")
        for name in ("soft", "eta", "fading"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, it must be at least 0")
        if not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold is {self.threshold}, a relevance is within 0..1")
        if not 0 < self.temperature_min <= self.temperature <= self.temperature_max:
            raise ConfigError(
                f"temperature is {self.temperature}, it must be above 0 and within temperature_min..temperature_max, "
                f"{self.temperature_min}..{self.temperature_max}"
            )


@CROSS_MODAL_LOSSES.register("graded")
class GradedLoss(CrossModalLoss):
    r"""Contrast with graded relevance: what shares concepts attracts a little, repels less, and is judged more softly.

    Formula:
        .. math::
            L_i = -\frac{1}{W_i} \sum_p w_{ip} \log
                  \frac{\exp(s_{ip}/\tau_{ip})}{\sum_a v_{ia} \exp(s_{ia}/\tau_{ia})}, \qquad W_i = \sum_p w_{ip}

        .. math::
            \tau_{ia} = clip(\tau_0 (1 + \alpha g_{ia}) (1 + \beta \varrho_i), \tau_{min}, \tau_{max}), \qquad
            v_{ia} = \max(0.05, 1 - \phi g_{ia})

        with r the relevance, g equal to it for graded pairs (r < 1) and 0 for positives, and rho_i the rarity of the
        query. `scaled` "all" has r in place of g in the temperature. A positive (r = 1) has w = 1. A graded pair, of
        relevance r from `threshold` to below 1, has :math:`w = \lambda r^\eta`, lambda being `soft` with `share`
        "pair"; with "query", lambda is such that a query's graded pairs together weigh `soft` times what its positives
        do. Queries without a positive have no loss, however many graded pairs they have.

    Source:
        This project's. Weights and temperatures are those of MACL (arXiv 2512.16294, see `MACLLoss`), carried over to
        pairs of an image and a text; relevance is `pair_relevance` of captions and
        `terraseek.relevance.concept_relevance` of concepts.

    Relations:
        soft = alpha = beta = fading = 0 is exactly `MultiPositiveLoss`; with one positive a row that is `InfoNCELoss`.
        In `MACLLoss` positives fade and have their temperature scaled too; here they are known to belong together.

    Args:
        config: all choices at once.
        changes: single choices, by the names of `GradedConfig`; they win over `config`.

    Raises:
        ConfigError: an unknown choice or a value out of its range.

    Examples:
        >>> queries, keys = torch.eye(3)[:1], torch.eye(3)
        >>> GradedLoss()(queries, keys, torch.tensor([[1.0, 0.8, 0.0]]), query_rarity_N=torch.tensor([0.3]))
        tensor(1.2987)
    """

    def __init__(self, config: GradedConfig | None = None, **changes: Any) -> None:
        super().__init__()
        known = [field.name for field in dataclasses.fields(GradedConfig)]
        for name in changes:
            if name not in known:
                raise ConfigError(f"GradedLoss has no option {name!r}: {nearest(name, known)}")
        self.config = dataclasses.replace(config or GradedConfig(), **changes)

    @property
    def adapts_to_rarity(self) -> bool:
        """Where beta is not 0."""
        return self.config.beta != 0

    def compute(self, pairs: CrossModalPairs) -> Tensor:
        """Mean over queries with positives."""
        with torch.no_grad():
            weight_NM, temperature, presence_NM = self.weights(pairs), self.temperatures(pairs), self._presence(pairs)
        loss_N = weighted_supcon(
            pairs.similarity_NM,
            weight_NM,
            temperature,
            pairs.valid_NM,
            denominator_log_weight_NM=presence_NM,
        )
        return mean_over(loss_N, weight_NM)

    def weights(self, pairs: CrossModalPairs) -> Tensor:
        """w_ip, (N, M), 0 in rows without a positive."""
        config, positive_NM = self.config, pairs.positive_NM
        weight_NM = positive_NM.to(pairs.relevance_NM.dtype)
        if not config.soft:
            return weight_NM
        # Without a positive there is nothing to be graded against. A threshold of 0 takes what overlaps, not all.
        graded_NM = pairs.negative_NM & (pairs.relevance_NM >= config.threshold) & (pairs.relevance_NM > 0)
        graded_NM &= positive_NM.any(1, keepdim=True)
        power_NM = pairs.relevance_NM**config.eta * graded_NM
        if config.share == "query":
            total_N1 = power_NM.sum(1, keepdim=True)
            power_NM *= weight_NM.sum(1, keepdim=True) / total_N1.masked_fill(total_N1 == 0, 1)
        return weight_NM + config.soft * power_NM

    def temperatures(self, pairs: CrossModalPairs) -> Tensor | float:
        """tau_ia, (N, M), or one number where nothing is adapted."""
        config = self.config
        if config.alpha == 0 and config.beta == 0:
            return config.temperature
        overlap_NM = pairs.relevance_NM
        if config.scaled == "graded":
            overlap_NM = overlap_NM.masked_fill(pairs.positive_NM, 0)
        factor_N1 = config.temperature * (1 + config.beta * pairs.query_rarity_N[:, None])
        scaled_NM = factor_N1 * (1 + config.alpha * overlap_NM)
        return scaled_NM.clamp_(config.temperature_min, config.temperature_max)

    def _presence(self, pairs: CrossModalPairs) -> Tensor | None:
        if not self.config.fading:
            return None
        presence_NM = (1 - self.config.fading * pairs.relevance_NM).clamp_min_(_LEAST_PRESENCE).log_()
        return presence_NM.masked_fill_(pairs.positive_NM, 0)
