"""From pixels to network input: the one definition that training, evaluation, archive and search share.

1. resample to (S, S): `terraseek.images.resize_image`; a pixel that is NaN or infinite counts as missing and takes
   its band's mean, which is 0 after step 2
2. (x - mean) / std, per band, in the image's own units
3. (H, W, B) -> (B, H, W), float32
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..images import resize_image
from ..typing import ImageArray
from .config import ModelConfig

__all__ = ["normalise", "preprocess"]


def preprocess(images: Sequence[ImageArray], config: ModelConfig, *, first: int = 0) -> NDArray[np.float32]:
    """Bring images of any size into network input, (N, B, S, S) float32.

    Args:
        images: each (H, W, B), or (H, W) for one band; any numeric type.
        config: says size, bands, mean and std, and how to make an image square.
        first: what messages count the images from, where they are part of more.

    Raises:
        UsageError: an image with another number of bands than the model takes, or without pixels.

    Examples:
        >>> config = ModelConfig(architecture="resnet-18", input_size=2, dim=8, mean=(127.0,), std=(128.0,), bands=1)
        >>> preprocess([np.full((5, 7), 255, np.uint8)], config).tolist()
        [[[[1.0, 1.0], [1.0, 1.0]]]]
    """
    checked = (_checked(image, row, config) for row, image in enumerate(images, first))
    return normalise([resize_image(image, config.input_size, config.resize) for image in checked], config)


def normalise(pixels_NHWB: Sequence[ImageArray] | ImageArray, config: ModelConfig) -> NDArray[np.float32]:
    """Steps 2 and 3 for pixels, (N, S, S, B), that have the network's size already, as a pixel cache holds them."""
    size = config.input_size
    mean_B, std_B = np.asarray(config.mean, np.float32), np.asarray(config.std, np.float32)
    scaled_NBHW = np.empty((len(pixels_NHWB), config.bands, size, size), dtype=np.float32)
    # Band by band: over a last axis of three, numpy takes four times as long as over rows.
    for pixels_HWB, scaled_BHW in zip(pixels_NHWB, scaled_NBHW, strict=True):
        for band, scaled_HW in enumerate(scaled_BHW):
            np.subtract(pixels_HWB[..., band], mean_B[band], out=scaled_HW, dtype=np.float32, casting="same_kind")
            scaled_HW /= std_B[band]
    return scaled_NBHW


def _checked(image: ImageArray, row: int, config: ModelConfig) -> ImageArray:
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or 0 in image.shape:
        raise UsageError(f"image {row} has shape {image.shape}, expected (height, width, bands) with pixels in it")
    if image.shape[2] != config.bands:
        raise UsageError(f"image {row} has {image.shape[2]} bands, the model takes {config.bands}")
    if image.dtype.kind == "f":
        missing = ~np.isfinite(image)
        if missing.any():
            image = np.where(missing, np.asarray(config.mean, np.float32), image)
    elif image.dtype.kind not in "uib":
        raise UsageError(f"image {row} has type {image.dtype}, expected numbers")
    return image
