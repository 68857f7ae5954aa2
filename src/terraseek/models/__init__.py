"""Networks: backbones, text encoders, heads, the embedders made of them; to and from model directories."""

from .backbone import BACKBONES, Backbone, Front, build_backbone
from .efficientnet import EfficientNetLite
from .embedder import (
    ConceptHead,
    Embedding,
    ImageEmbedder,
    NetworkConfig,
    ProjectionHead,
    build_embedder,
    embedder_config,
)
from .export import ExportReport, imagenet_model, load_image_text_model, load_model, orient_model, save_model
from .hierarchical import HierarchicalAggregator
from .image_text import ImageTextEmbedder, TextEmbedder, build_image_text_embedder, text_config
from .momentum import MomentumEncoder
from .orientations import Orientations
from .pooling import GPO, masked_mean, position_codes
from .query_bank import QueryBank
from .resnet import ResNet
from .text import (
    TEXT_ENCODERS,
    GruText,
    TextEncoder,
    TextNetworkConfig,
    TransformerText,
    build_text_encoder,
    minilm_tokenizer,
    minilm_tokenizer_file,
)
from .vocabulary import split_words, word_tokenizer
from .weights import adapt_bands, convert_weights
from .word_vectors import init_word_vectors, minilm_word_vectors

__all__ = [
    "BACKBONES",
    "GPO",
    "TEXT_ENCODERS",
    "Backbone",
    "ConceptHead",
    "EfficientNetLite",
    "Embedding",
    "ExportReport",
    "Front",
    "GruText",
    "HierarchicalAggregator",
    "ImageEmbedder",
    "ImageTextEmbedder",
    "MomentumEncoder",
    "NetworkConfig",
    "Orientations",
    "ProjectionHead",
    "QueryBank",
    "ResNet",
    "TextEmbedder",
    "TextEncoder",
    "TextNetworkConfig",
    "TransformerText",
    "adapt_bands",
    "build_backbone",
    "build_embedder",
    "build_image_text_embedder",
    "build_text_encoder",
    "convert_weights",
    "embedder_config",
    "imagenet_model",
    "init_word_vectors",
    "load_image_text_model",
    "load_model",
    "masked_mean",
    "minilm_tokenizer",
    "minilm_tokenizer_file",
    "minilm_word_vectors",
    "orient_model",
    "position_codes",
    "save_model",
    "split_words",
    "text_config",
    "word_tokenizer",
]
