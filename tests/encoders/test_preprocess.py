from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from terraseek.encoders import ModelConfig, normalise, preprocess
from terraseek.errors import UsageError

RNG = np.random.default_rng(0)


def config(bands: int = 3, size: int = 16, **changes: Any) -> ModelConfig:
    values: dict[str, Any] = {
        "mean": tuple(10.0 + b for b in range(bands)),
        "std": tuple(2.0 + b for b in range(bands)),
    }
    return ModelConfig(architecture="resnet-18", input_size=size, dim=8, bands=bands, **(values | changes))


def test_definition_step_by_step() -> None:
    images = [RNG.integers(0, 256, shape, dtype=np.uint8) for shape in ((40, 30, 3), (16, 16, 3), (5, 9, 3))]
    got = preprocess(images, config())
    assert (got.shape, got.dtype) == ((3, 3, 16, 16), np.float32)
    for image, result in zip(images, got, strict=True):
        small = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR)).astype(np.float64)
        for band in range(3):
            np.testing.assert_allclose(result[band], (small[..., band] - (10 + band)) / (2 + band), rtol=1e-6)


def test_cached_pixels_of_the_right_size_give_the_same() -> None:
    image = RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)
    cached = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(normalise(cached[None], config()), preprocess([image], config()))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("bands", [1, 2, 4, 12])
def test_any_bands_and_types(bands: int, dtype: type) -> None:
    image = RNG.integers(0, 200, (21, 18, bands)).astype(dtype)
    got = preprocess([image], config(bands))
    reference = preprocess([image.astype(np.float32)], config(bands))
    assert got.shape == (1, bands, 16, 16)
    np.testing.assert_allclose(got, reference, atol=0.5)  # 8-bit pixels are rounded, once along each axis


def test_grey_image_without_a_band_axis() -> None:
    grey = RNG.integers(0, 256, (9, 9), dtype=np.uint8)
    np.testing.assert_array_equal(preprocess([grey], config(1)), preprocess([grey[..., None]], config(1)))


def test_missing_pixels_take_the_mean() -> None:
    image = np.full((16, 16, 3), np.nan, np.float32)
    image[:, :, 1] = np.inf
    assert not preprocess([image], config()).any()
    image[:8] = 50.0
    assert np.isfinite(preprocess([image], config(size=7))).all()


def test_shorter_crop_ignores_the_ends() -> None:
    image = np.zeros((16, 64, 3), np.uint8)
    image[:, 24:40] = 99
    middle = preprocess([image], config(resize="shorter-crop", mean=(99.0,) * 3))
    assert not middle.any()
    assert preprocess([image], config(mean=(99.0,) * 3)).any()


def test_no_images_give_no_rows() -> None:
    assert preprocess([], config()).shape == (0, 3, 16, 16)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 4), np.uint8), "image 1 has 4 bands, the model takes 3"),
        (np.zeros((8, 8), np.uint8), "image 1 has 1 bands, the model takes 3"),
        (np.zeros((0, 8, 3), np.uint8), "image 1 has shape"),
        (np.zeros((2, 8, 8, 3), np.uint8), "image 1 has shape"),
        (np.zeros((8, 8, 3), np.complex64), "image 1 has type complex64"),
    ],
)
def test_what_is_no_image_is_named(image: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        preprocess([np.zeros((8, 8, 3), np.uint8), image], config())
