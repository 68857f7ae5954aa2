"""Data sets as they are distributed: images, labels, captions and splits, checked while they are read."""

from __future__ import annotations

from ..texts import caption_hash, normalise_caption
from . import (
    bigearthnet,
    captioned,
    dlrsd,
    mlaid,
    mlrsnet,
    table,
    ucmerced,
    whdld,
)  # their import enters them in DATASETS
from .cache import PixelCache
from .captions import caption_statistics, vocabulary
from .catalog import DATASETS, LABELS_17, DatasetSpec, Download, Origin, load_dataset
from .check import DatasetReport, check_dataset, describe
from .dataset import ImageDataset, Sample, hash_splits, multi_hot
from .download import download_dataset
from .splits import draw_splits, read_splits, write_splits
from .synthetic import synthesize

__all__ = [
    "DATASETS",
    "LABELS_17",
    "DatasetReport",
    "DatasetSpec",
    "Download",
    "ImageDataset",
    "Origin",
    "PixelCache",
    "Sample",
    "bigearthnet",
    "caption_hash",
    "caption_statistics",
    "captioned",
    "check_dataset",
    "describe",
    "dlrsd",
    "download_dataset",
    "draw_splits",
    "hash_splits",
    "load_dataset",
    "mlaid",
    "mlrsnet",
    "multi_hot",
    "normalise_caption",
    "read_splits",
    "synthesize",
    "table",
    "ucmerced",
    "vocabulary",
    "whdld",
    "write_splits",
]
