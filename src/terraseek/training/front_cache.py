"""The frozen front of a backbone, run once: what it makes of a few views of every image stands in for the images.

Where the first stages of a backbone are frozen, most of a training step on a CPU goes into running them, at high
resolution, on ever new crops of the same images. Kept on disk for some augmented views of each image, in half
precision, their outputs cost a read. What changes: the augmentations of an image come again after so many epochs.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from ..models import Backbone, Front
from ._files import one_writer, whole_file
from .base_task import RetrievalTask, seed_of
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
    number alone: trainings with other seeds share them, and differ in which view they take when. Without kept views
    the data stay as they are.

    Args:
        task: its backbone's front is what is run; it takes the result in place of images from now on.
        data: pixels.
        recipe: how they are augmented, and what is frozen.
        directory: where the outputs are kept, and found by a later training that needs the same.

    Raises:
        ConfigError: the backbone's first stage is not frozen.
        IntegrityError: values beyond half precision.
    """
    views = recipe.augmentation.kept_views
    if not views:
        return data
    run = _FrontRun(task, recipe, directory)
    kept = ImageData(
        run.keep(data.train, views, run.augmented, augmentation=asdict(recipe.augmentation)),
        None if data.gallery is None else run.keep(data.gallery, 1, run.plain),
        None if data.queries is None else run.keep(data.queries, 1, run.plain),
        data.sampler,
        seed=data.seed,
        workers=data.workers,
    )
    task.front = run.layout
    return kept


class _FrontRun:
    """The frozen stages of a task's backbone, and the folder that holds what they gave."""

    def __init__(self, task: RetrievalTask, recipe: Recipe, directory: Path) -> None:
        self.task, self.directory = task, directory
        self.backbone = task.image_side.backbone
        self.stages = self.backbone.frozen_stages(recipe.model.freeze)
        if not self.stages:
            first = ", ".join(f'"{name}"' for name in self.backbone.stages[0])
            raise ConfigError(
                f"augmentation.kept_views keeps what frozen parts give: let model.freeze begin with {first}"
            )
        # An aggregator over channels needs every place of the lower levels, all others no more than their means.
        self.whole = recipe.model.aggregator == "channels"
        size = recipe.model.input_size
        blank = self.front(torch.zeros(1, len(task.mean.flatten()), size, size))
        shapes = ((each.shape[1], each.shape[2], each.shape[3]) for each in blank.maps)
        self.layout = FrontLayout(self.stages, tuple(shapes))
        self._described = {
            "format": _FORMAT,
            "size": size,
            "mean": task.mean.tolist(),
            "std": task.std.tolist(),
            "stages": self.stages,
            "whole": self.whole,
            "weights": _weights_digest(self.backbone, self.stages),
        }

    @torch.no_grad()
    def front(self, images_NBHW: Tensor) -> Front:
        """What the stages give, as far as the others need it."""
        stages, maps = self.backbone.front(images_NBHW, self.stages)
        lower = maps[:-1] if self.whole else tuple(each.mean((2, 3), keepdim=True) for each in maps[:-1])
        return Front(stages, (*lower, maps[-1]))

    def augmented(self, view: int, batch: int, pixels: Tensor) -> Front:
        """A batch of images in one augmented view."""
        return self.front(self.task.augmented(pixels, torch.Generator().manual_seed(seed_of(view, batch))))

    def plain(self, view: int, batch: int, pixels: Tensor) -> Front:
        """A batch of images as validation sees them."""
        return self.front(self.task.plain(pixels))

    def keep(self, split: Split, views: int, run: Callable[[int, int, Tensor], Front], **details: object) -> FrontSplit:
        """What `run`, which depends on `details`, makes of all images in each view: found on disk, or written there."""
        assert isinstance(split, PixelSplit)
        described = {**self._described, **details, "pixels": split.key}
        key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
        path = self.directory / f"{split.key}-front-{key}.f16"
        if not path.is_file():
            with one_writer(path):  # processes that torchrun starts together come here together
                if not path.is_file():
                    self._write(path, split, views, run)
        return FrontSplit(
            fronts=np.memmap(path, np.float16, mode="r", shape=(views * len(split), self.layout.size)),
            labels_NC=split.labels_NC,
            names=split.names,
            refused=split.refused,
            views=views,
        )

    def _write(self, path: Path, split: PixelSplit, views: int, run: Callable[[int, int, Tensor], Front]) -> None:
        _log.info("running the frozen parts of the backbone on %d views of %d images", views, len(split))
        with whole_file(path) as file:
            for view, batch, pixels in _batches(split, views):
                file.write(self.layout.pack(run(view, batch, pixels)).numpy().tobytes())


def _batches(split: PixelSplit, views: int) -> Iterator[tuple[int, int, Tensor]]:
    """View, batch and pixels, in the order in which they are kept."""
    for view in range(views):
        for batch, start in enumerate(range(0, len(split), _BATCH)):
            yield view, batch, split[range(start, min(start + _BATCH, len(split)))].images


def _weights_digest(backbone: Backbone, stages: int) -> str:
    digest = hashlib.sha256()
    for name in (name for names in backbone.stages[:stages] for name in names):
        for key, tensor in backbone.get_submodule(name).state_dict().items():
            digest.update(f"{name}.{key}".encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
