"""An image-text model judged as it will be used: embedded by the ONNX encoders, matched both ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..data import ImageDataset
from ..encoders import OnnxEncoder, load_encoder
from ..errors import Refused, UsageError
from ..metrics import ImageTextEvaluation, evaluate_image_text
from .evaluation import check_split, embed_dataset

__all__ = ["evaluate_captions"]


def evaluate_captions(
    model: str | Path | OnnxEncoder,
    dataset: ImageDataset,
    *,
    split: str = "test",
    threads: int | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    other_split: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ImageTextEvaluation, tuple[Refused, ...]]:
    """Search with every caption of a split among its images, and with every image among its captions.

    Args:
        model: a model directory with a text side, or an encoder that is open already.
        dataset: with captions.
        split: what is searched, and searched with.
        threads: CPU threads of the network; None for all cores.
        bootstrap: resamples for the intervals, 0 for none.
        seed: of the resamples.
        other_split: judge also a model that was trained on this data set under another split, or on images that are
            searched here.
        progress: called with (images done, all images).

    Returns:
        The evaluation, and the images that could not be read.

    Raises:
        UsageError: no captions, a model without a text side, or one trained on another split of the data set or on
            images of this one.
        ConfigError: no such split.
        NotFoundError: no model there.
        DatasetError: no image could be read.
    """
    held = dataset.subset(split)
    captioned = held.take([index for index, sample in enumerate(held.samples) if sample.captions])
    if not len(captioned):
        raise UsageError(f"{dataset.name} has no captions in {split}: search by text cannot be judged on it")
    encoder = model if isinstance(model, OnnxEncoder) else load_encoder(model, threads=threads)
    if not encoder.has_text:
        raise UsageError(f"the model {encoder.directory.name!r} has no text side: train one with a section [text]")
    if not other_split:
        check_split(encoder, captioned)
    images, refused = embed_dataset(encoder, captioned, progress=progress)
    captions = {sample.id: sample.captions for sample in captioned.samples}
    texts = [text for name in images.ids for text in captions[name]]
    image_of_T = np.repeat(np.arange(len(images.ids)), [len(captions[name]) for name in images.ids])
    # Each text once: its vector depends, in the last bits, on what else is in its batch, and equal captions must tie.
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    found = evaluate_image_text(
        images.vectors_ND,
        encoder.encode_texts(list(places))[[places[text] for text in texts]],
        image_of_T,
        texts,
        image_ids=images.ids,
        bootstrap=bootstrap,
        seed=seed,
    )
    return found, refused
