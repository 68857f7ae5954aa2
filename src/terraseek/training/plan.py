"""What a recipe is turned into before the first step: data, network, loss, and how the result is judged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..config import to_mapping
from ..data import ImageDataset
from ..encoders import ModelConfig
from ..losses import LabelStatistics
from ..models import NetworkConfig, embedder_config
from .base_task import RetrievalTask
from .datamodule import ImageData, PixelSplit, band_statistics
from .knowledge import Knowledge
from .recipe import MACHINE_KEYS, Recipe
from .record import versions
from .seen_images import hash_ids

__all__ = ["Judgement", "Plan", "base_config", "open_splits", "provenance"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """How the exported model did on the validation split: name -> value, and all of it as JSON will hold it."""

    values: Mapping[str, float]
    content: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that differs between kinds of training.

    Attributes:
        data: batches.
        config: of the model to be.
        task: network and loss.
        measures: names under which the task logs what `trainer.select` asks for.
        judge: judges a model directory on the validation split; None without one.
        complete: adds to the trained network what comes after the training, and gives the config of what it then is.
        tokenizer: of the text side, where there is one.
        record: what `run.json` says beyond what it says of every run.
        knowledge: the concepts and which images have them, where there are some.
    """

    data: ImageData
    config: ModelConfig
    task: RetrievalTask
    measures: tuple[str, ...]
    judge: Callable[[Path], Judgement] | None
    complete: Callable[[], ModelConfig] | None = None
    tokenizer: Tokenizer | None = None
    record: Mapping[str, Any]
    knowledge: Knowledge | None = None


def open_splits(recipe: Recipe, dataset: ImageDataset, cache: Path, gallery: bool = True) -> ImageData:
    """Training crops and, where there is a validation, its images; decoded, or found decoded.

    Args:
        recipe: names the splits and sizes.
        dataset: holds them.
        cache: folder of the decoded pixels.
        gallery: whether validation searches among the training images.
    """
    train = dataset.subset(recipe.data.train)
    crops = PixelSplit.open(train, recipe.data.pixels, cache)
    searched = queries = None
    if recipe.trainer.validates:
        val = dataset.subset(recipe.data.val)
        searched = PixelSplit.open(train, recipe.model.input_size, cache) if gallery else None
        queries = PixelSplit.open(val, recipe.model.input_size, cache)
    data = ImageData(crops, searched, queries, recipe.sampler, seed=recipe.seed, workers=recipe.trainer.workers)
    for item in data.refused:
        _log.warning("left out: %s", item)
    return data


def base_config(
    recipe: Recipe, dataset: ImageDataset, data: ImageData, statistics: LabelStatistics | None, **fields: Any
) -> ModelConfig:
    """The model's config as far as its image side goes; `fields` are further ones."""
    assert isinstance(data.train, PixelSplit)
    bands = data.train.images.shape[-1]
    if bands != 3 or data.train.images.dtype != "uint8":
        mean, std = band_statistics(data.train.images)
        fields |= {"mean": tuple(mean.tolist()), "std": tuple(std.tolist())}
    model = recipe.model
    network = NetworkConfig(
        head=model.head,
        hidden=model.hidden,
        dropout=model.dropout,
        aggregator=model.aggregator,
        aggregator_dim=model.aggregator_dim,
        concept_head=bool(fields.get("concepts")),
    )
    return embedder_config(
        model.backbone,
        input_size=model.input_size,
        dim=model.dim,
        bands=bands,
        network=network,
        label_names=dataset.label_names,
        training=provenance(recipe, dataset, data, statistics),
        **fields,
    )


def provenance(
    recipe: Recipe, dataset: ImageDataset, data: ImageData, statistics: LabelStatistics | None
) -> dict[str, Any]:
    """Where a model comes from: only what the weights depend on, so that equal runs have equal models.

    Args:
        recipe: what was asked for.
        dataset: what it was asked of.
        data: its images as they could be read.
        statistics: of the training images' labels, where they have some.
    """
    kept = to_mapping(recipe)
    for section, names in MACHINE_KEYS.items():
        kept[section] = {key: value for key, value in kept[section].items() if key not in names}
    if recipe.text is None:
        kept = {name: section for name, section in kept.items() if name not in ("concepts", "objectives")}
    return {
        "dataset": dataset.name,
        "split": recipe.data.train,
        "split_hash": dataset.split_hash,
        "images": len(data.train),
        "image_hashes": hash_ids(data.train.names),
        "seed": recipe.seed,
        **({"statistics": statistics.to_dict()} if statistics else {}),
        "versions": versions(),
        "recipe": kept,
    }
