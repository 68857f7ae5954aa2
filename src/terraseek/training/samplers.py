"""How batches are drawn: shuffled, with rare images repeated, or with labels guaranteed.

A sampler yields the indices of one batch at a time. All ranks of a distributed training draw the same global batch
from (seed, epoch) and each takes its share, so that a batch is the same whatever the number of processes. What a
sampler does to the labels is measured by `label_coverage`, not assumed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from ..errors import ConfigError
from ..typing import FloatArray, IntArray, LabelArray
from .sections import SamplerConfig

__all__ = [
    "BatchSampler",
    "Coverage",
    "LabelAwareBatches",
    "RepeatFactorBatches",
    "ShuffledBatches",
    "ViewBatches",
    "build_sampler",
    "label_coverage",
    "repeat_factors",
]


def repeat_factors(labels_NC: LabelArray, threshold: float) -> FloatArray:
    """How often each image is shown per epoch, (N,): ``r_i = max over its labels c of max(1, sqrt(t / f_c))``.

    Labels of frequency f_c at or above the threshold t repeat nothing; images without labels are shown once.

    Source: Gupta et al., LVIS, 2019, https://arxiv.org/abs/1908.03195, appendix.

    >>> repeat_factors(np.array([[1, 0], [1, 0], [1, 0], [1, 1]], np.uint8), threshold=1.0)
    array([1., 1., 1., 2.])
    """
    frequency_C = labels_NC.mean(0)
    # A label that never occurs multiplies a column of zeros: its factor is of no consequence, but must be finite.
    factor_C = np.sqrt(threshold / np.where(frequency_C > 0, frequency_C, threshold))
    factors: FloatArray = np.maximum(1.0, (labels_NC * factor_C).max(1, initial=1.0))
    return factors


class BatchSampler(Sampler[list[int]], ABC):
    """Yields this rank's indices of each batch of an epoch; a new epoch is set with `set_epoch`.

    Args:
        count: number of images N.
        batch_size: images per batch over all ranks; incomplete batches are dropped.
        seed: with the epoch it decides every draw.
        rank: which process this is, 0 <= rank < world_size.
        world_size: number of processes; divides `batch_size`.

    Raises:
        ConfigError: fewer images than one batch needs, or a batch that does not divide among the processes.
    """

    def __init__(self, count: int, batch_size: int, *, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        if count < batch_size:
            raise ConfigError(
                f"the training split has {count} images, fewer than a batch of {batch_size}: lower sampler.batch_size"
            )
        if batch_size % world_size or not 0 <= rank < world_size:
            raise ConfigError(f"a batch of {batch_size} cannot be shared by rank {rank} of {world_size} processes")
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the draws of this epoch; iterators that have not begun follow."""
        self.epoch = epoch

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Iterator[IntArray]:
        """The global batches of one epoch, each of `batch_size` indices."""

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.draw(np.random.default_rng((self.seed, self.epoch))):
            yield batch[self.rank :: self.world_size].tolist()


class ShuffledBatches(BatchSampler):
    """Every image at most once per epoch, in random order."""

    def draw(self, rng: np.random.Generator) -> Iterator[IntArray]:
        """A permutation, cut into batches."""
        order = rng.permutation(self.count)[: len(self) * self.batch_size]
        yield from order.reshape(-1, self.batch_size)


class RepeatFactorBatches(BatchSampler):
    """Image i is shown r_i times per epoch on average, see `repeat_factors`.

    The epoch is longer than a shuffled one by the mean of r_i. An image may meet itself in a batch, where views
    are not kept under another augmentation: such pairs count as positives.
    """

    def __init__(
        self,
        labels_NC: LabelArray,
        batch_size: int,
        threshold: float,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(len(labels_NC), batch_size, seed=seed, rank=rank, world_size=world_size)
        self.factors_N = repeat_factors(labels_NC, threshold)

    def __len__(self) -> int:
        return int(self.factors_N.sum() + 1e-9) // self.batch_size

    def draw(self, rng: np.random.Generator) -> Iterator[IntArray]:
        """Systematic sampling: each count is r_i rounded down or up, its mean exactly r_i, their sum always the same.

        Independent coin flips would make epochs of different lengths, and the schedule of the learning rate with them.
        """
        order = rng.permutation(self.count)
        steps = np.floor(np.concatenate([[0.0], np.cumsum(self.factors_N[order])]) + rng.random())
        shown = rng.permutation(np.repeat(order, np.diff(steps).astype(np.int64)))
        yield from shown[: len(self) * self.batch_size].reshape(-1, self.batch_size)


class LabelAwareBatches(BatchSampler):
    """Each batch holds at least m images of each of s labels drawn for it; the rest of it is shuffled.

    Labels are drawn uniformly from those that occur, their images from a shuffled cycle of each label, so that all
    images of a rare label take turns. A label with fewer than m images has all of them in the batch. No image occurs
    twice in one batch. An epoch has as many batches as a shuffled one; the images that the guaranteed ones displace
    wait for a later epoch.

    Args:
        labels_NC: multi-hot labels of the training split.
        batch_size: images per batch over all ranks.
        labels: s, labels drawn per batch.
        per_label: m, images per drawn label.
        seed: with the epoch it decides every draw.
        rank: which process this is.
        world_size: number of processes.

    Raises:
        ConfigError: s * m exceeds the batch, or see `BatchSampler`.
    """

    def __init__(
        self,
        labels_NC: LabelArray,
        batch_size: int,
        labels: int,
        per_label: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(len(labels_NC), batch_size, seed=seed, rank=rank, world_size=world_size)
        if labels * per_label > batch_size:
            raise ConfigError(f"{labels} labels of {per_label} images do not fit a batch of {batch_size}")
        self.members = [np.flatnonzero(column) for column in labels_NC.T if column.any()]
        self.labels, self.per_label = min(labels, len(self.members)), per_label

    def draw(self, rng: np.random.Generator) -> Iterator[IntArray]:
        """Guaranteed images first, then the shuffled rest; the order inside a batch is random again."""
        cycles = [_cycle(members, rng) for members in self.members]
        rest = _cycle(np.arange(self.count), rng)
        for _ in range(len(self)):
            batch: dict[int, None] = {}
            for label in rng.choice(len(self.members), self.labels, replace=False):
                present = sum(int(i) in batch for i in self.members[label])
                wanted = min(self.per_label, len(self.members[label])) - present
                _take(batch, cycles[label], wanted)
            _take(batch, rest, self.batch_size - len(batch))
            yield rng.permutation(np.fromiter(batch, np.int64))


def _cycle(items: IntArray, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(items).tolist()


def _take(batch: dict[int, None], source: Iterator[int], wanted: int) -> None:
    """Add `wanted` items that are not in the batch yet."""
    for item in source if wanted > 0 else ():
        if item not in batch:
            batch[item] = None
            wanted -= 1
            if wanted == 0:
                return


def build_sampler(
    config: SamplerConfig, labels_NC: LabelArray, *, seed: int = 0, rank: int = 0, world_size: int = 1
) -> BatchSampler:
    """The sampler that a recipe names, over the labels of the training split."""
    if config.kind == "repeat-factor":
        return RepeatFactorBatches(
            labels_NC, config.batch_size, config.threshold, seed=seed, rank=rank, world_size=world_size
        )
    if config.kind == "label-aware":
        return LabelAwareBatches(
            labels_NC,
            config.batch_size,
            config.labels,
            config.per_label,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
    return ShuffledBatches(len(labels_NC), config.batch_size, seed=seed, rank=rank, world_size=world_size)


class ViewBatches(Sampler[list[int]]):
    """Batches of a split whose images are kept in several views: each epoch takes the next view of an image.

    Where in the round of its views an image begins is drawn from the seed, so that a batch mixes them.

    Args:
        rows: draws the images.
        views: number of views V; image `n` in view `v` is index ``v * N + n``.
    """

    def __init__(self, rows: BatchSampler, views: int) -> None:
        self.rows, self.views = rows, views
        self._first_N = np.random.default_rng((rows.seed, views)).integers(views, size=rows.count)

    def set_epoch(self, epoch: int) -> None:
        """Choose the draws and the views of this epoch."""
        self.rows.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[list[int]]:
        view_N = (self._first_N + self.rows.epoch) % self.views
        for batch in self.rows:
            yield (view_N[batch] * self.rows.count + batch).tolist()


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What batches show of the labels.

    Attributes:
        batches: number of batches counted.
        images: share of the images that occurred at all.
        shown_C: occurrences of each label among all places, comparable with its frequency in the split.
        paired_C: share of batches in which each label has two images or more, so that it makes a positive pair.
        alone: share of anchors (places in a batch) that share no label with any other image of their batch.
        unpaired_C: of the places that carry a label, the share whose batch has it nowhere else; NaN where never shown.
    """

    batches: int
    images: float
    shown_C: FloatArray
    paired_C: FloatArray
    alone: float
    unpaired_C: FloatArray


def label_coverage(batches: Iterable[Sequence[int]], labels_NC: LabelArray) -> Coverage:
    """Measure what batches (an epoch of a sampler, or several chained) show of the labels.

    >>> labels = np.array([[1, 0], [1, 0], [1, 1], [0, 0]], np.uint8)
    >>> coverage = label_coverage([[0, 1], [2, 3]], labels)
    >>> coverage.paired_C.tolist(), coverage.alone
    ([0.5, 0.0], 0.5)
    """
    drawn = [np.asarray(batch, dtype=np.int64) for batch in batches]
    if not drawn:
        raise ConfigError("coverage was asked of no batches")
    counts_BC = np.stack([labels_NC[batch].sum(0, dtype=np.int64) for batch in drawn])
    places = sum(map(len, drawn))
    alone = 0
    for batch in drawn:
        shared_NN = labels_NC[batch].astype(np.float32) @ labels_NC[batch].T.astype(np.float32)
        np.fill_diagonal(shared_NN, 0)
        alone += int((shared_NN.max(1) == 0).sum())
    shown_C = counts_BC.sum(0)
    with np.errstate(invalid="ignore"):
        unpaired_C = (counts_BC == 1).sum(0) / shown_C
    return Coverage(
        batches=len(drawn),
        images=len(np.unique(np.concatenate(drawn))) / len(labels_NC),
        shown_C=shown_C / places,
        paired_C=(counts_BC >= 2).mean(0),
        alone=alone / places,
        unpaired_C=unpaired_C,
    )
