"""The sections of a recipe that every training has; `terraseek.training.recipe` puts them together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ._checks import at_least, check

__all__ = [
    "ArchitectureConfig",
    "AugmentationConfig",
    "DataConfig",
    "LossConfig",
    "OptimizerConfig",
    "SamplerConfig",
    "TrainerConfig",
]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images and labels.

    Attributes:
        name: a data set that terraseek knows (`terraseek.data.DATASETS`).
        root: its folder as distributed.
        splits: file or folder of split lists, where the data set brings none.
        split_seed: seed of the split that is drawn where none is given.
        options: further options of the loader.
        train: name of the split that is trained on, or of several, "train+val"; label statistics come from it alone.
        val: name of the split whose images are the queries of the validation.
        pixels: side of the square that images are kept at for training crops.
        cache: folder of the decoded pixels; by default what the caller of `train` says.
    """

    name: str
    root: Path | None = None
    splits: Path | None = None
    split_seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    train: str = "train"
    val: str = "val"
    pixels: int = 160
    cache: Path | None = None

    def __post_init__(self) -> None:
        at_least(self, pixels=8)


@dataclass(frozen=True, kw_only=True)
class ArchitectureConfig:
    """The network.

    Attributes:
        backbone: a name of `terraseek.models.BACKBONES`.
        pretrained: start from the backbone's ImageNet weights where a package brings them, else from random ones.
        weights: file of weights to start from instead.
        input_size: side of the square that the network sees.
        dim: embedding dimensions D; with `text.query_bank` the finished model has one more.
        head: "mlp" projects features to the embedding; "none" takes them as they are (then dim is their number).
        hidden: width of the head's hidden layer; 0 for a linear head.
        dropout: share of hidden units dropped in training.
        aggregator: what makes features of the backbone's maps, see `terraseek.models.NetworkConfig`.
        aggregator_dim: number of features that the aggregator gives.
        freeze: parts of the backbone, by module name, that keep their weights and normalisation statistics, such as
            ["conv_stem", "bn1", "blocks.0"]. Freezing the first, high-resolution parts halves the time of a step.
    """

    backbone: str = "efficientnet-lite0"
    pretrained: bool = True
    weights: Path | None = None
    input_size: int = 128
    dim: int = 128
    head: Literal["mlp", "none"] = "mlp"
    hidden: int = 512
    dropout: float = 0.0
    aggregator: Literal["none", "mean", "pooled", "channels"] = "none"
    aggregator_dim: int = 512
    freeze: tuple[str, ...] = ()

    @property
    def initial_weights(self) -> Path | bool:
        """What the backbone begins with, as `terraseek.models.build_backbone` takes it."""
        return self.weights or self.pretrained

    def __post_init__(self) -> None:
        at_least(self, input_size=8, dim=2, hidden=0)
        check(0 <= self.dropout < 1, f"dropout is {self.dropout}, it must lie in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The loss on label sets.

    Attributes:
        name: a name of `terraseek.losses.LOSSES`.
        options: what its constructor takes.
        queue: number of past embeddings that serve as further references; 0 for none.
    """

    name: str = "macl"
    options: dict[str, Any] = field(default_factory=dict)
    queue: int = 0

    def __post_init__(self) -> None:
        at_least(self, queue=0)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with a linear warm-up and a cosine decay, counted in optimizer steps.

    Attributes:
        lr: peak learning rate of the head, and of everything when the backbone starts from random weights.
        backbone_lr: peak learning rate of a pretrained backbone.
        weight_decay: of weight matrices and kernels; biases and normalisation scales are never decayed.
        warmup: share of all steps over which the rates rise from 0.
        floor: share of the peak that is left at the end.
        clip_norm: gradients are scaled down to this norm; 0 leaves them.
    """

    lr: float = 1e-3
    backbone_lr: float = 5e-4
    weight_decay: float = 1e-4
    warmup: float = 0.05
    floor: float = 0.0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        check(self.lr > 0, f"lr is {self.lr}, it must be above 0")
        at_least(self, backbone_lr=0, weight_decay=0)
        check(0 <= self.warmup < 1, f"warmup is {self.warmup}, it must lie in [0, 1)")
        check(0 <= self.floor <= 1, f"floor is {self.floor}, it must lie in [0, 1]")
        at_least(self, clip_norm=0)


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """How batches are drawn; see `terraseek.training.samplers`.

    Attributes:
        kind: "shuffle" shows every image once per epoch; "repeat-factor" shows images with rare labels more often;
            "label-aware" fills a part of each batch with images of drawn labels.
        batch_size: images per batch, over all devices.
        threshold: repeat-factor's t: labels below this frequency are repeated.
        labels: label-aware's s: labels drawn for each batch.
        per_label: label-aware's m: images of each drawn label that a batch has at least.
    """

    kind: Literal["shuffle", "repeat-factor", "label-aware"] = "shuffle"
    batch_size: int = 128
    threshold: float = 0.1
    labels: int = 4
    per_label: int = 4

    def __post_init__(self) -> None:
        check(self.batch_size >= 2, f"batch_size is {self.batch_size}, a contrastive batch has at least 2 images")
        check(0 < self.threshold <= 1, f"threshold is {self.threshold}, it must lie in (0, 1]")
        at_least(self, labels=1, per_label=1)
        if self.kind == "label-aware":
            needed = self.labels * self.per_label
            message = f"labels * per_label is {needed}, more than the batch_size of {self.batch_size}"
            check(needed <= self.batch_size, message)


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """What is done to training images; see `terraseek.training.augmentation`.

    Attributes:
        symmetries: one of the 8 turns and mirror images of a nadir view.
        min_area: random crops cover at least this share of the image; 1 for no crops.
        max_aspect: crops are up to this much wider than high, or higher than wide, as far as their area leaves room.
        brightness: largest relative change; likewise contrast and saturation.
        contrast: largest relative change of the distance to the mean.
        saturation: largest relative change of the distance to grey.
        views: 1, or 2 independently augmented views of each image in the batch.
        kept_views: 0 augments anew at every step. V runs the backbone's frozen first parts (`model.freeze`) once over V
            augmented views of each image, keeps what they give beside the decoded pixels (at 160 pixels, frozen up to
            "blocks.4", 22 kB a view), and takes one view after another: a step on a CPU then costs a third or less.
    """

    symmetries: bool = True
    min_area: float = 0.6
    max_aspect: float = 1.0
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    views: Literal[1, 2] = 1
    kept_views: int = 0

    def __post_init__(self) -> None:
        check(0 < self.min_area <= 1, f"min_area is {self.min_area}, it must lie in (0, 1]")
        at_least(self, max_aspect=1)
        for name in ("brightness", "contrast", "saturation"):
            value = getattr(self, name)
            check(0 <= value < 1, f"{name} is {value}, it must lie in [0, 1)")
        at_least(self, kept_views=0)
        check(not self.kept_views or self.views == 1, "kept_views goes with views = 1 alone")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How long, on what, and which checkpoint is the best.

    Attributes:
        epochs: passes over the training split.
        precision: "auto" takes bf16-mixed where the processor computes in bfloat16, else 32-true: bfloat16 that a CPU
            only emulates is slower than float32. A warning says so where it is not 32-true.
        accelerator: "auto" takes a GPU where there is one.
        devices: processes, one per GPU (or per CPU share); above 1 they train as one (DDP).
        threads: CPU threads per process; 0 leaves torch's choice.
        workers: processes that load batches; 0 is fastest from the pixel cache on few cores.
        validate_every: epochs between validations; the last epoch is always validated. 0 for no validation at all: the
            last epoch's weights become the model. That is for a final training on all images ("train+val"), once
            the schedule has been chosen on a validation split.
        select: the checkpoint with the highest mean of these measures on validation becomes the model; empty for the
            usual ones: mAP, nDCG@100 by Jaccard and by count and macro-AP for label sets, mR for captions. A mean over
            labels none of which is in both splits is left out.
    """

    epochs: int = 40
    precision: Literal["auto", "bf16-mixed", "16-mixed", "32-true"] = "auto"
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    devices: int = 1
    threads: int = 0
    workers: int = 0
    validate_every: int = 5
    select: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        at_least(self, epochs=1, devices=1, threads=0, workers=0, validate_every=0)

    @property
    def validates(self) -> bool:
        """Whether there is a validation, by which the best epoch is told."""
        return self.validate_every > 0
