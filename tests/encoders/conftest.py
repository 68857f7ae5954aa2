"""A model directory small enough to be known by heart, made without torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from terraseek.encoders import ModelConfig, TextConfig, save_config

BANDS, SIZE, DIM = 3, 8, 4
WEIGHT = np.random.default_rng(3).normal(size=(BANDS, DIM)).astype(np.float32)


def write_image_onnx(path: Path, *, size: int = SIZE, weight: np.ndarray = WEIGHT, concepts: int = 0) -> None:
    """Mean colour, a linear map, L2 norm; the concepts' scores are the sigmoids of the first bands' means."""
    bands, dim = weight.shape
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["pooled"], keepdims=0),
        helper.make_node("MatMul", ["pooled", "weight"], ["mapped"]),
        helper.make_node("LpNormalization", ["mapped"], ["vectors"], axis=-1, p=2),
    ]
    outputs = [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["N", dim])]
    constants = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.array([2, 3]), "axes")]
    if concepts:
        nodes += [
            helper.make_node("Slice", ["pooled", "from", "to", "over"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["concepts"]),
        ]
        outputs.append(helper.make_tensor_value_info("concepts", TensorProto.FLOAT, ["N", concepts]))
        constants += [
            numpy_helper.from_array(np.array([at]), name) for name, at in (("from", 0), ("to", concepts), ("over", 1))
        ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", bands, size, size])
    graph = helper.make_graph(nodes, "image", [image], outputs, constants)
    save(graph, path)


def write_text_onnx(path: Path, vectors: np.ndarray) -> None:
    """Masked mean of word vectors, L2 norm."""
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["words"]),
        helper.make_node("Cast", ["mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["column"]),
        helper.make_node("Mul", ["words", "column"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "time"], ["sum"], keepdims=0),
        helper.make_node("LpNormalization", ["sum"], ["vectors"], axis=-1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "text",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["N", "L"]) for name in ("tokens", "mask")],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["N", vectors.shape[1]])],
        [
            numpy_helper.from_array(vectors, "table"),
            numpy_helper.from_array(np.array([-1]), "last"),
            numpy_helper.from_array(np.array([1]), "time"),
        ],
    )
    save(graph, path)


def save(graph: onnx.GraphProto, path: Path) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


WORDS = {"[PAD]": 0, "[UNK]": 1, "beach": 2, "forest": 3, "river": 4}
WORD_VECTORS = np.random.default_rng(4).normal(size=(len(WORDS), DIM)).astype(np.float32)


def write_tokenizer(path: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Write a model directory; keywords override its config."""

    def make(name: str = "mean-colour", *, text: bool = False, **changes: Any) -> Path:
        directory = tmp_path / name
        directory.mkdir(parents=True)
        values: dict[str, Any] = {
            "architecture": "mean-colour",
            "input_size": SIZE,
            "dim": DIM,
            "mean": (127.0,) * BANDS,
            "std": (128.0,) * BANDS,
            "label_names": ("sea", "trees"),
            "text": TextConfig(architecture="mean-word", max_tokens=3) if text else None,
        }
        config = ModelConfig(**(values | changes))
        save_config(directory, config)
        weight = WEIGHT[: config.bands]
        save_file({"weight": weight}, directory / "model.safetensors")
        write_image_onnx(directory / "image.onnx", weight=weight, concepts=len(config.concepts))
        if text:
            write_text_onnx(directory / "text.onnx", WORD_VECTORS)
            write_tokenizer(directory / "tokenizer.json")
        return directory

    return make
