"""Data sets as they are distributed: images, labels, captions and splits, checked while they are read."""

from __future__ import annotations

from . import bigearthnet, dlrsd, mlaid, mlrsnet, table, ucmerced, whdld  # their import enters them in DATASETS
from .cache import PixelCache
from .catalog import DATASETS, LABELS_17, DatasetSpec, Origin, load_dataset
from .check import DatasetReport, check_dataset, describe
from .dataset import ImageDataset, Sample, hash_splits, multi_hot
from .splits import draw_splits, read_splits, write_splits
from .synthetic import synthesize

__all__ = [
    "DATASETS",
    "LABELS_17",
    "DatasetReport",
    "DatasetSpec",
    "ImageDataset",
    "Origin",
    "PixelCache",
    "Sample",
    "bigearthnet",
    "check_dataset",
    "describe",
    "dlrsd",
    "draw_splits",
    "hash_splits",
    "load_dataset",
    "mlaid",
    "mlrsnet",
    "multi_hot",
    "read_splits",
    "synthesize",
    "table",
    "ucmerced",
    "whdld",
    "write_splits",
]
