"""Augmentation: the eight symmetries exactly, crops inside the image, colours within bounds, seeds obeyed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.training import AugmentationConfig, augment

STILL = AugmentationConfig(symmetries=False, min_area=1.0, brightness=0.0, contrast=0.0, saturation=0.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, side: int = 8, bands: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, side, side, bands), generator=generator(seed), dtype=torch.uint8)


def test_nothing_switched_on_changes_nothing() -> None:
    batch = images(3)
    assert torch.equal(augment(batch, 8, STILL, generator()), batch.permute(0, 3, 1, 2).float())


def test_symmetries_are_the_eight_of_the_square_and_nothing_else() -> None:
    one = images(1)
    drawn = augment(one.expand(400, -1, -1, -1), 8, dataclasses.replace(STILL, symmetries=True), generator())
    square = one[0].permute(2, 0, 1).float()
    allowed = [torch.rot90(view, turns, (1, 2)) for view in (square, square.flip(2)) for turns in range(4)]
    counts = np.zeros(8)
    for view in drawn:
        distances = [float((view - candidate).abs().max()) for candidate in allowed]
        assert min(distances) < 1e-3
        counts[int(np.argmin(distances))] += 1
    assert counts.min() > 25, "each of the eight is drawn one time in eight: 50 of 400"


@given(seed=st.integers(0, 999), area=st.floats(0.2, 1.0), aspect=st.floats(1.0, 2.0))
@settings(max_examples=30, deadline=None)
def test_crops_stay_inside_and_keep_their_size(seed: int, area: float, aspect: float) -> None:
    """On a ramp, a crop's values tell where it lies: its span is its width."""
    side = 64
    ramp = torch.arange(side, dtype=torch.float32)[None, None, :, None].expand(5, side, side, 1)
    config = dataclasses.replace(STILL, min_area=area, max_aspect=aspect)
    out = augment(ramp, 32, config, generator(seed))
    assert out.min() >= 0
    assert out.max() <= side - 1
    width_N = (out[:, 0, :, -1] - out[:, 0, :, 0])[:, 0] / side * 32 / 31
    narrowest = (area / aspect) ** 0.5
    assert (width_N > narrowest - 0.05).all()


@pytest.mark.parametrize("least", [0.3, 0.8, 1.0])
def test_crops_of_another_aspect_keep_their_area(least: float) -> None:
    """On ramps along both sides, a crop's values tell its width and its height."""
    side = 64
    along = torch.arange(side, dtype=torch.float32)
    ramps = torch.stack(torch.meshgrid(along, along, indexing="ij"), dim=-1).expand(500, side, side, 2)
    out = augment(ramps, side, dataclasses.replace(STILL, min_area=least, max_aspect=2.0), generator())
    middle = out[:, :, 8:-8, 8:-8]  # beyond the border's pixels, which repeat
    height_N, width_N = (middle[:, i].diff(dim=1 + i).mean((1, 2)) for i in (0, 1))
    assert (width_N * height_N > least - 1e-3).all()
    assert max(width_N.max(), height_N.max()) < 1 + 1e-4
    aspect_N = width_N / height_N
    assert ((aspect_N > 0.5 - 1e-3) & (aspect_N < 2 + 1e-3)).all()
    if least < 0.5:
        assert (width_N * height_N).min() < least + 0.05, "all areas are drawn"
        assert aspect_N.max() > 1.9


def test_crop_positions_cover_the_image() -> None:
    ramp = torch.arange(32, dtype=torch.float32)[None, None, :, None].expand(300, 32, 32, 1)
    out = augment(ramp, 16, dataclasses.replace(STILL, min_area=0.25), generator())
    left, right = out[:, 0, 0, 0], out[:, 0, 0, -1]
    assert left.min() < 2
    assert right.max() > 29
    assert left.max() > 10, "crops lie at the right as well"


def test_brightness_scales_each_image_by_one_factor() -> None:
    batch = torch.full((200, 4, 4, 3), 100, dtype=torch.uint8)
    out = augment(batch, 4, dataclasses.replace(STILL, brightness=0.3), generator())
    factor_N = out[:, 0, 0, 0] / 100
    assert torch.equal(out, out[:, :1, :1, :1].expand_as(out))
    assert 0.7 <= factor_N.min() < 0.75
    assert 1.25 < factor_N.max() <= 1.3


def test_contrast_keeps_the_mean_and_saturation_keeps_grey() -> None:
    batch = images(20).clamp(60, 200)
    plain = batch.permute(0, 3, 1, 2).float()
    contrast = augment(batch, 8, dataclasses.replace(STILL, contrast=0.2), generator())
    assert torch.allclose(contrast.mean((1, 2, 3)), plain.mean((1, 2, 3)), atol=1e-2)
    assert not torch.allclose(contrast, plain)
    saturated = augment(batch, 8, dataclasses.replace(STILL, saturation=0.2), generator())
    assert torch.allclose(saturated.mean(1), plain.mean(1), atol=1e-2)


def test_eight_bit_images_stay_in_range_and_measurements_do_not_have_to() -> None:
    config = AugmentationConfig(brightness=0.9, contrast=0.9)
    out = augment(images(50), 8, config, generator())
    assert out.min() >= 0
    assert out.max() <= 255
    bands = torch.randn(50, 8, 8, 12, generator=generator()) * 3000
    out = augment(bands, 8, config, generator())
    assert out.shape == (50, 12, 8, 8)
    assert out.max() > 5000
    assert out.min() < 0


@pytest.mark.parametrize("same", [True, False])
def test_seed_decides(same: bool) -> None:
    batch, config = images(6, 16), AugmentationConfig()
    first, second = augment(batch, 12, config, generator(1)), augment(batch, 12, config, generator(1 if same else 2))
    assert torch.equal(first, second) == same
