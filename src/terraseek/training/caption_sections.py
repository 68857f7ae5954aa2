"""The sections that a recipe has for a training on images with captions: text side, concepts, objectives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ..registry import nearest
from ._checks import at_least, check

__all__ = [
    "ConceptsConfig",
    "ContrastConfig",
    "ObjectiveConfig",
    "ObjectivesConfig",
    "TextSideConfig",
]

_RARITY_OPTIONS = ("gamma", "kappa")


@dataclass(frozen=True, kw_only=True)
class TextSideConfig:
    """The text side, and how captions meet images in a batch.

    Attributes:
        encoder: a name of `terraseek.models.TEXT_ENCODERS`.
        pretrained: start from packaged weights, which "minilm-l6" has.
        network: sizes of the encoder and its head, fields of `terraseek.models.TextNetworkConfig`; the vocabulary
            follows from the captions.
        word_vectors: what the word vectors of an encoder without packaged weights begin as: "random", or "minilm-l6",
            those that `terraseek.models.init_word_vectors` takes from MiniLM-L6.
        max_tokens: longer captions are cut.
        least_count: words that occur less often in the training captions are unknown to the vocabulary; tokenizers
            that come with weights have their own.
        per_image: captions drawn for each image of a batch, without repetition; an image with fewer gives all it has.
        lr: peak learning rate of a pretrained text encoder.
        query_bank: training captions, at most, by which the finished model holds back images that are near to every
            text, see `terraseek.models.QueryBank`; 0 for none. The model then has one dimension more.
    """

    encoder: str = "gru"
    pretrained: bool = False
    network: dict[str, Any] = field(default_factory=dict)
    word_vectors: Literal["random", "minilm-l6"] = "random"
    max_tokens: int = 32
    least_count: int = 2
    per_image: int = 1
    lr: float = 1e-4
    query_bank: int = 0

    def __post_init__(self) -> None:
        # A token marks the start, so that one alone would leave no room for a word.
        at_least(self, max_tokens=2, least_count=1, per_image=1, lr=0, query_bank=0)
        check(
            not self.pretrained or self.word_vectors == "random",
            f"text.word_vectors is {self.word_vectors!r}, but text.pretrained brings word vectors of its own: "
            "leave one of the two out",
        )

    @property
    def needs_minilm(self) -> bool:
        """Whether the training begins from MiniLM-L6's weights, which are a package of their own."""
        return self.pretrained or self.word_vectors == "minilm-l6"


@dataclass(frozen=True, kw_only=True)
class ConceptsConfig:
    """Which words of the training captions are concepts; see `terraseek.training.mine_concepts`.

    Attributes:
        size: number of concepts at most.
        mode: "default" keys concepts by image; "published" mines as KAMCL's published code does.
        gamma: exponent of a concept's rarity.
        kappa: rarity lies within 1/kappa and kappa.
        apart: let the scores that a model predicts learn from the alignment alone: what they say can then be believed,
            see `terraseek.models.ConceptHead`. As published, contrast and triplet shape them too.
    """

    size: int = 512
    mode: Literal["default", "published"] = "default"
    gamma: float = 0.5
    kappa: float = 10.0
    apart: bool = False

    def __post_init__(self) -> None:
        at_least(self, size=1, gamma=0, kappa=1)


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """One term of the loss.

    Attributes:
        weight: factor on it; 0 leaves it out.
        first_epoch: it counts from this epoch on: with alignment from a later epoch, the two-step training of KAMCL.
        loss: a name of `terraseek.losses.CROSS_MODAL_LOSSES`, for terms that compare images with captions.
        options: what its constructor takes; for alignment, `gamma` and `kappa` of the rarity by which concepts weigh,
            all of them alike without.
    """

    weight: float = 0.0
    first_epoch: int = 0
    loss: str = "hard-triplet"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at_least(self, weight=0, first_epoch=0)


@dataclass(frozen=True, kw_only=True)
class ContrastConfig(ObjectiveConfig):
    """The contrast between images and captions, both ways.

    Attributes:
        queue: past captions and past images that serve as further candidates; 0 for none.
        momentum: m of the slowly following encoders that give the keys; 0 takes the keys from the trained encoders.
    """

    weight: float = 1.0
    loss: str = "multi-positive"
    queue: int = 0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, queue=0)
        check(0 <= self.momentum < 1, f"momentum is {self.momentum}, it must lie in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class ObjectivesConfig:
    """The terms of an image-text training's loss.

    Attributes:
        contrast: images against captions of the batch and the queues.
        triplet: images against captions of the batch alone.
        alignment: both sides' concept scores against the image's concepts; switches the concept heads on.
        labels: the recipe's `[loss]` on the images' label sets, in the same batch.
        overlap: whether captions of other images are relevant in part where the concepts of the two images overlap,
            for losses that grade; without it they are plain negatives.
        duplicates: what a caption of another image is that reads like one of this image's: a "positive", "left-out"
            of the comparison, or a "negative".
        variant: "published" reproduces the faults of KAMCL's published code: every pair but an image and the caption
            drawn with it is a negative, whatever it says; key encoders follow in part and stay random for the rest;
            queues begin full of random vectors; concepts go to images by their place in the shuffled split.
    """

    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    triplet: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    alignment: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    labels: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    overlap: bool = False
    duplicates: Literal["positive", "left-out", "negative"] = "positive"
    variant: Literal["default", "published"] = "default"

    def __post_init__(self) -> None:
        terms = self.terms()
        check(
            bool(terms.keys() - {"alignment"}),
            "contrast, triplet and labels all have weight 0: give one of them a weight",
        )
        check(
            any(term.first_epoch == 0 for term in terms.values()),
            "no objective counts in epoch 0: give one of them first_epoch 0",
        )
        check(not self.labels.options, "labels.options have no effect: options of the loss on labels are loss.options")
        for name, value in self.alignment.options.items():
            known = name in _RARITY_OPTIONS
            check(known, f"alignment.options has no {name!r}: {nearest(name, list(_RARITY_OPTIONS))}")
            check(isinstance(value, int | float), f"alignment.options.{name} must be a number, not {value!r}")

    def terms(self) -> dict[str, ObjectiveConfig]:
        """The terms that have a weight, by name."""
        every = {name: getattr(self, name) for name in ("contrast", "triplet", "alignment", "labels")}
        return {name: term for name, term in every.items() if term.weight > 0}

    def unlearnt_after(self, epoch: int) -> dict[str, int]:
        """The terms of which nothing is learnt up to the end of this epoch, and the epoch that each counts from."""
        return {name: term.first_epoch for name, term in self.terms().items() if term.first_epoch > epoch}
