"""The task's parts by themselves: schedule, parameter groups, freezing, validation, the queue."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from terraseek.errors import ConfigError
from terraseek.losses import AnySupConLoss, EmbeddingQueue
from terraseek.models import build_embedder, embedder_config
from terraseek.training.base_task import freeze, parameter_groups, warmup_cosine
from terraseek.training.datamodule import ImageData, PixelSplit, band_statistics
from terraseek.training.sections import AugmentationConfig, OptimizerConfig, SamplerConfig
from terraseek.training.task import ImageTask


@given(
    steps=st.integers(1, 500),
    warmup=st.floats(0, 0.99),
    floor=st.floats(0, 1),
)
def test_schedule_rises_then_falls_to_the_floor(steps: int, warmup: float, floor: float) -> None:
    factor = warmup_cosine(steps, warmup, floor)
    values = np.array([factor(step) for step in range(steps + 1)])
    rising = round(steps * warmup)
    assert (values > 0).all() or floor == 0
    assert (values <= 1 + 1e-9).all()
    assert (np.diff(values[:rising]) > 0).all()
    assert (np.diff(values[rising:]) <= 1e-9).all()
    if rising < steps:
        assert values[rising] == pytest.approx(1.0)
        assert values[-1] == pytest.approx(floor, abs=1e-9)


def test_vectors_are_not_decayed_and_frozen_ones_not_trained() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    freeze(network, ["2"])
    matrices, vectors = parameter_groups(network.named_parameters(), lr=0.5, weight_decay=0.1)
    assert [tuple(p.shape) for p in matrices["params"]] == [(4, 3, 3, 3)]
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    assert {tuple(p.shape) for p in vectors["params"]} == {(4,)}
    assert len(vectors["params"]) == 3
    assert matrices["lr"] == vectors["lr"] == 0.5


def test_freezing_stops_gradients_and_statistics() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    (norm,) = freeze(network, ["1"])
    assert not norm.training
    assert [p.requires_grad for p in network.parameters()] == [True, True, False, False]
    with pytest.raises(ConfigError, match="no part ''"):
        freeze(network, [""])


def split(count: int, size: int = 4) -> PixelSplit:
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    labels = np.eye(3, dtype=np.uint8)[np.arange(count) % 3]
    return PixelSplit(
        images=images, labels_NC=labels, names=tuple(f"image{i}" for i in range(count)), key=f"images-{count}"
    )


def test_a_split_reads_whole_batches_in_the_order_asked() -> None:
    whole = split(9)
    batch = whole[[7, 2, 2]]
    assert np.array_equal(batch.images.numpy(), whole.images[[7, 2, 2]])
    assert np.array_equal(batch.labels_NC.numpy(), whole.labels_NC[[7, 2, 2]])
    assert batch.labels_NC.dtype == torch.float32
    assert batch.ids_N.tolist() == [7, 2, 2]


@pytest.mark.parametrize("workers", [0, 1])
def test_loaders_give_every_validation_row_once_and_training_batches_by_epoch(workers: int) -> None:
    data = ImageData(split(20), split(20), split(150), SamplerConfig(batch_size=8), seed=1, workers=workers)
    queries, gallery = data.val_dataloader()
    assert [i for batch in queries for i in batch.ids_N.tolist()] == list(range(150))
    assert [i for batch in gallery for i in batch.ids_N.tolist()] == list(range(20))
    loader = data.train_dataloader()
    drawn = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        drawn.append([batch.ids_N.tolist() for batch in loader])
    assert drawn[0] == drawn[2] != drawn[1]
    assert [len(batch) for batch in drawn[0]] == [8, 8]


def test_band_statistics_over_many_images_and_bands() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal([10, -5, 300, 0, 1], [1, 2, 50, 0.1, 3], (2500, 4, 4, 5)).astype(np.float32)
    mean, std = band_statistics(images)
    assert np.allclose(mean, [10, -5, 300, 0, 1], rtol=0.02, atol=0.1)
    assert np.allclose(std, [1, 2, 50, 0.1, 3], rtol=0.02)


@pytest.mark.parametrize("views", [1, 2])
def test_second_views_are_positives_with_a_queue_as_without(views: int) -> None:
    plain, queued = (image_task(queue) for queue in (None, EmbeddingQueue(64, 4, 3)))
    embeddings, labels, ids = views_of(range(6), views)
    value, grad = contrast(plain, embeddings, labels, ids)
    again, again_grad = contrast(queued, embeddings, labels, ids)
    torch.testing.assert_close(again, value)
    torch.testing.assert_close(again_grad, grad)
    assert queued.queue is not None
    assert len(queued.queue) == 6 * views
    # Other samples of the queue count: as further entries of the batch would, were they no anchors.
    others, other_labels, other_ids = views_of(range(6, 10), views)
    queued.queue = EmbeddingQueue(64, 4, 3)
    queued.queue.push(others, other_labels, other_ids)
    found, found_grad = contrast(queued, embeddings, labels, ids)
    rows = torch.arange(6 * views)
    expected = queued.loss(
        embeddings,
        labels,
        torch.cat([embeddings, others]),
        torch.cat([labels, other_labels]),
        ids=rows,
        ref_ids=torch.cat([rows, 100 + other_ids]),
    )
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found_grad, torch.autograd.grad(expected, embeddings)[0])
    assert not torch.isclose(found, value)


def image_task(queue: EmbeddingQueue | None) -> ImageTask:
    config = embedder_config("test-tiny", input_size=16, dim=4, label_names=("a", "b", "c"))
    return ImageTask(
        build_embedder(config),
        AnySupConLoss(),
        config,
        optimizer=OptimizerConfig(),
        augmentation=AugmentationConfig(),
        pretrained=False,
        names=((), ()),
        labels=(np.zeros((0, 3), np.uint8), np.zeros((0, 3), np.uint8)),
        select=(),
        queue=queue,
    )


def views_of(samples: range, views: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(samples.start)
    ids = torch.tensor(samples).repeat(views)
    return torch.randn(len(ids), 4, generator=generator), torch.eye(3)[ids % 3], ids


def contrast(task: ImageTask, embeddings: Tensor, labels: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    value = task._contrast(embeddings.requires_grad_(), labels, ids)
    return value, torch.autograd.grad(value, embeddings)[0]
