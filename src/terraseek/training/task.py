"""What Lightning trains: an embedder under a loss on label sets, judged by retrieval on the validation split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ..encoders import ModelConfig
from ..errors import ConfigError, IntegrityError
from ..losses import ContrastiveLoss, EmbeddingQueue, distributed_loss, gather_rows
from ..metrics import EmbeddingSet, Measure, evaluate_retrieval
from ..models import ImageEmbedder
from ..registry import nearest
from ..typing import LabelArray
from .augmentation import augment
from .datamodule import Batch
from .recipe import AugmentationConfig, OptimizerConfig

__all__ = ["SELECTION", "ImageTask", "freeze", "parameter_groups", "warmup_cosine"]

SELECTION = "val/selection"
"""Name under which the figure that chooses the best checkpoint is logged."""


class ImageTask(LightningModule):
    """Trains an image embedder: augmentation, loss (with a queue of past embeddings, if any), validation.

    Every random draw follows from (seed, epoch, step, rank), none from what was drawn before: a training resumed at an
    epoch goes on as if it had never stopped.

    Args:
        embedder: the network; its backbone and head get learning rates of their own.
        loss: any of `terraseek.losses.LOSSES`; its own parameters are trained at the head's rate.
        config: of the model to be: normalisation and input size.
        optimizer: rates and schedule.
        augmentation: what is done to training images.
        pretrained: whether the backbone starts from trained weights and so takes `optimizer.backbone_lr`.
        frozen: parts of the backbone that stay as they are.
        queue: past embeddings that serve as further references.
        names: ids of the validation queries and of the gallery.
        labels: labels of both.
        select: measures whose mean chooses the best checkpoint.
        seed: of augmentation and dropout.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        embedder: ImageEmbedder,
        loss: ContrastiveLoss,
        config: ModelConfig,
        *,
        optimizer: OptimizerConfig,
        augmentation: AugmentationConfig,
        pretrained: bool,
        names: tuple[Sequence[str], Sequence[str]],
        labels: tuple[LabelArray, LabelArray],
        select: Sequence[Measure],
        frozen: Sequence[str] = (),
        queue: EmbeddingQueue | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.embedder = embedder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss, self.queue = loss, queue
        self.optimizer_config, self.augmentation = optimizer, augmentation
        self.pretrained, self.seed = pretrained, seed
        self.names, self.labels, self.select = names, labels, tuple(select)
        self.input_size = config.input_size
        shape = (1, config.bands, 1, 1)
        # Not persistent: they are the model's config, not its weights.
        self.register_buffer("mean", torch.tensor(config.mean).reshape(shape), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).reshape(shape), persistent=False)
        self._frozen = freeze(embedder.backbone, frozen)
        self._seen: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._rows: tuple[list[Tensor], list[Tensor]] = ([], [])

    def on_train_epoch_start(self) -> None:
        """The last epoch is always validated."""
        if self.current_epoch + 1 == self.trainer.max_epochs:
            self.trainer.check_val_every_n_epoch = 1

    def train(self, mode: bool = True) -> ImageTask:
        """Frozen parts stay in evaluation mode: their normalisation statistics are frozen too."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one batch over all ranks, with the queue where there is one."""
        seed = self._mixed(self.current_epoch, batch_index)
        # Dropout draws from the global generator. Seeded per step, not per epoch: making a data loader draws from it
        # too, and after a resume that happens at another moment.
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        views = range(self.augmentation.views)
        images = torch.cat([augment(batch.images_NHWB, self.input_size, self.augmentation, generator) for _ in views])
        labels = torch.cat([batch.labels_NC for _ in views])
        ids = torch.cat([batch.ids_N for _ in views])
        # Before normalisation to unit length: the loss does that itself, unless it wants the length (BCE).
        embeddings = self.embedder.head(self.embedder.features(self._normalised(images))).float()
        value = self._contrast(embeddings, labels, ids)
        self.log("train/loss", value, on_step=False, on_epoch=True, batch_size=len(labels))
        return value

    def validation_step(self, batch: Batch, batch_index: int, dataloader_idx: int = 0) -> None:
        """Embed a batch of queries (data loader 0) or of the gallery (1)."""
        images = batch.images_NHWB.permute(0, 3, 1, 2).float()
        self._seen[dataloader_idx].append(self.embedder(self._normalised(images)))
        self._rows[dataloader_idx].append(batch.ids_N)

    def on_validation_epoch_end(self) -> None:
        """Retrieve with every validation image among the training images."""
        queries, gallery = self._embedded(0), self._embedded(1)
        for parts in (*self._seen, *self._rows):
            parts.clear()
        frequency_C = self.labels[1].mean(0)
        evaluation = evaluate_retrieval(queries, gallery, self.select, train_frequency=frequency_C, bootstrap=0)
        values = {str(measure): evaluation[measure] for measure in self.select}
        for name, value in values.items():
            self.log(f"val/{name}", value)
        self.log(SELECTION, float(np.mean(list(values.values()))))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with warm-up and cosine decay per step."""
        config = self.optimizer_config
        backbone_lr = config.backbone_lr if self.pretrained else config.lr
        head = [*self.embedder.head.named_parameters(), *self.loss.named_parameters()]
        groups = [
            *parameter_groups(self.embedder.backbone.named_parameters(), backbone_lr, config.weight_decay),
            *parameter_groups(head, config.lr, config.weight_decay),
        ]
        optimizer = AdamW(groups, lr=config.lr)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, warmup_cosine(steps, config.warmup, config.floor))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _contrast(self, embeddings_ND: Tensor, labels_NC: Tensor, ids_N: Tensor) -> Tensor:
        if self.queue is None:
            return distributed_loss(self.loss, embeddings_ND, labels_NC, ids=ids_N)
        anchors, labels, ids = gather_rows(embeddings_ND), gather_rows(labels_NC), gather_rows(ids_N)
        past = self.queue.view()
        value: Tensor = self.loss(
            anchors,
            labels,
            torch.cat([anchors, past.embeddings_MD.to(anchors)]),
            torch.cat([labels, past.labels_MC.to(labels)]),
            ids=ids,
            ref_ids=torch.cat([ids, past.ids_M]),
        )
        self.queue.push(anchors, labels, ids)
        return value

    def _normalised(self, images_NBHW: Tensor) -> Tensor:
        scaled = (images_NBHW - self.mean) / self.std
        return scaled.contiguous(memory_format=torch.channels_last)

    def _embedded(self, side: int) -> EmbeddingSet:
        """All ranks' embeddings of the queries (0) or the gallery (1), in the order of the split."""
        vectors = gather_rows(torch.cat(self._seen[side])).float().cpu().numpy()
        rows = gather_rows(torch.cat(self._rows[side])).cpu().numpy()
        if not np.isfinite(vectors).all():
            raise IntegrityError(
                f"the training diverged in epoch {self.current_epoch}: embeddings are not finite; begin again with a "
                "lower optimizer.lr, or with optimizer.clip_norm"
            )
        # Ranks pad their share by repeating a row: the last of equals is taken.
        ordered = np.zeros((len(self.names[side]), vectors.shape[1]), dtype=np.float32)
        ordered[rows] = vectors
        present = np.unique(rows)
        names = tuple(self.names[side][row] for row in present)
        return EmbeddingSet(ordered[present], self.labels[side][present], names)

    def _mixed(self, *numbers: int) -> int:
        """A seed that follows from the run's seed, this rank and `numbers`, and shares nothing with its neighbours."""
        sequence = np.random.SeedSequence((self.seed, self.global_rank, *numbers))
        return int(sequence.generate_state(1)[0])


def freeze(backbone: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Switch off the gradients and the running statistics of parts of a backbone and return the parts.

    Raises:
        ConfigError: the backbone has no part of that name.
    """
    parts = dict(backbone.named_modules())
    for name in names:
        if name not in parts or not name:
            shallow = [part for part in parts if part and part.count(".") < 2]
            raise ConfigError(f"model.freeze: the backbone has no part {name!r}: {nearest(name, shallow)}")
        parts[name].requires_grad_(False).eval()
    return [parts[name] for name in names]


def parameter_groups(
    parameters: Iterable[tuple[str, nn.Parameter]], lr: float, weight_decay: float
) -> Iterator[dict[str, Any]]:
    """Trained parameters as optimizer groups: matrices and kernels with decay, vectors without.

    Pulling the scale of a normalisation or a bias towards zero regularises nothing.
    """
    trained = [parameter for _, parameter in parameters if parameter.requires_grad]
    for matrices in (True, False):
        members = [parameter for parameter in trained if (parameter.ndim > 1) == matrices]
        if members:
            yield {"params": members, "lr": lr, "weight_decay": weight_decay if matrices else 0.0}


def warmup_cosine(steps: int, warmup: float, floor: float) -> Callable[[int], float]:
    """Factor on the learning rate, a function of the step: up from 0 in a line, then down along half a cosine.

    Args:
        steps: optimizer steps in all.
        warmup: share of them that rises.
        floor: factor at the end.

    Example:
        >>> factor = warmup_cosine(steps=12, warmup=2 / 12, floor=0.0)
        >>> [round(factor(step), 2) for step in (0, 1, 2, 7, 12)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    rising = round(steps * warmup)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        done = (step - rising) / max(1, steps - rising)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    return factor
