"""After a training on captions: the bank of its captions that holds back hubs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..encoders import ModelConfig, preprocess
from ..models import ImageTextEmbedder, QueryBank
from .caption_table import CaptionTable
from .datamodule import PixelSplit

__all__ = ["add_query_bank"]

_BATCH = 128
_IMAGES = 256  # at least, where there are as many: their mean b moves scores all alike, but for the unit length


@torch.no_grad()
def add_query_bank(
    network: ImageTextEmbedder, config: ModelConfig, captions: CaptionTable, images: PixelSplit, most: int, seed: int
) -> ModelConfig:
    """Give a trained network the bank of its training captions, and return its new config.

    Args:
        network: goes into evaluation mode.
        config: what it was until now.
        captions: of the training split.
        images: of the training split.
        most: captions in the bank at most; equal ones count once.
        seed: decides which.
    """
    network.eval()
    device = next(network.parameters()).device
    drawn = captions.distinct(most, _BATCH, torch.Generator().manual_seed(seed))
    captions_KD = torch.cat([network.text(each.tokens_TL.to(device), each.mask_TL.to(device)) for each in drawn])
    images_ND = torch.cat([network.image(batch.to(device)) for batch in _evenly(images, config)])
    return network.add_query_bank(QueryBank.of(captions_KD, images_ND), config)


def _evenly(split: PixelSplit, config: ModelConfig) -> Iterator[Tensor]:
    """Network input of images from all over the split."""
    rows = range(0, len(split), max(1, len(split) // _IMAGES))
    for first in range(0, len(rows), _BATCH):
        yield torch.from_numpy(preprocess(list(split.images[list(rows[first : first + _BATCH])]), config))
