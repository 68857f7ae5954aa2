"""One loss over the batches of all ranks, with the gradients of one process."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import UsageError
from .base import ContrastiveLoss

__all__ = ["distributed_loss", "gather_rows"]


class _GatherRows(torch.autograd.Function):
    """All ranks' rows in rank order; backward hands each rank the gradient of its own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        start = sum(sizes[: dist.get_rank()])
        ctx.own = slice(start, start + len(rows))
        ctx.world = len(sizes)
        # all_gather wants equal shapes: shorter ranks pad, and the padding is cut off again.
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # Every rank computes the same loss of all rows, so its own slice is the whole gradient of its rows. DDP will
        # average over ranks what has to be summed: hence the factor.
        return gradients[0][ctx.own] * ctx.world, None


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate the rows of all ranks, in rank order; ranks may have different numbers of rows.

    The gradient is the one that, averaged over ranks by DistributedDataParallel, equals a single process's on all rows,
    provided that every rank computes the same loss from the result. Without a process group the rows come back as
    they are.

    Args:
        rows: (N, ...), same trailing shape and type on every rank.

    Examples:
        >>> gather_rows(torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    size = torch.tensor([len(rows)], device=rows.device)
    sizes = [torch.empty_like(size) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, size)
    gathered: Tensor = _GatherRows.apply(rows, [int(n) for n in sizes])  # type: ignore[no-untyped-call]
    return gathered


def distributed_loss(
    loss: ContrastiveLoss,
    embeddings: Tensor,
    labels: Tensor,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
    *,
    ids: Tensor | None = None,
    ref_ids: Tensor | None = None,
    with_batch: bool = False,
) -> Tensor:
    """Call `loss` on the batches of all ranks together; in a single process the same as calling it.

    Every rank returns the value, and after DistributedDataParallel has averaged every parameter has the gradient,
    that one process would have on the joined batch. Each rank holds (sum N)^2 similarities. References (a queue's view)
    are not gathered: keep the queue equal on all ranks by pushing `gather_rows` of the batch.

    Args:
        loss: any loss; its own parameters must be in DDP too, or be the same on all ranks.
        embeddings: this rank's (N, D).
        labels: this rank's (N, C).
        ref_emb: (M, D), the same on all ranks.
        ref_labels: (M, C), the same on all ranks.
        ids: this rank's (N,); given on all ranks or on none.
        ref_ids: (M,), the same on all ranks.
        with_batch: the joined batch stands before the references, see `ContrastiveLoss`.

    Raises:
        UsageError: labels are class indices: ranks could disagree on the number of classes.

    Examples:
        >>> from terraseek.losses import SupConLoss
        >>> distributed_loss(SupConLoss(), torch.eye(3), torch.tensor([[1, 0], [1, 0], [0, 1]]))
        tensor(0.6931)
    """
    if labels.ndim != 2:
        raise UsageError(f"labels must be multi-hot (N, C) across ranks, not {tuple(labels.shape)}")
    gathered_ids = None if ids is None else gather_rows(ids)
    value: Tensor = loss(
        gather_rows(embeddings),
        gather_rows(labels),
        ref_emb,
        ref_labels,
        ids=gathered_ids,
        ref_ids=ref_ids,
        with_batch=with_batch,
    )
    return value
