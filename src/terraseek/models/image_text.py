"""Models with two sides: images and texts into one space."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ..config import from_mapping, to_mapping
from ..encoders import ModelConfig, TextConfig
from ..errors import ConfigError, UsageError
from .backbone import Front
from .embedder import (
    ConceptHead,
    Embedding,
    ImageEmbedder,
    NetworkConfig,
    build_concept_head,
    build_embedder,
    build_head,
    finish,
)
from .text import TextEncoder, TextNetworkConfig, TransformerText, build_text_encoder

__all__ = ["ImageTextEmbedder", "TextEmbedder", "build_image_text_embedder", "text_config"]


class TextEmbedder(nn.Module):
    """Tokens to unit vectors.

    Args:
        encoder: gives the features.
        head: projects them; None takes them as the embedding.
        dim: number of embedding dimensions D.
        concept_head: predicts concepts, and adds them to the embedding.
    """

    def __init__(
        self, encoder: TextEncoder, head: nn.Module | None, dim: int, concept_head: ConceptHead | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Identity() if head is None else head
        self.concept_head = concept_head
        self.dim = dim

    def outputs(self, tokens_NL: Tensor, mask_NL: Tensor) -> Embedding:
        """Unit vectors and concept scores of texts."""
        return finish(self.head(self.encoder(tokens_NL, mask_NL)), self.concept_head)

    def forward(self, tokens_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """Unit vectors, (N, D) float32, of texts."""
        return self.outputs(tokens_NL, mask_NL).vectors_ND


class ImageTextEmbedder(nn.Module):
    """An image side and a text side with one space.

    Raises:
        UsageError: the two have different dimensions.
    """

    def __init__(self, image: ImageEmbedder, text: TextEmbedder) -> None:
        super().__init__()
        if image.dim != text.dim:
            raise UsageError(f"images have {image.dim} dimensions, texts {text.dim}: they cannot share a space")
        self.image, self.text = image, text
        self.dim = image.dim

    def forward(self, images: Tensor | Front, tokens_NL: Tensor, mask_NL: Tensor) -> tuple[Embedding, Embedding]:
        """Both sides of a batch of preprocessed images (or what a backbone's `front` made of them) and of texts."""
        return self.image.outputs(images), self.text.outputs(tokens_NL, mask_NL)


def text_config(architecture: str, network: TextNetworkConfig | None = None, max_tokens: int = 64) -> TextConfig:
    """The text side of a model's config.

    Args:
        architecture: one of `TEXT_ENCODERS`.
        network: how its encoder and head are built.
        max_tokens: longer texts are cut.
    """
    return TextConfig(
        architecture=architecture, max_tokens=max_tokens, network=to_mapping(network or TextNetworkConfig())
    )


def build_image_text_embedder(
    config: ModelConfig, pretrained: str | Path | bool = False, text_pretrained: str | Path | bool = False
) -> ImageTextEmbedder:
    """Build both sides of the network that a model's config describes.

    Args:
        config: a config with a text side.
        pretrained: the backbone's weights, see `build_backbone`.
        text_pretrained: the text encoder's weights, see `build_text_encoder`.

    Raises:
        ConfigError: no text side, an unknown name or key, or texts longer than the encoder can read.
    """
    if config.text is None:
        raise ConfigError("the model has no text side: its config's `text` is empty")
    network = from_mapping(TextNetworkConfig, config.text.network, "text.network.")
    encoder = build_text_encoder(config.text.architecture, network, text_pretrained)
    if isinstance(encoder, TransformerText) and config.text.max_tokens > network.positions:
        raise ConfigError(f"max_tokens is {config.text.max_tokens}, the encoder reads at most {network.positions}")
    head = build_head(network.head, encoder.dim, config.dim, network.head_hidden, network.dropout)
    concepts = from_mapping(NetworkConfig, config.network, "network.").concept_head
    text = TextEmbedder(encoder, head, config.dim, build_concept_head(config) if concepts else None)
    return ImageTextEmbedder(build_embedder(config, pretrained), text)
