"""Recalls of image-text retrieval in both directions, with what they can and cannot reach.

Captions repeat between images, so "the caption of exactly this image" is not always decidable. Every recall therefore
comes twice: exact by id, and aware of equal texts (a caption that reads like one of the image's own counts as right).
Beside it stand the ceiling of the exact one (the best that a model can do that sees nothing but the text) and the floor
of a random ranking. All ties are in expectation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from ..typing import BoolArray, FloatArray
from ._expectation import any_hit_at_random
from .embeddings import comparable_rows, similarity_blocks

__all__ = ["DirectionResult", "ImageTextEvaluation", "evaluate_image_text", "normalize_text"]


@dataclass(frozen=True, kw_only=True, eq=False)
class DirectionResult:
    """One direction, one notion of what is right.

    Attributes:
        recall: K -> share of queries, in percent, with a right answer among the first K.
        hits: K -> the same per query, (Q,), as a probability where scores tie.
        first_rank_Q: expected 1-based rank of the first right answer of each query.
    """

    recall: Mapping[int, float]
    hits: Mapping[int, FloatArray]
    first_rank_Q: FloatArray

    @property
    def median_rank(self) -> float:
        """Median over the queries of the rank of the first right answer."""
        return float(np.median(self.first_rank_Q))


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageTextEvaluation:
    """Image-to-text (i2t) and text-to-image (t2i) retrieval of one model on one set.

    Attributes:
        exact: "i2t" and "t2i" -> result where only an image's own captions, or a caption's own image, are right.
        equivalent: the same where equal texts are right as well.
        ceilings: "i2t_R@1" and so on -> the best exact recall of any model that sees images and texts only.
        floors: the same names -> exact recall of a random ranking.
        images: number of images.
        texts: number of captions.
        repeated_texts: captions whose normalised text also belongs to another image.
    """

    exact: Mapping[str, DirectionResult]
    equivalent: Mapping[str, DirectionResult]
    ceilings: Mapping[str, float]
    floors: Mapping[str, float]
    images: int
    texts: int
    repeated_texts: int

    @property
    def mean_recall(self) -> float:
        """mR: the mean of all exact recalls of both directions, in percent."""
        return _mean_recall(self.exact)

    @property
    def mean_recall_equivalent(self) -> float:
        """The mean recall mR where equal texts are right as well."""
        return _mean_recall(self.equivalent)

    def to_json(self) -> dict[str, Any]:
        """Values, floors, ceilings and counts as plain numbers."""

        def values(results: Mapping[str, DirectionResult]) -> dict[str, float]:
            named = {f"{way}_R@{k}": value for way, result in results.items() for k, value in result.recall.items()}
            ranks = {f"{way}_median_rank": result.median_rank for way, result in results.items()}
            return {**named, "mR": _mean_recall(results), **ranks}

        return {
            "exact": values(self.exact),
            "equivalent": values(self.equivalent),
            "ceilings": dict(self.ceilings),
            "floors": dict(self.floors),
            "counts": {"images": self.images, "texts": self.texts, "repeated_texts": self.repeated_texts},
        }


def normalize_text(text: str) -> str:
    """The text's words in lower case with single spaces: what makes two captions equal.

    >>> normalize_text("Many  planes are parked, near a terminal .")
    'many planes are parked near a terminal'
    """
    return " ".join(re.findall(r"\w+", text.casefold()))


def evaluate_image_text(
    image_vectors_ID: ArrayLike,
    text_vectors_TD: ArrayLike,
    image_of_T: Sequence[int] | NDArray[np.integer[Any]],
    texts: Sequence[str] | None = None,
    *,
    ks: Sequence[int] = (1, 5, 10),
    block_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImageTextEvaluation:
    """Rank all captions for every image and all images for every caption, by cosine.

    Args:
        image_vectors_ID: image embeddings, (I, D).
        text_vectors_TD: caption embeddings, (T, D).
        image_of_T: for each caption, the row of the image it describes.
        texts: the captions themselves; without them no two captions are taken as equal.
        ks: the cut-offs K.
        block_size: queries at a time; None chooses by memory.
        progress: called with (queries done, all queries).

    Raises:
        UsageError: the sizes do not fit, or an image has no caption.

    Example:
        >>> import numpy as np
        >>> result = evaluate_image_text(np.eye(2), np.eye(2), [0, 1], ["a field", "a port"], ks=(1,))
        >>> result.mean_recall, result.floors["t2i_R@1"]
        (100.0, 50.0)
    """
    images, captions = comparable_rows(image_vectors_ID)[0], comparable_rows(text_vectors_TD)[0]
    owner = np.asarray(image_of_T)
    _check(images, captions, owner, texts, ks)
    # Without the texts every caption is its own: equal to none.
    names = [normalize_text(text) for text in texts] if texts is not None else [str(i) for i in range(len(owner))]
    text_id = np.unique(np.array(names), return_inverse=True)[1]
    own_texts = [np.unique(text_id[rows]) for rows in _groups(owner, len(images))]
    has_text = _groups(text_id, int(text_id.max()) + 1)

    total = len(images) + len(captions)

    def i2t(image: int) -> tuple[BoolArray, BoolArray]:
        return owner == image, np.isin(text_id, own_texts[image])

    def t2i(caption: int) -> tuple[BoolArray, BoolArray]:
        exact, alike = np.zeros(len(images), dtype=bool), np.zeros(len(images), dtype=bool)
        exact[owner[caption]] = True
        alike[owner[has_text[text_id[caption]]]] = True
        return exact, alike

    exact: dict[str, DirectionResult] = {}
    equivalent: dict[str, DirectionResult] = {}
    done = 0
    for way, query, gallery, right in (("i2t", images, captions, i2t), ("t2i", captions, images, t2i)):
        counts: NDArray[np.int64] = np.empty((2, len(query), 3), dtype=np.int64)
        for start, block in similarity_blocks(query, gallery, block_size):
            for row, scores in enumerate(block, start=start):
                for notion, relevant in enumerate(right(row)):
                    counts[notion, row] = _first_group(scores, relevant)
            done += len(block)
            if progress:
                progress(done, total)
        exact[way], equivalent[way] = (_result(part, ks) for part in counts)
    owners = Counter(zip(text_id.tolist(), owner.tolist(), strict=True))
    images_with = Counter(text for text, _ in owners)
    return ImageTextEvaluation(
        exact=exact,
        equivalent=equivalent,
        ceilings=_ceilings(owners, len(images), len(captions), ks),
        floors=_floors(owner, len(images), ks),
        images=len(images),
        texts=len(captions),
        repeated_texts=sum(images_with[text] > 1 for text in text_id.tolist()),
    )


def _check(
    images: FloatArray, captions: FloatArray, owner: NDArray[Any], texts: Sequence[str] | None, ks: Sequence[int]
) -> None:
    if owner.shape != (len(captions),) or (texts is not None and len(texts) != len(captions)):
        given = f"{owner.shape} image numbers" + ("" if texts is None else f", {len(texts)} texts")
        raise UsageError(f"{len(captions)} caption vectors need as many image numbers and texts, not {given}")
    if images.shape[1:] != captions.shape[1:]:
        raise UsageError(f"images have {images.shape[1:]} dimensions, captions {captions.shape[1:]}")
    missing = np.setdiff1d(np.arange(len(images)), owner)
    if len(missing):
        raise UsageError(f"{len(missing)} images have no caption, the first is row {missing[0]}")
    if not len(owner) or owner.max() >= len(images) or owner.min() < 0:
        raise UsageError(
            f"captions name images 0..{len(images) - 1}, not {owner.min(initial=0)}..{owner.max(initial=0)}"
        )
    if not ks or min(ks) < 1:
        raise UsageError(f"K is at least 1, not {list(ks)}")


def _groups(number_N: NDArray[Any], size: int) -> list[NDArray[np.intp]]:
    """The positions at which each of the numbers 0 .. size-1 stands."""
    order = np.argsort(number_N, kind="stable")
    return np.split(order, np.cumsum(np.bincount(number_N, minlength=size))[:-1])


def _first_group(scores: FloatArray, relevant: BoolArray) -> tuple[int, int, int]:
    """Of the tie group that holds the best right answer: items before it, items in it, right answers in it."""
    right = scores[relevant]
    best = right.max()
    return int((scores > best).sum()), int((scores == best).sum()), int((right == best).sum())


def _result(counts_Q3: NDArray[np.int64], ks: Sequence[int]) -> DirectionResult:
    before, size, right = counts_Q3.T
    hits: dict[int, FloatArray] = {}
    for k in ks:
        hit = np.where(before + size <= k, 1.0, 0.0)
        for row in np.flatnonzero((before < k) & (before + size > k)).tolist():
            hit[row] = any_hit_at_random(int(right[row]), int(size[row]), k - int(before[row]))
        hits[k] = hit
    # The first of c right answers among n in random order stands at (n + 1) / (c + 1) on average.
    return DirectionResult(
        recall={k: 100 * float(hit.mean()) for k, hit in hits.items()},
        hits=hits,
        first_rank_Q=before + (size + 1) / (right + 1),
    )


def _mean_recall(results: Mapping[str, DirectionResult]) -> float:
    return float(np.mean([value for result in results.values() for value in result.recall.values()]))


def _floors(owner_T: NDArray[Any], images: int, ks: Sequence[int]) -> dict[str, float]:
    captions = Counter(np.bincount(owner_T, minlength=images).tolist())
    total = len(owner_T)
    floors = {}
    for k in ks:
        chance = sum(n * any_hit_at_random(own, total, min(k, total)) for own, n in captions.items())
        floors[f"i2t_R@{k}"] = 100 * chance / images
        floors[f"t2i_R@{k}"] = 100 * min(k, images) / images
    return floors


def _ceilings(owners: Counter[tuple[int, int]], images: int, texts: int, ks: Sequence[int]) -> dict[str, float]:
    """Equal texts get equal vectors: one ranking serves all their captions, and they tie in every image's ranking.

    t2i: the best K images for a text are those with most of its captions. i2t: the best a model can do for an image is
    to put the text first whose captions are most its own.
    """
    by_text: dict[int, list[int]] = {}
    for (text, _), count in owners.items():
        by_text.setdefault(text, []).append(count)
    size = {text: sum(counts) for text, counts in by_text.items()}
    own: dict[int, list[tuple[int, int]]] = {}
    for (text, image), count in owners.items():
        own.setdefault(image, []).append((count, size[text]))
    ceilings = {}
    for k in ks:
        found = sum(sum(sorted(counts, reverse=True)[:k]) for counts in by_text.values())
        reach = sum(max(any_hit_at_random(c, n, min(k, n)) for c, n in choices) for choices in own.values())
        ceilings[f"i2t_R@{k}"] = 100 * reach / images
        ceilings[f"t2i_R@{k}"] = 100 * found / texts
    return ceilings
