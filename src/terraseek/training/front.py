"""What the frozen front of a backbone made of a split's images, as batches and as the network takes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import IntegrityError
from ..models import Front
from .datamodule import Batch, Split

__all__ = ["FrontLayout", "FrontSplit"]


@dataclass(frozen=True)
class FrontLayout:
    """How a `Front` lies in a row of numbers.

    Attributes:
        stages: how many stages of the backbone it has.
        shapes: (C, H, W) of its maps, one after another, each with its channels last.
    """

    stages: int
    shapes: tuple[tuple[int, int, int], ...]

    @property
    def size(self) -> int:
        """Numbers in a row."""
        return sum(map(math.prod, self.shapes))

    def pack(self, front: Front) -> Tensor:
        """Rows of half precision, (N, P).

        Raises:
            IntegrityError: a value beyond the range of half precision.
        """
        flat_NP = torch.cat([each.permute(0, 2, 3, 1).flatten(1) for each in front.maps], dim=1).half()
        if not flat_NP.isfinite().all():
            raise IntegrityError(
                "the frozen part of the backbone gives values beyond half precision: set augmentation.kept_views to 0"
            )
        return flat_NP

    def unpack(self, flat_NP: Tensor) -> Front:
        """The front of each row, in float32."""
        parts = torch.split(flat_NP, [math.prod(shape) for shape in self.shapes], dim=1)
        maps = (
            part.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
            for part, (channels, height, width) in zip(parts, self.shapes, strict=True)
        )
        return Front(self.stages, tuple(each.to(torch.float32, memory_format=torch.channels_last) for each in maps))


@dataclass(frozen=True, eq=False, kw_only=True)
class FrontSplit(Split):
    """One split as the frozen front of a backbone sees it.

    Attributes:
        fronts: (V * N, P) float16, a memory map: all images in the first view, all in the second, ...
    """

    fronts: NDArray[np.float16]

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        places = np.asarray(indices, dtype=np.int64)
        rows = places % len(self)
        return Batch(
            torch.from_numpy(self.fronts[places]),
            torch.from_numpy(self.labels_NC[rows].astype(np.float32)),
            torch.from_numpy(rows),
        )
