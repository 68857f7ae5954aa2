from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor

from terraseek.errors import ConfigError
from terraseek.losses import (
    AllSupConLoss,
    AnySupConLoss,
    MulSupConLoss,
    MultiSupConLoss,
    SoftmaxLoss,
    SupConLoss,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what other libraries deprecate while importing is theirs
    from pytorch_metric_learning import losses as pml

Make = Callable[..., tuple[Tensor, Tensor]]


def label_sets(labels: Tensor) -> list[set[int]]:
    return [{c for c, y in enumerate(row) if y} for row in labels.tolist()]


def log_softmax(embeddings: Tensor, i: int, p: int, temperature: float) -> Tensor:
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    others = [a for a in range(len(unit)) if a != i]
    return unit[i] @ unit[p] / temperature - torch.log(
        sum((math.e ** (unit[i] @ unit[a] / temperature) for a in others), start=unit[0, 0] * 0)
    )


def supcon(embeddings: Tensor, positives: Iterable[list[int]], temperature: float) -> Tensor:
    losses = [
        -sum(log_softmax(embeddings, i, p, temperature) for p in ps) / len(ps) for i, ps in enumerate(positives) if ps
    ]
    return torch.stack(losses).mean()


def any_loop(embeddings: Tensor, labels: Tensor) -> Tensor:
    sets = label_sets(labels)
    return supcon(
        embeddings, [[p for p in range(len(sets)) if p != i and sets[i] & sets[p]] for i in range(len(sets))], 0.2
    )


def all_loop(embeddings: Tensor, labels: Tensor) -> Tensor:
    sets = label_sets(labels)
    return supcon(
        embeddings,
        [[p for p in range(len(sets)) if p != i and sets[i] and sets[i] == sets[p]] for i in range(len(sets))],
        0.2,
    )


def mul_loop(embeddings: Tensor, labels: Tensor, over: str = "labels") -> Tensor:
    sets, terms, anchors = label_sets(labels), [], []
    for i, own in enumerate(sets):
        per_label = []
        for c in own:
            positives = [p for p in range(len(sets)) if p != i and c in sets[p]]
            if positives:
                per_label.append(-sum(log_softmax(embeddings, i, p, 0.2) for p in positives) / len(positives))
        terms += per_label
        if per_label:
            anchors.append(torch.stack(per_label).mean())
    return torch.stack(terms if over == "labels" else anchors).mean()


def multi_loop(embeddings: Tensor, labels: Tensor, threshold: float = 0.0, count: bool = False) -> Tensor:
    sets, losses = label_sets(labels), []
    for i in range(len(sets)):
        weights = {p: len(sets[i] & sets[p]) / max(len(sets[i] | sets[p]), 1) for p in range(len(sets)) if p != i}
        weights = {p: w for p, w in weights.items() if w > 0 and w >= threshold}
        if weights:
            divisor = len(weights) if count else sum(weights.values())
            losses.append(-sum(w * log_softmax(embeddings, i, p, 0.2) for p, w in weights.items()) / divisor)
    return torch.stack(losses).mean()


CASES: list[tuple[SoftmaxLoss, Callable[[Tensor, Tensor], Tensor]]] = [
    (AnySupConLoss(0.2), any_loop),
    (AllSupConLoss(0.2), all_loop),
    (SupConLoss(0.2), all_loop),
    (MulSupConLoss(0.2), mul_loop),
    (MulSupConLoss(0.2, over="anchors"), lambda e, y: mul_loop(e, y, "anchors")),
    (MultiSupConLoss(0.2), multi_loop),
    (MultiSupConLoss(0.2, threshold=0.4, normalisation="count"), lambda e, y: multi_loop(e, y, 0.4, True)),
]


@pytest.mark.parametrize(("loss", "loop"), CASES, ids=lambda v: getattr(v, "__name__", type(v).__name__))
@pytest.mark.parametrize(("n", "seed"), [(2, 7), (7, 0), (12, 1)])
def test_equals_the_loop_in_value_and_gradient(
    loss: SoftmaxLoss, loop: Callable[[Tensor, Tensor], Tensor], n: int, seed: int, make: Make
) -> None:
    embeddings, labels = make(n=n, c=3, seed=seed)
    labels[-1] = labels[n // 2] = torch.tensor([1, 0, 1])  # an equal pair, so that ALL has a positive
    if n == 2:
        labels[0] = labels[1]
    fast, slow = loss(embeddings, labels), loop(embeddings, labels)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(torch.autograd.grad(fast, embeddings)[0], torch.autograd.grad(slow, embeddings)[0])


def test_supcon_equals_pytorch_metric_learning() -> None:
    g = torch.Generator().manual_seed(0)
    embeddings = torch.randn(31, 16, generator=g, dtype=torch.float64).requires_grad_()
    classes = torch.arange(31) % 6
    ours, theirs = SupConLoss(0.07)(embeddings, classes), pml.SupConLoss(temperature=0.07)(embeddings, classes)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, embeddings)[0], torch.autograd.grad(theirs, embeddings)[0])


def test_supcon_with_references_equals_pytorch_metric_learning() -> None:
    g = torch.Generator().manual_seed(1)
    embeddings = torch.randn(9, 8, generator=g, dtype=torch.float64).requires_grad_()
    references = torch.randn(14, 8, generator=g, dtype=torch.float64)
    classes, ref_classes = torch.arange(9) % 3, torch.arange(14) % 4
    ours = SupConLoss(0.1)(embeddings, classes, references, ref_classes)
    theirs = pml.SupConLoss(temperature=0.1)(embeddings, classes, ref_emb=references, ref_labels=ref_classes)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, embeddings)[0], torch.autograd.grad(theirs, embeddings)[0])


@pytest.mark.parametrize("kind", [AnySupConLoss, AllSupConLoss, MultiSupConLoss, MulSupConLoss])
def test_single_labels_make_all_of_them_supcon(kind: type[SoftmaxLoss]) -> None:
    embeddings = torch.randn(12, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    labels = torch.eye(3).long().repeat(4, 1)
    torch.testing.assert_close(kind(0.1)(embeddings, labels), SupConLoss(0.1)(embeddings, labels))


def test_own_entry_among_references_is_left_out_or_counted() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    labels, ids = torch.tensor([[1], [1]]), torch.tensor([4, 5])
    left_out = AnySupConLoss(1.0)(embeddings, labels, embeddings, labels, ids=ids, ref_ids=ids)
    counted = AnySupConLoss(1.0, ref_views="label")(embeddings, labels, embeddings, labels, ids=ids, ref_ids=ids)
    assert left_out.item() == pytest.approx(0.0, abs=1e-6)
    assert counted.item() == pytest.approx(math.log(1 + math.e) - 0.5, rel=1e-5)


def test_a_second_view_in_the_batch_is_a_positive() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    labels = torch.tensor([[1, 0], [1, 0], [0, 1]])
    value = AnySupConLoss(1.0)(embeddings, labels, ids=torch.tensor([1, 1, 2]))
    expected = (math.log(1 + math.exp(-1)) + math.log(2)) / 2
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ConfigError, match="temperature is"):
        SupConLoss(temperature)


def test_bad_choices_are_named() -> None:
    with pytest.raises(ConfigError, match=r"threshold is 1\.5"):
        MultiSupConLoss(threshold=1.5)
    with pytest.raises(ConfigError, match="normalisation is 'sum'"):
        MultiSupConLoss(normalisation="sum")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="over is 'pairs'"):
        MulSupConLoss(over="pairs")  # type: ignore[arg-type]
