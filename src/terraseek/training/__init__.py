"""Training from recipes: data, samplers, augmentation, the Lightning task, runs, and the judgement of their models."""

from .augmentation import augment
from .datamodule import Batch, ImageData, PixelSplit, band_statistics
from .evaluation import embed_dataset, evaluate_model
from .knowledge import Knowledge, KnowledgeMode, mine_captions, mine_concepts
from .recipe import (
    ArchitectureConfig,
    AugmentationConfig,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    Recipe,
    SamplerConfig,
    TrainerConfig,
    load_recipe,
)
from .run import Run, train
from .samplers import (
    BatchSampler,
    Coverage,
    LabelAwareBatches,
    RepeatFactorBatches,
    ShuffledBatches,
    build_sampler,
    label_coverage,
    repeat_factors,
)
from .task import ImageTask

__all__ = [
    "ArchitectureConfig",
    "AugmentationConfig",
    "Batch",
    "BatchSampler",
    "Coverage",
    "DataConfig",
    "ImageData",
    "ImageTask",
    "Knowledge",
    "KnowledgeMode",
    "LabelAwareBatches",
    "LossConfig",
    "OptimizerConfig",
    "PixelSplit",
    "Recipe",
    "RepeatFactorBatches",
    "Run",
    "SamplerConfig",
    "ShuffledBatches",
    "TrainerConfig",
    "augment",
    "band_statistics",
    "build_sampler",
    "embed_dataset",
    "evaluate_model",
    "label_coverage",
    "load_recipe",
    "mine_captions",
    "mine_concepts",
    "repeat_factors",
    "train",
]
