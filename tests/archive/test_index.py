from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.archive.index import ExactIndex, exact_scores
from terraseek.archive.segment import segment_from_batches
from terraseek.errors import CorruptError


def unit(rng: np.random.Generator, count: int, dim: int = 6) -> np.ndarray:
    rows = rng.standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def index_of(rows: np.ndarray) -> ExactIndex:
    return ExactIndex((segment_from_batches([rows], len(rows), rows.shape[1]),), rows.shape[1])


def best(index: ExactIndex, query: np.ndarray, k: int, mask: np.ndarray | None = None) -> list[int]:
    positions, scores = index.candidates(query, k, mask)
    return [int(p) for _, p in sorted(zip(-scores, positions, strict=True))][:k]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 70), st.sampled_from(["none", "some", "all"]))
def test_equals_sorting_by_plain_loops_even_with_ties(seed, count, k, masked) -> None:
    rng = np.random.default_rng(seed)
    rows = unit(rng, count)[rng.integers(0, max(1, count // 3), count)]  # every row about three times
    query = unit(rng, 1)[0]
    mask = None if masked == "none" else rng.random(count) < (0.4 if masked == "some" else 1.0)
    allowed = [at for at in range(count) if mask is None or mask[at]]
    expected = sorted(
        allowed, key=lambda at: (-round(float(np.dot(rows[at].astype(float), query.astype(float))), 6), at)
    )
    assert best(index_of(rows), query, k, mask) == expected[:k]


def test_a_boundary_tie_wider_than_the_heap_is_seen_whole() -> None:
    rng = np.random.default_rng(0)
    rows = np.repeat(unit(rng, 1), 5000, axis=0)
    rows[::2] = unit(rng, 2500)
    query = rows[1]
    # 2,500 equal rows at odd positions: the ones with the lowest positions win.
    assert best(index_of(rows), query, 10) == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_updates_equal_a_fresh_index(seed) -> None:
    rng = np.random.default_rng(seed)
    rows = unit(rng, 30)
    index = index_of(rows)
    for _ in range(12):
        keep = rng.random(len(rows)) < 0.85
        added = unit(rng, int(rng.integers(0, 8)))
        segment = segment_from_batches([added], len(added), 6, int(keep.sum()))
        index = index.updated(keep, segment)
        rows = np.concatenate([rows[keep], added])
        if not len(rows):
            break
        query, mask = unit(rng, 1)[0], rng.random(len(rows)) < 0.7
        assert index.size == len(rows)
        assert best(index, query, 5) == best(index_of(rows), query, 5)
        assert best(index, query, 5, mask) == best(index_of(rows), query, 5, mask)
        np.testing.assert_array_equal(index.rows(np.arange(len(rows))), rows)
    assert len(index.segments) <= 9


def test_vectors_that_are_none_are_named() -> None:
    rows = unit(np.random.default_rng(0), 4)
    rows[2, 0] = np.nan
    with pytest.raises(CorruptError, match="row 2"):
        segment_from_batches([rows], 4, 6)
    with pytest.raises(CorruptError, match="4 rows has 2"):
        segment_from_batches([rows[:2]], 4, 6)


def test_scores_do_not_depend_on_where_a_row_stands() -> None:
    rng = np.random.default_rng(1)
    row, query = unit(rng, 1, 256), unit(rng, 1, 256)[0]
    scores = exact_scores(np.repeat(row, 37, axis=0), query)
    assert len(set(scores.tolist())) == 1
