"""What every registered loss promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from terraseek.errors import ConfigError, UsageError
from terraseek.losses import LOSSES, ContrastiveLoss, EmbeddingQueue, LabelStatistics, build_loss

D, C = 7, 5
STATISTICS = LabelStatistics.from_labels(torch.tensor([[1, 1, 0, 0, 1], [1, 0, 0, 0, 0], [1, 0, 1, 0, 0]]))
Make = Callable[..., tuple[Tensor, Tensor]]

pytestmark = pytest.mark.parametrize("name", LOSSES.names)


def build(name: str, **options: Any) -> ContrastiveLoss:
    torch.manual_seed(0)
    return build_loss(name, STATISTICS, D, **options)


def gradient(loss: ContrastiveLoss, embeddings: Tensor, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor]:
    value = loss(embeddings, *arguments, **named)
    return value, torch.autograd.grad(value, embeddings)[0]


def test_scalar_with_a_finite_gradient_that_is_not_zero(name: str, make: Make) -> None:
    value, grad = gradient(build(name).double(), *make())
    assert value.ndim == 0
    assert value > 0
    assert torch.isfinite(grad).all()
    assert grad.abs().sum() > 0


def test_order_of_the_batch_does_not_matter(name: str, make: Make) -> None:
    embeddings, labels = make()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))
    ids = torch.arange(len(labels))
    value, grad = gradient(build(name).double(), embeddings, labels, ids=ids)
    moved = embeddings.detach()[order].requires_grad_()
    shuffled, shuffled_grad = gradient(build(name).double(), moved, labels[order], ids=ids[order])
    torch.testing.assert_close(value, shuffled)
    torch.testing.assert_close(grad[order], shuffled_grad)


@pytest.mark.parametrize("kind", ["no labels at all", "no sample", "one sample", "all alike", "nothing shared"])
def test_degenerate_batches_are_finite(name: str, kind: str) -> None:
    embeddings = torch.randn(5, D, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(5, C, dtype=torch.long)
    if kind == "one sample":
        embeddings, labels = embeddings[:1], labels[:1]
        labels[0, 0] = 1
    elif kind == "no sample":
        embeddings, labels = embeddings[:0], labels[:0]
    elif kind == "all alike":
        embeddings, labels = embeddings[:1].repeat(5, 1), labels + 1
    elif kind == "nothing shared":
        labels = torch.eye(C, dtype=torch.long)
    value, grad = gradient(build(name), embeddings.requires_grad_(), labels)
    assert torch.isfinite(value)
    assert torch.isfinite(grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_agrees_with_float32(name: str, dtype: torch.dtype, make: Make) -> None:
    embeddings, labels = make(dtype=torch.float32)
    low = embeddings.detach().to(dtype).requires_grad_()
    value, grad = gradient(build(name), low, labels)
    exact, exact_grad = gradient(build(name), low.detach().float().requires_grad_(), labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, exact)
    torch.testing.assert_close(grad, exact_grad.to(dtype))


def test_autocast_changes_nothing(name: str, make: Make) -> None:
    embeddings, labels = make(dtype=torch.float32)
    value, grad = gradient(build(name), embeddings, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = build(name)(embeddings, labels)
    (low_grad,) = torch.autograd.grad(low, embeddings)  # backward belongs outside autocast
    torch.testing.assert_close(low, value)
    torch.testing.assert_close(low_grad, grad)


def test_references_give_the_batch_loss_where_ids_name_the_batch(name: str, make: Make) -> None:
    embeddings, labels = make()
    ids = torch.arange(len(labels))
    value, grad = gradient(build(name).double(), embeddings, labels, ids=ids)
    again, again_grad = gradient(build(name).double(), embeddings, labels, embeddings, labels, ids=ids, ref_ids=ids)
    torch.testing.assert_close(again, value)
    torch.testing.assert_close(again_grad, grad)


def test_every_reference_that_counts_has_a_say_and_no_other(name: str, make: Make) -> None:
    embeddings, labels = make()
    ref_emb, ref_labels = make(n=21, seed=5)
    ids, ref_ids = torch.arange(13), torch.arange(100, 121)
    ref_ids[3:5] = 0  # sample 0's own past, as near to it and as far from it as can be
    ref_emb = torch.cat([ref_emb[:3], embeddings[:1], -embeddings[:1], ref_emb[5:]]).detach()
    labels[0] = ref_labels[3] = ref_labels[4] = ref_labels[5] = torch.tensor([1, 1, 0, 0, 1])
    loss = build(name).double()
    if name == "sndl":
        loss.eval()  # its memory would take in every call
    value, grad = gradient(loss, embeddings, labels, ref_emb, ref_labels, ids=ids, ref_ids=ref_ids)
    if name in ("bce", "proxy-anchor"):
        torch.testing.assert_close(value, loss(embeddings, labels))
        return
    anchor, kept = (embeddings[:1], labels[:1]), ref_ids != 0
    alone = loss(*anchor, ref_emb, ref_labels, ids=ids[:1], ref_ids=ref_ids)
    without = loss(*anchor, ref_emb[kept], ref_labels[kept], ids=ids[:1], ref_ids=ref_ids[kept])
    torch.testing.assert_close(alone, without)
    assert not torch.isclose(alone, loss(*anchor, ref_emb, ref_labels, ids=ids[1:2], ref_ids=ref_ids))
    assert not torch.isclose(value, loss(embeddings, labels))
    order = torch.randperm(21, generator=torch.Generator().manual_seed(0))
    again, again_grad = gradient(
        loss, embeddings, labels, ref_emb[order], ref_labels[order], ids=ids, ref_ids=ref_ids[order]
    )
    torch.testing.assert_close(again, value)
    torch.testing.assert_close(again_grad, grad)


@pytest.mark.parametrize("views", [1, 2])
def test_an_empty_queue_is_no_queue(name: str, views: int, make: Make) -> None:
    embeddings, labels = make(n=6 * views)
    labels, ids = labels[:6].repeat(views, 1), torch.arange(6).repeat(views)
    value, grad = gradient(build(name).double(), embeddings, labels, ids=ids)
    past = EmbeddingQueue(8, D, C).view()
    queued = {"ref_emb": past.embeddings_MD, "ref_labels": past.labels_MC, "ref_ids": past.ids_M}
    again, again_grad = gradient(build(name).double(), embeddings, labels, ids=ids, with_batch=True, **queued)
    torch.testing.assert_close(again, value)
    torch.testing.assert_close(again_grad, grad)


@pytest.mark.parametrize("views", [1, 2])
def test_batch_and_queue_are_one_larger_batch_of_which_the_batch_has_a_loss(name: str, views: int, make: Make) -> None:
    embeddings, labels = make(n=6 * views)
    labels, ids = labels[:6].repeat(views, 1), torch.arange(6).repeat(views)
    past, past_labels = make(n=9, seed=5)
    past_ids = torch.arange(4, 13)  # 4 and 5 are their own past
    loss = build(name).double()
    if name == "sndl":
        loss.eval()
    value, grad = gradient(loss, embeddings, labels, past, past_labels, ids=ids, ref_ids=past_ids, with_batch=True)
    # Numbered by row, not by sample: a row is left out for itself alone, and for the past that shares its sample.
    rows = torch.arange(6 * views)
    pairs = loss._pairs(
        embeddings,
        labels,
        torch.cat([embeddings, past]),
        torch.cat([labels, past_labels]),
        rows,
        torch.cat([rows, 100 + past_ids]),
    )
    own_past = F.pad(ids[:, None] == past_ids, (len(rows), 0))
    expected = loss.compute(dataclasses.replace(pairs, valid_NM=pairs.valid_NM & ~own_past))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(grad, torch.autograd.grad(expected, embeddings)[0])


def test_scale_of_the_embeddings_does_not_matter(name: str, make: Make) -> None:
    embeddings, labels = make()
    value, scaled = build(name).double()(embeddings, labels), build(name).double()(embeddings * 9, labels)
    assert torch.allclose(value, scaled) == LOSSES[name].normalises


def test_label_types_are_alike(name: str, make: Make) -> None:
    embeddings, labels = make()
    values = [build(name).double()(embeddings, labels.to(t)) for t in (torch.bool, torch.uint8, torch.float32)]
    for value in values:
        torch.testing.assert_close(value, build(name).double()(embeddings, labels))


def test_class_indices_are_one_hot_labels(name: str) -> None:
    embeddings = torch.randn(9, D, generator=torch.Generator().manual_seed(2))
    classes = torch.tensor([0, 1, 2, 0, 1, 2, 3, 4, 4])
    one_hot = torch.nn.functional.one_hot(classes, C)
    torch.testing.assert_close(build(name)(embeddings, classes), build(name)(embeddings, one_hot))


def test_training_on_it_brings_alike_samples_together(name: str) -> None:
    g = torch.Generator().manual_seed(0)
    labels = torch.eye(C, dtype=torch.long).repeat(4, 1)
    embeddings = torch.randn(len(labels), D, generator=g).requires_grad_()
    loss = build(name)
    optimizer = torch.optim.Adam([embeddings, *loss.parameters()], lr=0.1)
    for _ in range(40):
        optimizer.zero_grad()
        loss(embeddings, labels, ids=torch.arange(len(labels))).backward()
        optimizer.step()
    unit = torch.nn.functional.normalize(embeddings.detach(), dim=1)
    similarity, same = unit @ unit.T, (labels @ labels.T).bool()
    off = ~torch.eye(len(labels), dtype=torch.bool)
    assert similarity[same & off].mean() > similarity[~same].mean() + 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeddings": torch.zeros(4)}, "embeddings must be floating point"),
        ({"embeddings": torch.zeros(4, D, dtype=torch.long)}, "embeddings must be floating point"),
        ({"labels": torch.zeros(3, C)}, "one row per embedding"),
        ({"labels": torch.full((4, C), 0.5)}, "neither 0 nor 1"),
        ({"labels": torch.tensor([0.0, 1.0, 1.0, 0.0])}, "class indices"),
        ({"ids": torch.zeros(3)}, "one per embedding"),
        ({"ref_emb": torch.zeros(2, D)}, "both or neither"),
        ({"ref_ids": torch.zeros(2)}, "without ref_emb"),
        ({"ref_emb": torch.zeros(2, D), "ref_labels": torch.zeros(2, C), "ids": torch.zeros(4)}, "both or neither"),
        ({"ref_emb": torch.zeros(2, D + 1), "ref_labels": torch.zeros(2, C)}, "they must agree"),
    ],
)
def test_bad_calls_are_named(name: str, change: dict[str, Any], message: str) -> None:
    call = {"embeddings": torch.ones(4, D), "labels": torch.ones(4, C)} | change
    with pytest.raises(UsageError, match=message):
        build(name)(**call)


def test_of_no_reference_the_loss_is_that_of_no_pair(name: str) -> None:
    embeddings, labels = torch.randn(4, D, generator=torch.Generator().manual_seed(1)), torch.ones(4, C)
    value, grad = gradient(build(name), embeddings.requires_grad_(), labels, torch.zeros(0, D), torch.zeros(0, C))
    assert torch.isfinite(value)
    assert torch.isfinite(grad).all()
    if name not in ("bce", "proxy-anchor"):  # these look at labels alone
        assert value == 0


def test_class_indices_that_do_not_fit_are_named(name: str) -> None:
    loss = build(name)
    assert loss(torch.zeros(0, D), torch.zeros(0, dtype=torch.long)) == 0
    with pytest.raises(UsageError, match=r"class indices \(N,\), so must ref_labels be, not \(2, 5\)"):
        loss(torch.ones(4, D), torch.zeros(4, dtype=torch.long), torch.ones(2, D), torch.ones(2, C))
    if loss.num_labels is not None:
        with pytest.raises(UsageError, match="class index 7, this loss was made for 5 labels"):
            loss(torch.ones(4, D), torch.full((4,), 7))


def test_a_loss_with_weights_names_the_dimensions_it_was_made_for(name: str) -> None:
    loss = build(name)
    embeddings, labels = torch.ones(4, D + 1), torch.ones(4, C)
    if loss.embedding_dim is None:
        assert torch.isfinite(loss(embeddings, labels))
    else:
        with pytest.raises(UsageError, match=f"{D + 1} dimensions, this loss was made for {D}"):
            loss(embeddings, labels)


def test_unknown_options_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match="no option 'colour'"):
        build_loss(name, STATISTICS, D, colour="red")


def test_docstring_has_the_fixed_form(name: str) -> None:
    text = LOSSES[name].__doc__ or ""
    for part in ("Formula:", "Source:", "Relations:", "Examples:"):
        assert part in text, f"{name} lacks {part}"


def test_state_survives_a_round_trip(name: str, make: Make) -> None:
    embeddings, labels = make(dtype=torch.float32)
    loss, other = build(name), build_loss(name, STATISTICS, D)
    loss(embeddings, labels, ids=torch.arange(len(labels)))
    other.load_state_dict(loss.state_dict())
    torch.testing.assert_close(loss(embeddings, labels), other(embeddings, labels))
