"""Embeddings with their labels, and their cosine similarities in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from ..typing import FloatArray, LabelArray

__all__ = ["EmbeddingSet", "block_rows", "comparable_rows", "similarity_blocks", "unit_rows"]

# Scores, keys and gains of one block stay around this many bytes per array.
_BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True, eq=False)
class EmbeddingSet:
    """N embedded images with their label sets.

    Attributes:
        vectors_ND: embeddings, one row per image; compared by cosine, so their lengths do not matter.
        labels_NC: multi-hot labels, entries 0 or 1.
        ids: one unique name per image; a query whose id is in the gallery is left out of its own ranking.

    Raises:
        UsageError: the three do not fit together, a vector is not finite, a label is neither 0 nor 1, an id repeats.
    """

    vectors_ND: FloatArray
    labels_NC: LabelArray
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        vectors, labels = np.asarray(self.vectors_ND), np.asarray(self.labels_NC)
        if vectors.ndim != 2 or labels.ndim != 2 or not len(vectors) == len(labels) == len(self.ids):
            raise UsageError(
                f"embeddings are N x D vectors, N x C labels and N ids, not {vectors.shape}, {labels.shape} "
                f"and {len(self.ids)} ids"
            )
        if not np.isfinite(vectors.sum(dtype=np.float64)) and not np.isfinite(vectors).all():
            bad = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise UsageError(f"the vector of {self.ids[bad]!r} has entries that are not finite")
        if labels.size and (
            labels.min() < 0 or labels.max() > 1 or not np.array_equal(labels, labels.astype(np.uint8))
        ):
            raise UsageError("labels are multi-hot: every entry is 0 or 1")
        if len(set(self.ids)) != len(self.ids):
            seen: set[str] = set()
            twice = next(name for name in self.ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise UsageError(f"the id {twice!r} occurs twice; ids are unique within one set")
        object.__setattr__(self, "vectors_ND", vectors)
        object.__setattr__(self, "labels_NC", labels.astype(np.uint8, copy=False))
        object.__setattr__(self, "ids", tuple(self.ids))

    def __len__(self) -> int:
        return len(self.ids)


def unit_rows(vectors_ND: ArrayLike) -> NDArray[np.float32]:
    """The rows scaled to unit length, float32; a zero row stays zero and so is 0 to everything.

    >>> unit_rows([[3.0, 4.0], [0.0, 0.0]]).round(2).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    vectors = np.asarray(vectors_ND)
    with np.errstate(over="ignore"):
        rows = np.array(vectors, dtype=np.float32)
        length = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    # float32 squares overflow from 1e19 and vanish below 1e-23: such rows are scaled by their largest entry first.
    odd = ~np.isfinite(length) | (length < 1e-15)
    if odd.any():
        part = vectors[odd].astype(np.float64)
        part /= np.maximum(np.abs(part).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        rows[odd] = part
        length[odd] = np.sqrt((part**2).sum(axis=1))
    rows /= np.where(length > 0, length, 1.0)[:, None].astype(np.float32)
    return rows


def comparable_rows(vectors_ND: ArrayLike) -> tuple[NDArray[np.float32], float]:
    """Float32 rows of one length, whose products therefore rank by cosine, and that length.

    Rows that are of equal length already keep their values, others are scaled to 1. So the products of binary codes
    (-1 and 1) stay whole numbers, and codes at the same Hamming distance tie exactly instead of being told apart by
    the rounding of 1 / sqrt(D).
    """
    vectors = np.asarray(vectors_ND)
    length = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    low, high = length.min(initial=np.inf), length.max(initial=0.0)
    if 1e-6 < low <= high < 1e6 and high - low <= 1e-5 * high:
        return np.array(vectors, dtype=np.float32), float(length.mean())
    return unit_rows(vectors), 1.0


def block_rows(gallery: int) -> int:
    """How many queries to take at a time, so that memory stays bounded whatever the gallery's size."""
    return int(np.clip(_BLOCK_BYTES // (4 * max(gallery, 1)), 1, 1024))


def similarity_blocks(
    query_QD: NDArray[np.float32],
    gallery_GD: NDArray[np.float32],
    rows: int | None = None,
    ahead: Executor | None = None,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Dot products, block after block, as (first query, scores of shape (B, G)).

    The array is reused by a later block. Equal gallery rows get bit-equal scores, so that they tie: a matrix product
    rounds the same row differently depending on where in the matrix it stands.

    Args:
        query_QD: the queries.
        gallery_GD: what they are compared with.
        rows: queries to a block; None for as many as memory should bear.
        ahead: what computes each block while the one before it is in use; it takes twice the memory.
    """
    rows = block_rows(len(gallery_GD)) if rows is None else rows
    if rows < 1:
        raise UsageError(f"a block has {rows} rows, it must have at least 1")
    copies, originals = _repeated_rows(gallery_GD)
    shape = (min(rows, len(query_QD)), len(gallery_GD))
    scores = [np.empty(shape, dtype=np.float32) for _ in range(1 if ahead is None else 2)]
    transposed = gallery_GD.T

    def block_from(start: int) -> NDArray[np.float32]:
        part = query_QD[start : start + rows]
        block = np.matmul(part, transposed, out=scores[start // rows % len(scores)][: len(part)])
        if len(copies):
            block[:, copies] = block[:, originals]
        return block

    coming: Future[NDArray[np.float32]] | None = None
    for start in range(0, len(query_QD), rows):
        block = block_from(start) if coming is None else coming.result()
        if ahead is not None and start + rows < len(query_QD):
            coming = ahead.submit(block_from, start + rows)
        yield start, block


def _repeated_rows(rows_ND: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows that repeat an earlier one, and which one each repeats."""
    if not rows_ND.size:
        return np.arange(0), np.arange(0)
    plain = np.ascontiguousarray(rows_ND + np.float32(0))  # -0.0 and 0.0 are one number with two bit patterns
    words = plain.view(np.uint32).astype(np.uint64)
    # Random weights modulo 2^64 send different rows to different sums, up to a chance that the check below catches.
    weights = np.random.default_rng(0).integers(1, 2**63, words.shape[1], dtype=np.uint64)
    digest = (words * weights).sum(axis=1, dtype=np.uint64)
    _, first, which = np.unique(digest, return_index=True, return_inverse=True)
    original = first[which]
    copies = np.flatnonzero(original != np.arange(len(original)))
    same = (plain[copies] == plain[original[copies]]).all(axis=1)
    return copies[same], original[copies[same]]
