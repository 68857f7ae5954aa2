from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from terraseek.errors import ConfigError, UsageError
from terraseek.losses import LOSSES, AnySupConLoss, EmbeddingQueue, LabelStatistics, build_loss


def rows(start: int, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    ids = torch.arange(start, start + count)
    return ids[:, None] * torch.ones(1, 3), torch.stack([ids % 2, 1 - ids % 2], dim=1), ids, ids + 1000


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.lists(st.integers(0, 21), max_size=8))
def test_holds_the_last_samples_oldest_first(size: int, batches: list[int]) -> None:
    queue, start = EmbeddingQueue(size, 3, 2), 0
    for count in batches:
        queue.push(*rows(start, count))
        start += count
        view = queue.view()
        expected = rows(max(0, start - size), min(size, start))
        assert len(queue) == len(expected[2])
        torch.testing.assert_close(view.embeddings_MD, expected[0])
        torch.testing.assert_close(view.labels_MC, expected[1].float())
        assert torch.equal(view.ids_M, expected[2])
        assert torch.equal(view.text_ids_M, expected[3])


def test_all_state_is_in_the_state_dict() -> None:
    queue, other = EmbeddingQueue(5, 3, 2), EmbeddingQueue(5, 3, 2)
    queue.push(*rows(0, 7))
    other.load_state_dict(queue.state_dict())
    queue.push(*rows(7, 2))
    other.push(*rows(7, 2))
    for ours, theirs in zip(queue.view(), other.view(), strict=True):
        assert torch.equal(ours, theirs)


def test_keeps_no_graph_and_views_do_not_change() -> None:
    queue = EmbeddingQueue(2, 3, 2)
    embeddings, labels, ids, _ = rows(0, 2)
    queue.push(embeddings.requires_grad_(), labels, ids)
    view = queue.view()
    queue.push(*rows(5, 2))
    assert not view.embeddings_MD.requires_grad
    assert view.ids_M.tolist() == [0, 1]


def test_missing_ids_are_minus_one() -> None:
    queue = EmbeddingQueue(3, 3, 2)
    queue.push(*rows(0, 2)[:2])
    assert queue.view().ids_M.tolist() == queue.view().text_ids_M.tolist() == [-1, -1]


@pytest.mark.parametrize("name", LOSSES.names)
def test_serves_every_loss_with_what_the_last_batches_were(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    loss = build_loss(name, LabelStatistics.from_labels(torch.tensor([[1, 1], [1, 0]])), 3).eval()
    queue, pushed = EmbeddingQueue(10, 3, 2), [(torch.zeros(0, 3), torch.zeros(0, 2).long(), torch.zeros(0).long())]
    for step in range(5):
        embeddings = torch.randn(4, 3, generator=generator, requires_grad=True)
        _, labels, ids, _ = rows(4 * (step % 4), 4)  # the last batch holds the samples of the first again
        past = queue.view()
        value = loss(
            embeddings, labels, past.embeddings_MD, past.labels_MC, ids=ids, ref_ids=past.ids_M, with_batch=True
        )
        last = [torch.cat(parts)[-10:] for parts in zip(*pushed, strict=True)]
        expected = loss(embeddings, labels, *last[:2], ids=ids, ref_ids=last[2], with_batch=True)
        torch.testing.assert_close(value, expected)
        for ours, theirs in zip(*(torch.autograd.grad(v, embeddings) for v in (value, expected)), strict=True):
            torch.testing.assert_close(ours, theirs)
        queue.push(embeddings, labels, ids)
        pushed.append((embeddings.detach(), labels, ids))
    without = loss(embeddings, labels)
    assert torch.isclose(value, without) == (name in ("bce", "proxy-anchor"))


@pytest.mark.parametrize("views", [1, 2])
def test_what_the_queue_holds_of_a_sample_is_left_out_or_a_positive(views: int) -> None:
    similar, g = torch.ones(1, 4), torch.Generator().manual_seed(0)
    embeddings = torch.randn(2, 4, generator=g).repeat(views, 1) + 0.1 * torch.randn(2 * views, 4, generator=g)
    labels, ids = torch.eye(2).repeat(views, 1), torch.arange(2).repeat(views)
    queue = EmbeddingQueue(4, 4, 2)
    queue.push(similar, torch.eye(2)[:1], torch.tensor([0]))
    past = queue.view()
    call = {"ids": ids, "ref_ids": past.ids_M, "with_batch": True}
    arguments = embeddings, labels, past.embeddings_MD, past.labels_MC
    # Sample 0's past has no say in sample 0's loss, and is a negative in sample 1's.
    excluded = AnySupConLoss()._pairs(*arguments, ids, past.ids_M, with_batch=True)
    assert excluded.valid_NM[:, -1].tolist() == [False, True] * views
    counted = AnySupConLoss(ref_views="label")._pairs(*arguments, ids, past.ids_M, with_batch=True)
    assert counted.positive_NM[:, -1].tolist() == [True, False] * views
    # The batch's own columns are the same either way: the sample itself is out, its second view a positive.
    own = (ids[:, None] == ids) & ~torch.eye(2 * views).bool()
    for pairs in (excluded, counted):
        assert torch.equal(pairs.positive_NM[:, : 2 * views], own)
    assert AnySupConLoss()(*arguments, **call) != AnySupConLoss(ref_views="label")(*arguments, **call)


@pytest.mark.parametrize("arguments", [(0, 3, 2), (5, 0, 2), (5, 3, -1)])
def test_bad_sizes_are_named(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match="a queue needs"):
        EmbeddingQueue(*arguments)


def test_what_is_not_finite_stays_out() -> None:
    queue = EmbeddingQueue(5, 3, 2)
    embeddings, labels, ids, text_ids = rows(0, 7)
    embeddings[2, 1], embeddings[5, 0] = torch.nan, torch.inf
    queue.push(embeddings, labels, ids, text_ids)
    queue.push(torch.full((2, 3), torch.nan), labels[:2])
    assert queue.view().ids_M.tolist() == [0, 1, 3, 4, 6]
    assert queue.view().text_ids_M.tolist() == [1000, 1001, 1003, 1004, 1006]
    torch.testing.assert_close(queue.view().labels_MC, labels[[0, 1, 3, 4, 6]].float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeddings": torch.zeros(2, 4)}, r"embeddings \(N, 3\)"),
        ({"labels": torch.zeros(3, 2)}, r"labels \(N, 2\)"),
        ({"ids": torch.zeros(3)}, "one per embedding"),
    ],
)
def test_bad_pushes_are_named(change: dict[str, Any], message: str) -> None:
    call = {"embeddings": torch.zeros(2, 3), "labels": torch.zeros(2, 2)} | change
    with pytest.raises(UsageError, match=message):
        EmbeddingQueue(5, 3, 2).push(**call)
