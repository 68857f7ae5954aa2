"""The frozen front of a backbone, run once: what it makes of a few views of every image stands in for the images.

Where the first stages of a backbone are frozen, most of a training step on a CPU goes into running them, at high
resolution, on ever new crops of the same images. Kept on disk for some augmented views of each image, in half
precision, their outputs cost a read. What changes: the augmentations of an image come again after so many epochs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from ..models import Backbone, Front
from .base_task import RetrievalTask
from .datamodule import ImageData, PixelSplit, Split
from .front import FrontLayout, FrontSplit
from .recipe import Recipe

__all__ = ["keep_fronts"]

_log = logging.getLogger(__name__)
_FORMAT = 1
_BATCH = 64


def keep_fronts(task: RetrievalTask, data: ImageData, recipe: Recipe, directory: Path) -> ImageData:
    """Run the frozen front of the task's backbone over all images, once, and let the task train from its outputs.

    Every image of the training split is kept in `augmentation.kept_views` augmented views, drawn from the view's
    number alone: trainings with other seeds share them, and differ in which view they take when.

    Args:
        task: its backbone's front is what is run; it takes the result in place of images from now on.
        data: pixels.
        recipe: how they are augmented, and what is frozen.
        directory: where the outputs are kept, and found by a later training that needs the same.

    Raises:
        ConfigError: the backbone's first stage is not frozen.
        IntegrityError: values beyond half precision.
    """
    backbone = task.image_side.backbone
    stages = backbone.frozen_stages(recipe.model.freeze)
    if not stages:
        first = ", ".join(f'"{name}"' for name in backbone.stages[0])
        raise ConfigError(f"augmentation.kept_views keeps what frozen parts give: let model.freeze begin with {first}")
    # An aggregator over channels needs every place of the lower levels, all others no more than their means.
    whole = recipe.model.aggregator == "channels"
    described = {
        "format": _FORMAT,
        "size": recipe.model.input_size,
        "mean": task.mean.tolist(),
        "std": task.std.tolist(),
        "stages": stages,
        "whole": whole,
        "weights": _weights_digest(backbone, stages),
    }

    def front(images_NBHW: Tensor) -> Front:
        with torch.no_grad():
            stages_done, maps = backbone.front(images_NBHW, stages)
        lower = maps[:-1] if whole else tuple(each.mean((2, 3), keepdim=True) for each in maps[:-1])
        return Front(stages_done, (*lower, maps[-1]))

    def augmented(view: int, batch: int, pixels: Tensor) -> Front:
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence((view, batch)).generate_state(1)[0]))
        return front(task.augmented(pixels, generator))

    def plain(view: int, batch: int, pixels: Tensor) -> Front:
        return front(task.plain(pixels))

    assert isinstance(data.queries, PixelSplit)
    probe = plain(0, 0, data.queries[[0]].images)
    layout = FrontLayout(stages, tuple((each.shape[1], each.shape[2], each.shape[3]) for each in probe.maps))

    def keep(split: Split, views: int, run: Callable[[int, int, Tensor], Front], **details: object) -> FrontSplit:
        assert isinstance(split, PixelSplit)
        key = hashlib.sha256(json.dumps({**described, **details, "pixels": split.key}, sort_keys=True).encode())
        path = directory / f"{split.key}-front-{key.hexdigest()[:16]}.f16"
        if not path.is_file():
            _log.info("running the frozen parts of the backbone on %d views of %d images", views, len(split))
            _write(path, (layout.pack(run(*place, pixels)) for place, pixels in _batches(split, views)))
        fronts = np.memmap(path, np.float16, mode="r", shape=(views * len(split), layout.size))
        return FrontSplit(
            fronts=fronts, labels_NC=split.labels_NC, names=split.names, refused=split.refused, views=views
        )

    views = recipe.augmentation.kept_views
    kept = ImageData(
        keep(data.train, views, augmented, augmentation=asdict(recipe.augmentation)),
        None if data.gallery is None else keep(data.gallery, 1, plain),
        keep(data.queries, 1, plain),
        data.sampler,
        seed=data.seed,
        workers=data.workers,
    )
    task.front = layout
    return kept


def _batches(split: PixelSplit, views: int) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """(view, batch) and pixels, in the order in which they are kept."""
    for view in range(views):
        for batch, start in enumerate(range(0, len(split), _BATCH)):
            yield (view, batch), split[range(start, min(start + _BATCH, len(split)))].images


def _weights_digest(backbone: Backbone, stages: int) -> str:
    digest = hashlib.sha256()
    for name in (name for names in backbone.stages[:stages] for name in names):
        for key, tensor in backbone.get_submodule(name).state_dict().items():
            digest.update(f"{name}.{key}".encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _write(path: Path, parts: Iterator[Tensor]) -> None:
    """Write all rows; the file has its name only when it is whole."""
    # Ranks of a distributed run, on several machines perhaps, may write the same rows at once: the last one wins.
    handle, name = tempfile.mkstemp(".tmp", path.stem, path.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part.numpy().tobytes())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
