"""Cross-modal losses against loops over pairs, known identities, and what all of them promise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from terraseek.errors import ConfigError, UsageError
from terraseek.losses import (
    CROSS_MODAL_LOSSES,
    CrossModalLoss,
    GradedConfig,
    GradedLoss,
    HardTripletLoss,
    InfoNCELoss,
    MultiPositiveLoss,
    SigmoidLoss,
    SupConLoss,
    build_cross_modal_loss,
)
from terraseek.losses.cross_modal import _checked

every_loss = pytest.mark.parametrize("name", CROSS_MODAL_LOSSES.names)
Case = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def case(n: int = 6, m: int = 9, seed: int = 0, dtype: torch.dtype = torch.float64) -> Case:
    """Queries, keys, relevance with graded pairs and a row without positives, validity, rarity."""
    g = torch.Generator().manual_seed(seed)
    query, key = (F.normalize(torch.randn(k, 5, generator=g, dtype=torch.float64)).to(dtype) for k in (n, m))
    relevance = torch.rand(n, m, generator=g, dtype=torch.float64) * (torch.rand(n, m, generator=g) < 0.5)
    relevance[torch.rand(n, m, generator=g) < 0.3] = 1
    relevance[n // 2] = relevance[n // 2].clamp(max=0.9)
    valid = torch.rand(n, m, generator=g) < 0.8
    rarity = torch.rand(n, generator=g, dtype=torch.float64)
    return query.requires_grad_(), key.requires_grad_(), relevance, valid, rarity


def by_rows(row_loss: Callable[[Tensor, list[int], list[int], int], Tensor], data: Case) -> Tensor:
    """Mean of `row_loss(similarities, positives, others, row)` over the rows that have positives."""
    query, key, relevance, valid, _ = data
    rows = []
    for i in range(len(query)):
        keys = [a for a in range(len(key)) if valid[i, a]]
        positives = [a for a in keys if relevance[i, a] == 1]
        if positives:
            s = torch.stack([query[i] @ row for row in key])
            rows.append(row_loss(s, positives, [a for a in keys if a not in positives], i))
    return torch.stack(rows).mean() if rows else (query.sum() + key.sum()) * 0


def mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


def info_nce(data: Case) -> Tensor:
    def row(s: Tensor, positives: list[int], others: list[int], i: int) -> Tensor:
        e = torch.exp(s / 0.2)
        return mean([-torch.log(e[p] / (e[p] + sum(e[a] for a in others))) for p in positives])

    return by_rows(row, data)


def multi_positive(data: Case) -> Tensor:
    def row(s: Tensor, positives: list[int], others: list[int], i: int) -> Tensor:
        e = torch.exp(s / 0.2)
        return mean([-torch.log(e[p] / sum(e[a] for a in positives + others)) for p in positives])

    return by_rows(row, data)


def triplet(data: Case, negatives: str, below: float) -> Tensor:
    def row(s: Tensor, positives: list[int], others: list[int], i: int) -> Tensor:
        worst = [a for a in others if data[2][i, a] < below]
        hinges = [[(0.2 + s[a] - s[p]).clamp_min(0) for a in worst] for p in positives]
        zero = s[0] * 0
        return mean([(sum(h, zero) if negatives == "all" else max([zero, *h])) for h in hinges])

    return by_rows(row, data)


def sigmoid(data: Case) -> Tensor:
    def row(s: Tensor, positives: list[int], others: list[int], i: int) -> Tensor:
        z = s / 0.2 - 3.0
        right = [torch.sigmoid(z[p]) for p in positives] + [torch.sigmoid(-z[a]) for a in others]
        return -torch.log(torch.stack(right)).sum()

    return by_rows(row, data)


CASES: list[tuple[str, CrossModalLoss, Callable[[Case], Tensor]]] = [
    ("info-nce", InfoNCELoss(0.2), info_nce),
    ("multi-positive", MultiPositiveLoss(0.2), multi_positive),
    ("hardest", HardTripletLoss(0.2), lambda d: triplet(d, "hardest", 1.0)),
    ("hardest below", HardTripletLoss(0.2, negative_below=0.4), lambda d: triplet(d, "hardest", 0.4)),
    ("all", HardTripletLoss(0.2, negatives="all"), lambda d: triplet(d, "all", 1.0)),
    ("all below", HardTripletLoss(0.2, negatives="all", negative_below=0.4), lambda d: triplet(d, "all", 0.4)),
    ("sigmoid", SigmoidLoss(0.2, bias=-3.0).double(), sigmoid),
]


@pytest.mark.parametrize(("loss", "loop"), [entry[1:] for entry in CASES], ids=[entry[0] for entry in CASES])
@settings(deadline=None, max_examples=15)
@given(n=st.integers(1, 6), m=st.integers(1, 8), seed=st.integers(0, 10_000))
def test_equals_the_loop_in_value_and_gradient(
    loss: CrossModalLoss, loop: Callable[[Case], Tensor], n: int, m: int, seed: int
) -> None:
    data = case(n, m, seed)
    fast, slow = loss(*data[:4]), loop(data)
    torch.testing.assert_close(fast, slow)
    grads = torch.autograd.grad(fast, data[:2])
    for ours, theirs in zip(grads, torch.autograd.grad(slow, data[:2]), strict=True):
        torch.testing.assert_close(ours, theirs)


def graded(config: GradedConfig, data: Case) -> Tensor:
    relevance, rarity = data[2], data[4]

    def row(s: Tensor, positives: list[int], others: list[int], i: int) -> Tensor:
        r = relevance[i].tolist()
        graded = [a for a in others if 0 < r[a] >= config.threshold]
        weights = {a: config.soft * r[a] ** config.eta for a in graded}
        if config.share == "query" and graded:
            total = sum(r[a] ** config.eta for a in graded)
            weights = {a: w * len(positives) / total for a, w in weights.items()}
        weights |= dict.fromkeys(positives, 1.0)
        overlap = [0.0 if config.scaled == "graded" and a in positives else q for a, q in enumerate(r)]
        tau = [config.temperature * (1 + config.alpha * q) * (1 + config.beta * float(rarity[i])) for q in overlap]
        tau = [min(max(t, config.temperature_min), config.temperature_max) for t in tau]
        present = {a: 1.0 if a in positives else max(0.05, 1 - config.fading * r[a]) for a in positives + others}
        below = torch.log(torch.stack([v * torch.exp(s[a] / tau[a]) for a, v in present.items()]).sum())
        return sum((w * (below - s[p] / tau[p]) for p, w in weights.items()), s[0] * 0) / sum(weights.values())

    return by_rows(row, data)


CONFIGS = st.builds(
    GradedConfig,
    temperature=st.sampled_from([0.1, 0.4]),
    soft=st.sampled_from([0.0, 0.3, 2.0]),
    share=st.sampled_from(["query", "pair"]),
    threshold=st.sampled_from([0.0, 0.5]),
    eta=st.sampled_from([0.0, 0.5, 1.0]),
    alpha=st.sampled_from([-0.5, 0.0, 1.0]),
    scaled=st.sampled_from(["graded", "all"]),
    beta=st.sampled_from([0.0, 0.5]),
    fading=st.sampled_from([0.0, 0.5, 2.0]),
    temperature_max=st.sampled_from([0.5, 1.0]),
)


@settings(deadline=None, max_examples=40)
@given(CONFIGS, st.integers(1, 6), st.integers(1, 8), st.integers(0, 10_000))
def test_graded_equals_the_loop_in_value_and_gradient(config: GradedConfig, n: int, m: int, seed: int) -> None:
    data = case(n, m, seed)
    fast, slow = GradedLoss(config)(*data[:4], query_rarity_N=data[4]), graded(config, data)
    torch.testing.assert_close(fast, slow)
    grads = torch.autograd.grad(fast, data[:2])
    for ours, theirs in zip(grads, torch.autograd.grad(slow, data[:2]), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_graded_with_everything_off_is_multi_positive() -> None:
    data = case()
    off = GradedLoss(soft=0, alpha=0, beta=0, fading=0)
    for rarity in (None, data[4]):
        assert off(*data[:4], query_rarity_N=rarity).equal(MultiPositiveLoss()(*data[:4]))


def test_graded_pairs_weigh_the_same_however_many_they_are() -> None:
    query, key, _, _, _ = case(1, 3)
    relevance = torch.tensor([[1.0, 0.7, 0.0]])
    many = torch.cat([key, key[1:2].repeat(50, 1)])
    loss = GradedLoss(soft=0.5, fading=0, alpha=0)
    data = query, many, torch.cat([relevance, torch.full((1, 50), 0.7)], 1)
    pairs = _pairs(*data)
    weights = loss.weights(pairs)
    assert weights[0, 0] == 1
    assert weights[0, 1:].sum().item() == pytest.approx(0.5)
    assert GradedLoss(soft=0.5, share="pair").weights(pairs)[0, 1:].sum().item() == pytest.approx(51 * 0.35)


def _pairs(query: Tensor, key: Tensor, relevance: Tensor) -> Any:
    return _checked(query, key, relevance, None, None)


def test_graded_pulls_overlapping_pairs_closer_than_others() -> None:
    # Two keys equally far from the query: one shares concepts with it, one does not.
    query = F.normalize(torch.tensor([[1.0, 0.0, 0.0]]))
    key = F.normalize(torch.tensor([[1.0, 0.3, 0.0], [0.5, 1.0, 0.3], [0.5, 1.0, -0.3]])).requires_grad_()
    relevance = torch.tensor([[1.0, 0.8, 0.0]])
    for options in ({"alpha": 0.0, "fading": 0.0, "soft": 0.2}, {"alpha": 0.0, "fading": 1.0, "soft": 0.0}):
        (grad,) = torch.autograd.grad(GradedLoss(temperature=0.3, **options)(query, key, relevance), key)
        assert (-grad @ query[0])[1] > (-grad @ query[0])[2]


def test_turning_both_kinds_to_opposite_poles_does_not_pay() -> None:
    # Both kinds at one place each, at any angle: nothing is told apart, so nothing may be gained by the angle alone.
    relevance = torch.eye(5)
    relevance[0, 1] = relevance[1, 0] = 0.8
    values: dict[str, list[float]] = {"graded": [], "all": []}
    for cosine in (-1.0, -0.5, 0.0, 0.5):
        query = torch.tensor([[1.0, 0.0]]).repeat(5, 1)
        key = torch.tensor([[cosine, math.sqrt(1 - cosine**2)]]).repeat(5, 1)
        for scaled, found in values.items():
            found.append(GradedLoss(alpha=0.5, scaled=scaled, soft=0, fading=0)(query, key, relevance).item())
    assert values["graded"] == sorted(values["graded"], reverse=True)
    assert values["all"] == sorted(values["all"])  # MACL's form, between two kinds of vectors
    assert values["all"][-1] - values["all"][0] > 3


def test_diagonal_positives_are_the_cross_entropy() -> None:
    query, key, _, _, _ = case(7, 7)
    expected = F.cross_entropy(query @ key.T / 0.07, torch.arange(7))
    for loss in (InfoNCELoss(), MultiPositiveLoss(), GradedLoss(), GradedLoss(alpha=0, fading=0)):
        torch.testing.assert_close(loss(query, key, torch.eye(7)), expected)


def test_multi_positive_is_supcon_of_classes() -> None:
    embeddings, classes = case(9, 9)[0], torch.tensor([0, 1, 2] * 3)
    off_diagonal = ~torch.eye(9, dtype=torch.bool)
    same = (classes[:, None] == classes).double()
    found = MultiPositiveLoss(0.1)(embeddings, embeddings, same, off_diagonal)
    torch.testing.assert_close(found, SupConLoss(0.1)(embeddings, classes))


def test_sigmoid_starts_as_published() -> None:
    loss = SigmoidLoss()
    assert loss.log_scale.exp().item() == pytest.approx(10)
    assert loss.bias.item() == -10
    labels = 2 * torch.eye(6) - 1
    query, key, _, _, _ = case(6, 6, dtype=torch.float32)
    # Algorithm 1: -sum(log_sigmoid(labels * logits)) / n
    expected = -F.logsigmoid(labels * (query @ key.T * 10 - 10)).sum() / 6
    torch.testing.assert_close(loss(query, key, torch.eye(6)), expected)
    loss(query, key, torch.eye(6)).backward()
    assert all(p.grad is not None and p.grad.abs() > 0 for p in loss.parameters())


def test_hardest_negatives_are_the_published_sum_over_the_batch() -> None:
    query, key, _, _, _ = case(8, 8)
    s = query @ key.T
    cost = (0.2 + s - s.diagonal()[:, None]).clamp_min(0).masked_fill(torch.eye(8).bool(), 0)
    torch.testing.assert_close(HardTripletLoss()(query, key, torch.eye(8)) * 8, cost.amax(1).sum())
    torch.testing.assert_close(HardTripletLoss(negatives="all")(query, key, torch.eye(8)) * 8, cost.sum())


# What every loss promises.


def build(name: str) -> CrossModalLoss:
    return build_cross_modal_loss(name)


def value_and_grads(loss: CrossModalLoss, data: Case, **named: Any) -> list[Tensor]:
    value = loss(*data[:4], query_rarity_N=data[4], **named)
    return [value, *torch.autograd.grad(value, data[:2])]


@every_loss
def test_scalar_with_a_gradient_for_both_sides(name: str) -> None:
    value, *grads = value_and_grads(build(name), case())
    assert value.ndim == 0
    assert value > 0
    assert all(grad.abs().sum() > 0 and grad.isfinite().all() for grad in grads)


@every_loss
def test_pairs_that_do_not_count_change_nothing(name: str) -> None:
    query, key, relevance, valid, rarity = case()
    value, query_grad, key_grad = value_and_grads(build(name), (query, key, relevance, valid, rarity))
    other = torch.where(valid, relevance, (1 - relevance).clamp(0, 1))
    for changed, expected in zip(
        value_and_grads(build(name), (query, key, other, valid, rarity)), (value, query_grad, key_grad), strict=True
    ):
        torch.testing.assert_close(changed, expected)
    unused = torch.cat([key.detach(), query.detach()]).requires_grad_()
    wide = F.pad(relevance, (0, len(query)), value=1.0), F.pad(valid, (0, len(query)))
    longer = value_and_grads(build(name), (query, unused, *wide, rarity))
    torch.testing.assert_close(longer[0], value)
    torch.testing.assert_close(longer[2], F.pad(key_grad, (0, 0, 0, len(query))))


@every_loss
def test_rows_without_a_positive_contribute_nothing(name: str) -> None:
    query, key, relevance, valid, rarity = case()
    has = ((relevance == 1) & valid).any(1)
    assert not has.all()
    value, query_grad, key_grad = value_and_grads(build(name), (query, key, relevance, valid, rarity))
    few = (query.detach()[has].requires_grad_(), key, relevance[has], valid[has], rarity[has])
    alone = value_and_grads(build(name), few)
    torch.testing.assert_close(alone[0], value)
    torch.testing.assert_close(alone[1], query_grad[has])
    torch.testing.assert_close(alone[2], key_grad)
    assert query_grad[~has].abs().sum() == 0


@every_loss
@pytest.mark.parametrize("kind", ["no positive", "nothing counts", "no negative", "no keys", "no queries"])
def test_degenerate_input_gives_zero_or_a_finite_loss(name: str, kind: str) -> None:
    n, m = (0 if kind == "no queries" else 4), (0 if kind == "no keys" else 5)
    query, key, relevance, valid, rarity = case(max(n, 1), max(m, 1), dtype=torch.float32)
    query, key = query.detach()[:n].requires_grad_(), key.detach()[:m].requires_grad_()
    relevance, valid, rarity = relevance[:n, :m], valid[:n, :m] | True, rarity[:n]
    if kind == "no positive":
        relevance = relevance * 0.5
    elif kind == "nothing counts":
        valid = ~valid
    elif kind == "no negative":
        relevance = torch.ones(n, m)
    value, *grads = value_and_grads(build(name), (query, key, relevance, valid, rarity))
    assert all(grad.isfinite().all() for grad in grads)
    if kind == "no negative":
        # Nothing to be told from: only losses in which positives compete, or stand alone, have a value.
        assert value.isfinite()
        assert (value.abs() < 1e-6) == (name in ("info-nce", "hard-triplet"))
    else:
        assert value.item() == 0
        assert all(grad.abs().sum() == 0 for grad in grads)


@every_loss
def test_order_of_keys_and_queries_does_not_matter(name: str) -> None:
    query, key, relevance, valid, rarity = case()
    n, m = torch.randperm(len(query)), torch.randperm(len(key))
    moved = query.detach()[n].requires_grad_(), key.detach()[m].requires_grad_()
    value, query_grad, key_grad = value_and_grads(build(name), (query, key, relevance, valid, rarity))
    again = value_and_grads(build(name), (*moved, relevance[n][:, m], valid[n][:, m], rarity[n]))
    for ours, theirs in zip(again, (value, query_grad[n], key_grad[m]), strict=True):
        torch.testing.assert_close(ours, theirs)


@every_loss
def test_without_validity_and_rarity_all_count_and_none_is_rare(name: str) -> None:
    query, key, relevance, valid, rarity = case()
    explicit = build(name)(query, key, relevance, valid | True, query_rarity_N=rarity * 0)
    torch.testing.assert_close(build(name)(query, key, relevance), explicit)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    low = case(dtype=dtype)
    exact = tuple(part.detach().float().requires_grad_() for part in low[:2])
    # Relevance in low precision too: 1 must stay 1, and what is below 1 must not become 1.
    relevance = low[2].clamp(max=1 - 2**-8).masked_fill(low[2] == 1, 1).to(dtype)
    found = value_and_grads(build(name), (*low[:2], relevance, *low[3:]))
    expected = value_and_grads(build(name), (*exact, relevance.float(), *low[3:]))  # type: ignore[arg-type]
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[0], expected[0])
    for ours, theirs in zip(found[1:], expected[1:], strict=True):
        torch.testing.assert_close(ours, theirs.to(dtype))


@every_loss
def test_autocast_changes_nothing(name: str) -> None:
    data = case(dtype=torch.float32)
    value = build(name)(*data[:4])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = build(name)(*data[:4])
    torch.testing.assert_close(low, value)


@every_loss
def test_relevance_receives_no_gradient(name: str) -> None:
    query, key, relevance, valid, rarity = case()
    relevance.requires_grad_()
    rarity.requires_grad_()
    build(name)(query, key, relevance, valid, query_rarity_N=rarity).backward()
    assert relevance.grad is None
    assert rarity.grad is None


@every_loss
def test_training_on_it_brings_pairs_together(name: str) -> None:
    g = torch.Generator().manual_seed(0)
    sides = [torch.randn(8, 6, generator=g).requires_grad_() for _ in range(2)]
    loss = build(name)
    optimizer = torch.optim.Adam([*sides, *loss.parameters()], lr=0.1)
    relevance = torch.eye(8)
    relevance[0, 1] = relevance[1, 0] = 1  # images 0 and 1 have captions that read alike
    for _ in range(40):
        query, key = (F.normalize(side, dim=1) for side in sides)
        optimizer.zero_grad()
        (loss(query, key, relevance) + loss(key, query, relevance.T)).backward()
        optimizer.step()
    similarity = F.normalize(sides[0].detach(), dim=1) @ F.normalize(sides[1].detach(), dim=1).T
    # Every positive above every negative of its row, by a margin.
    lowest = similarity.masked_fill(relevance == 0, 2).amin(1)
    highest = similarity.masked_fill(relevance == 1, -2).amax(1)
    assert (lowest > highest + 0.1).all()


@every_loss
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_ND": torch.zeros(4)}, "queries must be floating point"),
        ({"key_MD": torch.zeros(5, 3, dtype=torch.long)}, "keys must be floating point"),
        ({"key_MD": torch.zeros(5, 2)}, "D=3, keys D=2"),
        ({"relevance_NM": torch.zeros(5, 4)}, r"relevance must be \(queries, keys\) = \(4, 5\)"),
        ({"relevance_NM": torch.full((4, 5), 1.5)}, r"relevance must be within 0..1, found 1.5..1.5"),
        ({"relevance_NM": torch.full((4, 5), math.nan)}, r"relevance must be within 0..1"),
        ({"valid_NM": torch.zeros(4, 5)}, "valid must be bool"),
        ({"query_rarity_N": torch.zeros(5)}, "query rarity must be"),
        ({"query_rarity_N": torch.full((4,), -0.1)}, "query rarity must be within 0..1"),
    ],
)
def test_bad_calls_are_named(name: str, change: dict[str, Any], message: str) -> None:
    call = {"query_ND": torch.ones(4, 3), "key_MD": torch.ones(5, 3), "relevance_NM": torch.ones(4, 5)} | change
    with pytest.raises(UsageError, match=message):
        build(name)(**call)


@every_loss
def test_docstring_has_the_fixed_form(name: str) -> None:
    text = CROSS_MODAL_LOSSES[name].__doc__ or ""
    for part in ("Formula:", "Source:", "Relations:", "Examples:"):
        assert part in text, f"{name} lacks {part}"


@every_loss
def test_unknown_options_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match="no option 'colour'"):
        build_cross_modal_loss(name, colour="red")


def test_names_are_those_of_recipes() -> None:
    assert CROSS_MODAL_LOSSES.names == ["graded", "hard-triplet", "info-nce", "multi-positive", "sigmoid"]
    with pytest.raises(ConfigError, match="did you mean 'graded'"):
        build_cross_modal_loss("grade")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("info-nce", {"temperature": 0}, "temperature is 0"),
        ("sigmoid", {"temperature": -1.0}, "temperature is -1.0"),
        ("hard-triplet", {"margin": -0.1}, "margin is -0.1"),
        ("hard-triplet", {"negatives": "some"}, "negatives is 'some'"),
        ("hard-triplet", {"negative_below": 0.0}, "negative_below is 0.0"),
        ("graded", {"soft": -1.0}, "soft is -1.0"),
        ("graded", {"fading": math.nan}, "fading is nan"),
        ("graded", {"share": "row"}, "share is 'row'"),
        ("graded", {"scaled": "both"}, "scaled is 'both'"),
        ("graded", {"threshold": 2.0}, "threshold is 2.0"),
        ("graded", {"temperature": 5.0}, "temperature is 5.0"),
    ],
)
def test_bad_options_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_cross_modal_loss(name, **options)


def test_a_config_can_be_given_whole_and_changed() -> None:
    loss = GradedLoss(GradedConfig(soft=0.3), alpha=0.2)
    assert loss.config == GradedConfig(soft=0.3, alpha=0.2)
    with pytest.raises(ConfigError, match="did you mean 'alpha'"):
        GradedLoss(alfa=1)
