"""From features to unit vectors: the projection head, the image embedder, and building it from a model's config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import from_mapping, to_mapping
from ..encoders import ModelConfig
from ..errors import ConfigError
from .backbone import BACKBONES, Backbone, build_backbone

__all__ = ["ImageEmbedder", "NetworkConfig", "ProjectionHead", "build_embedder", "embedder_config"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """What stands above the backbone.

    Attributes:
        head: "mlp" projects the features; "none" takes them as they are (then D is the number of features).
        hidden: width of the hidden layer; 0 for a linear projection.
        dropout: share of hidden units dropped in training.
    """

    head: Literal["mlp", "none"] = "mlp"
    hidden: int = 512
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.hidden < 0:
            raise ConfigError(f"hidden is {self.hidden}, it must be at least 0")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}, it must lie in [0, 1)")


class ProjectionHead(nn.Sequential):
    """Features, (N, F), to an embedding, (N, D), not yet of unit length: linear - ReLU - dropout - linear.

    Args:
        features: number of features F.
        dim: number of embedding dimensions D.
        hidden: width of the hidden layer; 0 for a single linear map.
        dropout: share of hidden units dropped in training.

    Example:
        >>> ProjectionHead(1280, 128)(torch.zeros(2, 1280)).shape
        torch.Size([2, 128])
    """

    def __init__(self, features: int, dim: int, hidden: int = 512, dropout: float = 0.0) -> None:
        if hidden == 0:
            super().__init__(nn.Linear(features, dim))
        else:
            super().__init__(nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, dim))


class ImageEmbedder(nn.Module):
    """Preprocessed images to unit vectors.

    Args:
        backbone: gives the features.
        head: projects them; None takes the features as the embedding.

    Attributes:
        dim: number of embedding dimensions D.
    """

    def __init__(self, backbone: Backbone, head: nn.Module | None, dim: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Identity() if head is None else head
        self.dim = dim

    def features(self, images_NBHW: Tensor) -> Tensor:
        """The backbone's pooled features, (N, F)."""
        features: Tensor = self.backbone(images_NBHW)
        return features

    def embed(self, features_NF: Tensor) -> Tensor:
        """Unit vectors, (N, D) float32, of features."""
        # In half precision the norm of 128 squares loses the digits that tell near neighbours apart.
        return F.normalize(self.head(features_NF).float(), dim=-1)

    def forward(self, images_NBHW: Tensor) -> Tensor:
        """Unit vectors, (N, D) float32, of preprocessed images."""
        return self.embed(self.features(images_NBHW))


def build_embedder(config: ModelConfig, pretrained: str | Path | bool = False) -> ImageEmbedder:
    """Build the network that a model's config describes.

    Args:
        config: `architecture`, `bands`, `dim` and `network` say what to build.
        pretrained: the backbone's weights, see `build_backbone`; the head's are always random.

    Raises:
        ConfigError: an unknown backbone, an unknown key in `network`, or no head where D is not the number of features.
    """
    network = from_mapping(NetworkConfig, config.network, "network.")
    backbone = build_backbone(config.architecture, pretrained, config.bands)
    if network.head == "none":
        if config.dim != backbone.dim:
            raise ConfigError(
                f"dim is {config.dim}, but without a head it is the number of features of {config.architecture}, "
                f"{backbone.dim}"
            )
        return ImageEmbedder(backbone, None, config.dim)
    head = ProjectionHead(backbone.dim, config.dim, network.hidden, network.dropout)
    return ImageEmbedder(backbone, head, config.dim)


def embedder_config(
    architecture: str,
    *,
    input_size: int,
    dim: int,
    bands: int = 3,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    network: NetworkConfig | None = None,
    **fields: Any,
) -> ModelConfig:
    """The config of an image embedder, with the preprocessing that the backbone's ImageNet weights expect.

    Args:
        architecture: one of `BACKBONES`.
        input_size: side of the network's input, in pixels.
        dim: number of embedding dimensions D.
        bands: number of bands B.
        mean: per-band mean in the image's own units; by default what the ImageNet weights expect of 8-bit RGB.
        std: likewise.
        network: what stands above the backbone.
        fields: the other fields of `ModelConfig`: label_names, training, ...

    Raises:
        ConfigError: an unknown architecture, or a band count other than 3 without `mean` and `std`: what a further
            band's values look like nobody can guess.
    """
    factory = BACKBONES[architecture]
    if mean is None or std is None:
        if bands != 3:
            raise ConfigError(
                f"an input of {bands} bands needs mean and std, {bands} values each, from the training data"
            )
        with torch.device("meta"):  # only its class constants are wanted: no memory, no random numbers drawn
            kind = factory(bands)
        mean, std = (kind.mean if mean is None else mean), (kind.std if std is None else std)
    return ModelConfig(
        architecture=architecture,
        input_size=input_size,
        dim=dim,
        bands=bands,
        mean=tuple(mean),
        std=tuple(std),
        network=to_mapping(network or NetworkConfig()),
        **fields,
    )
