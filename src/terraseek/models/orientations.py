"""The orientations in which an image seen from above may be embedded: north is up by habit alone."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["Orientations", "in_orientations"]

Orientations = Literal[1, 4, 8]


def in_orientations(images_NBSS: Tensor, count: Orientations) -> Tensor:
    """Square images in their quarter turns, one after another, (count * N, B, S, S); 8 adds their mirror images."""
    turned = [torch.rot90(images_NBSS, quarters, (2, 3)) for quarters in range(min(count, 4))]
    return torch.cat(turned if count < 8 else [*turned, *(each.flip(3) for each in turned)])
