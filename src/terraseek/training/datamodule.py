"""From a data set to batches: decoded pixels behind a memory map, drawn by a sampler, as plain tensors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..data import ImageDataset, PixelCache
from ..errors import ConfigError, Refused
from ..typing import FloatArray, ImageArray, LabelArray
from .samplers import BatchSampler, ViewBatches, build_sampler
from .sections import SamplerConfig

__all__ = ["Batch", "ImageData", "PixelSplit", "Split", "band_statistics"]

_log = logging.getLogger(__name__)
_EVALUATION_BATCH = 128
_STATISTICS_IMAGES = 1000  # a band's mean over a thousand images is exact far beyond what training notices


class Batch(NamedTuple):
    """Images of a split with their labels.

    Attributes:
        images: (N, S, S, B) as decoded; or (N, P) float16, what the first stages made of them (`FrontSplit`).
        labels_NC: multi-hot, float32.
        ids_N: positions in the split.
    """

    images: Tensor
    labels_NC: Tensor
    ids_N: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Split(Dataset[Batch]):
    """One split of a data set: a whole batch is read per item, ``split[[3, 1, 2]]``.

    Attributes:
        labels_NC: multi-hot labels.
        names: ids of the samples.
        refused: samples that could not be decoded and are not among the N.
        views: how many forms of each image there are: row `n` in its form `v` is item ``v * N + n``.
    """

    labels_NC: LabelArray
    names: tuple[str, ...]
    refused: tuple[Refused, ...] = ()
    views: int = 1

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False, kw_only=True)
class PixelSplit(Split):
    """One split at one size.

    Attributes:
        images: (N, S, S, B), usually a memory map.
        key: tells these pixels from all others.
    """

    images: ImageArray
    key: str

    @classmethod
    def open(
        cls,
        dataset: ImageDataset,
        size: int,
        directory: Path,
        progress: Callable[[int, int], None] | None = None,
    ) -> PixelSplit:
        """Decode the data set's images to `size`, or find them decoded in `directory`."""
        cache = PixelCache.build(dataset, size, directory, progress=progress)
        kept = list(cache.kept)
        names = tuple(dataset.samples[i].id for i in kept)
        return cls(
            images=cache.images,
            labels_NC=dataset.labels_NC[kept],
            names=names,
            refused=cache.refused,
            key=cache.path.stem,
        )

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        # Sorted access reads the map front to back; fancy indexing copies, so the result is writable memory.
        rows = np.asarray(indices, dtype=np.int64)
        return Batch(
            torch.from_numpy(np.ascontiguousarray(self.images[rows])),
            torch.from_numpy(self.labels_NC[rows].astype(np.float32)),
            torch.from_numpy(rows),
        )


class ImageData(LightningDataModule):
    """Training batches by a sampler; validation batches of the queries and of the gallery, the training images.

    Training crops come from images kept larger than the network's input, validation from images of exactly its size,
    resampled as search will resample them.

    Args:
        train: training split at the size that crops are taken from; or its views, of which each epoch takes another.
        gallery: the same split at the network's input size; None where validation searches nothing but the queries.
        queries: validation split at the network's input size; None without validation.
        sampler: how training batches are drawn.
        seed: of the sampler.
        workers: processes that load batches.
    """

    def __init__(
        self,
        train: Split,
        gallery: Split | None,
        queries: Split | None,
        sampler: SamplerConfig,
        *,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.train, self.gallery, self.queries = train, gallery, queries
        self.sampler, self.seed, self.workers = sampler, seed, workers

    @property
    def refused(self) -> tuple[Refused, ...]:
        """Images of the training and validation splits that could not be decoded."""
        return self.train.refused + (self.queries.refused if self.queries else ())

    def batches(self) -> BatchSampler | ViewBatches:
        """This rank's sampler of training batches."""
        rank, world_size = (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        rows = build_sampler(self.sampler, self.train.labels_NC, seed=self.seed, rank=rank, world_size=world_size)
        return rows if self.train.views == 1 else ViewBatches(rows, self.train.views)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of raw pixels: augmentation happens on the device."""
        return self._loader(self.train, self.batches())

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """Queries, then gallery; with several processes each has its share of both."""
        return [self._loader(split, self._shares(len(split))) for split in (self.queries, self.gallery) if split]

    def _loader(self, split: Split, batches: BatchSampler | ViewBatches | list[list[int]]) -> DataLoader[Batch]:
        # batch_size None: an item of the split is a whole batch, and the sampler, which yields batches, stands where
        # Lightning looks for `set_epoch`.
        return DataLoader(
            split,
            batch_size=None,
            sampler=batches,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _shares(self, count: int) -> list[list[int]]:
        """Batches of this rank's rows of a split; all ranks have equally many, the last row repeated where need be."""
        rank, world_size = (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        rows = list(range(rank, count, world_size))
        if not rows:
            raise ConfigError(f"a split of {count} images cannot be shared by {world_size} processes")
        most = -(-count // world_size)
        rows += rows[-1:] * (most - len(rows))
        return [rows[i : i + _EVALUATION_BATCH] for i in range(0, most, _EVALUATION_BATCH)]


def band_statistics(images: ImageArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of each band, (B,) each, over at most a thousand evenly spaced images (N, S, S, B).

    >>> mean, std = band_statistics(np.array([0.0, 2.0]).reshape(1, 1, 2, 1))
    >>> mean.tolist(), std.tolist()
    ([1.0], [1.0])
    """
    step = max(1, len(images) // _STATISTICS_IMAGES)
    pixels = np.asarray(images[::step], dtype=np.float64)
    return pixels.mean((0, 1, 2)), pixels.std((0, 1, 2))
