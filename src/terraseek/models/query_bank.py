"""A bank of training captions by which images that are near to every text are held back in searches by text."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["QueryBank"]


class QueryBank(nn.Module):
    """Holds back hubs: images near to captions of all kinds, which crowd the first places of every search by text.

    How much of a hub image v is, its mean cosine with captions c_1..c_K, the nearest ones weighing most:

        b(v) = tau * log(1/K * sum_k exp(<v, c_k> / tau))

    A search by text t ranks by <v, t> - w * (b(v) - level). To need nothing of a search but the cosine, both sides get
    one dimension more: images -w / kappa * (b(v) - level), texts kappa; then all are brought back to unit length.
    Images rank texts as before, and other images almost as before: their new coordinate is small.

    After querybank normalisation, https://arxiv.org/abs/2112.12777, which divides by the sum of exponentials where a
    part of its logarithm is subtracted here, and CSLS, https://arxiv.org/abs/1710.04087, whose mean over the nearest is
    the limit of a small tau.

    Args:
        size: number of captions K.
        dim: number of dimensions of their vectors, D.

    Attributes:
        temperature: tau.
        weight: w; 1 would take away all that b says.
        share: kappa.
    """

    temperature: ClassVar[float] = 0.07
    weight: ClassVar[float] = 0.5
    share: ClassVar[float] = 0.5

    captions_KD: Tensor
    level: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("captions_KD", torch.zeros(size, dim))
        self.register_buffer("level", torch.zeros(()))

    @classmethod
    @torch.no_grad()
    def of(cls, captions_KD: Tensor, images_ND: Tensor) -> QueryBank:
        """The bank of these captions' unit vectors; the level is the mean over these images' unit vectors."""
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
