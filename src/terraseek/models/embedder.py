"""From features to unit vectors: the projection head, the image embedder, and building it from a model's config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import from_mapping, to_mapping
from ..encoders import ModelConfig
from ..errors import ConfigError
from .backbone import BACKBONES, Backbone, Front, build_backbone
from .hierarchical import HierarchicalAggregator
from .orientations import Orientations, in_orientations
from .query_bank import QueryBank

__all__ = [
    "ConceptHead",
    "Embedding",
    "ImageEmbedder",
    "NetworkConfig",
    "ProjectionHead",
    "build_embedder",
    "embedder_config",
    "with_orientations",
]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """What stands above the backbone.

    Attributes:
        aggregator: "none" takes the backbone's pooled features; "mean", "pooled" and "channels" are the
            forms of `HierarchicalAggregator`.
        aggregator_dim: number of features that the aggregator gives.
        concept_head: predict the config's `concepts` and add them to the embedding, see `ConceptHead`.
        head: "mlp" projects the features; "none" takes them as they are (then D is the number of features).
        hidden: width of the hidden layer; 0 for a linear projection.
        dropout: share of hidden units dropped in training.
        query_bank: number of captions in the `QueryBank`, which takes one of the model's D dimensions; 0 for none.
        orientations: in how many orientations a finished model embeds each image: 1, 4 (quarter turns) or 8 (mirror
            images too).
    """

    head: Literal["mlp", "none"] = "mlp"
    hidden: int = 512
    dropout: float = 0.0
    aggregator: Literal["none", "mean", "pooled", "channels"] = "none"
    aggregator_dim: int = 512
    concept_head: bool = False
    query_bank: int = 0
    orientations: Orientations = 1

    def __post_init__(self) -> None:
        if self.query_bank < 0:
            raise ConfigError(f"query_bank is {self.query_bank}, it must be at least 0")
        if self.aggregator_dim < 1:
            raise ConfigError(f"aggregator_dim is {self.aggregator_dim}, it must be at least 1")
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

    Examples:
        >>> ProjectionHead(1280, 128)(torch.zeros(2, 1280)).shape
        torch.Size([2, 128])
    """

    def __init__(self, features: int, dim: int, hidden: int = 512, dropout: float = 0.0) -> None:
        if hidden == 0:
            super().__init__(nn.Linear(features, dim))
        else:
            super().__init__(nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, dim))


class Embedding(NamedTuple):
    """What a side of a model gives for a batch.

    Attributes:
        vectors_ND: unit vectors, float32.
        concept_logits_NC: scores of the concepts before the sigmoid, float32; None without a concept head.
    """

    vectors_ND: Tensor
    concept_logits_NC: Tensor | None


class ConceptHead(nn.Module):
    """Predicts concepts from a latent vector, and adds what it predicts to it.

    logits = linear(latent);  embedding = latent + sigmoid(logits), the latter mapped linearly to D dimensions where
    the number of concepts is another. After KAMCL, 2023, https://doi.org/10.1109/TGRS.2023.3332317, where it is equal.

    Args:
        dim: number of dimensions D.
        concepts: number of concepts C.

    Attributes:
        apart: in training, whether the scores learn from their own loss alone; set before it. As published, what is
            wanted of the embedding shapes them too, and they become a code for it more than what is seen.
    """

    def __init__(self, dim: int, concepts: int) -> None:
        super().__init__()
        self.apart = False
        self.predict = nn.Linear(dim, concepts)
        self.add: nn.Module = nn.Identity()
        if concepts != dim:
            # Untrained scores are all one half: mapped at random they would add one long vector to every embedding,
            # and all would look alike. From zero the map grows as far as the concepts tell embeddings apart.
            self.add = nn.Linear(concepts, dim, bias=False)
            nn.init.zeros_(self.add.weight)

    @torch.no_grad()
    def set_prior(self, frequency_C: Tensor) -> None:
        """Let the scores begin at how frequent the concepts are, (C,), before training.

        From even scores, sparse concepts push all logits down together, and what does that is one direction that all
        latent vectors take: until it is unlearnt, all embeddings look alike.
        """
        bias = self.predict.bias
        assert isinstance(bias, Tensor)
        bias.copy_(torch.logit(frequency_C.to(bias), eps=1e-4))

    def forward(self, latent_ND: Tensor) -> tuple[Tensor, Tensor]:
        """The embedding, (N, D), not yet of unit length, and the logits, (N, C)."""
        logits_NC: Tensor = self.predict(latent_ND)
        given_NC = logits_NC.detach() if self.apart else logits_NC
        return latent_ND + self.add(given_NC.sigmoid()), logits_NC


def finish(latent_ND: Tensor, concept_head: ConceptHead | None) -> Embedding:
    """Concepts and unit length: the end that the image side and the text side have in common."""
    logits_NC = None
    if concept_head is not None:
        latent_ND, logits_NC = concept_head(latent_ND)
        logits_NC = logits_NC.float()
    # In half precision the norm of 128 squares loses the digits that tell near neighbours apart.
    return Embedding(F.normalize(latent_ND.float(), dim=-1), logits_NC)


class ImageEmbedder(nn.Module):
    """Preprocessed images to unit vectors; in place of images all methods take what a backbone's `front` made of them.

    Args:
        backbone: gives the feature maps.
        head: projects the features; None takes them as the embedding.
        head_dim: number of dimensions that the head gives.
        aggregator: makes features of the backbone's maps; None takes the backbone's pooled ones.
        concept_head: predicts concepts, and adds them to the embedding.
        query_bank: holds back hubs, with one dimension more; None leaves the embedding as it is.
        orientations: embeds each image as the mean over so many orientations, at so many times the cost. Training and
            what a front made of images know one alone.

    Attributes:
        query_bank: may be given after training.
        orientations: may be set after training.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module | None,
        head_dim: int,
        aggregator: HierarchicalAggregator | None = None,
        concept_head: ConceptHead | None = None,
        query_bank: QueryBank | None = None,
        orientations: Orientations = 1,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.aggregator = aggregator
        self.head = nn.Identity() if head is None else head
        self.concept_head = concept_head
        self.query_bank = query_bank
        self.orientations = orientations
        self._head_dim = head_dim

    @property
    def dim(self) -> int:
        """Number of embedding dimensions D, the one of a query bank included."""
        return self._head_dim + (self.query_bank is not None)

    def features(self, images: Tensor | Front) -> Tensor:
        """Pooled features, (N, F), before the head."""
        levels = self.backbone.levels(images)
        if self.aggregator is None:
            return self.backbone.pool(levels[-1])
        pooled = self.backbone.pool(levels[-1]) if self.aggregator.pooling == "pooled" else None
        features: Tensor = self.aggregator(levels, pooled)
        return features

    def embed(self, features_NF: Tensor) -> Embedding:
        """Unit vectors and concept scores of features."""
        return self._banked(finish(self.head(features_NF), self.concept_head))

    def outputs(self, images: Tensor | Front) -> Embedding:
        """Unit vectors and concept scores of preprocessed images."""
        if self.orientations == 1 or self.training or isinstance(images, Front):
            return self.embed(self.features(images))
        turned = in_orientations(images, self.orientations)
        vectors, logits = finish(self.head(self.features(turned)), self.concept_head)
        return self._banked(
            Embedding(
                F.normalize(self._over_orientations(vectors), dim=-1),
                None if logits is None else self._over_orientations(logits),
            )
        )

    def forward(self, images: Tensor | Front) -> Tensor:
        """Unit vectors, (N, D) float32, of preprocessed images, (N, B, H, W)."""
        return self.outputs(images).vectors_ND

    def _over_orientations(self, rows: Tensor) -> Tensor:
        return rows.reshape(self.orientations, -1, rows.shape[1]).mean(0)

    def _banked(self, found: Embedding) -> Embedding:
        return found if self.query_bank is None else found._replace(vectors_ND=self.query_bank(found.vectors_ND))


def build_embedder(config: ModelConfig, pretrained: str | Path | bool = False) -> ImageEmbedder:
    """Build the network that a model's config describes: its image side.

    Args:
        config: `architecture`, `input_size`, `bands`, `dim`, `concepts` and `network` say what to build.
        pretrained: the backbone's weights, see `build_backbone`; all others are random.

    Raises:
        ConfigError: an unknown backbone, an unknown key in `network`, no head where D is not the number of features,
            a concept head without concepts, or a query bank without a text side.
    """
    network = from_mapping(NetworkConfig, config.network, "network.")
    if network.query_bank and config.text is None:
        raise ConfigError(f"network.query_bank is {network.query_bank}, but a model without texts searches by none")
    dim = head_dim(config, network)
    backbone = build_backbone(config.architecture, pretrained, config.bands)
    aggregator = None
    if network.aggregator != "none":
        aggregator = HierarchicalAggregator(
            backbone.level_channels, network.aggregator_dim, network.aggregator, config.input_size, backbone.dim
        )
    features = backbone.dim if aggregator is None else aggregator.dim
    concept_head = build_concept_head(config, dim) if network.concept_head else None
    head = build_head(network.head, features, dim, network.hidden, network.dropout)
    bank = QueryBank(network.query_bank, dim) if network.query_bank else None
    return ImageEmbedder(backbone, head, dim, aggregator, concept_head, bank, network.orientations)


def head_dim(config: ModelConfig, network: NetworkConfig) -> int:
    """How many of the config's dimensions the heads give: all but the one of a query bank."""
    return config.dim - (network.query_bank > 0)


def build_head(
    kind: Literal["mlp", "none"], features: int, dim: int, hidden: int, dropout: float
) -> ProjectionHead | None:
    """The head from `features` to `dim`; None where there is none.

    Raises:
        ConfigError: no head, but two different numbers of dimensions.
    """
    if kind == "mlp":
        return ProjectionHead(features, dim, hidden, dropout)
    if features != dim:
        raise ConfigError(f"dim is {dim}, but without a head it is the number of features, {features}")
    return None


def build_concept_head(config: ModelConfig, dim: int) -> ConceptHead:
    """The concept head for the config's concepts, on `dim` dimensions.

    Raises:
        ConfigError: the config has none.
    """
    if not config.concepts:
        raise ConfigError("a concept head needs concepts: the words that its scores stand for")
    return ConceptHead(dim, len(config.concepts))


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
        network=_written(network or NetworkConfig()),
        **fields,
    )


def with_orientations(network: Mapping[str, Any], orientations: Orientations) -> dict[str, Any]:
    """What a config says of its network, with so many orientations.

    Raises:
        ConfigError: not 1, 4 or 8.
    """
    return _written(from_mapping(NetworkConfig, {**network, "orientations": orientations}, "network."))


def _written(network: NetworkConfig) -> dict[str, Any]:
    """As a config holds it: without what a finished model may have and has not, so that its fingerprint stays."""
    later = {name: getattr(NetworkConfig(), name) for name in ("query_bank", "orientations")}
    return {key: value for key, value in to_mapping(network).items() if key not in later or value != later[key]}
