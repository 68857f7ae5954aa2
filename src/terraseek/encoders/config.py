"""What a model directory says about itself: `config.json`, and the fingerprint over config and weights.

config.json         architecture, input, preprocessing, label names, how it was trained     (this module)
model.safetensors   the weights, for further training
image.onnx          network and L2 normalisation: (N, B, S, S) float32 preprocessed -> (N, D) unit rows
text.onnx           the text side, where the model has one, with tokenizer.json
README.md           the model card, for people
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import from_mapping, to_mapping
from ..errors import ConfigError, CorruptError, IntegrityError, NotFoundError
from ..images import Fit

__all__ = [
    "CONFIG_FILE",
    "IMAGE_FILE",
    "TEXT_FILE",
    "TOKENIZER_FILE",
    "WEIGHTS_FILE",
    "ModelConfig",
    "TextConfig",
    "check_weights",
    "model_fingerprint",
    "read_model_config",
    "save_config",
]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
IMAGE_FILE = "image.onnx"
TEXT_FILE = "text.onnx"
TOKENIZER_FILE = "tokenizer.json"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text side of a model: its kind, the longest text it reads (in tokens) and how its network is built."""

    architecture: str
    max_tokens: int = 64
    network: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens}, it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A model's `config.json`.

    Attributes:
        architecture: name of the image backbone.
        input_size: side S of the square that the network sees, in pixels.
        dim: number of embedding dimensions D.
        bands: number of bands B of an input image.
        mean: subtracted from each band, in the image's own units (0..255 for 8-bit images).
        std: each band is divided by it, same units.
        resize: how an image of another shape becomes square, see `terraseek.images.resize_image`.
        network: how the network above the backbone is built; whoever builds it knows its keys.
        label_names: the labels the model was trained on, in the order of its statistics.
        concepts: the words its concept scores stand for, in their order.
        text: the text side; None for an image-only model.
        training: provenance: data set, split hash, seed, recipe, versions. Read by people,
            but for the hashes of the training images, by which an evaluation tells queries that were seen.
        format_version: version of this file's layout.

    Examples:
        >>> config = ModelConfig(architecture="resnet-18", input_size=64, dim=128, mean=(127.0,) * 3, std=(128.0,) * 3)
        >>> config.bands, config.resize
        (3, 'squash')
    """

    architecture: str
    input_size: int
    dim: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bands: int = 3
    resize: Fit = "squash"
    network: dict[str, Any] = field(default_factory=dict)
    label_names: tuple[str, ...] = ()
    concepts: tuple[str, ...] = ()
    text: TextConfig | None = None
    training: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def provenance(self) -> dict[str, Any]:
        """What `training` says to people: all but the hashes of the images, which are thousands of characters."""
        return {name: value for name, value in self.training.items() if name != "image_hashes"}

    def __post_init__(self) -> None:
        for name in ("input_size", "dim", "bands"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, it must be at least 1")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != self.bands:
                raise ConfigError(f"{name} has {len(values)} values for {self.bands} bands")
            if not all(map(math.isfinite, values)):
                raise ConfigError(f"{name} is {list(values)}, every value must be finite")
        if min(self.std) <= 0:
            raise ConfigError(f"std is {list(self.std)}, every value must be positive")


def read_model_config(directory: str | Path) -> ModelConfig:
    """Read the `config.json` of a model directory.

    Raises:
        NotFoundError: there is no such directory, or it holds no model.
        CorruptError: the file is not JSON.
        ConfigError: a key is unknown or missing, or a value is wrong.
        IntegrityError: the file has a newer format than this release reads.
    """
    directory = Path(directory)
    path = directory / CONFIG_FILE
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        what = "has no config.json" if directory.is_dir() else "does not exist"
        raise NotFoundError(
            f"no model at {directory}: it {what}. `terraseek model export efficientnet-lite0` makes one with ImageNet "
            "weights, `terraseek train RECIPE.toml` trains one; `terraseek model list` names those on this machine"
        ) from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError alike
        raise CorruptError(f"{path} is not JSON ({error}): restore the file or export the model again") from None
    if not isinstance(tree, dict):
        raise CorruptError(f"{path} holds no JSON object: restore the file or export the model again")
    version = tree.get("format_version")
    if version != FORMAT_VERSION:  # before the keys: another format may well have others
        raise IntegrityError(
            f"{path} has format_version {version!r}, this release of terraseek reads {FORMAT_VERSION}: "
            "use the release that wrote it, or export the model again"
        )
    try:
        return from_mapping(ModelConfig, tree)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def save_config(directory: str | Path, config: ModelConfig) -> Path:
    """Write `config.json` into an existing directory; the same config always gives the same bytes."""
    path = Path(directory) / CONFIG_FILE
    path.write_text(json.dumps(to_mapping(config), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def model_fingerprint(directory: str | Path) -> str:
    """sha256 over `config.json` and `model.safetensors`, as 64 hexadecimal digits.

    The ONNX files derive from those two and are left out: exporting a model again does not make it another model.

    Raises:
        NotFoundError: one of the two files is missing.
    """
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        path = Path(directory) / name
        try:
            with path.open("rb") as file:
                part = hashlib.file_digest(file, "sha256")
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(
                f"{directory} is no complete model: {name} is missing; export the model again"
            ) from None
        # Hashing the parts' digests, not their bytes joined, keeps a byte from wandering from one file to the other.
        digest.update(part.digest())
    return digest.hexdigest()


def check_weights(path: str | Path) -> None:
    """Check that a safetensors file is whole, from its header and its length alone.

    Raises:
        NotFoundError: there is no such file.
        CorruptError: the header is damaged, or the file is shorter or longer than the header says.
    """
    path = Path(path)
    advice = "copy the model again, or export it again"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size - 8:
                raise CorruptError(f"{path} is truncated inside its header: {advice}")
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except FileNotFoundError:
        raise NotFoundError(f"{path} is missing: {advice}") from None
    except (struct.error, ValueError, AttributeError, KeyError, TypeError, IndexError):
        raise CorruptError(f"{path} is not a safetensors file: {advice}") from None
    if size != expected:
        raise CorruptError(f"{path} has {size:,} bytes where its header says {expected:,}: {advice}")
