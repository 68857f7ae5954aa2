from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from terraseek.errors import ConfigError
from terraseek.losses import (
    AnySupConLoss,
    LabelStatistics,
    MACLConfig,
    MACLLoss,
    MulSupConLoss,
    MultiSupConLoss,
    SupConLoss,
    weighted_supcon,
)


def reference(loss: MACLLoss, embeddings: Tensor, labels: Tensor) -> Tensor:
    """The formula of the docstring, pair by pair."""
    cfg, n = loss.config, len(labels)
    sets = [{c for c, y in enumerate(row) if y} for row in labels.tolist()]
    rho = loss.statistics.rarity(cfg.gamma, cfg.kappa).tolist()
    pair_rho = loss.statistics.pair_rarity(cfg.gamma, cfg.kappa).tolist()
    logs = [math.log(r) for r in rho]
    seen = [value for value, f in zip(logs, loss.statistics.frequency_C.tolist(), strict=True) if f]
    span = max(seen) - min(seen) if seen else 0.0
    scaled = [
        (1.0 if seen else 0.0) if not f else (value - min(seen)) / span if span else 0.0
        for value, f in zip(logs, loss.statistics.frequency_C.tolist(), strict=True)
    ]
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    total, said = unit.sum() * 0, 0

    def jaccard(i: int, j: int) -> float:
        return len(sets[i] & sets[j]) / max(len(sets[i] | sets[j]), 1)

    def faded(i: int, j: int) -> float:
        if cfg.fading_by == "jaccard" or not sets[i] | sets[j]:
            return jaccard(i, j)
        return sum(rho[c] for c in sets[i] & sets[j]) / sum(rho[c] for c in sets[i] | sets[j])

    def in_batch(i: int, c: int) -> float:
        counts = [sum(k in sets[j] for j in range(n) if j != i) for k in range(len(rho))]
        present = sorted(count for count in counts if count)
        ratio = (present[(len(present) - 1) // 2] / counts[c]) ** cfg.gamma
        return min(max(ratio, 1 / cfg.kappa), cfg.kappa)

    def weight(i: int, p: int) -> float:
        shared = sorted(sets[i] & sets[p])
        if not shared or (cfg.positives == "jaccard" and jaccard(i, p) < cfg.jaccard_threshold):
            return 0.0
        if cfg.plr == "off":
            return jaccard(i, p) ** cfg.eta
        if cfg.plr == "pair" and len(shared) > 1:
            terms = [pair_rho[c][d] for c, d in itertools.combinations(shared, 2)]
        else:
            terms = [in_batch(i, c) if cfg.plr == "in-batch" else rho[c] for c in shared]
        size = len(terms) if cfg.aggregation == "mean" else 1
        return jaccard(i, p) ** cfg.eta * sum(terms) / size

    def tau(i: int, a: int) -> float:
        values = [scaled[c] for c in sets[i]] or [0.0]
        rarity = max(values) if cfg.anchor_rarity == "max" else sum(values) / len(values)
        recall = len(sets[i] & sets[a]) / max(len(sets[i]), 1)
        met = recall if cfg.overlap == "recall" else jaccard(i, a)
        raw = cfg.temperature * (1 + cfg.alpha * met) * (1 + cfg.beta * rarity)
        return min(max(raw, cfg.temperature_min), cfg.temperature_max)

    for i in range(n):
        others = [j for j in range(n) if j != i]
        w = {p: weight(i, p) for p in others}
        positives = [p for p in others if w[p] > 0]
        if not positives:
            continue
        over_labels = cfg.over == "labels" and cfg.plr != "off" and cfg.aggregation == "sum"
        say = sum(any(c in sets[p] for p in positives) for c in sets[i]) if over_labels else 1
        said += say
        mean_tau = sum(tau(i, p) for p in positives) / len(positives)
        up = {a: tau(i, a) for a in others} if cfg.dts in ("both", "numerator") else dict.fromkeys(others, 0.0)
        down = {a: tau(i, a) for a in others} if cfg.dts in ("both", "denominator") else dict.fromkeys(others, 0.0)
        for a in others:
            if cfg.dts == "anchor":
                up[a] = down[a] = mean_tau
            up[a], down[a] = up[a] or cfg.temperature, down[a] or cfg.temperature
        presence = {a: max(0.05, 1 - cfg.fading * cfg.alpha * faded(i, a)) for a in others}
        log_denominator = torch.log(sum(presence[a] * math.e ** (unit[i] @ unit[a] / down[a]) for a in others))
        divisor = {"sum_w": sum(w.values()), "count": len(positives), "none": 1}[cfg.normalisation]
        for p in positives:
            total = total - say * w[p] / divisor * (unit[i] @ unit[p] / up[p] - log_denominator)
    return total / max(said, 1)


CONFIGS = st.fixed_dictionaries(
    {
        "plr": st.sampled_from(["off", "label", "pair", "in-batch"]),
        "aggregation": st.sampled_from(["sum", "mean"]),
        "gamma": st.sampled_from([0.0, 0.5, 1.3]),
        "kappa": st.sampled_from([1.0, 2.0, 100.0]),
        "eta": st.sampled_from([0.0, 0.5, 1.0]),
        "alpha": st.sampled_from([-0.5, 0.0, 1.0]),
        "beta": st.sampled_from([-0.5, 0.0, 0.5]),
        "overlap": st.sampled_from(["jaccard", "recall"]),
        "fading": st.sampled_from([0.0, 0.5, 2.0]),
        "fading_by": st.sampled_from(["jaccard", "rarity"]),
        "dts": st.sampled_from(["both", "numerator", "denominator", "anchor"]),
        "anchor_rarity": st.sampled_from(["mean", "max"]),
        "temperature": st.sampled_from([0.1, 0.5]),
        "temperature_max": st.sampled_from([0.6, 1.0]),
        "positives": st.sampled_from(["any", "jaccard"]),
        "jaccard_threshold": st.just(0.3),
        "normalisation": st.sampled_from(["sum_w", "count", "none"]),
        "over": st.sampled_from(["labels", "anchors"]),
    }
)


def batch(n: int, c: int, seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, c, generator=g) < 0.4).long()
    return torch.randn(n, 4, generator=g, dtype=torch.float64).requires_grad_(), labels


def statistics(c: int, seed: int) -> LabelStatistics:
    g = torch.Generator().manual_seed(seed + 1)
    return LabelStatistics.from_labels((torch.rand(20, c, generator=g) < torch.linspace(0.02, 0.8, c)).long())


@settings(deadline=None, max_examples=40)
@given(CONFIGS, st.integers(2, 7), st.integers(1, 5), st.integers(0, 1000))
def test_equals_the_loop_in_value_and_gradient(options: dict[str, Any], n: int, c: int, seed: int) -> None:
    loss = MACLLoss(statistics(c, seed), **options).double()
    embeddings, labels = batch(n, c, seed)
    fast, slow = loss(embeddings, labels), reference(loss, embeddings, labels)
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-6)
    (grad,) = torch.autograd.grad(fast, embeddings)
    (expected,) = torch.autograd.grad(slow, embeddings)
    torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 6), st.integers(0, 1000), st.sampled_from(["label", "pair", "in-batch"]))
def test_single_equally_frequent_labels_give_supcon(classes: int, seed: int, plr: str) -> None:
    labels = torch.eye(classes).long().repeat(3, 1)
    embeddings, _ = batch(len(labels), classes, seed)
    loss = MACLLoss(LabelStatistics.from_labels(labels), alpha=0.0, plr=plr)
    torch.testing.assert_close(loss(embeddings, labels), SupConLoss()(embeddings, labels))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.integers(1, 5), st.integers(0, 1000), st.sampled_from(["label", "pair", "in-batch"]))
def test_everything_off_gives_any_supcon(n: int, c: int, seed: int, plr: str) -> None:
    embeddings, labels = batch(n, c, seed)
    loss = MACLLoss(statistics(c, seed), alpha=0, beta=0, gamma=0, eta=0, aggregation="mean", plr=plr)
    torch.testing.assert_close(loss(embeddings, labels), AnySupConLoss()(embeddings, labels))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.integers(1, 5), st.integers(0, 1000))
def test_reduces_to_the_published_multi_label_losses(n: int, c: int, seed: int) -> None:
    embeddings, labels = batch(n, c, seed)
    jaccard = MACLLoss(statistics(c, seed), plr="off", alpha=0, beta=0, weighted=True)
    torch.testing.assert_close(jaccard(embeddings, labels), MultiSupConLoss()(embeddings, labels))
    for over in ("labels", "anchors"):
        in_batch = MACLLoss(statistics(c, seed), gamma=1.0, kappa=1e6, alpha=0, beta=0, eta=0, over=over)
        torch.testing.assert_close(in_batch(embeddings, labels), MulSupConLoss(over=over)(embeddings, labels))


def test_scaling_all_weights_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels = batch(9, 4, 0)
    loss = MACLLoss(statistics(4, 0), plr="label")
    before = loss(embeddings, labels)
    loss.rarity_C.mul_(7.5)
    torch.testing.assert_close(loss(embeddings, labels), before)


@pytest.mark.parametrize("plr", ["in-batch", "label", "pair"])
def test_duplicating_the_training_set_changes_nothing(plr: str) -> None:
    embeddings, labels = batch(9, 4, 0)
    train = batch(30, 4, 5)[1]
    once, twice = (MACLLoss(LabelStatistics.from_labels(t), plr=plr) for t in (train, train.repeat(2, 1)))
    torch.testing.assert_close(once(embeddings, labels), twice(embeddings, labels))


def test_rare_shared_labels_get_more_weight() -> None:
    train = torch.tensor([[1, 0]] * 9 + [[0, 1]])
    embeddings = torch.randn(3, 4, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([[1, 1], [1, 0], [0, 1]])
    loss = MACLLoss(LabelStatistics.from_labels(train), plr="label", gamma=1.0)
    pairs = loss._pairs(embeddings, labels, *[None] * 4)
    weight = loss.pair_weights(pairs, pairs.positive_NM)
    assert weight[0, 2].item() == pytest.approx(9 * weight[0, 1].item())


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.integers(1, 5), st.integers(0, 1000))
def test_fading_by_rarity_is_by_jaccard_where_all_labels_are_equally_rare(n: int, c: int, seed: int) -> None:
    embeddings, labels = batch(n, c, seed)
    even = LabelStatistics.from_labels(torch.eye(c).long())
    for options, known in (({}, even), ({"gamma": 0.0}, statistics(c, seed))):
        by_jaccard, by_rarity = (MACLLoss(known, fading_by=name, **options) for name in ("jaccard", "rarity"))
        torch.testing.assert_close(by_rarity(embeddings, labels), by_jaccard(embeddings, labels))
    without = [MACLLoss(statistics(c, seed), alpha=0.0, fading_by=name) for name in ("jaccard", "rarity")]
    torch.testing.assert_close(*(loss(embeddings, labels) for loss in without))


def test_what_differs_in_a_rare_label_hardly_fades_by_rarity() -> None:
    train = torch.tensor([[1, 1, 0]] * 9 + [[0, 0, 1]])
    loss = MACLLoss(LabelStatistics.from_labels(train), gamma=1.0, fading_by="rarity")
    labels = torch.tensor([[1, 0, 1], [1, 0, 0], [0, 1, 1], [1, 0, 1]])
    faded = loss._fading_overlap(loss._pairs(torch.randn(4, 4), labels, *[None] * 4))
    # Rarities 1, 1, 9: sharing the frequent label is 1 of 10, sharing the rare one 9 of 11; by count, 1/2 and 1/3.
    assert faded[0].tolist() == pytest.approx([1, 1 / 10, 9 / 11, 1])


def test_labels_never_seen_and_empty_sets_stay_finite() -> None:
    labels = torch.tensor([[0, 0, 1], [0, 0, 1], [0, 0, 0], [1, 0, 0]])
    for plr, fading_by in itertools.product(("off", "label", "pair", "in-batch"), ("jaccard", "rarity")):
        embeddings = torch.randn(4, 5).requires_grad_()
        statistics = LabelStatistics.from_labels([[1, 0, 0], [1, 1, 0]])
        loss = MACLLoss(statistics, plr=plr, fading_by=fading_by)(embeddings, labels)
        loss.backward()
        assert torch.isfinite(loss)
        assert embeddings.grad is not None
        assert torch.isfinite(embeddings.grad).all()


def test_a_label_that_never_occurs_changes_nothing_for_the_others() -> None:
    embeddings, labels = batch(8, 4, seed=3)
    training = (
        torch.rand(40, 4, generator=torch.Generator().manual_seed(1)) < torch.tensor([0.1, 0.3, 0.5, 0.7])
    ).long()
    column = torch.zeros(len(training), 1, dtype=torch.long)
    without = MACLLoss(LabelStatistics.from_labels(training))(embeddings, labels)
    wider = LabelStatistics.from_labels(torch.cat([training, column], 1))
    with_it = MACLLoss(wider)(embeddings, torch.cat([labels, column[: len(labels)]], 1))
    torch.testing.assert_close(with_it, without)


def test_weighted_variant_is_eta_one_unless_told_otherwise() -> None:
    frequent = statistics(3, 0)
    assert MACLLoss(frequent, weighted=True).config.eta == 1.0
    assert MACLLoss(frequent, weighted=True, eta=0.7).config.eta == 0.7
    assert MACLLoss(frequent, config=MACLConfig(gamma=0.5), eta=0.2).config == MACLConfig(gamma=0.5, eta=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gama": 1.0}, "did you mean 'gamma'"),
        ({"plr": "labels"}, "allowed are 'off', 'label'"),
        ({"gamma": -1.0}, "gamma is -1.0"),
        ({"kappa": 0.5}, "kappa is 0.5"),
        ({"fading": -1.0}, "fading is -1.0"),
        ({"fading_by": "rare"}, "fading_by is 'rare', allowed are 'jaccard', 'rarity'"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": 2.0}, "temperature is 2.0"),
        ({"temperature_min": -1.0}, "temperature_min"),
        ({"jaccard_threshold": 1.5}, "0..1"),
        ({"over": "pairs"}, "allowed are 'labels', 'anchors'"),
        ({"ref_views": "keep"}, "ref_views"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MACLLoss(statistics(3, 0), **options)


def test_temperature_grows_with_overlap_and_anchor_rarity() -> None:
    loss = MACLLoss(statistics(3, 0), alpha=1.0, beta=0.5)
    pairs = loss._pairs(torch.randn(3, 4), torch.tensor([[1, 0, 0], [1, 0, 0], [0, 0, 1]]), *[None] * 4)
    tau, other = loss.temperatures(pairs, pairs.positive_NM)
    assert other is None
    assert isinstance(tau, Tensor)
    assert tau[0, 1].item() == pytest.approx(2 * tau[0, 2].item())
    assert tau[0, 2] > tau[2, 0]  # label 0 is the rarest, label 2 the most frequent


def test_core_receives_what_the_formula_says() -> None:
    embeddings, labels = batch(6, 3, 2)
    loss = MACLLoss(statistics(3, 2), fading=0.0, over="anchors")
    pairs = loss._pairs(embeddings, labels, *[None] * 4)
    weight = loss.pair_weights(pairs, pairs.positive_NM)
    tau, _ = loss.temperatures(pairs, pairs.positive_NM)
    rows = weighted_supcon(pairs.similarity_NM, weight, tau, pairs.valid_NM)
    torch.testing.assert_close(loss(embeddings, labels), rows[weight.sum(1) > 0].mean())
