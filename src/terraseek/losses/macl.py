"""MACL: multi-label adaptive contrastive learning."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor

from ..errors import ConfigError
from ..registry import nearest
from .base import LOSSES, ContrastiveLoss, Pairs
from .functional import weighted_supcon
from .statistics import LabelStatistics

__all__ = ["MACLConfig", "MACLLoss"]

Reweighting = Literal["off", "label", "pair", "in-batch"]
Aggregation = Literal["sum", "mean"]
Scaling = Literal["both", "numerator", "denominator", "anchor"]
AnchorRarity = Literal["mean", "max"]
Overlap = Literal["jaccard", "recall"]
FadingBy = Literal["jaccard", "rarity"]
Positives = Literal["any", "jaccard"]
Normalisation = Literal["sum_w", "count", "none"]
Over = Literal["labels", "anchors"]

# What fades altogether could overtake the anchor's positives without any cost.
_LEAST_PRESENCE = 0.05


@dataclass(frozen=True, kw_only=True)
class MACLConfig:
    """Every choice that MACL leaves open; the defaults are the recommended setting.

    Attributes:
        temperature: tau_0, what similarities of pairs without overlap are divided by.
        plr: pairwise label reweighting. "in-batch": rarity of each shared label among the references at hand, so that
            a label weighs the same whether chance brought many or few of its images into the batch; "label": rarity in
            the training split instead; "pair": rarity, in the training split, of each pair of shared labels (of the
            label itself where one is shared); "off": 1.
        aggregation: how the rarities of what a pair shares become one weight: "sum" or "mean".
        gamma: exponent of rarity; 0 makes all labels equal.
        kappa: rarity stays within 1/kappa..kappa.
        eta: exponent of the Jaccard overlap in the weight; 0 ignores the overlap, 1 is fully graded.
        alpha: how much the temperature grows with overlap.
        beta: how much the temperature grows with the rarity of the anchor's labels.
        overlap: what the temperature grows with: the "jaccard" index, or "recall", the share of the anchor's labels
            that the other has too.
        fading: how fast overlapping samples fade from the denominator, where they weigh
            max(0.05, 1 - fading alpha J): what shares most labels is hardly a negative. It goes with alpha, so that
            alpha 0 switches all adaptation to overlap off; 0 keeps all at full weight.
        fading_by: J in that weight: the "jaccard" index, or "rarity", the Jaccard index in which every label counts by
            its rarity in the training split (`gamma`, `kappa`), so that what shares only frequent labels and differs in
            a rare one stays a negative: better for rare labels, a little worse for the number of shared ones.
        dts: where the scaled temperature stands: in "both" numerator and denominator, in the "numerator" or
            "denominator" alone, or as one temperature per "anchor", the mean over its positives.
        anchor_rarity: the anchor's rarity is the "mean" or the "max" over its labels.
        temperature_min: lower clip of the scaled temperature.
        temperature_max: upper clip of the scaled temperature.
        positives: "any" shared label, or "jaccard": overlap of at least `jaccard_threshold`.
        jaccard_threshold: used by ``positives="jaccard"``.
        normalisation: divide an anchor's sum by its weights ("sum_w"), by the number of its positives ("count"), or
            not at all ("none").
        over: what counts the same in the mean over the batch: every label of an anchor that has positives ("labels"),
            or every "anchors". Where PLR does not sum over labels (it is "off", or its aggregation is "mean"), anchors.
        ref_views: see `ContrastiveLoss`.
    """

    temperature: float = 0.1
    plr: Reweighting = "in-batch"
    aggregation: Aggregation = "sum"
    gamma: float = 1.3
    kappa: float = 100.0
    eta: float = 0.0
    alpha: float = 0.5
    beta: float = 0.5
    overlap: Overlap = "recall"
    fading: float = 1.8
    fading_by: FadingBy = "jaccard"
    dts: Scaling = "both"
    anchor_rarity: AnchorRarity = "mean"
    temperature_min: float = 0.01
    temperature_max: float = 1.0
    positives: Positives = "any"
    jaccard_threshold: float = 0.0
    normalisation: Normalisation = "sum_w"
    over: Over = "labels"
    ref_views: Literal["exclude", "label"] = "exclude"

    def __post_init__(self) -> None:
        choices = {
            "plr": Reweighting,
            "aggregation": Aggregation,
            "overlap": Overlap,
            "fading_by": FadingBy,
            "dts": Scaling,
            "anchor_rarity": AnchorRarity,
            "positives": Positives,
            "normalisation": Normalisation,
            "over": Over,
        }
        for name, kind in choices.items():
            if getattr(self, name) not in get_args(kind):
                allowed = ", ".join(map(repr, get_args(kind)))
                raise ConfigError(f"{name} is {getattr(self, name)!r}, allowed are {allowed}")
        for name in ("gamma", "eta", "fading"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, it must be at least 0")
        if not self.kappa >= 1:
            raise ConfigError(f"kappa is {self.kappa}, it must be at least 1")
        if not 0 <= self.jaccard_threshold <= 1:
            raise ConfigError(f"jaccard_threshold is {self.jaccard_threshold}, a Jaccard index is within 0..1")
        if not 0 < self.temperature_min <= self.temperature <= self.temperature_max:
            raise ConfigError(
                f"temperature is {self.temperature}, it must be above 0 and within temperature_min..temperature_max, "
                f"{self.temperature_min}..{self.temperature_max}"
            )


@LOSSES.register("macl")
class MACLLoss(ContrastiveLoss):
    r"""Multi-label adaptive contrastive loss: rare shared labels weigh more, overlap softens the temperature.

    Formula:
        .. math::
            L_i = -\frac{1}{W_i} \sum_{p \in P(i)} w_{ip} \log
                  \frac{\exp(s_{ip}/\tau_{ip})}{\sum_{a \ne i} v_{ia} \exp(s_{ia}/\tau_{ia})}

        .. math::
            w_{ip} = J_{ip}^\eta \sum_{c \in y_i \cap y_p} \rho_c, \qquad
            \rho_c = clip((median(f) / f_c)^\gamma, 1/\kappa, \kappa)

        .. math::
            \tau_{ia} = clip(\tau_0 (1 + \alpha o_{ia}) (1 + \beta r_i), \tau_{min}, \tau_{max}), \qquad
            v_{ia} = \max(0.05, 1 - \phi \alpha J_{ia})

        with J the Jaccard overlap, f_c the frequency of label c among the anchor's references (`plr` "label": in the
        training split), o the overlap (`overlap`: the share of the anchor's labels that a has too, or J), phi `fading`
        (what shares labels is less of a negative), and r_i the mean over the anchor's labels of log rho_c, taken from
        the training split and scaled to 0..1 (0 throughout when all labels are equally rare). With `fading_by` "rarity"
        J is, in v alone, :math:`\sum_{c \in y_i \cap y_a} \rho_c / \sum_{c \in y_i \cup y_a} \rho_c` with rho from the
        training split. The loss is the mean of L_i in which an anchor counts once for each of its labels that has
        positives (`over`).

    Source:
        arXiv 2512.16294 states the two ideas, pairwise label reweighting (PLR) and dynamic temperature scaling (DTS),
        without publishing equations; the form and the defaults here are this project's, chosen on validation, see
        docs/experiments.md. `MACLConfig` names every choice.

    Relations:
        alpha = beta = gamma = eta = 0 with aggregation "mean" is `AnySupConLoss`; with one label per sample, equal
        frequencies and alpha = 0 it is `SupConLoss`; plr "off", eta 1, alpha = beta = 0 is `MultiSupConLoss`;
        gamma 1, eta = alpha = beta = 0 is `MulSupConLoss`, over labels or anchors as here (while kappa clips nothing).

    Args:
        statistics: label frequencies of the training split.
        weighted: the weighted variant: the overlap enters the weight fully graded (eta 1).
        config: all choices at once.
        changes: single choices, by the names of `MACLConfig`; they win over `config` and `weighted`.

    Raises:
        ConfigError: an unknown choice or a value out of its range.

    Examples:
        >>> labels = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]])
        >>> loss = MACLLoss(LabelStatistics.from_labels(labels), gamma=1.0)
        >>> loss(torch.eye(4), labels)
        tensor(0.5490)
    """

    needs_statistics: ClassVar[bool] = True
    rarity_C: Tensor
    pair_rarity_CC: Tensor
    anchor_rarity_C: Tensor

    def __init__(
        self, statistics: LabelStatistics, *, weighted: bool = False, config: MACLConfig | None = None, **changes: Any
    ) -> None:
        known = [field.name for field in dataclasses.fields(MACLConfig)]
        for name in changes:
            if name not in known:
                raise ConfigError(f"MACLLoss has no option {name!r}: {nearest(name, known)}")
        config = config or MACLConfig()
        self.config = dataclasses.replace(config, **({"eta": 1.0} if weighted else {}) | changes)
        super().__init__(ref_views=self.config.ref_views)
        self.statistics = statistics
        # Derived from statistics and config, which are what gets saved.
        rarity_C = statistics.rarity(self.config.gamma, self.config.kappa)
        self.register_buffer("rarity_C", rarity_C.float(), persistent=False)
        pair_rarity_CC = statistics.pair_rarity(self.config.gamma, self.config.kappa)
        self.register_buffer("pair_rarity_CC", pair_rarity_CC.float(), persistent=False)
        self.register_buffer(
            "anchor_rarity_C", _to_unit_range(rarity_C.log(), statistics.frequency_C > 0).float(), persistent=False
        )

    @classmethod
    def build(cls, statistics: LabelStatistics, embedding_dim: int | None, **options: Any) -> Self:
        """Make the loss from what `build_loss` knows."""
        return cls(statistics, **options)

    @property
    def num_labels(self) -> int:
        """Number of labels C of the statistics."""
        return self.statistics.num_labels

    def compute(self, pairs: Pairs) -> Tensor:
        """Mean over anchors with positives, each counting for its labels."""
        config = self.config
        with torch.no_grad():
            positive_NM = pairs.positive_NM
            if config.positives == "jaccard":
                positive_NM = positive_NM & (pairs.jaccard_NM >= config.jaccard_threshold)
            weight_NM = self.pair_weights(pairs, positive_NM)
            numerator, denominator = self.temperatures(pairs, positive_NM)
            rate = config.fading * config.alpha
            presence_NM = (1 - rate * self._fading_overlap(pairs)).clamp_min_(_LEAST_PRESENCE).log_() if rate else None
            count_N = positive_NM.sum(1)
            normaliser_N = {"sum_w": None, "count": count_N, "none": torch.ones_like(count_N)}[config.normalisation]
            say_N = (count_N > 0).to(weight_NM.dtype)
            if self._over_labels:
                say_N *= (pairs.labels_NC * (self._with_label(pairs, positive_NM) > 0)).sum(1)
        loss_N = weighted_supcon(
            pairs.similarity_NM,
            weight_NM,
            numerator,
            pairs.valid_NM,
            denominator_temperature_NM=denominator,
            denominator_log_weight_NM=presence_NM,
            normaliser_N=normaliser_N,
        )
        return (loss_N * say_N).sum() / say_N.sum().clamp_min(1)

    def _with_label(self, pairs: Pairs, positive_NM: Tensor) -> Tensor:
        """Number of positives that carry each label of the anchor, (N, C)."""
        if self.config.positives == "any":
            return pairs.with_label_NC  # who carries it is a positive
        return positive_NM.to(pairs.labels_NC.dtype) @ pairs.ref_labels_MC

    def _fading_overlap(self, pairs: Pairs) -> Tensor:
        """How far each reference fades from the denominator: 0 where nothing is shared, 1 where all is, (N, M)."""
        if self.config.fading_by == "jaccard":
            return pairs.jaccard_NM
        rarity_NC = pairs.labels_NC * self.rarity_C.to(pairs.labels_NC.dtype)
        shared_NM = rarity_NC @ pairs.ref_labels_MC.T
        size_N1, size_M = rarity_NC.sum(1, keepdim=True), pairs.ref_labels_MC @ self.rarity_C.to(pairs.labels_NC.dtype)
        # Sums of rarities may be far below 1: only an empty union is kept from 0 / 0.
        return shared_NM / (size_N1 + size_M - shared_NM).clamp_min_(torch.finfo(shared_NM.dtype).tiny)

    @property
    def _over_labels(self) -> bool:
        config = self.config
        return config.over == "labels" and config.plr != "off" and config.aggregation == "sum"

    def pair_weights(self, pairs: Pairs, positive_NM: Tensor) -> Tensor:
        """PLR: w_ip, 0 where `positive_NM` is not."""
        config = self.config
        weight_NM = self._shared_rarity(pairs) * positive_NM
        # 0 ** 0 is 1: without the test eta = 0 would be right too, at the price of a power.
        return weight_NM * pairs.jaccard_NM**config.eta if config.eta else weight_NM

    def _shared_rarity(self, pairs: Pairs) -> Tensor:
        """Rarity of what each pair shares, summed or averaged, (N, M)."""
        config, labels_NC, ref_labels_MC = self.config, pairs.labels_NC, pairs.ref_labels_MC
        if config.plr == "off":
            return torch.ones_like(pairs.shared_NM)
        rarity_C = self.rarity_C.to(labels_NC.dtype)
        if config.plr == "in-batch":
            rarity_NC = _in_batch_rarity(pairs, config.gamma, config.kappa)
            rarity_NM, terms_NM = (labels_NC * rarity_NC) @ ref_labels_MC.T, pairs.shared_NM
        else:
            rarity_NM, terms_NM = (labels_NC * rarity_C) @ ref_labels_MC.T, pairs.shared_NM
        if config.plr == "pair":
            several_NM = pairs.shared_NM > 1
            pair_NM = _over_label_pairs(labels_NC, ref_labels_MC, self.pair_rarity_CC.to(labels_NC.dtype))
            rarity_NM = torch.where(several_NM, pair_NM, rarity_NM)
            terms_NM = torch.where(several_NM, terms_NM * (terms_NM - 1) / 2, terms_NM)
        return rarity_NM / terms_NM.clamp_min(1) if config.aggregation == "mean" else rarity_NM

    def temperatures(self, pairs: Pairs, positive_NM: Tensor) -> tuple[Tensor | float, Tensor | float | None]:
        """DTS: the numerator's temperature, and the denominator's where it is another."""
        config = self.config
        scaled = self._scaled_temperature(pairs)
        if config.dts == "numerator":
            return scaled, config.temperature
        if config.dts == "denominator":
            return config.temperature, scaled
        if config.dts == "anchor" and isinstance(scaled, Tensor):
            mean_N1 = (scaled * positive_NM).sum(1, keepdim=True) / positive_NM.sum(1, keepdim=True).clamp_min(1)
            return torch.where(positive_NM.any(1, keepdim=True), mean_N1, config.temperature), None
        return scaled, None

    def _scaled_temperature(self, pairs: Pairs) -> Tensor | float:
        config = self.config
        if config.alpha == 0 and config.beta == 0:
            return config.temperature
        size_N = pairs.labels_NC.sum(1)
        rarity_NC = pairs.labels_NC * self.anchor_rarity_C.to(pairs.labels_NC.dtype)
        rarity_N = rarity_NC.amax(1) if config.anchor_rarity == "max" else rarity_NC.sum(1) / size_N.clamp_min(1)
        factor_N1 = config.temperature * (1 + config.beta * rarity_N[:, None])
        recall = config.overlap == "recall"
        overlap_NM = pairs.shared_NM / size_N.clamp_min(1)[:, None] if recall else pairs.jaccard_NM
        scaled_NM = factor_N1 * config.alpha * overlap_NM + factor_N1
        return scaled_NM.clamp_(config.temperature_min, config.temperature_max)


def _to_unit_range(values_C: Tensor, seen_C: Tensor) -> Tensor:
    """Scale by the labels that occur: one that never does must not change how rare the others are; it gets 1."""
    if not seen_C.any():
        return torch.zeros_like(values_C)
    low, high = values_C[seen_C].min(), values_C[seen_C].max()
    scaled_C = (values_C - low) / (high - low) if high > low else torch.zeros_like(values_C)
    return torch.where(seen_C, scaled_C, torch.ones_like(values_C))


def _in_batch_rarity(pairs: Pairs, gamma: float, kappa: float) -> Tensor:
    """Rarity of each label among the references that count for each anchor, (N, C)."""
    count_NC = pairs.with_label_NC
    present_NC = count_NC > 0
    median_N = count_NC.masked_fill(~present_NC, torch.nan).nanmedian(1).values.nan_to_num(1.0)
    ratio_NC = (median_N[:, None] / count_NC.clamp_min(1)) ** gamma
    return ratio_NC.clamp(1 / kappa, kappa) * present_NC


def _over_label_pairs(labels_NC: Tensor, ref_labels_MC: Tensor, pair_rarity_CC: Tensor) -> Tensor:
    """Sum of rho_cd over the pairs c < d that both carry, as one matmul over the C (C - 1) / 2 pairs."""
    c, d = torch.triu_indices(len(pair_rarity_CC), len(pair_rarity_CC), offset=1, device=labels_NC.device)
    pairs_NP = labels_NC[:, c] * labels_NC[:, d] * pair_rarity_CC[c, d]
    return pairs_NP @ (ref_labels_MC[:, c] * ref_labels_MC[:, d]).T
