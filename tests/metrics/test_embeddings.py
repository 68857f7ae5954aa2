"""Embedding sets refuse what does not fit together; blocks equal the whole product and keep repeated rows tied."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from terraseek.errors import UsageError
from terraseek.metrics import EmbeddingSet, similarity_blocks, unit_rows
from terraseek.metrics.embeddings import block_rows, comparable_rows


@pytest.mark.parametrize("ahead", [False, True])
def test_blocks_cover_the_matrix_product(ahead: bool) -> None:
    rng = np.random.default_rng(0)
    query, gallery = unit_rows(rng.standard_normal((23, 8))), unit_rows(rng.standard_normal((40, 8)))
    with ThreadPoolExecutor(2) as pool:
        blocks = similarity_blocks(query, gallery, 7, pool if ahead else None)
        parts = [(start, block.copy()) for start, block in blocks]
        assert not list(similarity_blocks(query[:0], gallery, 7, pool if ahead else None))
    assert [start for start, _ in parts] == [0, 7, 14, 21]
    np.testing.assert_allclose(np.concatenate([block for _, block in parts]), query @ gallery.T, atol=1e-6)


@pytest.mark.parametrize("dim", [3, 17, 127])
def test_equal_gallery_rows_tie_to_the_bit(dim: int) -> None:
    rng = np.random.default_rng(dim)
    gallery = unit_rows(rng.standard_normal((997, dim)))
    gallery[1::3] = gallery[0]
    gallery[5] = gallery[995]
    gallery[0, 0] = 0.0
    gallery[1::3, 0] = -0.0  # the same number, though not the same bits
    for _, block in similarity_blocks(unit_rows(rng.standard_normal((30, dim))), gallery):
        assert (block[:, 1::3] == block[:, :1]).all()
        assert (block[:, 5] == block[:, 995]).all()


def test_unit_rows_of_extreme_lengths() -> None:
    rows = np.array([[3e30, 4e30], [3e-30, 4e-30], [0.0, 0.0], [3.0, 4.0]])
    expected = [[0.6, 0.8], [0.6, 0.8], [0.0, 0.0], [0.6, 0.8]]
    np.testing.assert_allclose(unit_rows(rows), expected, rtol=1e-6)
    np.testing.assert_allclose(unit_rows(np.array([[3e-6, 4e-6]], dtype=np.float16)), [[0.6, 0.8]], rtol=0.02)
    np.testing.assert_allclose(unit_rows(np.array([[3e300, 4e300]])), [[0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("dim", [7, 48, 130])
def test_binary_codes_at_one_distance_tie(dim: int) -> None:
    rng = np.random.default_rng(dim)
    codes = rng.integers(0, 2, (300, dim)) * 2 - 1
    rows, length = comparable_rows(codes)
    assert length == pytest.approx(np.sqrt(dim))
    for start, block in similarity_blocks(rows[:10], rows):
        np.testing.assert_array_equal(block, codes[start : start + len(block)] @ codes.T)
    uneven, length = comparable_rows(codes * np.arange(1, 301)[:, None])
    assert length == 1.0
    np.testing.assert_allclose(np.linalg.norm(uneven, axis=1), 1, rtol=1e-6)


def test_block_rows_bound_memory() -> None:
    assert block_rows(10) == 1024
    assert 4 * block_rows(100_000) * 100_000 <= 32 * 2**20
    assert block_rows(10**9) == 1


def test_sets_that_do_not_fit_are_refused() -> None:
    vectors, labels, ids = np.eye(3), np.eye(3, dtype=np.uint8), ("a", "b", "c")
    assert len(EmbeddingSet(vectors, labels.astype(float), ids)) == 3
    with pytest.raises(UsageError, match="2 ids"):
        EmbeddingSet(vectors, labels, ids[:2])
    with pytest.raises(UsageError, match="multi-hot"):
        EmbeddingSet(vectors, 2 * labels, ids)
    with pytest.raises(UsageError, match="multi-hot"):
        EmbeddingSet(vectors, 0.5 * labels, ids)
    with pytest.raises(UsageError, match="'b' occurs twice"):
        EmbeddingSet(vectors, labels, ("a", "b", "b"))
    with pytest.raises(UsageError, match="'b' has entries that are not finite"):
        EmbeddingSet(np.where(np.arange(3)[:, None] == 1, np.nan, vectors), labels, ids)
    with pytest.raises(UsageError, match="at least 1"):
        next(similarity_blocks(unit_rows(vectors), unit_rows(vectors), 0))
