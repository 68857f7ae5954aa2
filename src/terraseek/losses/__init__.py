"""Losses on embeddings and multi-hot labels: MACL and what it is compared with.

>>> import torch
>>> from terraseek.losses import LabelStatistics, MACLLoss
>>> train_labels = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 0, 1]])
>>> loss = MACLLoss(LabelStatistics.from_labels(train_labels))
>>> embeddings = torch.randn(3, 8, generator=torch.manual_seed(0), requires_grad=True)
>>> loss(embeddings, train_labels).backward()
"""

from .base import LOSSES, ContrastiveLoss, Pairs, SoftmaxLoss
from .build import build_loss
from .functional import weighted_supcon
from .macl import MACLConfig, MACLLoss
from .multi_supcon import MulSupConLoss, MultiSupConLoss
from .statistics import LabelStatistics
from .supcon import AllSupConLoss, AnySupConLoss, SupConLoss

__all__ = [
    "LOSSES",
    "AllSupConLoss",
    "AnySupConLoss",
    "ContrastiveLoss",
    "LabelStatistics",
    "MACLConfig",
    "MACLLoss",
    "MulSupConLoss",
    "MultiSupConLoss",
    "Pairs",
    "SoftmaxLoss",
    "SupConLoss",
    "build_loss",
    "weighted_supcon",
]
