"""Losses that are not `weighted_supcon`, against plain loops and pytorch-metric-learning."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from terraseek.errors import ConfigError
from terraseek.losses import (
    BCELoss,
    ContrastiveLoss,
    NTXentLoss,
    ProxyAnchorLoss,
    SimilarityDissimilarityLoss,
    SNDLoss,
    TripletLoss,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what other libraries deprecate while importing is theirs
    from pytorch_metric_learning import losses as pml
    from pytorch_metric_learning import miners
    from pytorch_metric_learning.distances import CosineSimilarity

Make = Callable[..., tuple[Tensor, Tensor]]
Loop = Callable[[Tensor, Tensor], Tensor]


def similarities(embeddings: Tensor) -> list[list[Tensor]]:
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    return [[a @ b for b in unit] for a in unit]


def label_sets(labels: Tensor) -> list[set[int]]:
    return [{c for c, y in enumerate(row) if y} for row in labels.tolist()]


def exp(value: Tensor) -> Tensor:
    return math.e**value


def assert_same(fast: Tensor, slow: Tensor, *inputs: Tensor) -> None:
    torch.testing.assert_close(fast, slow)
    for ours, theirs in zip(torch.autograd.grad(fast, inputs), torch.autograd.grad(slow, inputs), strict=True):
        torch.testing.assert_close(ours, theirs)


def ntxent_loop(embeddings: Tensor, labels: Tensor) -> Tensor:
    s, y, losses = similarities(embeddings), label_sets(labels), []
    for i in range(len(y)):
        negatives = sum((exp(s[i][n] / 0.3) for n in range(len(y)) if n != i and not y[i] & y[n]), start=s[0][0] * 0)
        for p in range(len(y)):
            if p != i and y[i] & y[p]:
                top = exp(s[i][p] / 0.3)
                losses.append(-torch.log(top / (top + negatives)))
    return torch.stack(losses).mean()


def triplet_loop(embeddings: Tensor, labels: Tensor, mining: str) -> Tensor:
    s, y, losses = similarities(embeddings), label_sets(labels), []
    for i in range(len(y)):
        positives = [s[i][p] for p in range(len(y)) if p != i and y[i] & y[p]]
        negatives = [s[i][n] for n in range(len(y)) if n != i and not y[i] & y[n]]
        if positives and negatives:
            if mining != "all":
                negatives = [max(negatives)]
            if mining == "hard":
                positives = [min(positives)]
            losses += [n - p + 0.2 for p in positives for n in negatives if n - p + 0.2 > 0]
    return torch.stack(losses).mean()


def similarity_dissimilarity_loop(embeddings: Tensor, labels: Tensor) -> Tensor:
    s, y, losses = similarities(embeddings), label_sets(labels), []
    for i in range(len(y)):
        others = [a for a in range(len(y)) if a != i]
        weight = {p: len(y[i] & y[p]) / len(y[i]) / (1 + len(y[p] - y[i])) for p in others if y[i] & y[p]}
        denominator = sum(exp(s[i][a] / 0.3) for a in others)
        if weight:
            terms = [w * torch.log(exp(s[i][p] / 0.3) / denominator) for p, w in weight.items()]
            losses.append(-sum(terms) / sum(weight.values()))
    return torch.stack(losses).mean()


def sndl_loop(embeddings: Tensor, labels: Tensor) -> Tensor:
    s, rows, losses = similarities(embeddings), labels.tolist(), []
    for i in range(len(rows)):
        near = far = s[0][0] * 0
        for a in range(len(rows)):
            if a != i:
                h = sum(u == v for u, v in zip(rows[i], rows[a], strict=True)) / len(rows[i])
                near = near + h * exp(s[i][a] / 0.3 - 0.4)
                far = far + (1 - h) * exp(s[i][a] / 0.3)
        losses.append(-torch.log(near / (near + far)))
    return torch.stack(losses).mean()


CASES: list[tuple[ContrastiveLoss, Loop]] = [
    (NTXentLoss(0.3), ntxent_loop),
    (TripletLoss(0.2), lambda e, y: triplet_loop(e, y, "hard")),
    (TripletLoss(0.2, mining="hard-negative"), lambda e, y: triplet_loop(e, y, "hard-negative")),
    (TripletLoss(0.2, mining="all"), lambda e, y: triplet_loop(e, y, "all")),
    (SimilarityDissimilarityLoss(0.3), similarity_dissimilarity_loop),
    (SNDLoss(4, 7, 0.3, margin=0.4, memory=0), sndl_loop),
]


@pytest.mark.parametrize(("loss", "loop"), CASES, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize(("n", "seed"), [(5, 3), (7, 0), (12, 1)])
def test_equals_the_loop_in_value_and_gradient(
    loss: ContrastiveLoss, loop: Loop, n: int, seed: int, make: Make
) -> None:
    embeddings, labels = make(n=n, c=4, seed=seed)
    assert_same(loss(embeddings, labels), loop(embeddings, labels), embeddings)


def test_proxy_anchor_equals_the_loop(make: Make) -> None:
    embeddings, labels = make(n=9, c=4)
    loss = ProxyAnchorLoss(5, 7, margin=0.2, alpha=8.0).double()  # label 4 does not occur
    labels = torch.cat([labels, torch.zeros(9, 1, dtype=torch.long)], dim=1)
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    proxies = loss.proxies / loss.proxies.norm(dim=1, keepdim=True)
    attract, repel = [], []
    for c in range(5):
        own = [i for i in range(9) if labels[i, c]]
        zero = unit[0, 0] * 0
        near = sum((exp(-8 * (unit[i] @ proxies[c] - 0.2)) for i in own), start=zero)
        far = sum((exp(8 * (unit[i] @ proxies[c] + 0.2)) for i in range(9) if i not in own), start=zero)
        attract += [torch.log(1 + near)] if own else []
        repel.append(torch.log(1 + far))
    slow = torch.stack(attract).mean() + torch.stack(repel).mean()
    assert_same(loss(embeddings, labels), slow, embeddings, loss.proxies)


def test_proxy_anchor_with_one_label_each_equals_pytorch_metric_learning() -> None:
    g = torch.Generator().manual_seed(0)
    embeddings = torch.randn(12, 6, generator=g).requires_grad_()
    classes = torch.arange(12) % 3
    theirs = pml.ProxyAnchorLoss(num_classes=4, embedding_size=6)
    ours = ProxyAnchorLoss(4, 6)
    ours.proxies.data.copy_(theirs.proxies.data)
    assert_same(ours(embeddings, classes), theirs(embeddings, classes), embeddings)


def test_bce_equals_the_loop(make: Make) -> None:
    embeddings, labels = make(n=6, c=3)
    loss = BCELoss(3, 7).double()
    terms = []
    for i in range(6):
        for c in range(3):
            p = 1 / (1 + exp(-(embeddings[i] @ loss.head.weight[c] + loss.head.bias[c])))
            terms.append(-torch.log(p) if labels[i, c] else -torch.log(1 - p))
    assert_same(loss(embeddings, labels), torch.stack(terms).mean(), embeddings, loss.head.weight, loss.head.bias)


def single(n: int = 20, classes: int = 4) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, 8, generator=g, dtype=torch.float64).requires_grad_(), torch.arange(n) % classes


def test_ntxent_equals_pytorch_metric_learning() -> None:
    embeddings, classes = single()
    assert_same(NTXentLoss(0.2)(embeddings, classes), pml.NTXentLoss(temperature=0.2)(embeddings, classes), embeddings)


def test_triplets_equal_pytorch_metric_learning() -> None:
    embeddings, classes = single()
    theirs = pml.TripletMarginLoss(margin=0.2, distance=CosineSimilarity())
    assert_same(TripletLoss(0.2, mining="all")(embeddings, classes), theirs(embeddings, classes), embeddings)
    hardest = miners.BatchHardMiner(distance=CosineSimilarity())(embeddings, classes)
    assert_same(TripletLoss(0.2)(embeddings, classes), theirs(embeddings, classes, hardest), embeddings)


def test_memory_joins_the_references_while_training(make: Make) -> None:
    first, first_labels = make(n=6, c=4, seed=1)
    second, second_labels = make(n=5, c=4, seed=2)
    loss = SNDLoss(4, 7, 0.3, memory=100).double()
    loss(first, first_labels, ids=torch.arange(6))
    with_memory = loss(second, second_labels, ids=torch.arange(4, 9))
    ids = torch.arange(4, 9)  # samples 4 and 5 are in the memory already
    expected = SNDLoss(4, 7, 0.3, memory=0)(
        second,
        second_labels,
        torch.cat([second, first]),
        torch.cat([second_labels, first_labels]),
        ids=ids,
        ref_ids=torch.cat([ids, torch.arange(6)]),
    )
    torch.testing.assert_close(with_memory, expected)
    assert loss.queue is not None
    assert len(loss.queue) == 11
    loss.eval()
    loss(second, second_labels)
    assert len(loss.queue) == 11


def test_sndl_computes_its_loss_once_a_call(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, calls = SNDLoss(4, 7, memory=20).double(), []
    compute = loss.compute
    monkeypatch.setattr(loss, "compute", lambda pairs: calls.append(pairs.valid_NM.shape) or compute(pairs))
    for _ in range(3):
        loss(*make(n=6, c=4))
    assert calls == [(6, 6), (6, 12), (6, 18)]


def test_bad_choices_are_named() -> None:
    with pytest.raises(ConfigError, match="mining is 'soft'"):
        TripletLoss(mining="soft")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="margin is -1"):
        TripletLoss(-1)
    with pytest.raises(ConfigError, match="alpha is 0"):
        ProxyAnchorLoss(3, 3, alpha=0)
    with pytest.raises(ConfigError, match="num_labels is 0"):
        ProxyAnchorLoss(0, 3)
    with pytest.raises(ConfigError, match="embedding_dim 0"):
        BCELoss(3, 0)
    with pytest.raises(ConfigError, match="memory is -1"):
        SNDLoss(3, 3, memory=-1)
