"""Captions as texts: when two of them are the same, and what repeated captions do to recall.

Data sets repeat captions word for word, within a split and across splits. An exact-id recall then asks a model to tell
apart what nobody can tell apart, so 100 % is out of reach. Two ceilings say how far, and differ in what they assume:

- the *matcher ceiling* is the expected recall of a matcher that knows every caption by heart and cannot choose between
  equal ones: all captions that read like one of the image's own tie. It is the number that the literature quotes.
- the *oracle ceiling* is the best that any ranking can do that gives equal texts equal scores. An oracle may prefer, of
  an image's captions, the one that fewest others share, so it lies at or above the matcher's.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import comb

__all__ = ["RECALL_RANKS", "caption_hash", "matcher_ceiling", "normalise_caption", "oracle_ceiling"]

RECALL_RANKS = (1, 5, 10)
"""The K at which the recalls of image-text retrieval are taken."""
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


def matcher_ceiling(captions: Sequence[Sequence[str]], ks: Sequence[int] = RECALL_RANKS) -> dict[str, float]:
    """Expected exact-id recall of a matcher that knows every caption by heart, in percent.

    Text to image: all images that have the query's text tie for the first rank, so R@K is K over their number. Image
    to text: all captions whose text is one of the image's own tie, and R@K is the chance that one of its own is among
    K drawn from them.

    Args:
        captions: for each image, its captions; an image without any is no query.
        ks: the cut-offs K.

    Returns:
        ``i2t_R@1`` ... ``t2i_R@10`` and ``mR``, their mean.

    Examples:
        >>> matcher_ceiling([["a port", "some boats"], ["a port", "two cranes"]])["t2i_R@1"]
        75.0
    """
    normal, owners = _owners(captions)

    def any_own(image: int, texts: Sequence[str], k: int) -> float:
        others = sum(owners[text].total() - owners[text][image] for text in set(texts))
        return _any_hit(len(texts), len(texts) + others, k)

    i2t = {k: _mean(any_own(image, texts, k) for image, texts in enumerate(normal) if texts) for k in ks}
    t2i = {k: _mean(min(1.0, k / len(owners[text])) for texts in normal for text in texts) for k in ks}
    return _named(i2t, t2i)


def oracle_ceiling(captions: Sequence[Sequence[str]], ks: Sequence[int] = RECALL_RANKS) -> dict[str, float]:
    """The best exact-id recall of any ranking in which equal texts score alike, in percent.

    Equal texts get equal vectors: one ranking of the images serves all their captions, and they tie in every image's
    ranking. Text to image: the best K images for a text are those with most of its captions. Image to text: nothing is
    better for an image than the text first whose captions are most its own.

    Args:
        captions: for each image, its captions; an image without any is no query.
        ks: the cut-offs K.

    Returns:
        ``i2t_R@1`` ... ``t2i_R@10`` and ``mR``, their mean.

    Examples:
        >>> ceiling = oracle_ceiling([["a port", "some boats"], ["a port", "two cranes"]])
        >>> ceiling["i2t_R@1"], ceiling["t2i_R@1"]
        (100.0, 75.0)
    """
    normal, owners = _owners(captions)
    total = sum(map(len, normal))

    def best_own(image: int, texts: Sequence[str], k: int) -> float:
        return max(_any_hit(owners[text][image], owners[text].total(), k) for text in set(texts))

    i2t = {k: _mean(best_own(image, texts, k) for image, texts in enumerate(normal) if texts) for k in ks}
    t2i = {
        k: 100.0 * sum(sum(count for _, count in own.most_common(k)) for own in owners.values()) / max(total, 1)
        for k in ks
    }
    return _named(i2t, t2i)


def _owners(captions: Sequence[Sequence[str]]) -> tuple[list[list[str]], Mapping[str, Counter[int]]]:
    """The captions in normal form, and for each distinct text how many of its captions each image has."""
    normal = [[normalise_caption(text) for text in each] for each in captions]
    owners: dict[str, Counter[int]] = defaultdict(Counter)
    for image, texts in enumerate(normal):
        for text in texts:
            owners[text][image] += 1
    return normal, owners


def _any_hit(right: int, size: int, k: int) -> float:
    """Chance that one of `right` items is among the first k of `size` in random order."""
    return 1.0 - comb(size - right, k) / comb(size, k) if size >= k else 1.0


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return 100.0 * sum(listed) / max(len(listed), 1)


def _named(i2t: Mapping[int, float], t2i: Mapping[int, float]) -> dict[str, float]:
    recall = {f"{way}_R@{k}": value for way, found in (("i2t", i2t), ("t2i", t2i)) for k, value in found.items()}
    return {**recall, "mR": sum(recall.values()) / max(len(recall), 1)}
