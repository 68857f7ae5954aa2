"""The fast sorts with narrow and wide keys against a plain one: odd numbers, ties, riders, an item left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.errors import UsageError
from terraseek.metrics import _riders as module
from terraseek.metrics._riders import Riders, Sorter
from terraseek.metrics.ranking import Ranking, rank

# Both zeros, the smallest numbers of either kind, neighbours, the largest, infinities.
ODD = (0.0, -0.0, 1e-45, -1e-45, 1.17e-38, 0.5, np.nextafter(np.float32(0.5), 1), -0.5, 1.0, -3.4e38, 3.4e38)
odd = st.sampled_from([*map(float, ODD), float("inf"), float("-inf")])
similar = st.floats(-1, 1, width=32) | st.floats(-1, 1, width=32).map(lambda x: x * 2.0**-12) | st.sampled_from(ODD[:8])
scores = st.lists(odd, min_size=1, max_size=40) | st.lists(similar, min_size=1, max_size=40)


def same(found: Ranking, wanted: Ranking, scores_G: np.ndarray, depth: int) -> None:
    """Equal ties throughout, and equal items in the first `depth` ranks, up to their order within ties."""
    assert len(found) == len(wanted)
    assert found.starts_T.tolist() == wanted.starts_T.tolist()
    assert found.sizes_T.tolist() == wanted.sizes_T.tolist()
    reach = wanted.reach(min(depth, len(wanted)))
    first, plain = found.items(slice(reach)), wanted.items(slice(reach))
    assert scores_G[first].tolist() == scores_G[plain].tolist()
    assert sorted(first.tolist()) == sorted(plain.tolist())


def carry_the_same(carried: np.ndarray, flags: np.ndarray, wanted: Ranking) -> None:
    """Each rank's flags, or among equal scores the same flags in some order."""
    plain = flags[wanted.order_G]
    for start, size in zip(wanted.starts_T.tolist(), wanted.sizes_T.tolist(), strict=True):
        plain[start : start + size] = np.sort(plain[start : start + size])
        carried[start : start + size] = np.sort(carried[start : start + size])
    assert carried.tolist() == plain.tolist()


@settings(max_examples=200, deadline=None)
@given(values=scores, bits=st.integers(1, 8), data=st.data())
def test_keys_rank_as_the_plain_sort_does(values: list[float], bits: int, data: st.DataObject) -> None:
    row = np.array(values, dtype=np.float32)
    exclude = data.draw(st.none() | st.integers(0, len(row) - 1))
    depth = data.draw(st.none() | st.integers(0, len(row) + 2))
    drawn = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=len(row), max_size=len(row)))
    flags = np.array(drawn, dtype=np.uint8)
    found, carried = Sorter(len(row)).rank(row, Riders(flags, bits), exclude, depth)
    wanted = rank(row, exclude)
    same(found, wanted, row, len(row) if depth is None else depth)
    # Items and flags go together.
    first = found.items(slice(found.reach(min(len(found), len(row) if depth is None else depth))))
    assert carried[: len(first)].tolist() == flags[first].tolist()
    carry_the_same(carried, flags, wanted)


@pytest.mark.parametrize("bits", [1, 3, 5])
@pytest.mark.parametrize("levels", [50, 10**7])
def test_narrow_keys_rank_thousands_of_similarities(bits: int, levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Some ties by chance and nothing but ties; a sixteenth of the scores falls together with 0.
    rng = np.random.default_rng(bits)
    monkeypatch.setattr(module, "_rank_wide", None)
    row = (rng.integers(-levels, levels, 3000) / np.float32(levels)).astype(np.float32)
    row[rng.random(3000) < 1 / 64] *= np.float32(1e-3)
    flags = rng.integers(0, 2**bits, 3000).astype(np.uint8)
    sorter = Sorter(3000, bound=1.0)
    for exclude in (None, 2999):
        found, carried = sorter.rank(row, Riders(flags, bits), exclude, 100)
        wanted = rank(row, exclude)
        same(found, wanted, row, 100)
        carry_the_same(carried, flags, wanted)


def test_too_much_around_zero_or_at_the_cut_takes_wide_keys() -> None:
    rng = np.random.default_rng(0)
    riders = Riders(rng.integers(0, 32, 5000).astype(np.uint8), 5)
    around = (rng.standard_normal(5000) * 1e-4).astype(np.float32)
    around[0] = 1
    tied = np.ones(5000, dtype=np.float32)
    for row in (around, tied):
        found, carried = Sorter(5000).rank(row, riders, None, 10)
        same(found, rank(row), row, 5000)
        assert carried.tolist() == riders.flags_G[found.order_G].tolist()


def test_galleries_too_large_for_wide_keys_go_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    row = np.random.default_rng(0).integers(-3, 4, 60).astype(np.float32)
    riders = Riders(np.arange(60, dtype=np.uint8))
    monkeypatch.setattr(module, "_MOST_ITEMS", 50)
    found, carried = Sorter(60).rank(row, riders, 7)
    same(found, rank(row, 7), row, 60)
    assert carried.tolist() == found.order_G.tolist()


@pytest.mark.parametrize("depth", [None, 2])
def test_what_is_no_number_is_refused(depth: int | None) -> None:
    riders = Riders(np.zeros(3, dtype=np.uint8), 1)
    with pytest.raises(UsageError, match="not a number"):
        Sorter(3).rank(np.array([0.1, np.nan, 0.3], dtype=np.float32), riders, None, depth)
