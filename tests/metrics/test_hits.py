"""Precision sums of several notions at once against one at a time; positions found from either list."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.metrics._expectation import precision_sum
from terraseek.metrics._hits import Hits, expected_ranks, precision_sums, tied_positions
from terraseek.metrics.ranking import rank


@settings(max_examples=80, deadline=None)
@given(size=st.integers(1, 60), share=st.floats(0, 1), seed=st.integers(0, 999))
def test_hits_equal_the_list_of_positions(size: int, share: float, seed: int) -> None:
    relevant = np.random.default_rng(seed).random(size) < share
    hits, positions = Hits(relevant), np.flatnonzero(relevant)
    assert hits.count == len(positions)
    assert hits.positions().tolist() == positions.tolist()
    ranks = np.arange(size + 1)
    assert hits.before(ranks).tolist() == positions.searchsorted(ranks).tolist()
    which = np.arange(len(positions))
    assert hits.find(which).tolist() == positions.tolist()
    assert hits.precision_sum() == pytest.approx(sum((n + 1) / (p + 1) for n, p in enumerate(positions.tolist())))


@pytest.mark.parametrize(("size", "levels"), [(1, 1), (2, 1), (37, 5), (400, 4000), (3000, 30_000), (3000, 40)])
def test_sums_equal_one_notion_at_a_time(size: int, levels: int) -> None:
    # From no ties through a few by chance to nothing but ties; from hardly any relevant items to all.
    rng = np.random.default_rng(size + levels)
    ranking = rank(rng.integers(0, levels, size).astype(np.float32) - levels // 2)
    notions = [rng.random(size) < share for share in (0.0, 0.02, 0.3, 0.5, 0.9, 1.0)]
    tied = tied_positions(ranking)
    found = precision_sums(ranking, (Hits(each) for each in notions), np.stack([n[tied] for n in notions], axis=1))
    for each, value in zip(notions, found.tolist(), strict=True):
        positions = np.flatnonzero(each)
        assert value == pytest.approx(precision_sum(ranking, positions, size), rel=1e-12, abs=1e-12)
        ranks = expected_ranks(ranking, Hits(each), np.arange(len(positions)))
        assert (np.diff(ranks) > 0).all()
        assert ((ranks >= 1) & (ranks <= size)).all()


def test_long_rankings_lose_no_precision() -> None:
    rng = np.random.default_rng(0)
    relevant = rng.random(300_000) < 0.95
    positions = np.flatnonzero(relevant)
    exact = float(np.sum(np.arange(1, len(positions) + 1, dtype=np.longdouble) / (positions + 1)))
    assert Hits(relevant).precision_sum() == pytest.approx(exact, rel=1e-13)
