"""What every training has in common: augmented images, seeds that follow from the step, learning rates by part."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ..encoders import ModelConfig
from ..errors import ConfigError, IntegrityError
from ..losses import gather_rows
from ..models import Front, ImageEmbedder, ImageTextEmbedder
from ..registry import nearest
from ..typing import FloatArray
from .augmentation import augment
from .datamodule import Batch
from .front import FrontLayout
from .sections import AugmentationConfig, OptimizerConfig

__all__ = ["SELECTION", "RetrievalTask", "freeze", "parameter_groups", "seed_of", "warmup_cosine"]

SELECTION = "val/selection"
"""Name under which the figure that chooses the best checkpoint is logged."""


class RetrievalTask(LightningModule, ABC):
    """Base of the tasks: how images get into the network and how its parts learn.

    Every random draw follows from (seed, epoch, step, rank), none from what was drawn before: a training resumed at an
    epoch goes on as if it had never stopped.

    Args:
        image: the image side of the network.
        config: of the model to be: normalisation and input size.
        optimizer: rates and schedule.
        augmentation: what is done to training images.
        pretrained: whether the backbone starts from trained weights and so takes `optimizer.backbone_lr`.
        frozen: parts of the backbone that stay as they are.
        seed: of augmentation, draws and dropout.

    Attributes:
        front: set where batches hold what the frozen front of the backbone made of the images, not pixels.
        module_name: attribute that holds the network which becomes the model.
        terms: names under which parts of the loss are logged.
    """

    mean: Tensor
    std: Tensor
    front: FrontLayout | None = None
    module_name: str
    terms: tuple[str, ...] = ()

    def __init__(
        self,
        image: ImageEmbedder,
        config: ModelConfig,
        *,
        optimizer: OptimizerConfig,
        augmentation: AugmentationConfig,
        pretrained: bool,
        frozen: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.optimizer_config, self.augmentation = optimizer, augmentation
        self.pretrained, self.seed = pretrained, seed
        self.input_size = config.input_size
        image.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        shape = (1, config.bands, 1, 1)
        # Not persistent: they are the model's config, not its weights.
        self.register_buffer("mean", torch.tensor(config.mean).reshape(shape), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).reshape(shape), persistent=False)
        self._frozen = freeze(image.backbone, frozen)

    def on_train_epoch_start(self) -> None:
        """The last epoch is always validated."""
        if self.current_epoch + 1 == self.trainer.max_epochs:
            self.trainer.check_val_every_n_epoch = 1

    def train(self, mode: bool = True) -> Self:
        """Frozen parts stay in evaluation mode: their normalisation statistics are frozen too."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with warm-up and cosine decay per step."""
        config = self.optimizer_config
        groups = [
            group
            for lr, parameters in self.learning_rates()
            for group in parameter_groups(parameters, lr, config.weight_decay)
        ]
        optimizer = AdamW(groups, lr=config.lr)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, warmup_cosine(steps, config.warmup, config.floor))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @abstractmethod
    def learning_rates(self) -> Iterator[tuple[float, Iterable[tuple[str, nn.Parameter]]]]:
        """Peak learning rates with the named parameters that take them."""

    @property
    def network_to_export(self) -> ImageEmbedder | ImageTextEmbedder:
        """The network that becomes the model."""
        network = getattr(self, self.module_name)
        assert isinstance(network, ImageEmbedder | ImageTextEmbedder)
        return network

    @property
    def image_side(self) -> ImageEmbedder:
        """The part of the network that embeds images."""
        network = self.network_to_export
        return network.image if isinstance(network, ImageTextEmbedder) else network

    @property
    def backbone_lr(self) -> float:
        """Peak learning rate of the image backbone."""
        return self.optimizer_config.backbone_lr if self.pretrained else self.optimizer_config.lr

    def begin_step(self, batch_index: int) -> torch.Generator:
        """Seed this step's dropout, and return the generator of its other draws."""
        seed = seed_of(self.seed, self.global_rank, self.current_epoch, batch_index)
        # Dropout draws from the global generator. Seeded per step, not per epoch: making a data loader draws from it
        # too, and after a resume that happens at another moment.
        torch.manual_seed(seed)
        return torch.Generator().manual_seed(seed)

    def training_images(self, batch: Batch, generator: torch.Generator, views: int = 1) -> Tensor | Front:
        """A batch as the network takes it in training: each image in an augmented view, or in several."""
        if self.front is not None:
            return self.front.unpack(batch.images)
        return torch.cat([self.augmented(batch.images, generator) for _ in range(views)])

    def validation_images(self, batch: Batch) -> Tensor | Front:
        """A batch as the network takes it in validation."""
        return self.plain(batch.images) if self.front is None else self.front.unpack(batch.images)

    def augmented(self, images_NHWB: Tensor, generator: torch.Generator) -> Tensor:
        """One augmented view of each image, (N, B, S, S), normalised."""
        return self._normalised(augment(images_NHWB, self.input_size, self.augmentation, generator))

    def plain(self, images_NHWB: Tensor) -> Tensor:
        """Images of the network's input size, (N, B, S, S), normalised."""
        return self._normalised(images_NHWB.permute(0, 3, 1, 2).float())

    def _normalised(self, images_NBHW: Tensor) -> Tensor:
        scaled = (images_NBHW - self.mean) / self.std
        return scaled.contiguous(memory_format=torch.channels_last)

    def gathered(self, vectors: Sequence[Tensor], rows: Sequence[Tensor], count: int) -> tuple[FloatArray, list[int]]:
        """All ranks' embeddings by row of their split, (count, D), and the rows that are present.

        Raises:
            IntegrityError: embeddings that are not finite.
        """
        vectors_ND = gather_rows(torch.cat(list(vectors))).float().cpu().numpy()
        rows_N = gather_rows(torch.cat(list(rows))).cpu().numpy()
        if not np.isfinite(vectors_ND).all():
            raise IntegrityError(
                f"the training diverged in epoch {self.current_epoch}: embeddings are not finite; begin again with a "
                "lower optimizer.lr, or with optimizer.clip_norm"
            )
        # Ranks pad their share by repeating a row: the last of equals is taken.
        ordered = np.zeros((count, vectors_ND.shape[1]), dtype=np.float32)
        ordered[rows_N] = vectors_ND
        return ordered, np.unique(rows_N).tolist()


def seed_of(*numbers: int) -> int:
    """One seed for torch from several numbers: neighbouring ones give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


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

    Examples:
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
