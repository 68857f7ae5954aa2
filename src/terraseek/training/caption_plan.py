"""The plan of a training on images with captions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from ..config import from_mapping, to_mapping
from ..data import ImageDataset
from ..encoders import ModelConfig, TextConfig
from ..errors import ConfigError, DatasetError
from ..losses import ConceptAlignment, ContrastiveLoss, LabelStatistics, build_cross_modal_loss, build_loss
from ..models import (
    ImageTextEmbedder,
    TextNetworkConfig,
    build_image_text_embedder,
    init_word_vectors,
    minilm_tokenizer_file,
)
from ..typing import LabelArray
from .caption_evaluation import evaluate_captions
from .caption_sections import TextSideConfig
from .caption_table import CaptionTable, caption_tokenizer
from .caption_task import ConceptTargets, ImageTextTask, Objectives
from .datamodule import ImageData, PixelSplit
from .front_cache import keep_fronts
from .knowledge import Knowledge, mine_concepts
from .plan import Judgement, Plan, base_config, open_splits
from .query_bank import add_query_bank
from .recipe import Recipe

__all__ = ["caption_plan", "captioned_images"]

_log = logging.getLogger(__name__)


def caption_plan(recipe: Recipe, dataset: ImageDataset, cache: Path) -> Plan:
    """Turn a recipe with a text side into data, network and loss.

    Vocabulary and concepts come from the captions of the training split alone. Images without captions are left out.

    Raises:
        DatasetError: no word that is frequent enough, or no concept where the objectives need some.
        ConfigError: something that the recipe names is not known.
        MissingExtraError: the package with MiniLM's weights, which the recipe asks for, is not installed.
    """
    assert recipe.text is not None
    if recipe.text.needs_minilm:
        minilm_tokenizer_file()  # before the images are decoded
    dataset = captioned_images(recipe, dataset)
    data = open_splits(recipe, dataset, cache, gallery=False)
    captions = _captions(dataset, data.train.names)
    tokenizer = caption_tokenizer(recipe.text, captions)
    knowledge = _knowledge(recipe, dataset)
    config = _config(recipe, dataset, data, tokenizer, knowledge)
    most = recipe.text.max_tokens
    table = CaptionTable.build(captions, tokenizer, most)
    validation = CaptionTable.build(_captions(dataset, data.queries.names), tokenizer, most) if data.queries else None
    task = _task(recipe, data, config, tokenizer, table, validation, knowledge)
    complete = None
    if recipe.text.query_bank:
        assert isinstance(task.network, ImageTextEmbedder)
        assert isinstance(data.train, PixelSplit)
        complete = partial(add_query_bank, task.network, config, table, data.train, recipe.text.query_bank, recipe.seed)
    data = keep_fronts(task, data, recipe, cache)
    return Plan(
        data=data,
        config=config,
        task=task,
        measures=recipe.trainer.select,
        judge=partial(_judgement, recipe, dataset) if recipe.trainer.validates else None,
        complete=complete,
        tokenizer=tokenizer,
        knowledge=knowledge,
        record={
            "captions": {"train": sum(map(len, captions)), "vocabulary": tokenizer.get_vocab_size()},
            "concepts": list(knowledge.words) if knowledge else [],
        },
    )


def captioned_images(recipe: Recipe, dataset: ImageDataset) -> ImageDataset:
    """The images that have captions; a warning counts those of the recipe's splits that have none.

    Raises:
        DatasetError: no image of a split has captions.
    """
    for split in (recipe.data.train, recipe.data.val) if recipe.trainer.validates else (recipe.data.train,):
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


def _config(
    recipe: Recipe, dataset: ImageDataset, data: ImageData, tokenizer: Tokenizer, knowledge: Knowledge | None
) -> ModelConfig:
    """The config of the model to be, of both sides; with concept heads where concepts are aligned."""
    assert recipe.text is not None
    labels_NC = data.train.labels_NC
    aligned = knowledge if recipe.objectives.alignment.weight > 0 else None
    return base_config(
        recipe,
        dataset,
        data,
        LabelStatistics.from_labels(labels_NC) if labels_NC.shape[1] else None,
        concepts=aligned.words if aligned else (),
        text=_text_config(recipe.text, tokenizer, aligned),
    )


def _text_config(config: TextSideConfig, tokenizer: Tokenizer, knowledge: Knowledge | None) -> TextConfig:
    """The config of the text side: the recipe's network, with what follows from the captions."""
    derived: dict[str, Any] = {"vocabulary": tokenizer.get_vocab_size()}
    if knowledge is not None and config.network.get("variant") == "published":
        numbers = [tokenizer.token_to_id(word) for word in knowledge.words]
        derived["concept_tokens"] = tuple(number for number in numbers if number is not None)
    for name in derived:
        if name in config.network:
            raise ConfigError(f"text.network.{name} follows from the captions: leave it out")
    network = from_mapping(TextNetworkConfig, {**config.network, **derived}, "text.network.")
    return TextConfig(architecture=config.encoder, max_tokens=config.max_tokens, network=to_mapping(network))


def _task(
    recipe: Recipe,
    data: ImageData,
    config: ModelConfig,
    tokenizer: Tokenizer,
    captions: CaptionTable,
    validation: CaptionTable | None,
    knowledge: Knowledge | None,
) -> ImageTextTask:
    """Network and losses as the recipe asks for them."""
    text, published = recipe.text, recipe.objectives.variant == "published"
    assert text is not None
    network = _network(recipe, config, tokenizer)
    drawn_apart = _network(recipe, config, tokenizer) if published and recipe.objectives.contrast.momentum else None
    concepts = _targets(recipe, knowledge, data.train.names) if knowledge else None
    heads = [head for head in (network.image.concept_head, network.text.concept_head) if head is not None]
    for head in heads:
        head.apart = recipe.concepts.apart
        if concepts is not None and not published:
            head.set_prior(concepts.scores_IC.mean(0))  # begin with how often each concept occurs
    return ImageTextTask(
        network,
        _objectives(recipe, data, knowledge),
        captions,
        validation,
        config,
        optimizer=recipe.optimizer,
        augmentation=recipe.augmentation,
        pretrained=bool(recipe.model.initial_weights),
        per_image=text.per_image,
        text_lr=text.lr if text.pretrained else None,
        concepts=concepts,
        key_network=drawn_apart,
        select=recipe.trainer.select,
        frozen=recipe.model.freeze,
        seed=recipe.seed,
    )


def _network(recipe: Recipe, config: ModelConfig, tokenizer: Tokenizer) -> ImageTextEmbedder:
    """Both sides before the first step; two of one recipe differ in their random weights alone."""
    assert recipe.text is not None
    network = build_image_text_embedder(config, recipe.model.initial_weights, recipe.text.pretrained)
    if recipe.text.word_vectors == "minilm-l6":
        init_word_vectors(network.text.encoder.word, tokenizer)
    return network


def _targets(recipe: Recipe, knowledge: Knowledge, names: Sequence[str]) -> ConceptTargets:
    """The concepts of the named images, in that order."""
    scores_IC = knowledge.targets(names, variant=recipe.objectives.variant, seed=recipe.seed)
    rarity_C = knowledge.rarity(recipe.concepts.gamma, recipe.concepts.kappa)
    return ConceptTargets(torch.from_numpy(scores_IC), torch.from_numpy(rarity_C).float())


def _objectives(recipe: Recipe, data: ImageData, knowledge: Knowledge | None) -> Objectives:
    """The losses whose weight is not 0."""
    config = recipe.objectives
    contrast, triplet = config.contrast, config.triplet
    labels = _label_loss(recipe, data.train.labels_NC) if config.labels.weight > 0 else None
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


def _label_loss(recipe: Recipe, labels_NC: LabelArray) -> ContrastiveLoss:
    """The loss on label sets; images without labels, which it will not see, do not count in its statistics."""
    if not labels_NC.any():
        raise DatasetError("no training image has labels: set objectives.labels.weight to 0")
    statistics = LabelStatistics.from_labels(labels_NC[labels_NC.any(1)])
    return build_loss(recipe.loss.name, statistics, recipe.model.dim, **recipe.loss.options)


def _judgement(recipe: Recipe, dataset: ImageDataset, model: Path) -> Judgement:
    """How well the model finds images and captions of the validation split by each other."""
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
