"""Encoders that run without torch: a model directory in, unit vectors out."""

from .catalog import ModelInfo, list_models, model_info
from .config import (
    CONFIG_FILE,
    IMAGE_FILE,
    TEXT_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    ModelConfig,
    TextConfig,
    check_weights,
    model_fingerprint,
    read_model_config,
    save_config,
)
from .onnx import OnnxEncoder, load_encoder, read_tokenizer
from .preprocess import normalise, preprocess

__all__ = [
    "CONFIG_FILE",
    "IMAGE_FILE",
    "TEXT_FILE",
    "TOKENIZER_FILE",
    "WEIGHTS_FILE",
    "ModelConfig",
    "ModelInfo",
    "OnnxEncoder",
    "TextConfig",
    "check_weights",
    "list_models",
    "load_encoder",
    "model_fingerprint",
    "model_info",
    "normalise",
    "preprocess",
    "read_model_config",
    "read_tokenizer",
    "save_config",
]
