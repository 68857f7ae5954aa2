"""What is done to a batch of training images: symmetries of the view from above, crops, colour.

Everything geometric is one affine resampling per image, everything radiometric a few elementwise operations: on two
CPU cores several thousand images per second, more than any network here consumes. The draws come from a generator
on the CPU, so that a seed means the same on every device.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .sections import AugmentationConfig

__all__ = ["augment"]


def augment(images_NHWB: Tensor, size: int, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """Draw one augmented view of each image.

    Args:
        images_NHWB: pixels of any number type and scale; uint8 stays within 0..255.
        size: side of the result; images should not be much more than twice as large, for crops are interpolated
            bilinearly without a filter.
        config: what is drawn.
        generator: a CPU generator; its state decides everything.

    Returns:
        (N, B, size, size) float32 on the scale of the input.

    Examples:
        >>> still = AugmentationConfig(symmetries=False, min_area=1.0, brightness=0, contrast=0, saturation=0)
        >>> image = torch.arange(16.0).reshape(1, 4, 4, 1)
        >>> torch.equal(augment(image, 4, still, torch.Generator())[0, 0], image[0, ..., 0])
        True
    """
    count, _, _, bands = images_NHWB.shape
    theta_N23 = _affine(count, config, generator).to(images_NHWB.device)
    grid = F.affine_grid(theta_N23, [count, bands, size, size], align_corners=False)
    x_NBHW = images_NHWB.permute(0, 3, 1, 2).float()
    # Sampling points at the very border lie half a pixel outside the outermost centres.
    x_NBHW = F.grid_sample(x_NBHW, grid, align_corners=False, padding_mode="border")
    x_NBHW = _colour(x_NBHW, config, generator)
    return x_NBHW.clamp_(0, 255) if images_NHWB.dtype == torch.uint8 else x_NBHW


def _affine(count: int, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """From output to input coordinates, (N, 2, 3): a crop inside the image, turned and mirrored."""

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    area = uniform(config.min_area, 1.0)
    aspect = torch.exp(uniform(-1.0, 1.0) * math.log(config.max_aspect))
    # Both sides fit into the image: cutting one that does not would take from the area that was drawn.
    aspect = aspect.clamp(area, 1 / area)
    width, height = (area * aspect).sqrt().clamp(max=1.0), (area / aspect).sqrt().clamp(max=1.0)
    shift_x, shift_y = uniform(-1.0, 1.0) * (1 - width), uniform(-1.0, 1.0) * (1 - height)
    scale = torch.diag_embed(torch.stack([width, height], dim=1))
    turns = torch.randint(0, 4, (count,), generator=generator)
    mirrored = torch.randint(0, 2, (count,), generator=generator)
    if config.symmetries:
        # Integers, not sines: a quarter turn must map pixel centres exactly onto pixel centres.
        cosine, sine = torch.tensor([1.0, 0.0, -1.0, 0.0])[turns], torch.tensor([0.0, 1.0, 0.0, -1.0])[turns]
        rotation = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
        flip = torch.diag_embed(torch.stack([1.0 - 2.0 * mirrored, torch.ones(count)], dim=1))
        scale = scale @ rotation @ flip
    return torch.cat([scale, torch.stack([shift_x, shift_y], dim=1)[..., None]], dim=2)


def _colour(x_NBHW: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation, each a factor per image."""

    def factor(strength: float) -> Tensor:
        drawn = 1 + strength * (2 * torch.rand(len(x_NBHW), 1, 1, 1, generator=generator) - 1)
        return drawn.to(x_NBHW.device)

    if config.brightness:
        x_NBHW = x_NBHW * factor(config.brightness)
    if config.contrast:
        mean = x_NBHW.mean((1, 2, 3), keepdim=True)
        x_NBHW = mean + (x_NBHW - mean) * factor(config.contrast)
    if config.saturation:
        grey = x_NBHW.mean(1, keepdim=True)
        x_NBHW = grey + (x_NBHW - grey) * factor(config.saturation)
    return x_NBHW
