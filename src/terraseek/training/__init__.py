"""Training from recipes: data, samplers, augmentation, the Lightning task, runs, and the judgement of their models."""

from .augmentation import augment
from .caption_evaluation import evaluate_captions
from .caption_sections import ConceptsConfig, ContrastConfig, ObjectiveConfig, ObjectivesConfig, TextSideConfig
from .caption_table import Captions, CaptionTable, caption_tokenizer
from .caption_task import ConceptTargets, ImageTextTask, Objectives
from .datamodule import Batch, ImageData, PixelSplit, Split, band_statistics
from .evaluation import embed_dataset, evaluate_model
from .front import FrontLayout, FrontSplit
from .knowledge import Knowledge, KnowledgeMode, mine_captions, mine_concepts
from .recipe import Recipe, load_recipe, resolve_recipe
from .run import Run, preview, resolve_precision, train
from .samplers import (
    BatchSampler,
    Coverage,
    LabelAwareBatches,
    RepeatFactorBatches,
    ShuffledBatches,
    ViewBatches,
    build_sampler,
    label_coverage,
    repeat_factors,
)
from .sections import (
    ArchitectureConfig,
    AugmentationConfig,
    DataConfig,
    LossConfig,
    OptimizerConfig,
    SamplerConfig,
    TrainerConfig,
)
from .task import ImageTask

__all__ = [
    "ArchitectureConfig",
    "AugmentationConfig",
    "Batch",
    "BatchSampler",
    "CaptionTable",
    "Captions",
    "ConceptTargets",
    "ConceptsConfig",
    "ContrastConfig",
    "Coverage",
    "DataConfig",
    "FrontLayout",
    "FrontSplit",
    "ImageData",
    "ImageTask",
    "ImageTextTask",
    "Knowledge",
    "KnowledgeMode",
    "LabelAwareBatches",
    "LossConfig",
    "ObjectiveConfig",
    "Objectives",
    "ObjectivesConfig",
    "OptimizerConfig",
    "PixelSplit",
    "Recipe",
    "RepeatFactorBatches",
    "Run",
    "SamplerConfig",
    "ShuffledBatches",
    "Split",
    "TextSideConfig",
    "TrainerConfig",
    "ViewBatches",
    "augment",
    "band_statistics",
    "build_sampler",
    "caption_tokenizer",
    "embed_dataset",
    "evaluate_captions",
    "evaluate_model",
    "label_coverage",
    "load_recipe",
    "mine_captions",
    "mine_concepts",
    "preview",
    "repeat_factors",
    "resolve_precision",
    "resolve_recipe",
    "train",
]
