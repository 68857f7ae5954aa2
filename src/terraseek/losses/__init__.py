"""Losses on embeddings and multi-hot labels, MACL and what it is compared with; losses between images and texts.

>>> import torch
>>> from terraseek.losses import LabelStatistics, MACLLoss
>>> train_labels = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 0, 1]])
>>> loss = MACLLoss(LabelStatistics.from_labels(train_labels))
>>> embeddings = torch.randn(3, 8, generator=torch.manual_seed(0), requires_grad=True)
>>> loss(embeddings, train_labels).backward()
"""

from .alignment import ConceptAlignment
from .base import LOSSES, ContrastiveLoss, Pairs, SoftmaxLoss
from .bce import BCELoss
from .build import build_cross_modal_loss, build_loss, resolve_cross_modal_options, resolve_options
from .cross_modal import (
    CROSS_MODAL_LOSSES,
    CrossModalLoss,
    CrossModalPairs,
    HardTripletLoss,
    InfoNCELoss,
    MultiPositiveLoss,
    SigmoidLoss,
)
from .distributed import distributed_loss, gather_rows
from .functional import weighted_supcon
from .graded import GradedConfig, GradedLoss
from .macl import MACLConfig, MACLLoss
from .matching import CaptionMatches, PairRelevance, anchor_rarity, number_captions, pair_relevance
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
    "CROSS_MODAL_LOSSES",
    "LOSSES",
    "AllSupConLoss",
    "AnySupConLoss",
    "BCELoss",
    "CaptionMatches",
    "ConceptAlignment",
    "ContrastiveLoss",
    "CrossModalLoss",
    "CrossModalPairs",
    "EmbeddingQueue",
    "GradedConfig",
    "GradedLoss",
    "HardTripletLoss",
    "InfoNCELoss",
    "LabelStatistics",
    "MACLConfig",
    "MACLLoss",
    "MulSupConLoss",
    "MultiPositiveLoss",
    "MultiSupConLoss",
    "NTXentLoss",
    "PairRelevance",
    "Pairs",
    "ProxyAnchorLoss",
    "QueueView",
    "SNDLoss",
    "SigmoidLoss",
    "SimilarityDissimilarityLoss",
    "SoftmaxLoss",
    "SupConLoss",
    "TripletLoss",
    "anchor_rarity",
    "build_cross_modal_loss",
    "build_loss",
    "distributed_loss",
    "gather_rows",
    "number_captions",
    "pair_relevance",
    "resolve_cross_modal_options",
    "resolve_options",
    "weighted_supcon",
]
