"""A bank of training captions by which images that are near to every text are held back in searches by text."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError

__all__ = ["QueryBank"]


class QueryBank(nn.Module):
    """Holds back hubs: images near to captions of all kinds, which crowd the first places of every search by text.

    How much of a hub image v is, its mean cosine with captions c_1..c_K, the nearest ones weighing most:

        b(v) = tau * log(1/K * sum_k exp(<v, c_k> / tau))

    A search by text t is to rank by <v, t> - w * (b(v) - level). To need nothing of a search but the cosine, both sides
    get one dimension more: images -w / kappa * (b(v) - level), texts kappa; then all are brought back to unit length.
    That divides the above by the length of each image's extended vector, which is close to 1, as the new coordinate is
    small; for the same reason images rank images almost as before. They rank texts as before.

    After querybank normalisation, https://arxiv.org/abs/2112.12777, which divides by the sum of exponentials where a
    part of its logarithm is subtracted here, and CSLS, https://arxiv.org/abs/1710.04087, which takes half of the mean
    over the ten nearest in place of half of b.

    Args:
        size: number of captions K.
        dim: number of dimensions of their vectors, D.

    Attributes:
        captions_KD: their unit vectors, (K, D).
        level: mean of b over images.
        temperature: tau. This and the next two belong to the format of models, which keep captions and level alone.
        weight: w; 1 would take away all that b says.
        share: kappa.

    Raises:
        UsageError: no caption.
    """

    temperature: ClassVar[float] = 0.07
    weight: ClassVar[float] = 0.5
    share: ClassVar[float] = 0.5

    captions_KD: Tensor
    level: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1:
            raise UsageError("a query bank needs captions")
        self.register_buffer("captions_KD", torch.zeros(size, dim))
        self.register_buffer("level", torch.zeros(()))

    @classmethod
    @torch.no_grad()
    def of(cls, captions_KD: Tensor, images_ND: Tensor) -> QueryBank:
        """The bank of some captions, with the level of some images.

        Args:
            captions_KD: unit vectors of the captions.
            images_ND: unit vectors of images like those that will be searched.

        Raises:
            UsageError: no caption or no image, or the two differ in their dimensions.
        """
        if not len(images_ND) or captions_KD.shape[1] != images_ND.shape[1]:
            raise UsageError(
                f"captions are {tuple(captions_KD.shape)}, images {tuple(images_ND.shape)}: a query bank needs some of "
                "both, of the same dimensions"
            )
        bank = cls(*captions_KD.shape).to(captions_KD)  # its device and precision
        bank.captions_KD.copy_(captions_KD)
        bank.level.copy_(bank.hubness(images_ND).mean())
        return bank

    def hubness(self, images_ND: Tensor) -> Tensor:
        """How much of a hub each image is, b, (N,)."""
        scaled_NK = images_ND @ self.captions_KD.T / self.temperature
        return self.temperature * (scaled_NK.logsumexp(1) - math.log(len(self.captions_KD)))

    def forward(self, images_ND: Tensor) -> Tensor:
        """Unit vectors of images with the further dimension, (N, D + 1)."""
        held_back_N = self.weight / self.share * (self.hubness(images_ND) - self.level)
        return F.normalize(torch.cat([images_ND, -held_back_N[:, None]], 1), dim=-1)

    @classmethod
    def extend_texts(cls, texts_ND: Tensor) -> Tensor:
        """Unit vectors of texts with the further dimension, (N, D + 1)."""
        return F.normalize(torch.cat([texts_ND, torch.full_like(texts_ND[:, :1], cls.share)], 1), dim=-1)
