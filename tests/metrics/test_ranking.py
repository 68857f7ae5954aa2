"""The fast sort against a plain one: odd numbers, ties, riders, an item left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.errors import UsageError
from terraseek.metrics import ranking as module
from terraseek.metrics.ranking import Ranking, luggage, rank, rank_with_riders

# Both zeros, the smallest numbers of either kind, neighbours, the largest, infinities.
ODD = (0.0, -0.0, 1e-45, -1e-45, 1.17e-38, 0.5, np.nextafter(np.float32(0.5), 1), -0.5, 1.0, -3.4e38, 3.4e38)
scores = st.lists(st.sampled_from([*map(float, ODD), float("inf"), float("-inf")]), min_size=1, max_size=40)


def same(found: Ranking, wanted: Ranking, scores_G: np.ndarray) -> None:
    assert scores_G[found.order_G].tolist() == scores_G[wanted.order_G].tolist()
    assert sorted(found.order_G.tolist()) == sorted(wanted.order_G.tolist())
    assert found.starts_T.tolist() == wanted.starts_T.tolist()
    assert found.sizes_T.tolist() == wanted.sizes_T.tolist()


@settings(max_examples=150, deadline=None)
@given(values=scores, data=st.data())
def test_packed_sort_equals_the_plain_one(values: list[float], data: st.DataObject) -> None:
    row = np.array(values, dtype=np.float32)
    exclude = data.draw(st.none() | st.integers(0, len(row) - 1))
    riders = np.array(data.draw(st.lists(st.integers(0, 255), min_size=len(row), max_size=len(row))), dtype=np.uint8)
    found, carried = rank_with_riders(row, luggage(riders), exclude)
    same(found, rank(row.astype(np.float64), exclude), row)
    assert carried.tolist() == riders[found.order_G].tolist()
    assert found.items(slice(2)).tolist() == found.order_G[:2].tolist()
    same(rank(row, exclude), found, row)


def test_galleries_too_large_for_the_packed_sort_go_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    row = np.random.default_rng(0).integers(-3, 4, 60).astype(np.float32)
    riders = np.arange(60, dtype=np.uint8)
    packed, _ = rank_with_riders(row, luggage(riders), 7)
    monkeypatch.setattr(module, "_MOST_ITEMS", 50)
    plain, carried = rank_with_riders(row, luggage(riders), 7)
    same(packed, plain, row)
    assert carried.tolist() == plain.order_G.tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_no_row_of_numbers_is_refused(dtype: type) -> None:
    with pytest.raises(UsageError, match="not a number"):
        rank(np.array([0.1, np.nan, 0.3], dtype=dtype))
    with pytest.raises(UsageError, match=r"shape \(1, 2\)"):
        rank(np.zeros((1, 2), dtype=dtype))
    assert len(rank(np.zeros(0, dtype=dtype))) == 0
