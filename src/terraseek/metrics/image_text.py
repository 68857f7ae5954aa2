"""Recalls of image-text retrieval in both directions, with what they can and cannot reach.

Captions repeat between images, so "the caption of exactly this image" is not always decidable. Every number therefore
comes twice: exact by id, and aware of equal texts, where a caption that reads like one of the image's own counts as
right; its name then ends in "(equivalent)". Beside it stand the floor of a random ranking and, for recalls, the two
ceilings of `terraseek.texts`. All ties are in expectation. Recalls are in percent, as the field prints them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from ..texts import RECALL_RANKS, normalise_caption
from ..typing import BoolArray, FloatArray, IntArray
from ._recall import EQUIVALENT, DirectionResult, RecallResult, direction_result, recall_results
from .embeddings import comparable_rows, similarity_blocks
from .significance import check_confidence

__all__ = ["DirectionResult", "ImageTextEvaluation", "RecallResult", "evaluate_image_text"]

_NEAREST = 10
# Which items are right for a query: by id, and with equal texts.
_Right: TypeAlias = Callable[[int], tuple[BoolArray, BoolArray]]


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageTextEvaluation:
    """Image-to-text (i2t) and text-to-image (t2i) retrieval of one model on one set.

    Attributes:
        results: every number with its interval, floor and ceilings, mR first.
        exact: "i2t" and "t2i" -> result where only an image's own captions, or a caption's own image, are right.
        equivalent: the same where equal texts are right as well.
        image_ids: the images.
        texts: the captions, empty where they were not given.
        owner_T: the row of the image that each caption describes.
        nearest: "i2t" -> the first captions of each image, (I, 10), and "t2i" -> the first images of each caption,
            (T, 10), as rows, -1 past the end; order within ties is arbitrary.
        repeated_T: whether the normal form of each caption also belongs to another image.
        settings: what else the numbers depend on.
    """

    results: tuple[RecallResult, ...]
    exact: Mapping[str, DirectionResult]
    equivalent: Mapping[str, DirectionResult]
    image_ids: tuple[str, ...]
    texts: tuple[str, ...]
    owner_T: IntArray
    nearest: Mapping[str, IntArray]
    repeated_T: BoolArray
    settings: Mapping[str, Any]

    def __getitem__(self, name: str) -> float:
        """The value of a number by its name.

        Raises:
            UsageError: there is no such number.
        """
        values = self.values
        if name not in values:
            raise UsageError(f"{name} was not evaluated; there are {', '.join(values)}")
        return values[name]

    @property
    def values(self) -> dict[str, float]:
        """Name -> value."""
        return {result.name: result.value for result in self.results}

    @property
    def mean_recall(self) -> float:
        """mR: the mean of all exact recalls of both directions, in percent."""
        return self["mR"]

    @property
    def mean_recall_equivalent(self) -> float:
        """The mean recall mR where equal texts are right as well."""
        return self["mR" + EQUIVALENT]


def evaluate_image_text(
    image_vectors_ID: ArrayLike,
    text_vectors_TD: ArrayLike,
    image_of_T: Sequence[int] | NDArray[np.integer[Any]],
    texts: Sequence[str] | None = None,
    *,
    image_ids: Sequence[str] | None = None,
    ks: Sequence[int] = RECALL_RANKS,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    block_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImageTextEvaluation:
    """Rank all captions for every image and all images for every caption, by cosine.

    Args:
        image_vectors_ID: image embeddings, (I, D); each image once, however many captions it has.
        text_vectors_TD: caption embeddings, (T, D).
        image_of_T: for each caption, the row of the image it describes.
        texts: the captions themselves; without them no two captions are taken as equal.
        image_ids: one unique name per image; None numbers them.
        ks: the cut-offs K.
        bootstrap: resamples of the intervals, 0 for none.
        confidence: of the intervals.
        seed: of the resamples.
        block_size: queries at a time; None chooses by memory.
        progress: called with (queries done, all queries).

    Raises:
        UsageError: the sizes do not fit, an image has no caption, a vector is not finite, or `confidence` is not
            between 0 and 1.

    Examples:
        >>> import numpy as np
        >>> found = evaluate_image_text(np.eye(2), np.eye(2), [0, 1], ["a field", "a port"], ks=(1,))
        >>> found["mR"], found.results[0].floor
        (100.0, 50.0)
    """
    check_confidence(confidence)
    images, captions = comparable_rows(image_vectors_ID)[0], comparable_rows(text_vectors_TD)[0]
    owner = np.asarray(image_of_T)
    ids = tuple(str(i) for i in range(len(images))) if image_ids is None else tuple(image_ids)
    _check(images, captions, owner, ids, texts, ks)
    # Without the texts every caption is its own: equal to none.
    names = [normalise_caption(text) for text in texts] if texts is not None else [str(i) for i in range(len(owner))]
    text_id = np.unique(np.array(names), return_inverse=True)[1]
    own_captions, same_text = _groups(owner, len(images)), _groups(text_id, int(text_id.max()) + 1)

    def i2t(image: int) -> tuple[BoolArray, BoolArray]:
        return owner == image, np.isin(text_id, text_id[own_captions[image]])

    def t2i(caption: int) -> tuple[BoolArray, BoolArray]:
        exact, alike = np.zeros(len(images), dtype=bool), np.zeros(len(images), dtype=bool)
        exact[owner[caption]] = True
        alike[owner[same_text[text_id[caption]]]] = True
        return exact, alike

    results: list[dict[str, DirectionResult]] = [{}, {}]
    nearest: dict[str, IntArray] = {}
    done, total = 0, len(images) + len(captions)
    for way, query, gallery, right in (("i2t", images, captions, i2t), ("t2i", captions, images, t2i)):
        counts, nearest[way] = _rank(query, gallery, right, block_size, progress and _shifted(progress, done, total))
        done += len(query)
        for notion, part in enumerate(counts):
            results[notion][way] = direction_result(part, ks, len(gallery))
    exact, equivalent = results
    texts_of = [[names[caption] for caption in rows.tolist()] for rows in own_captions]
    images_with = np.array([len(np.unique(owner[rows])) for rows in same_text])
    return ImageTextEvaluation(
        results=recall_results(
            exact, equivalent, owner, texts_of, bootstrap=bootstrap, confidence=confidence, seed=seed
        ),
        exact=exact,
        equivalent=equivalent,
        image_ids=ids,
        texts=() if texts is None else tuple(texts),
        owner_T=owner,
        nearest=nearest,
        repeated_T=images_with[text_id] > 1,
        settings={
            "similarity": "cosine",
            "ties": "expected value over tied orders",
            "resampled": "images with their captions",
            "bootstrap": bootstrap,
            "confidence": confidence,
            "seed": seed,
        },
    )


def _check(
    images: FloatArray,
    captions: FloatArray,
    owner: NDArray[Any],
    ids: Sequence[str],
    texts: Sequence[str] | None,
    ks: Sequence[int],
) -> None:
    if owner.shape != (len(captions),) or (texts is not None and len(texts) != len(captions)):
        given = f"{owner.shape} image numbers" + ("" if texts is None else f", {len(texts)} texts")
        raise UsageError(f"{len(captions)} caption vectors need as many image numbers and texts, not {given}")
    if images.shape[1:] != captions.shape[1:]:
        raise UsageError(f"images have {images.shape[1:]} dimensions, captions {captions.shape[1:]}")
    if len(ids) != len(images) or len(set(ids)) != len(ids):
        raise UsageError(f"{len(images)} images need as many different ids, not {len(set(ids))}")
    for kind, vectors in (("image", images), ("caption", captions)):
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise UsageError(f"the vector of {kind} {bad[0]} has entries that are not finite")
    missing = np.setdiff1d(np.arange(len(images)), owner)
    if len(missing):
        raise UsageError(f"{len(missing)} images have no caption, the first is {ids[missing[0]]!r}")
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


def _shifted(progress: Callable[[int, int], None], before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(before + done, total)


def _rank(
    query: NDArray[np.float32],
    gallery: NDArray[np.float32],
    right: _Right,
    block_size: int | None,
    progress: Callable[[int], None] | None,
) -> tuple[NDArray[np.int64], IntArray]:
    """`_first_group` of each query by both notions of right, (2, Q, 4), and the first items of each, (Q, 10)."""
    counts: NDArray[np.int64] = np.empty((2, len(query), 4), dtype=np.int64)
    nearest: NDArray[np.int64] = np.full((len(query), _NEAREST), -1, dtype=np.int64)
    for start, block in similarity_blocks(query, gallery, block_size):
        for row, scores in enumerate(block, start=start):
            for notion, relevant in enumerate(right(row)):
                counts[notion, row] = _first_group(scores, relevant)
            first = _first_items(scores)
            nearest[row, : len(first)] = first
        if progress:
            progress(start + len(block))
    return counts, nearest


def _first_group(scores: FloatArray, relevant: BoolArray) -> tuple[int, int, int, int]:
    """Of the tie group with the best right answer: items before it, in it, right ones in it; and all right answers."""
    right = scores[relevant]
    best = right.max()
    return int((scores > best).sum()), int((scores == best).sum()), int((right == best).sum()), len(right)


def _first_items(scores: FloatArray) -> IntArray:
    count = min(_NEAREST, len(scores))
    best = np.argpartition(-scores, count - 1)[:count]
    return np.asarray(best[np.argsort(-scores[best], kind="stable")])
