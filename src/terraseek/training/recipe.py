"""Recipes: everything that decides what a training does, as one tree of frozen dataclasses read from TOML.

    name, seed
    [data]           which images and labels
    [model]          backbone, embedding, input size
    [loss]           which loss, its options, its queue
    [optimizer]      learning rates and their schedule
    [sampler]        how batches are drawn
    [augmentation]   what is done to their images
    [trainer]        how long, on what, and which checkpoint is the best

With a section `[text]` the training is one of images and captions, and these count too:

    [text]           text encoder, captions per image
    [concepts]       which words of the captions are concepts
    [objectives]     the losses between images, captions and concepts, each with weight and first epoch

A recipe that names no `data.root` fits any machine; give it with ``--set data.root=DIR``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..config import load_config, to_mapping
from ..errors import ConfigError
from ..losses import resolve_cross_modal_options, resolve_options
from ..metrics import parse_measure
from ..registry import nearest

__all__ = [
    "MACHINE_KEYS",
    "ArchitectureConfig",
    "AugmentationConfig",
    "ConceptsConfig",
    "ContrastConfig",
    "DataConfig",
    "LossConfig",
    "ObjectiveConfig",
    "ObjectivesConfig",
    "OptimizerConfig",
    "Recipe",
    "SamplerConfig",
    "TextSideConfig",
    "TrainerConfig",
    "load_recipe",
    "recipe_differences",
    "resolve_recipe",
]

_LABEL_MEASURES = ("mAP", "nDCG@100(jaccard)", "nDCG@100(count)", "macro-AP")
_CAPTION_MEASURES = ("mR",)
_RARITY_OPTIONS = ("gamma", "kappa")

MACHINE_KEYS = {"data": ("root", "splits", "cache"), "trainer": ("threads", "workers", "accelerator")}
"""Section -> keys that only say where things lie and how they are computed, not what is computed."""


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images and labels.

    Attributes:
        name: a data set that terraseek knows (`terraseek.data.DATASETS`).
        root: its folder as distributed.
        splits: file or folder of split lists, where the data set brings none.
        split_seed: seed of the split that is drawn where none is given.
        options: further options of the loader.
        train: name of the split that is trained on; label statistics come from it alone.
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
        _check(self.pixels >= 8, f"pixels is {self.pixels}, it must be at least 8")


@dataclass(frozen=True, kw_only=True)
class ArchitectureConfig:
    """The network.

    Attributes:
        backbone: a name of `terraseek.models.BACKBONES`.
        pretrained: start from the backbone's ImageNet weights where a package brings them, else from random ones.
        weights: file of weights to start from instead.
        input_size: side of the square that the network sees.
        dim: embedding dimensions D.
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
    aggregator: Literal["none", "mean", "channels"] = "none"
    aggregator_dim: int = 512
    freeze: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(self.input_size >= 8, f"input_size is {self.input_size}, it must be at least 8")
        _check(self.dim >= 2, f"dim is {self.dim}, it must be at least 2")
        _check(self.hidden >= 0, f"hidden is {self.hidden}, it must be at least 0")
        _check(0 <= self.dropout < 1, f"dropout is {self.dropout}, it must lie in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class TextSideConfig:
    """The text side, and how captions meet images in a batch.

    Attributes:
        encoder: a name of `terraseek.models.TEXT_ENCODERS`.
        pretrained: start from packaged weights, which "minilm-l6" has.
        network: sizes of the encoder and its head, fields of `terraseek.models.TextNetworkConfig`; the vocabulary
            follows from the captions.
        max_tokens: longer captions are cut.
        least_count: words that occur less often in the training captions are unknown to the vocabulary; tokenizers
            that come with weights have their own.
        per_image: captions drawn for each image of a batch, without repetition; an image with fewer gives all it has.
        lr: peak learning rate of a pretrained text encoder.
    """

    encoder: str = "gru"
    pretrained: bool = False
    network: dict[str, Any] = field(default_factory=dict)
    max_tokens: int = 32
    least_count: int = 2
    per_image: int = 1
    lr: float = 1e-4

    def __post_init__(self) -> None:
        # A token marks the start, so that one alone would leave no room for a word.
        for name, least in (("max_tokens", 2), ("least_count", 1), ("per_image", 1)):
            _check(getattr(self, name) >= least, f"{name} is {getattr(self, name)}, it must be at least {least}")
        _check(self.lr >= 0, f"lr is {self.lr}, it must be at least 0")


@dataclass(frozen=True, kw_only=True)
class ConceptsConfig:
    """Which words of the training captions are concepts; see `terraseek.training.mine_concepts`.

    Attributes:
        size: number of concepts at most.
        mode: "default" keys concepts by image; "published" mines as KAMCL's published code does.
        gamma: exponent of a concept's rarity.
        kappa: rarity lies within 1/kappa and kappa.
    """

    size: int = 512
    mode: Literal["default", "published"] = "default"
    gamma: float = 0.5
    kappa: float = 10.0

    def __post_init__(self) -> None:
        _check(self.size >= 1, f"size is {self.size}, it must be at least 1")
        _check(self.gamma >= 0, f"gamma is {self.gamma}, it must be at least 0")
        _check(self.kappa >= 1, f"kappa is {self.kappa}, it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """One term of the loss.

    Attributes:
        weight: factor on it; 0 leaves it out.
        first_epoch: it counts from this epoch on: with alignment from a later epoch, the two-step training of KAMCL.
        loss: a name of `terraseek.losses.CROSS_MODAL_LOSSES`, for terms that compare images with captions.
        options: what its constructor takes; for alignment, `gamma` and `kappa` of the rarity by which concepts weigh,
            all of them alike without.
    """

    weight: float = 0.0
    first_epoch: int = 0
    loss: str = "hard-triplet"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self.weight >= 0, f"weight is {self.weight}, it must be at least 0")
        _check(self.first_epoch >= 0, f"first_epoch is {self.first_epoch}, it must be at least 0")


@dataclass(frozen=True, kw_only=True)
class ContrastConfig(ObjectiveConfig):
    """The contrast between images and captions, both ways.

    Attributes:
        queue: past captions and past images that serve as further candidates; 0 for none.
        momentum: m of the slowly following encoders that give the keys; 0 takes the keys from the trained encoders.
    """

    weight: float = 1.0
    loss: str = "multi-positive"
    queue: int = 0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.queue >= 0, f"queue is {self.queue}, it must be at least 0")
        _check(0 <= self.momentum < 1, f"momentum is {self.momentum}, it must lie in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class ObjectivesConfig:
    """The terms of an image-text training's loss.

    Attributes:
        contrast: images against captions of the batch and the queues.
        triplet: images against captions of the batch alone.
        alignment: both sides' concept scores against the image's concepts; switches the concept heads on.
        labels: the recipe's `[loss]` on the images' label sets, in the same batch.
        overlap: whether captions of other images are relevant in part where the concepts of the two images overlap,
            for losses that grade; without it they are plain negatives.
        duplicates: what a caption of another image is that reads like one of this image's: a "positive", "left-out"
            of the comparison, or a "negative".
        variant: "published" reproduces the faults of KAMCL's published code: every pair but an image and the caption
            drawn with it is a negative, whatever it says; key encoders follow in part and stay random for the rest;
            queues begin full of random vectors; concepts go to images by their place in the shuffled split.
    """

    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    triplet: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    alignment: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    labels: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    overlap: bool = False
    duplicates: Literal["positive", "left-out", "negative"] = "positive"
    variant: Literal["default", "published"] = "default"

    def __post_init__(self) -> None:
        embedding = (self.contrast, self.triplet, self.labels)
        _check(
            any(term.weight > 0 for term in embedding),
            "contrast, triplet and labels all have weight 0: give one of them a weight",
        )
        _check(
            any(term.weight > 0 and term.first_epoch == 0 for term in (*embedding, self.alignment)),
            "no objective counts in epoch 0: give one of them first_epoch 0",
        )
        _check(not self.labels.options, "labels.options have no effect: options of the loss on labels are loss.options")
        for name, value in self.alignment.options.items():
            _check(
                name in _RARITY_OPTIONS, f"alignment.options has no {name!r}: {nearest(name, list(_RARITY_OPTIONS))}"
            )
            _check(isinstance(value, int | float), f"alignment.options.{name} must be a number, not {value!r}")


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
        _check(self.queue >= 0, f"queue is {self.queue}, it must be at least 0")


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
        _check(self.lr > 0, f"lr is {self.lr}, it must be above 0")
        _check(self.backbone_lr >= 0, f"backbone_lr is {self.backbone_lr}, it must be at least 0")
        _check(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}, it must be at least 0")
        _check(0 <= self.warmup < 1, f"warmup is {self.warmup}, it must lie in [0, 1)")
        _check(0 <= self.floor <= 1, f"floor is {self.floor}, it must lie in [0, 1]")
        _check(self.clip_norm >= 0, f"clip_norm is {self.clip_norm}, it must be at least 0")


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
        _check(self.batch_size >= 2, f"batch_size is {self.batch_size}, a contrastive batch has at least 2 images")
        _check(0 < self.threshold <= 1, f"threshold is {self.threshold}, it must lie in (0, 1]")
        _check(self.labels >= 1, f"labels is {self.labels}, it must be at least 1")
        _check(self.per_label >= 1, f"per_label is {self.per_label}, it must be at least 1")
        if self.kind == "label-aware":
            needed = self.labels * self.per_label
            message = f"labels * per_label is {needed}, more than the batch_size of {self.batch_size}"
            _check(needed <= self.batch_size, message)


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """What is done to training images; see `terraseek.training.augmentation`.

    Attributes:
        symmetries: one of the 8 turns and mirror images of a nadir view.
        min_area: random crops cover at least this share of the image; 1 for no crops.
        max_aspect: crops are up to this much wider than high, or higher than wide.
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
        _check(0 < self.min_area <= 1, f"min_area is {self.min_area}, it must lie in (0, 1]")
        _check(self.max_aspect >= 1, f"max_aspect is {self.max_aspect}, it must be at least 1")
        for name in ("brightness", "contrast", "saturation"):
            value = getattr(self, name)
            _check(0 <= value < 1, f"{name} is {value}, it must lie in [0, 1)")
        _check(self.kept_views >= 0, f"kept_views is {self.kept_views}, it must be at least 0")
        _check(not self.kept_views or self.views == 1, "kept_views goes with views = 1 alone")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How long, on what, and which checkpoint is the best.

    Attributes:
        epochs: passes over the training split.
        precision: "auto" takes bf16-mixed where the processor computes in bfloat16, else 32-true: bfloat16 that a CPU
            only emulates is slower than float32.
        accelerator: "auto" takes a GPU where there is one.
        devices: processes, one per GPU (or per CPU share); above 1 they train as one (DDP).
        threads: CPU threads per process; 0 leaves torch's choice.
        workers: processes that load batches; 0 is fastest from the pixel cache on few cores.
        validate_every: epochs between validations; the last epoch is always validated.
        select: the checkpoint with the highest mean of these measures becomes the model; empty for the usual ones:
            mAP, nDCG@100 by Jaccard and by count and macro-AP for label sets, mR for captions.
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
        for name, least in (("epochs", 1), ("devices", 1), ("threads", 0), ("workers", 0), ("validate_every", 1)):
            value = getattr(self, name)
            _check(value >= least, f"{name} is {value}, it must be at least {least}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training, in full: the same recipe, seed, data and versions give the same model.

    `text` makes it a training of images and captions; `concepts` and `objectives` count only then.
    """

    data: DataConfig
    name: str = "run"
    seed: int = 0
    model: ArchitectureConfig = field(default_factory=ArchitectureConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    text: TextSideConfig | None = None
    concepts: ConceptsConfig = field(default_factory=ConceptsConfig)
    objectives: ObjectivesConfig = field(default_factory=ObjectivesConfig)

    def __post_init__(self) -> None:
        if not self.trainer.select:
            usual = _LABEL_MEASURES if self.text is None else _CAPTION_MEASURES
            object.__setattr__(self, "trainer", replace(self.trainer, select=usual))
        if self.text is not None:
            _check(self.augmentation.views == 1, "augmentation.views is 2: captions are matched with one view")
            _check(self.loss.queue == 0, "loss.queue is for label sets alone: captions have objectives.contrast.queue")
            for name in ("contrast", "triplet", "alignment", "labels"):
                term, epochs = getattr(self.objectives, name), self.trainer.epochs
                _check(
                    term.weight == 0 or term.first_epoch < epochs,
                    f"objectives.{name}.first_epoch is {term.first_epoch}, but there are {epochs} epochs, counted from "
                    f"0: lower it, or set objectives.{name}.weight to 0",
                )
            published = self.objectives.variant == "published"
            _check(
                not published or self.text.per_image == 1,
                "objectives.variant 'published' pairs each image with one caption: set text.per_image to 1",
            )
        _check(self.seed >= 0, f"seed is {self.seed}, it must be at least 0")
        size, devices = self.sampler.batch_size, self.trainer.devices
        _check(size % devices == 0, f"sampler.batch_size {size} does not divide by trainer.devices {devices}")


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and apply overrides of the form ``section.key=value``.

    Raises:
        NotFoundError: there is no such file.
        ConfigError: an unknown key, a wrong type or a bad value.
    """
    return load_config(Recipe, path, overrides)


def resolve_recipe(recipe: Recipe) -> Recipe:
    """The recipe with the options of its losses written out, so that later defaults do not change what it means.

    Raises:
        ConfigError: a loss, an option or a measure that is not known, or a value of the wrong type.
    """
    objectives = recipe.objectives
    if recipe.text is None:
        for name in recipe.trainer.select:
            parse_measure(name)
    if recipe.text is None or objectives.labels.weight > 0:
        options = resolve_options(recipe.loss.name, recipe.loss.options)
        recipe = replace(recipe, loss=replace(recipe.loss, options=options))
    if recipe.text is not None:
        contrast, triplet = objectives.contrast, objectives.triplet
        if contrast.weight > 0:
            contrast = replace(contrast, options=resolve_cross_modal_options(contrast.loss, contrast.options))
        if triplet.weight > 0:
            triplet = replace(triplet, options=resolve_cross_modal_options(triplet.loss, triplet.options))
        recipe = replace(recipe, objectives=replace(objectives, contrast=contrast, triplet=triplet))
    return recipe


def recipe_differences(old: Recipe, new: Recipe) -> list[str]:
    """Dotted keys in which two recipes ask for different results; `MACHINE_KEYS` are not among them."""
    return list(_differences(to_mapping(old), to_mapping(new), ""))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterator[str]:
    ignored = MACHINE_KEYS.get(prefix.rstrip("."), ())
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if key in ignored or before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, f"{prefix}{key}.")
        else:
            yield prefix + key
