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
from typing import Any

from ..config import load_config, to_mapping
from ..errors import ConfigError
from ..losses import resolve_cross_modal_options, resolve_options
from ..metrics import parse_measure
from ._checks import at_least, check
from .caption_sections import ConceptsConfig, ObjectivesConfig, TextSideConfig
from .sections import (
    ArchitectureConfig,
    AugmentationConfig,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    SamplerConfig,
    TrainerConfig,
)

__all__ = ["MACHINE_KEYS", "Recipe", "load_recipe", "recipe_differences", "resolve_recipe"]

_LABEL_MEASURES = ("mAP", "nDCG@100(jaccard)", "nDCG@100(count)", "macro-AP")
_CAPTION_MEASURES = ("mR",)

MACHINE_KEYS = {"data": ("root", "splits", "cache"), "trainer": ("threads", "workers", "accelerator")}
"""Section -> keys that only say where things lie and how they are computed, not what is computed."""


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
            self._check_objectives(self.text)
        at_least(self, seed=0)
        size, devices = self.sampler.batch_size, self.trainer.devices
        check(size % devices == 0, f"sampler.batch_size {size} does not divide by trainer.devices {devices}")

    def _check_objectives(self, text: TextSideConfig) -> None:
        check(self.augmentation.views == 1, "augmentation.views is 2: captions are matched with one view")
        check(self.loss.queue == 0, "loss.queue is for label sets alone: captions have objectives.contrast.queue")
        epochs = self.trainer.epochs
        for name, first_epoch in self.objectives.unlearnt_after(epochs - 1).items():
            raise ConfigError(
                f"objectives.{name}.first_epoch is {first_epoch}, but there are {epochs} epochs, counted from "
                f"0: lower it, or set objectives.{name}.weight to 0"
            )
        check(
            self.objectives.variant != "published" or text.per_image == 1,
            "objectives.variant 'published' pairs each image with one caption: set text.per_image to 1",
        )


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
        ConfigError: a loss, an option or a measure that is not known, a value of the wrong type, or in `trainer.select`
            a measure of which the lower is the better.
    """
    objectives = recipe.objectives
    if recipe.text is None:
        for name in recipe.trainer.select:
            check(
                parse_measure(name).higher_is_better,
                f"trainer.select: of {name} the lower is the better, and the checkpoint with the highest mean is kept; "
                "leave it out",
            )
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
