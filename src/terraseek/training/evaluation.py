"""A model judged as it will be used: images read from their files, embedded by the ONNX encoder, retrieved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..data import ImageDataset
from ..encoders import OnnxEncoder, load_encoder
from ..errors import DatasetError, ImageError, Refused, UsageError
from ..images import refuse
from ..metrics import DEFAULT_MEASURES, EmbeddingSet, Evaluation, Measure, evaluate_retrieval
from .seen_images import seen_ids

__all__ = ["check_split", "embed_dataset", "evaluate_model"]


def embed_dataset(
    encoder: OnnxEncoder, dataset: ImageDataset, *, progress: Callable[[int, int], None] | None = None
) -> tuple[EmbeddingSet, tuple[Refused, ...]]:
    """Embed a data set's images as they are, without augmentation; returns them and what could not be read.

    Raises:
        DatasetError: no image could be read.
    """
    kept: list[int] = []
    refused: list[Refused] = []
    parts = []
    for start in range(0, len(dataset), encoder.batch_size):
        images = []
        for index in range(start, min(start + encoder.batch_size, len(dataset))):
            try:
                images.append(dataset.read(index))
                kept.append(index)
            except ImageError as error:
                refused.append(refuse(dataset.samples[index].path, error))
        if images:
            parts.append(encoder.encode_images(images))
        if progress:
            progress(min(start + encoder.batch_size, len(dataset)), len(dataset))
    if not parts:
        why = f"; {refused[0]}" if refused else ""
        raise DatasetError(f"{dataset.name}: none of its {len(dataset)} images can be read{why}")
    names = tuple(dataset.samples[i].id for i in kept)
    return EmbeddingSet(np.concatenate(parts), dataset.labels_NC[kept], names), tuple(refused)


def evaluate_model(
    model: str | Path | OnnxEncoder,
    dataset: ImageDataset,
    *,
    query_split: str = "test",
    gallery_split: str = "train",
    measures: Sequence[Measure | str] = DEFAULT_MEASURES,
    train_split: str = "train",
    threads: int | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    other_split: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Evaluation, tuple[Refused, ...]]:
    """Retrieve with every image of one split among the images of another; also returns what could not be read.

    Args:
        model: a model directory, or an encoder that is open already.
        dataset: with labels and splits.
        query_split: the queries.
        gallery_split: what is searched; with the queries' own split every query leaves itself out.
        measures: what is measured.
        train_split: the split, or several, that label frequencies (rarity, head and tail) are taken from; the gallery
            has to do where this is "train" and there is no such split.
        threads: CPU threads of the network; None for all cores.
        bootstrap: resamples for the intervals, 0 for none.
        seed: of the resamples.
        other_split: judge also a model that was trained on this data set under another split, or on images that are
            queries here.
        progress: called with (images done, all images).

    Raises:
        UsageError: the data set has no labels, or the model was trained on another split of it or on queries.
        ConfigError: no such split, or a name that is no measure.
        NotFoundError: no model there.
        DatasetError: no image of a split could be read.
    """
    if not dataset.label_names:
        raise UsageError(f"{dataset.name} has no labels: retrieval cannot be judged by them")
    without = train_split == "train" and train_split not in dataset.splits
    frequency_C = None if without else dataset.subset(train_split).labels_NC.mean(0)
    encoder = model if isinstance(model, OnnxEncoder) else load_encoder(model, threads=threads)
    queries, gallery = dataset.subset(query_split), dataset.subset(gallery_split)
    if not other_split:
        check_split(encoder, queries)
    total = len(queries) + (0 if query_split == gallery_split else len(gallery))

    def after(first: int) -> Callable[[int, int], None] | None:
        return (lambda done, _: progress(first + done, total)) if progress else None

    query_set, refused = embed_dataset(encoder, queries, progress=after(0))
    gallery_set = query_set
    if gallery_split != query_split:
        gallery_set, more = embed_dataset(encoder, gallery, progress=after(len(queries)))
        refused += more
    evaluation = evaluate_retrieval(
        query_set,
        gallery_set,
        measures,
        label_names=dataset.label_names,
        train_frequency=frequency_C,
        bootstrap=bootstrap,
        seed=seed,
    )
    return evaluation, refused


def check_split(encoder: OnnxEncoder, queries: ImageDataset) -> None:
    """Refuse a model that may have been trained on the queries.

    That is one trained on the same data set under another split, or on another data set that has some of the queries
    in its training split: ``ucm-captions`` and ``ucmerced-ml``, ``rsicd-10k`` and ``ml-aid`` share images and ids.
    Under the split of the training itself, queries are training images where the training split is asked for, which may
    be, or a part of it, which may not.

    Raises:
        UsageError: it may have been.
    """
    trained, name = encoder.config.training, queries.name
    # Models of earlier releases have no hashes.
    seen = seen_ids(str(trained.get("image_hashes", "")), queries.ids)
    if trained.get("dataset") == name:
        if trained.get("split_hash") not in (None, queries.split_hash):
            raise UsageError(
                f"the model was trained on another split of {name} ({str(trained['split_hash'])[:12]}, this one is "
                f"{queries.split_hash[:12]}), so that queries may have been training images; name the split files or "
                "options that it was trained with, or allow another split with --other-split"
            )
        if queries.splits.keys() == set(str(trained.get("split", "train")).split("+")):
            return
    if seen:
        raise UsageError(
            f"{len(seen):,} of the {len(queries):,} queries from {name} have the ids of images that the model was "
            f"trained on as {trained.get('dataset')}, {seen[0]!r} for one; name a split without them, or allow them "
            "with --other-split"
        )
