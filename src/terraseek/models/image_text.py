"""Models with two sides: images and texts into one space."""

from __future__ import annotations

from dataclasses import replace
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
    head_dim,
)
from .query_bank import QueryBank
from .text import TextEncoder, TextNetworkConfig, TransformerText, build_text_encoder

__all__ = ["ImageTextEmbedder", "TextEmbedder", "build_image_text_embedder", "text_config"]


class TextEmbedder(nn.Module):
    """Tokens to unit vectors.

    Args:
        encoder: gives the features.
        head: projects them; None takes them as the embedding.
        head_dim: number of dimensions that the head gives.
        concept_head: predicts concepts, and adds them to the embedding.
        banked: images have the dimension of a `QueryBank`: give texts theirs.

    Attributes:
        banked: may be set after training.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        head: nn.Module | None,
        head_dim: int,
        concept_head: ConceptHead | None = None,
        banked: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Identity() if head is None else head
        self.concept_head = concept_head
        self.banked = banked
        self._head_dim = head_dim

    @property
    def dim(self) -> int:
        """Number of embedding dimensions D, the one of a query bank included."""
        return self._head_dim + self.banked

    def outputs(self, tokens_NL: Tensor, mask_NL: Tensor) -> Embedding:
        """Unit vectors and concept scores of texts."""
        found = finish(self.head(self.encoder(tokens_NL, mask_NL)), self.concept_head)
        return found._replace(vectors_ND=QueryBank.extend_texts(found.vectors_ND)) if self.banked else found

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

    @property
    def dim(self) -> int:
        """Number of embedding dimensions D of both sides."""
        return self.image.dim

    def add_query_bank(self, bank: QueryBank, config: ModelConfig) -> ModelConfig:
        """Give a trained model a bank; returns what its config then is.

        Raises:
            UsageError: the model has one already, or the bank's captions are not of its dimensions.
        """
        if self.text.banked or bank.captions_KD.shape[1] != self.dim:
            kind = f"{self.dim} dimensions{' with a query bank' if self.text.banked else ''}"
            raise UsageError(f"a model of {kind} cannot take a bank of {bank.captions_KD.shape[1]} dimensions")
        self.image.query_bank, self.text.banked = bank, True
        return replace(config, dim=self.dim, network={**config.network, "query_bank": len(bank.captions_KD)})

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
    image_network = from_mapping(NetworkConfig, config.network, "network.")
    dim = head_dim(config, image_network)
    head = build_head(network.head, encoder.dim, dim, network.head_hidden, network.dropout)
    concept_head = build_concept_head(config, dim) if image_network.concept_head else None
    text = TextEmbedder(encoder, head, dim, concept_head, banked=image_network.query_bank > 0)
    return ImageTextEmbedder(build_embedder(config, pretrained), text)
