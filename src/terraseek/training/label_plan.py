"""The plan of a training on label sets."""

from __future__ import annotations

import math
from pathlib import Path

from ..data import ImageDataset
from ..losses import EmbeddingQueue, LabelStatistics, build_loss
from ..metrics import parse_measure
from ..models import build_embedder
from .evaluation import evaluate_model
from .front_cache import keep_fronts
from .plan import Judgement, Plan, base_config, open_splits
from .recipe import Recipe
from .record import plain_result
from .task import ImageTask

__all__ = ["label_plan"]


def label_plan(recipe: Recipe, dataset: ImageDataset, cache: Path) -> Plan:
    """Turn a recipe without a text side into data, network and loss.

    Raises:
        ConfigError: something that the recipe names is not known, or it selects by what has no value here.
    """
    data = open_splits(recipe, dataset, cache)
    statistics = LabelStatistics.from_labels(data.train.labels_NC)
    config = base_config(recipe, dataset, data, statistics)
    dim, pretrained = recipe.model.dim, recipe.model.initial_weights
    measures = [parse_measure(name) for name in recipe.trainer.select]
    searched = [part for part in (data.queries, data.gallery) if part is not None]
    task = ImageTask(
        build_embedder(config, pretrained),
        build_loss(recipe.loss.name, statistics, dim, **recipe.loss.options),
        config,
        optimizer=recipe.optimizer,
        augmentation=recipe.augmentation,
        pretrained=bool(pretrained),
        names=[part.names for part in searched],
        labels=[part.labels_NC for part in searched],
        select=measures,
        frozen=recipe.model.freeze,
        queue=EmbeddingQueue(recipe.loss.queue, dim, statistics.num_labels) if recipe.loss.queue else None,
        seed=recipe.seed,
    )
    data = keep_fronts(task, data, recipe, cache)
    split = recipe.data

    def judge(model: Path) -> Judgement:
        evaluation, _ = evaluate_model(  # what cannot be read stands in the record already
            model,
            dataset,
            query_split=split.val,
            gallery_split=split.train,
            train_split=split.train,
            measures=measures,
        )
        return Judgement(
            values={name: value for name, value in evaluation.values.items() if not math.isnan(value)},
            content={
                "queries": {"split": split.val, "images": len(evaluation.query_ids)},
                "gallery": {"split": split.train, "images": evaluation.gallery_size},
                "results": [plain_result(result) for result in evaluation.results],
            },
        )

    return Plan(
        data=data,
        config=config,
        task=task,
        measures=tuple(map(str, measures)),
        judge=judge if recipe.trainer.validates else None,
        record={},
    )
