"""Samplers: what every batch and epoch must hold, on any labels, and what they do to label coverage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.errors import ConfigError
from terraseek.training import (
    BatchSampler,
    LabelAwareBatches,
    RepeatFactorBatches,
    SamplerConfig,
    ShuffledBatches,
    ViewBatches,
    build_sampler,
    label_coverage,
    repeat_factors,
)
from terraseek.typing import LabelArray

KINDS = ("shuffle", "repeat-factor", "label-aware")


@st.composite
def label_tables(draw: st.DrawFn) -> LabelArray:
    """Long-tailed labels with images without any and labels without any."""
    count, labels = draw(st.integers(16, 60)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    frequency_C = rng.uniform(0, 1, labels) ** 3
    return (rng.random((count, labels)) < frequency_C).astype(np.uint8)


def make(kind: str, labels_NC: LabelArray, **options: int) -> BatchSampler:
    config = SamplerConfig(kind=kind, batch_size=8, threshold=0.3, labels=2, per_label=3)  # type: ignore[arg-type]
    return build_sampler(config, labels_NC, **options)


def long_tail(count: int = 600) -> LabelArray:
    """Frequencies 0.5, 0.25, ... down to three images in all."""
    rng = np.random.default_rng(1)
    frequency_C = np.array([0.5, 0.3, 0.2, 0.1, 0.05, 0.02])
    labels_NC = (rng.random((count, 6)) < frequency_C).astype(np.uint8)
    labels_NC[:, 5] = 0
    labels_NC[[0, count // 2, count - 1], 5] = 1
    return labels_NC


@pytest.mark.parametrize("kind", KINDS)
@given(labels_NC=label_tables(), seed=st.integers(0, 99), epoch=st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_every_epoch_keeps_its_promises(kind: str, labels_NC: LabelArray, seed: int, epoch: int) -> None:
    sampler = make(kind, labels_NC, seed=seed)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler) >= len(labels_NC) // 8
    assert all(len(batch) == 8 for batch in batches)
    assert all(0 <= i < len(labels_NC) for batch in batches for i in batch)
    assert batches == list(sampler), "an epoch is the same however often it is drawn"


@pytest.mark.parametrize("kind", KINDS)
def test_epochs_and_seeds_differ(kind: str) -> None:
    labels_NC = long_tail()
    drawn = []
    for seed, epoch in itertools.product((0, 1), (0, 1)):
        sampler = make(kind, labels_NC, seed=seed)
        sampler.set_epoch(epoch)
        drawn.append(str(list(sampler)))
    assert len(set(drawn)) == 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_the_batches_of_one_process(kind: str, world_size: int) -> None:
    labels_NC = long_tail(100)
    whole = list(make(kind, labels_NC, seed=5))
    ranks = [list(make(kind, labels_NC, seed=5, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert {len(rank) for rank in ranks} == {len(whole)}
    for step, batch in enumerate(whole):
        shares = [rank[step] for rank in ranks]
        assert {len(share) for share in shares} == {8 // world_size}
        assert sorted(i for share in shares for i in share) == sorted(batch)


def test_shuffled_epoch_shows_no_image_twice() -> None:
    shown = [i for batch in ShuffledBatches(50, 8) for i in batch]
    assert len(shown) == len(set(shown)) == 48


def test_repeat_factors_by_hand() -> None:
    labels_NC = np.array([[1, 1, 0]] + [[1, 0, 0]] * 14 + [[0, 0, 0]], np.uint8)
    # f = 15/16, 1/16, 0: only the second label is below the threshold, sqrt((1/4) / (1/16)) = 2.
    assert repeat_factors(labels_NC, 0.25).tolist() == [2.0] + [1.0] * 15


@given(labels_NC=label_tables(), threshold=st.floats(0.01, 1.0), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_repeats_are_the_factor_rounded(labels_NC: LabelArray, threshold: float, seed: int) -> None:
    factors = repeat_factors(labels_NC, threshold)
    assert (factors >= 1).all()
    # A batch of 1 loses no more than the rounding of the sum.
    sampler = RepeatFactorBatches(labels_NC, 1, threshold, seed=seed)
    counts = np.bincount([i for batch in sampler for i in batch], minlength=len(labels_NC))
    assert (counts <= np.ceil(factors + 1e-9)).all()
    assert (counts < np.floor(factors + 1e-9)).sum() <= 1
    assert abs(counts.sum() - factors.sum()) <= 1


def test_repeats_average_to_the_factor() -> None:
    labels_NC = long_tail(200)
    sampler = RepeatFactorBatches(labels_NC, 1, 0.3)
    total = np.zeros(200)
    for epoch in range(200):
        sampler.set_epoch(epoch)
        total += np.bincount([i for batch in sampler for i in batch], minlength=200)
    assert np.abs(total / 200 - sampler.factors_N).max() < 0.15


@given(labels_NC=label_tables(), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_label_aware_batches_hold_enough_of_enough_labels(labels_NC: LabelArray, seed: int) -> None:
    members_C = labels_NC.sum(0)
    occurring = int((members_C > 0).sum())
    for batch in LabelAwareBatches(labels_NC, 12, 3, 4, seed=seed):
        assert len(set(batch)) == 12
        held_C = labels_NC[batch].sum(0)
        satisfied = (members_C > 0) & (held_C >= np.minimum(4, members_C))
        assert satisfied.sum() >= min(3, occurring)


def test_images_of_a_rare_label_take_turns() -> None:
    labels_NC = np.zeros((60, 2), np.uint8)
    labels_NC[:, 0], labels_NC[:6, 1] = 1, 1
    sampler = LabelAwareBatches(labels_NC, 6, 2, 2)
    shown = np.bincount([i for batch in sampler for i in batch], minlength=60)[:6]
    assert shown.min() >= 2, "10 batches of 2 places give each of 6 images 3 turns"


def test_coverage_by_hand() -> None:
    labels_NC = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], np.uint8)
    coverage = label_coverage([[0, 1], [2, 3], [1, 2]], labels_NC)
    assert coverage.batches == 3
    assert coverage.images == 1.0
    assert coverage.shown_C.tolist() == [3 / 6, 4 / 6, 0.0]
    assert coverage.paired_C.tolist() == [1 / 3, 1 / 3, 0.0]
    assert coverage.alone == 2 / 6  # the image without labels, and the one beside it
    assert coverage.unpaired_C[:2].tolist() == [1 / 3, 2 / 4]
    assert np.isnan(coverage.unpaired_C[2])
    with pytest.raises(ConfigError, match="no batches"):
        label_coverage([], labels_NC)


def test_samplers_lift_rare_labels_as_documented() -> None:
    """The measured effect: a label on 3 of 600 images almost never meets a partner by chance."""
    labels_NC = long_tail()

    def measured(sampler: BatchSampler) -> float:
        batches = []
        for epoch in range(20):
            sampler.set_epoch(epoch)
            batches += list(sampler)
        coverage = label_coverage(batches, labels_NC)
        assert coverage.images > 0.9
        return float(coverage.paired_C[5])

    chance = measured(ShuffledBatches(600, 32))
    repeated = measured(RepeatFactorBatches(labels_NC, 32, 0.1))
    guaranteed = measured(LabelAwareBatches(labels_NC, 32, 4, 3))
    assert chance < 0.05 < repeated < guaranteed
    assert guaranteed == pytest.approx(4 / 6, abs=0.1)  # drawn for 4 of 6 label places


def test_bad_shapes_are_refused() -> None:
    labels_NC = long_tail(20)
    with pytest.raises(ConfigError, match=r"20 images, fewer than a batch of 32"):
        ShuffledBatches(20, 32)
    with pytest.raises(ConfigError, match=r"rank 0 of 3"):
        ShuffledBatches(20, 8, world_size=3)
    with pytest.raises(ConfigError, match=r"5 labels of 4 images do not fit a batch of 16"):
        LabelAwareBatches(labels_NC, 16, 5, 4)


def test_labels_that_never_occur_alone_in_a_split() -> None:
    nothing = np.zeros((20, 3), np.uint8)
    assert len(list(LabelAwareBatches(nothing, 8, 2, 2))) == 2
    assert len(list(RepeatFactorBatches(nothing, 8, 0.5))) == 2


def test_view_batches_take_every_view_once_in_a_round() -> None:
    count, views = 10, 3
    rows = ShuffledBatches(count, 5, seed=4)
    batches = ViewBatches(rows, views)
    taken: dict[int, list[int]] = {row: [] for row in range(count)}
    for epoch in range(views):
        batches.set_epoch(epoch)
        drawn = [index for batch in batches for index in batch]
        assert [index % count for index in drawn] == [row for batch in rows for row in batch]
        for index in drawn:
            taken[index % count].append(index // count)
    assert all(sorted(each) == list(range(views)) for each in taken.values())
    assert len({each[0] for each in taken.values()}) > 1, "a batch mixes the views"
    assert len(batches) == len(rows)
