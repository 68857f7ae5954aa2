"""Captions as texts: when two are the same, how often that happens, and what it does to recall.

Data sets repeat captions word for word, within a split and across splits. An exact-id recall then asks a matcher to
tell apart what nobody can: its ceiling, reached by a matcher that knows every caption by heart, is below 100 %.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import comb
from typing import Any

from .dataset import ImageDataset, Sample

__all__ = ["caption_hash", "caption_statistics", "exact_id_ceiling", "normalise_caption", "vocabulary"]

RANKS = (1, 5, 10)
_NO_WORD = re.compile(r"[^\w]+|_+")


def normalise_caption(text: str) -> str:
    """The caption without case, punctuation and spacing: two captions are the same if their normal forms are equal.

    >>> normalise_caption("There  is a Baseball-field .")
    'there is a baseball field'
    """
    return " ".join(_NO_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).split())


def caption_hash(text: str) -> str:
    """16 hex digits that two captions share exactly when their normal forms are equal.

    >>> caption_hash("A beach.") == caption_hash("a beach")
    True
    """
    return hashlib.sha256(normalise_caption(text).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def vocabulary(captions: Iterable[str], least: int = 1) -> dict[str, int]:
    """Words with their counts, the commonest first, ties by spelling; give it the captions of the training split only.

    >>> vocabulary(["a beach", "a long beach"], least=2)
    {'a': 2, 'beach': 2}
    """
    counts = Counter(word for text in captions for word in normalise_caption(text).split())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {word: count for word, count in ordered if count >= least}


def caption_statistics(dataset: ImageDataset, **_: Any) -> dict[str, Any]:
    """Counts, repeats and ceilings, for `check_dataset`.

    Returns:
        ``captions_per_split``; ``distinct``; ``repeated``: captions whose text another image of the same split has
        too; ``cross_split_repeats``: captions of val and test whose text occurs in train; ``exact_id_ceiling`` of the
        test split, in percent (see `exact_id_ceiling`).
    """
    by_split: dict[str, list[Sample]] = defaultdict(list)
    for sample in dataset.samples:
        by_split[sample.split or ""].append(sample)
    texts = {split: [_texts(sample) for sample in samples] for split, samples in by_split.items()}
    trained = {text for captions in texts.get("train", []) for text in captions}
    held_out = [split for split in texts if split != "train"]
    statistics: dict[str, Any] = {
        "captions_per_split": {split: sum(map(len, captions)) for split, captions in texts.items()},
        "distinct": len({text for captions in texts.values() for each in captions for text in each}),
        "repeated": {split: _repeated(captions) for split, captions in texts.items()},
        "cross_split_repeats": {
            split: sum(text in trained for captions in texts[split] for text in captions) for split in held_out
        },
    }
    if "test" in texts:
        statistics["exact_id_ceiling"] = exact_id_ceiling([sample.captions for sample in by_split["test"]])
    return statistics


def exact_id_ceiling(captions: Sequence[Sequence[str]]) -> dict[str, float]:
    """The recall of a matcher that knows every caption by heart and breaks ties at random, in percent.

    Text to image: all images that have the query's text tie for the first rank, so R@K is K over their number. Image
    to text: all captions whose text is one of the image's own tie, and R@K is the chance that one of its own is among
    K drawn from them.

    Args:
        captions: for each image of the split, its captions.

    Returns:
        ``i2t_R@1`` ... ``t2i_R@10`` and ``mR``, their mean.

    Example:
        >>> exact_id_ceiling([["a port", "some boats"], ["a port", "two cranes"]])["t2i_R@1"]
        75.0
    """
    normal = [[normalise_caption(text) for text in each] for each in captions]
    owners: Mapping[str, Counter[int]] = defaultdict(Counter)
    for image, each in enumerate(normal):
        for text in each:
            owners[text][image] += 1
    recall: dict[str, float] = {}
    for k in RANKS:
        recall[f"i2t_R@{k}"] = _mean(_image_to_text(image, each, owners, k) for image, each in enumerate(normal))
    for k in RANKS:
        recall[f"t2i_R@{k}"] = _mean(min(1.0, k / len(owners[text])) for each in normal for text in each)
    recall["mR"] = sum(recall.values()) / len(recall)
    return {name: round(value, 3) for name, value in recall.items()}


def _image_to_text(image: int, texts: Sequence[str], owners: Mapping[str, Counter[int]], k: int) -> float:
    own = len(texts)
    others = sum(sum(owners[text].values()) - owners[text][image] for text in set(texts))
    return 1.0 - comb(others, k) / comb(own + others, k) if own + others >= k else 1.0


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return 100.0 * sum(listed) / max(len(listed), 1)


def _texts(sample: Sample) -> list[str]:
    return [normalise_caption(text) for text in sample.captions]


def _repeated(captions: Sequence[Sequence[str]]) -> int:
    images_with = Counter(text for each in captions for text in set(each))
    return sum(images_with[text] > 1 for each in captions for text in each)
