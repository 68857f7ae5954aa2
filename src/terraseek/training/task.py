"""What Lightning trains: an embedder under a loss on label sets, judged by retrieval on the validation split."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..encoders import ModelConfig
from ..errors import ConfigError
from ..losses import ContrastiveLoss, EmbeddingQueue, distributed_loss, gather_rows
from ..metrics import EmbeddingSet, LabelAP, Measure, evaluate_retrieval
from ..models import ImageEmbedder
from ..typing import LabelArray
from .base_task import SELECTION, RetrievalTask
from .datamodule import Batch
from .sections import AugmentationConfig, OptimizerConfig

__all__ = ["ImageTask"]


class ImageTask(RetrievalTask):
    """Trains an image embedder: augmentation, loss (with a queue of past embeddings, if any), validation.

    Args:
        embedder: the network; its backbone and head get learning rates of their own.
        loss: any of `terraseek.losses.LOSSES`; its own parameters are trained at the head's rate.
        config: of the model to be: normalisation and input size.
        optimizer: rates and schedule.
        augmentation: what is done to training images.
        pretrained: whether the backbone starts from trained weights and so takes `optimizer.backbone_lr`.
        frozen: parts of the backbone that stay as they are.
        queue: past embeddings that serve as further references.
        names: ids of the validation queries and of the gallery; none without validation.
        labels: labels of both.
        select: measures whose mean chooses the best checkpoint; means over labels of which there are none are left out.
        seed: of augmentation and dropout.

    Raises:
        ConfigError: `select` is of nothing but such means.
    """

    module_name = "embedder"

    def __init__(
        self,
        embedder: ImageEmbedder,
        loss: ContrastiveLoss,
        config: ModelConfig,
        *,
        optimizer: OptimizerConfig,
        augmentation: AugmentationConfig,
        pretrained: bool,
        names: Sequence[Sequence[str]],
        labels: Sequence[LabelArray],
        select: Sequence[Measure],
        frozen: Sequence[str] = (),
        queue: EmbeddingQueue | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            embedder,
            config,
            optimizer=optimizer,
            augmentation=augmentation,
            pretrained=pretrained,
            frozen=frozen,
            seed=seed,
        )
        self.embedder, self.loss, self.queue = embedder, loss, queue
        self.names, self.labels, self.select = names, labels, tuple(select)
        if self.select and labels:
            _check_some_value(self.select, *labels)
        self._seen: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._rows: tuple[list[Tensor], list[Tensor]] = ([], [])

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one batch over all ranks, with the queue where there is one."""
        generator = self.begin_step(batch_index)
        views = range(self.augmentation.views)
        images = self.training_images(batch, generator, len(views))
        labels = torch.cat([batch.labels_NC for _ in views])
        ids = torch.cat([batch.ids_N for _ in views])
        # Before normalisation to unit length: the loss does that itself, unless it wants the length (BCE).
        embeddings = self.embedder.head(self.embedder.features(images)).float()
        value = self._contrast(embeddings, labels, ids)
        self.log("train/loss", value, on_step=False, on_epoch=True, batch_size=len(labels))
        return value

    def validation_step(self, batch: Batch, batch_index: int, dataloader_idx: int = 0) -> None:
        """Embed a batch of queries (data loader 0) or of the gallery (1)."""
        self._seen[dataloader_idx].append(self.embedder(self.validation_images(batch)))
        self._rows[dataloader_idx].append(batch.ids_N)

    def on_validation_epoch_end(self) -> None:
        """Retrieve with every validation image among the training images."""
        queries, gallery = self._embedded(0), self._embedded(1)
        for parts in (*self._seen, *self._rows):
            parts.clear()
        frequency_C = self.labels[1].mean(0)
        evaluation = evaluate_retrieval(queries, gallery, self.select, train_frequency=frequency_C, bootstrap=0)
        values = {str(m): evaluation[m] for m in self.select if not math.isnan(evaluation[m])}
        for name, value in values.items():
            self.log(f"val/{name}", value)
        self.log(SELECTION, float(np.mean(list(values.values()))))

    def learning_rates(self) -> Iterator[tuple[float, Iterable[tuple[str, nn.Parameter]]]]:
        """The backbone at its own rate, everything else at the head's."""
        yield self.backbone_lr, self.embedder.backbone.named_parameters()
        rest = [(name, p) for name, p in self.embedder.named_parameters() if not name.startswith("backbone.")]
        yield self.optimizer_config.lr, [*rest, *self.loss.named_parameters()]

    def _contrast(self, embeddings_ND: Tensor, labels_NC: Tensor, ids_N: Tensor) -> Tensor:
        if self.queue is None:
            return distributed_loss(self.loss, embeddings_ND, labels_NC, ids=ids_N)
        anchors, labels, ids = gather_rows(embeddings_ND), gather_rows(labels_NC), gather_rows(ids_N)
        past = self.queue.view()
        value: Tensor = self.loss(
            anchors,
            labels,
            past.embeddings_MD,
            past.labels_MC,
            ids=ids,
            ref_ids=past.ids_M,
            with_batch=True,
        )
        self.queue.push(anchors, labels, ids)
        return value

    def _embedded(self, side: int) -> EmbeddingSet:
        """All ranks' embeddings of the queries (0) or the gallery (1), in the order of the split."""
        names = self.names[side]
        vectors_ND, present = self.gathered(self._seen[side], self._rows[side], len(names))
        return EmbeddingSet(vectors_ND[present], self.labels[side][present], tuple(names[row] for row in present))


def _check_some_value(select: Sequence[Measure], queries_QC: LabelArray, gallery_GC: LabelArray) -> None:
    """Refuse measures that are all means over labels which no query, or nothing in the gallery, has."""
    both_C = np.asarray(queries_QC.any(0) & gallery_GC.any(0))
    frequency_C = gallery_GC.mean(0)
    if not any(not isinstance(m, LabelAP) or both_C[m.labels(frequency_C)].any() for m in select):
        raise ConfigError(
            f"trainer.select: {', '.join(map(str, select))} has no value: no label that it is a mean over is in both "
            "validation and training split; select by another measure, such as mAP"
        )
