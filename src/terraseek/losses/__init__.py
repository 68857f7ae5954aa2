"""Losses on embeddings and multi-hot labels: MACL and what it is compared with.

>>> import torch
>>> from terraseek.losses import LabelStatistics, MACLLoss
>>> train_labels = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 0, 1]])
>>> loss = MACLLoss(LabelStatistics.from_labels(train_labels))
>>> embeddings = torch.randn(3, 8, generator=torch.manual_seed(0), requires_grad=True)
>>> loss(embeddings, train_labels).backward()
"""

from .base import LOSSES, ContrastiveLoss, Pairs, SoftmaxLoss
from .bce import BCELoss
from .build import build_loss
from .distributed import distributed_loss, gather_rows
from .functional import weighted_supcon
from .macl import MACLConfig, MACLLoss
from .multi_supcon import MulSupConLoss, MultiSupConLoss
from .ntxent import NTXentLoss
from .proxy_anchor import ProxyAnchorLoss
from .queue import EmbeddingQueue, QueueView
from .similarity_dissimilarity import SimilarityDissimilarityLoss
from .sndl import SNDLoss
from .statistics import LabelStatistics
from .supcon import AllSupConLoss, AnySupConLoss, SupConLoss
from .triplet import TripletLoss

__all__ = [
    "LOSSES",
    "AllSupConLoss",
    "AnySupConLoss",
    "BCELoss",
    "ContrastiveLoss",
    "EmbeddingQueue",
    "LabelStatistics",
    "MACLConfig",
    "MACLLoss",
    "MulSupConLoss",
    "MultiSupConLoss",
    "NTXentLoss",
    "Pairs",
    "ProxyAnchorLoss",
    "QueueView",
    "SNDLoss",
    "SimilarityDissimilarityLoss",
    "SoftmaxLoss",
    "SupConLoss",
    "TripletLoss",
    "build_loss",
    "distributed_loss",
    "gather_rows",
    "weighted_supcon",
]
