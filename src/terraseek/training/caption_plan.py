"""The plan of a training on images with captions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from ..config import from_mapping, to_mapping
from ..data import ImageDataset
from ..encoders import TextConfig
from ..errors import ConfigError, DatasetError
from ..losses import ConceptAlignment, LabelStatistics, build_cross_modal_loss, build_loss
from ..models import TextNetworkConfig, build_image_text_embedder
from .caption_evaluation import evaluate_captions
from .caption_sections import TextSideConfig
from .caption_table import CaptionTable, caption_tokenizer
from .caption_task import ConceptTargets, ImageTextTask, Objectives
from .datamodule import ImageData
from .front_cache import keep_fronts
from .knowledge import Knowledge, mine_concepts
from .plan import Judgement, Plan, base_config, open_splits
from .recipe import Recipe

__all__ = ["caption_plan"]

_log = logging.getLogger(__name__)


def caption_plan(recipe: Recipe, dataset: ImageDataset, cache: Path) -> Plan:
    """Turn a recipe with a text side into data, network and loss.

    Vocabulary and concepts come from the captions of the training split alone. Images without captions are left out.

    Raises:
        DatasetError: no word that is frequent enough, or no concept where the objectives need some.
        ConfigError: something that the recipe names is not known.
    """
    assert recipe.text is not None
    dataset = _captioned(recipe, dataset)
    data = open_splits(recipe, dataset, cache, gallery=False)
    captions = _captions(dataset, data.train.names)
    tokenizer = caption_tokenizer(recipe.text, captions)
    knowledge = _knowledge(recipe, dataset)
    aligned = recipe.objectives.alignment.weight > 0
    config = base_config(
        recipe,
        dataset,
        data,
        concepts=knowledge.words if knowledge and aligned else (),
        text=_text_config(recipe.text, tokenizer, knowledge if aligned else None),
    )
    pretrained = recipe.model.weights or recipe.model.pretrained
    most = recipe.text.max_tokens
    network = build_image_text_embedder(config, pretrained, recipe.text.pretrained)
    published = recipe.objectives.variant == "published"
    key_network = None
    if published and recipe.objectives.contrast.momentum:
        key_network = build_image_text_embedder(config, pretrained, recipe.text.pretrained)
    concepts = _targets(recipe, knowledge, data.train.names) if knowledge else None
    if concepts is not None and not published:
        for head in (network.image.concept_head, network.text.concept_head):
            if head is not None:
                head.set_prior(concepts.scores_IC.mean(0))
    task = ImageTextTask(
        network,
        _objectives(recipe, data, knowledge),
        CaptionTable.build(captions, tokenizer, most),
        CaptionTable.build(_captions(dataset, data.queries.names), tokenizer, most),
        config,
        optimizer=recipe.optimizer,
        augmentation=recipe.augmentation,
        pretrained=bool(pretrained),
        per_image=recipe.text.per_image,
        text_lr=recipe.text.lr if recipe.text.pretrained else None,
        concepts=concepts,
        key_network=key_network,
        select=recipe.trainer.select,
        frozen=recipe.model.freeze,
        seed=recipe.seed,
    )

    if recipe.augmentation.kept_views:
        data = keep_fronts(task, data, recipe, cache)

    def judge(model: Path) -> Judgement:
        found, _ = evaluate_captions(model, dataset, split=recipe.data.val)
        return Judgement(
            values={name: found[name] for name in recipe.trainer.select},
            content={
                "split": recipe.data.val,
                "images": len(found.image_ids),
                "captions": len(found.texts),
                "results": [asdict(result) for result in found.results],
            },
        )

    return Plan(
        data=data,
        config=config,
        task=task,
        measures=recipe.trainer.select,
        judge=judge,
        tokenizer=tokenizer,
        knowledge=knowledge,
        record={
            "captions": {"train": sum(map(len, captions)), "vocabulary": tokenizer.get_vocab_size()},
            "concepts": list(knowledge.words) if knowledge else [],
        },
    )


def _captioned(recipe: Recipe, dataset: ImageDataset) -> ImageDataset:
    """The images that have captions."""
    for split in (recipe.data.train, recipe.data.val):
        samples = dataset.subset(split).samples
        bare = [sample.id for sample in samples if not sample.captions]
        if len(bare) == len(samples):
            raise DatasetError(f"no image of {dataset.name}'s split {split!r} has captions: name another split")
        if bare:
            _log.warning(
                "left out: %d of %d images of %s without captions, %s first", len(bare), len(samples), split, bare[0]
            )
    return dataset.take([index for index, sample in enumerate(dataset.samples) if sample.captions])


def _captions(dataset: ImageDataset, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The captions of the named images, in that order."""
    captions = {sample.id: sample.captions for sample in dataset.samples}
    return [captions[name] for name in names]


def _knowledge(recipe: Recipe, dataset: ImageDataset) -> Knowledge | None:
    """The concepts of the training captions, where an objective needs them."""
    if not recipe.objectives.overlap and recipe.objectives.alignment.weight == 0:
        return None
    return mine_concepts(dataset, split=recipe.data.train, size=recipe.concepts.size, mode=recipe.concepts.mode)


def _targets(recipe: Recipe, knowledge: Knowledge, names: Sequence[str]) -> ConceptTargets:
    scores_IC = knowledge.targets(names, variant=recipe.objectives.variant, seed=recipe.seed)
    rarity_C = knowledge.rarity(recipe.concepts.gamma, recipe.concepts.kappa)
    return ConceptTargets(torch.from_numpy(scores_IC), torch.from_numpy(rarity_C).float())


def _text_config(config: TextSideConfig, tokenizer: Tokenizer, knowledge: Knowledge | None) -> TextConfig:
    derived: dict[str, Any] = {"vocabulary": tokenizer.get_vocab_size()}
    if knowledge is not None and config.network.get("variant") == "published":
        numbers = [tokenizer.token_to_id(word) for word in knowledge.words]
        derived["concept_tokens"] = tuple(number for number in numbers if number is not None)
    for name in derived:
        if name in config.network:
            raise ConfigError(f"text.network.{name} follows from the captions: leave it out")
    network = from_mapping(TextNetworkConfig, {**config.network, **derived}, "text.network.")
    return TextConfig(architecture=config.encoder, max_tokens=config.max_tokens, network=to_mapping(network))


def _objectives(recipe: Recipe, data: ImageData, knowledge: Knowledge | None) -> Objectives:
    """The losses whose weight is not 0."""
    config = recipe.objectives
    contrast, triplet, labels = config.contrast, config.triplet, None
    if config.labels.weight > 0:
        if not data.train.labels_NC.any():
            raise DatasetError("no training image has labels: set objectives.labels.weight to 0")
        labelled_NC = data.train.labels_NC[data.train.labels_NC.any(1)]
        statistics = LabelStatistics.from_labels(labelled_NC)
        labels = build_loss(recipe.loss.name, statistics, recipe.model.dim, **recipe.loss.options)
    alignment = None
    if config.alignment.weight > 0 and knowledge is not None:
        options = config.alignment.options
        alignment = ConceptAlignment.by_rarity(knowledge.frequency_C, **options) if options else ConceptAlignment()
    return Objectives(
        config,
        build_cross_modal_loss(contrast.loss, **contrast.options) if contrast.weight > 0 else None,
        build_cross_modal_loss(triplet.loss, **triplet.options) if triplet.weight > 0 else None,
        alignment,
        labels,
    )
