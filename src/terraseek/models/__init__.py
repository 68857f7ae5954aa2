"""Networks: backbones, heads, the embedders made of them, and their way to and from model directories."""

from .backbone import BACKBONES, Backbone, build_backbone
from .efficientnet import EfficientNetLite
from .embedder import ImageEmbedder, NetworkConfig, ProjectionHead, build_embedder, embedder_config
from .export import ExportReport, imagenet_model, load_model, save_model
from .hierarchical import HierarchicalAggregator
from .pooling import GPO, masked_mean, position_codes
from .resnet import ResNet
from .weights import adapt_bands, convert_weights

__all__ = [
    "BACKBONES",
    "GPO",
    "Backbone",
    "EfficientNetLite",
    "ExportReport",
    "HierarchicalAggregator",
    "ImageEmbedder",
    "NetworkConfig",
    "ProjectionHead",
    "ResNet",
    "adapt_bands",
    "build_backbone",
    "build_embedder",
    "convert_weights",
    "embedder_config",
    "imagenet_model",
    "load_model",
    "masked_mean",
    "position_codes",
    "save_model",
]
