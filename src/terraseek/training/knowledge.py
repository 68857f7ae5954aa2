"""Concepts mined from captions: which words, and how far each holds for an image.

The knowledge of KAMCL (TGRS 2023, https://doi.org/10.1109/TGRS.2023.3332317) comes from four operations, each one a
function here: `initialise` takes the words of the training captions, `construct` counts them by image, `filtrate` keeps
the frequent ones, `align` turns counts into the scores that a model is to predict. `mine_captions` runs all four.

They depart from the published code (`terraseek.training.published_knowledge`) in these points:

- An image's concepts are found by its id, never by its place in a split.
- What counts is the number of captions that name a word: one caption that says it twice is no agreement.
- Scores are relative to the image's most named concept. Relative to its most frequent word, which is mostly a stop
  word, the score of a concept falls with every "the" in the captions.
- Concepts are ranked by the number of images that have them, ties by spelling: the order of images plays no part.
- No caption outside the training split is read.
- Quantities, sizes and other vague words ("several", "near", "large") are no concepts, see
  `terraseek.training.stop_words`: concepts are shown to users as labels.

Plural and singular stay two concepts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ..data import ImageDataset, normalise_caption
from ..errors import ConfigError, CorruptError, DatasetError, NotFoundError, UsageError
from ..registry import nearest
from ..relevance import label_rarity
from .published_knowledge import align_published, construct_published, filtrate_published, word_vocabulary
from .stop_words import CONCEPT_STOP_WORDS

__all__ = [
    "Knowledge",
    "KnowledgeMode",
    "align",
    "construct",
    "filtrate",
    "initialise",
    "mine_captions",
    "mine_concepts",
]

KnowledgeMode: TypeAlias = Literal["default", "published"]
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Concepts, and their scores for the images they were mined from.

    Attributes:
        words: the C concepts.
        ids: the N images.
        scores_NC: (N, C) float32 within 0..1; a row of zeros for an image that has no concept.
        mode: how they were mined, see `mine_captions`.

    Raises:
        UsageError: parts that do not fit together.

    Examples:
        >>> knowledge = mine_captions({"a": ["A port", "a port with ships"], "b": ["some ships"]}, least_images=1)
        >>> knowledge.words
        ('port', 'ships')
        >>> knowledge.targets(["b", "a"])
        array([[0., 1.],
               [1., 0.]], dtype=float32)
    """

    words: tuple[str, ...]
    ids: tuple[str, ...]
    scores_NC: NDArray[np.float32]
    mode: KnowledgeMode = "default"

    def __post_init__(self) -> None:
        scores_NC = np.array(self.scores_NC, np.float32)
        if scores_NC.shape != (len(self.ids), len(self.words)):
            raise UsageError(f"{len(self.ids)} ids and {len(self.words)} words, but scores {scores_NC.shape}")
        for what, names in (("ids", self.ids), ("words", self.words)):
            if len(set(names)) < len(names):
                raise UsageError(f"the {what} of knowledge repeat {Counter(names).most_common(1)[0][0]!r}")
        if not ((scores_NC >= 0) & (scores_NC <= 1)).all():
            raise UsageError("concept scores must be within 0..1")
        if self.mode not in get_args(KnowledgeMode):
            raise ConfigError(f"unknown mode {self.mode!r}: {nearest(self.mode, get_args(KnowledgeMode))}")
        scores_NC.flags.writeable = False
        object.__setattr__(self, "scores_NC", scores_NC)

    def targets(
        self, ids: Sequence[str], *, variant: Literal["default", "published"] = "default", seed: int = 0
    ) -> NDArray[np.float32]:
        """The scores of images, (len(ids), C), a copy.

        Args:
            ids: images, in any order.
            variant: "default" gives each image its own scores. "published" repeats a fault of KAMCL's published code:
                the images are shuffled into a training split, and the i-th of the split gets the i-th row of the tag
                file, which is in the order before the shuffle. Next to none keeps its own concepts.
            seed: of that shuffle.

        Raises:
            UsageError: an image that concepts were not mined from, or an unknown variant.
        """
        if variant not in ("default", "published"):
            raise UsageError(f"unknown variant {variant!r}: {nearest(variant, ['default', 'published'])}")
        rows = {name: row for row, name in enumerate(self.ids)}
        unknown = [name for name in ids if name not in rows]
        if unknown:
            raise UsageError(
                f"no concepts were mined from {len(unknown)} of {len(ids)} images, among them {unknown[0]!r}: mine a "
                "split that holds them"
            )
        if variant == "default":
            return self.scores_NC[[rows[name] for name in ids]]
        if len(ids) > len(self.ids):
            raise UsageError(f"the published variant has {len(self.ids)} rows for {len(ids)} images: name each once")
        targets_NC = np.empty((len(ids), len(self.words)), np.float32)
        shuffled = np.random.default_rng(seed).permutation(len(ids))
        targets_NC[shuffled] = self.scores_NC[: len(ids)]
        return targets_NC

    @property
    def frequency_C(self) -> NDArray[np.float64]:  # noqa: N802 - the shape suffix
        """Share of the images whose score for each concept is above 0."""
        share_C: NDArray[np.float64] = (self.scores_NC > 0).sum(0) / max(len(self.ids), 1)
        return share_C

    def rarity(self, gamma: float = 1.0, kappa: float = 30.0) -> NDArray[np.float64]:
        """Rarity of each concept, (C,): see `terraseek.relevance.label_rarity`."""
        rarity_C: NDArray[np.float64] = label_rarity(self.frequency_C, gamma, kappa)
        return rarity_C

    def save(self, path: str | Path) -> None:
        """Write the words, and each image's concepts with their scores, as JSON; `load` reads it without loss."""
        images = {
            # The shortest text that names this float32, where a float64 of it would need twice the digits.
            name: {self.words[column]: float(str(scores_C[column])) for column in np.flatnonzero(scores_C)}
            for name, scores_C in zip(self.ids, self.scores_NC, strict=True)
        }
        tree = {"format_version": _FORMAT, "mode": self.mode, "words": self.words, "images": images}
        target = Path(path)
        partial = target.with_name(f"{target.name}.partial")
        partial.write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8")
        partial.replace(target)

    @classmethod
    def load(cls, path: str | Path) -> Knowledge:
        """Read what `save` wrote.

        Raises:
            NotFoundError: no such file.
            CorruptError: it is damaged, or of another format.
        """
        try:
            return cls._from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise NotFoundError(f"no concept file {path}") from None
        except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
            raise CorruptError(f"{path}: no concept file of format {_FORMAT} ({error}); mine it again") from None

    @classmethod
    def _from_json(cls, tree: Any) -> Knowledge:
        if tree["format_version"] != _FORMAT:
            raise ValueError(f"format {tree['format_version']!r}")
        words, images = tuple(tree["words"]), tree["images"]
        column = {word: index for index, word in enumerate(words)}
        scores_NC = np.zeros((len(images), len(words)), np.float32)
        for row, scores in enumerate(images.values()):
            for word, score in scores.items():
                scores_NC[row, column[word]] = score
        return cls(words, tuple(images), scores_NC, tree["mode"])


def initialise(captions: Mapping[str, Sequence[str]]) -> dict[str, list[list[str]]]:
    """The words of each caption of each image, in the captions' normal form; captions without a word are left out.

    >>> initialise({"a": ["A bird's nest.", "", "Some ships"]})
    {'a': [['a', 'bird', 's', 'nest'], ['some', 'ships']]}
    """
    words = {image: [normalise_caption(text).split() for text in texts] for image, texts in captions.items()}
    return {image: [each for each in captions if each] for image, captions in words.items()}


def construct(words: Mapping[str, Iterable[Sequence[str]]]) -> dict[str, dict[str, int]]:
    """How many captions of each image name a word, where two or more do; of a lone caption every word counts.

    >>> construct({"a": [["ships", "and", "ships"], ["a", "port"], ["the", "port"]], "b": [["ships"]]})
    {'a': {'port': 2}, 'b': {'ships': 1}}
    """
    counts = {}
    for image, captions in words.items():
        named = [frozenset(each) for each in captions]
        least = min(2, len(named))
        found = Counter(word for each in named for word in each)
        counts[image] = {word: found[word] for word in sorted(found) if found[word] >= least}
    return counts


def filtrate(
    counts: Mapping[str, Mapping[str, int]],
    size: int = 512,
    *,
    least_images: int = 2,
    stop_words: Collection[str] = CONCEPT_STOP_WORDS,
) -> tuple[str, ...]:
    """The concepts: the `size` words that most images have, ties by spelling.

    Args:
        counts: what `construct` found.
        size: how many at most.
        least_images: a word that fewer images have is none; one that a single image has tells no two images apart that
            the image itself does not.
        stop_words: words that are none. Nor are numbers in digits, such as 2 and 4th, and single letters of the
            Latin alphabet.

    Raises:
        ConfigError: `size` or `least_images` is below 1.

    Examples:
        >>> filtrate({"a": {"the": 5, "port": 2}, "b": {"sea": 2, "port": 2}, "c": {"sea": 2, "sand": 3}})
        ('port', 'sea')
    """
    for name, value in (("size", size), ("least_images", least_images)):
        if value < 1:
            raise ConfigError(f"{name} is {value}, it must be at least 1")
    images = Counter(word for words in counts.values() for word in words)
    ordered = sorted(images.items(), key=lambda item: (-item[1], item[0]))
    frequent = (word for word, count in ordered if count >= least_images)
    return tuple(word for word in frequent if word not in stop_words and not _names_nothing(word))[:size]


def _names_nothing(word: str) -> bool:
    """Whether it is a number or a letter, as the L painted on a runway is."""
    return word[0].isdigit() or (len(word) == 1 and word.isascii())


def align(counts: Mapping[str, Mapping[str, int]], concepts: Sequence[str]) -> NDArray[np.float32]:
    """The scores to predict, (N, C): a concept's count over that of the image's most named concept.

    >>> align({"a": {"the": 5, "port": 2, "sea": 4}, "b": {"the": 3}}, ["port", "sea"])
    array([[0.5, 1. ],
           [0. , 0. ]], dtype=float32)
    """
    column = {concept: index for index, concept in enumerate(concepts)}
    scores_NC = np.zeros((len(counts), len(column)), np.float32)
    for row, words in enumerate(counts.values()):
        for word, count in words.items():
            if word in column:
                scores_NC[row, column[word]] = count
    scores_NC /= np.maximum(scores_NC.max(1, keepdims=True, initial=0), 1)
    return scores_NC


def mine_captions(
    captions: Mapping[str, Sequence[str]],
    *,
    size: int = 512,
    mode: KnowledgeMode = "default",
    least_images: int = 2,
    test_captions: Iterable[str] = (),
) -> Knowledge:
    """Mine concepts from captions.

    Args:
        captions: the captions of each image, by image id.
        size: number of concepts at most.
        mode: "default"; "published" follows KAMCL's published code to the letter, for comparison.
        least_images: see `filtrate`; the published mode has no such limit.
        test_captions: the published mode counts them too when it decides which words are known. Others ignore them.

    Raises:
        DatasetError: no word became a concept.
        ConfigError: an unknown mode, or a number below 1.
    """
    if mode not in get_args(KnowledgeMode):
        raise ConfigError(f"unknown mode {mode!r}: {nearest(mode, get_args(KnowledgeMode))}")
    if size < 1:
        raise ConfigError(f"size is {size}, it must be at least 1")
    if mode == "published":
        counts = {image: construct_published(texts) for image, texts in captions.items()}
        known = word_vocabulary([*(text for texts in captions.values() for text in texts), *test_captions])
        words = filtrate_published(counts, known, size)
        scores_NC = align_published(counts, words)
    else:
        counts = construct(initialise(captions))
        words = filtrate(counts, size, least_images=least_images)
        scores_NC = align(counts, words)
    if not any(captions.values()):
        raise DatasetError(f"none of {len(captions):,} images has captions: name a data set with captions")
    if not words:
        raise DatasetError(
            f"no word of the {sum(map(len, captions.values())):,} captions of {len(captions):,} images became a "
            "concept, that is a word, but no stop word, that captions of several images agree on: check the captions"
        )
    return Knowledge(words, tuple(captions), scores_NC, mode)


def mine_concepts(
    dataset: ImageDataset,
    *,
    split: str = "train",
    size: int = 512,
    mode: KnowledgeMode = "default",
    least_images: int = 2,
) -> Knowledge:
    """Mine concepts from the captions of a data set's training split.

    An image without captions gets a row of zeros. The published mode reads what its code reads: images of `split` and
    of val give concepts, and captions of test help to decide which words are known.

    Args:
        dataset: with captions.
        split: the training split.
        size: number of concepts at most.
        mode: see `mine_captions`.
        least_images: see `filtrate`.

    Raises:
        DatasetError: no word became a concept.
        ConfigError: no such split, an unknown mode, or a number below 1.
    """
    read = f"{split}+val" if mode == "published" and "val" in dataset.splits else split
    captions = {sample.id: sample.captions for sample in dataset.subset(read).samples}
    test = [text for sample in dataset.samples if sample.split == "test" for text in sample.captions]
    return mine_captions(
        captions,
        size=size,
        mode=mode,
        least_images=least_images,
        test_captions=test if mode == "published" else (),
    )
