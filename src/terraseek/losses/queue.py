"""Cross-batch memory: the embeddings of earlier batches as references for any loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import ConfigError, UsageError

__all__ = ["EmbeddingQueue", "QueueView"]

_NO_ID = -1


class QueueView(NamedTuple):
    """What a queue holds, oldest first: (M, D) embeddings, (M, C) labels, (M,) ids and text ids (-1: none given)."""

    embeddings_MD: Tensor
    labels_MC: Tensor
    ids_M: Tensor
    text_ids_M: Tensor


class EmbeddingQueue(nn.Module):
    """Ring buffer of the last `size` samples: starts empty, takes batches of any size, forgets the oldest first.

    All state is in buffers, so checkpoints resume exactly. Embeddings are detached and kept in float32. Those that are
    not finite are not taken in: one step that overflows in half precision would spoil all that follow.

    Source:
        He et al., Momentum Contrast, 2020, https://arxiv.org/abs/1911.05722 (queue); Wang et al., Cross-Batch Memory
        for Embedding Learning, 2020, https://arxiv.org/abs/1912.06798 (the same without a momentum encoder).

    Args:
        size: capacity, at least 1.
        dim: D.
        num_labels: C; may be 0 where only ids matter.

    Raises:
        ConfigError: a size or dim below 1, or a negative number of labels.

    Examples:
        The batch and the past together, each sample's own past left out by its id:

        >>> from terraseek.losses import AnySupConLoss
        >>> queue, loss = EmbeddingQueue(size=4, dim=2, num_labels=1), AnySupConLoss()
        >>> embeddings, labels = torch.eye(2), torch.ones(2, 1)
        >>> for step in range(3):
        ...     ids = torch.tensor([2 * step, 2 * step + 1])
        ...     past = queue.view()
        ...     value = loss(
        ...         embeddings, labels, past.embeddings_MD, past.labels_MC,
        ...         ids=ids, ref_ids=past.ids_M, with_batch=True,
        ...     )
        ...     queue.push(embeddings, labels, ids)
        >>> len(queue), queue.view().ids_M.tolist()
        (4, [2, 3, 4, 5])
    """

    embeddings: Tensor
    labels: Tensor
    ids: Tensor
    text_ids: Tensor
    pushed: Tensor

    def __init__(self, size: int, dim: int, num_labels: int) -> None:
        super().__init__()
        if size < 1 or dim < 1 or num_labels < 0:
            raise ConfigError(
                f"a queue needs size >= 1, dim >= 1, num_labels >= 0, not size={size}, dim={dim}, "
                f"num_labels={num_labels}"
            )
        self.size = size
        self.register_buffer("embeddings", torch.zeros(size, dim))
        self.register_buffer("labels", torch.zeros(size, num_labels))
        self.register_buffer("ids", torch.full((size,), _NO_ID))
        self.register_buffer("text_ids", torch.full((size,), _NO_ID))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.long))

    def __len__(self) -> int:
        """Number of samples held now."""
        return min(int(self.pushed), self.size)

    @torch.no_grad()
    def push(
        self, embeddings: Tensor, labels: Tensor, ids: Tensor | None = None, text_ids: Tensor | None = None
    ) -> None:
        """Add a batch; of a batch larger than the queue the last `size` samples stay.

        Args:
            embeddings: (N, D).
            labels: (N, C) multi-hot, or soft scores such as concepts.
            ids: (N,) integers of at least 0 that name the samples.
            text_ids: (N,) integers of at least 0 that name their texts.

        Raises:
            UsageError: shapes that do not fit the queue.
        """
        count, (dim, num_labels) = len(embeddings), (self.embeddings.shape[1], self.labels.shape[1])
        if embeddings.shape != (count, dim) or labels.shape != (count, num_labels):
            raise UsageError(
                f"this queue takes embeddings (N, {dim}) and labels (N, {num_labels}), "
                f"not {tuple(embeddings.shape)} and {tuple(labels.shape)}"
            )
        for values in (ids, text_ids):
            if values is not None and values.shape != (count,):
                raise UsageError(f"ids must be ({count},), one per embedding, not {tuple(values.shape)}")
        finite_N = embeddings.isfinite().all(1)
        if not finite_N.all():
            embeddings, labels = embeddings[finite_N], labels[finite_N]
            ids, text_ids = (v if v is None else v[finite_N.to(v.device)] for v in (ids, text_ids))
            count = len(embeddings)
        device = self.embeddings.device
        # Numbered before the surplus is dropped: the ring position follows from all that was ever pushed.
        position = ((int(self.pushed) + torch.arange(count)) % self.size)[-self.size :].to(device)
        for buffer, values in ((self.ids, ids), (self.text_ids, text_ids)):
            buffer[position] = _NO_ID if values is None else values[-self.size :].to(buffer)
        self.embeddings[position] = embeddings[-self.size :].to(self.embeddings)
        self.labels[position] = labels[-self.size :].to(self.labels)
        self.pushed += count

    def view(self) -> QueueView:
        """Copies of what the queue holds, oldest first; later pushes do not change them."""
        held, start = len(self), int(self.pushed) % self.size
        order = (torch.arange(held) + (start if held == self.size else 0)) % self.size
        order = order.to(self.embeddings.device)
        return QueueView(self.embeddings[order], self.labels[order], self.ids[order], self.text_ids[order])
