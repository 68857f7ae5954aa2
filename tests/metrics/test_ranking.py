"""Rankings of odd numbers, ties, an item left out, against an order by plain comparison."""

from __future__ import annotations

import numpy as np
import pytest

from terraseek.errors import UsageError
from terraseek.metrics.ranking import Ranking, rank


def test_orders_odd_numbers_and_finds_their_ties() -> None:
    # Both zeros tie; neighbouring numbers do not.
    row = np.array([0.0, 0.5, np.inf, -0.0, np.nextafter(np.float32(0.5), 1), 1e-45, -np.inf, 0.5], dtype=np.float32)
    for scores in (row, row.astype(np.float64)):
        ranking = rank(scores, exclude=1)
        assert row[ranking.order_G].tolist() == [np.inf, row[4], 0.5, row[5], 0.0, 0.0, -np.inf]
        assert (ranking.starts_T.tolist(), ranking.sizes_T.tolist()) == ([4], [2])


def test_a_ranking_may_know_its_first_items_alone() -> None:
    none = np.empty(0, dtype=np.int64)
    ranking = Ranking(np.array([7, 3]), none, none, size=9)
    assert len(ranking) == ranking.cut(None) == 9
    assert ranking.items(slice(1, 2)).tolist() == [3]
    with pytest.raises(UsageError, match="of 9 ranked items the first 2"):
        _ = ranking.order_G


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_no_row_of_numbers_is_refused(dtype: type) -> None:
    with pytest.raises(UsageError, match="not a number"):
        rank(np.array([0.1, np.nan, 0.3], dtype=dtype))
    with pytest.raises(UsageError, match=r"shape \(1, 2\)"):
        rank(np.zeros((1, 2), dtype=dtype))
    assert len(rank(np.zeros(0, dtype=dtype))) == 0
