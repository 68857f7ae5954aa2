"""Intervals cover, p-values are uniform where nothing differs, corrections are Holm's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terraseek.errors import UsageError
from terraseek.metrics import bootstrap_interval, compare_paired, fewest_queries, holm, summarize_seeds
from terraseek.metrics.significance import label_mean, query_mean, resample_weights


def test_resamples_draw_as_many_queries_as_there_are() -> None:
    weights = np.concatenate(list(resample_weights(50, 130, seed=1)))
    assert weights.shape == (130, 50)
    assert (weights.sum(axis=1) == 50).all()
    again = np.concatenate(list(resample_weights(50, 130, seed=1)))
    assert (weights == again).all()
    assert weights.mean(axis=0) == pytest.approx(1.0, abs=0.4)


def test_means_of_weighted_queries_against_repetition() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((20, 4))
    values[rng.random((20, 4)) < 0.5] = np.nan
    weights = rng.integers(1, 3, 20)
    repeated = np.repeat(values, weights, axis=0)
    expected = np.mean([column[~np.isnan(column)].mean() for column in repeated.T])
    assert label_mean(values)(weights[None].astype(float))[0] == pytest.approx(expected)
    column = repeated[:, 0]
    assert query_mean(values[:, 0])(weights[None].astype(float))[0] == pytest.approx(column[~np.isnan(column)].mean())


def test_a_label_without_queries_in_a_resample_keeps_its_mean() -> None:
    values = np.array([[0.2, np.nan], [0.4, np.nan], [np.nan, 1.0]])
    statistic = label_mean(values)
    assert statistic(np.array([[1.0, 2.0, 0.0]]))[0] == pytest.approx(((0.2 + 0.8) / 3 + 1.0) / 2)


@pytest.mark.parametrize("labels", [0, 2])
def test_a_mean_over_no_label_is_none(labels: int) -> None:
    empty = np.full((8, labels), np.nan)
    assert np.isnan(label_mean(empty)(np.ones((2, 8)))).all()
    values = np.linspace(0, 1, 8)
    [none, some] = compare_paired({"none": (empty, empty), "some": (values, values + 0.1)}, resamples=100)
    assert np.isnan([none.a, none.b, none.difference, none.p_value, none.p_holm]).all()
    assert (none.low, none.high, none.significant) == (None, None, False)
    plain = none.to_json()
    assert (plain["a"], plain["b"], plain["difference"], plain["p_value"]) == (None,) * 4
    assert some.significant
    assert some.p_holm == some.p_value


def test_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        values = rng.beta(2, 5, 60)
        interval = bootstrap_interval({"m": query_mean(values)}, 60, resamples=200, confidence=0.9, seed=trial)["m"]
        covered += interval.low <= 2 / 7 <= interval.high
    assert 0.82 <= covered / 200 <= 0.96


def test_interval_equals_the_normal_one_for_many_queries() -> None:
    values = np.random.default_rng(3).random(4000)
    interval = bootstrap_interval({"m": query_mean(values)}, 4000, resamples=1000)["m"]
    error = 1.96 * values.std() / np.sqrt(4000)
    assert interval.high - interval.low == pytest.approx(2 * error, rel=0.12)


def test_p_values_without_a_difference_are_uniform() -> None:
    rng = np.random.default_rng(4)
    p_values = []
    for trial in range(200):
        hard = rng.random(40)
        pair = (hard + 0.1 * rng.standard_normal(40), hard + 0.1 * rng.standard_normal(40))
        p_values.append(compare_paired({"m": pair}, resamples=100, seed=trial)[0].p_value)
    assert np.mean(np.array(p_values) < 0.2) == pytest.approx(0.2, abs=0.09)
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.07)


def test_pairing_finds_what_the_spread_of_queries_would_hide() -> None:
    rng = np.random.default_rng(5)
    hard = rng.random(100)
    [result] = compare_paired({"m": (hard, hard + 0.02 + 0.01 * rng.standard_normal(100))})
    assert result.significant
    assert result.p_value < 0.01
    assert result.low < 0.02 < result.high
    assert result.difference == pytest.approx(result.b - result.a)
    [back] = compare_paired({"m": (hard, hard)})
    assert (back.difference, back.p_value, back.significant) == (0.0, 1.0, False)


def test_means_over_labels_are_compared_by_query() -> None:
    rng = np.random.default_rng(6)
    a = rng.random((200, 3))
    a[rng.random((200, 3)) < 0.6] = np.nan
    [same, better] = compare_paired({"x": (a, a + 1e-15), "y": (a, a + 0.05)}, resamples=300)
    assert better.difference == pytest.approx(0.05)
    assert better.significant
    assert not same.p_value < 0.05
    assert better.p_value <= better.p_holm <= 2 * better.p_value + 1e-12
    assert better.to_json()["significant"] is True


def drawn(difference: np.ndarray, weights: np.ndarray) -> float:
    """The mean over labels of some queries, written out: a label that none of them has keeps its mean over all."""
    means = []
    for column in difference.T:
        values = [value for value, weight in zip(column, weights, strict=True) for _ in range(int(weight))]
        values = [value for value in values if not np.isnan(value)]
        means.append(np.mean(values) if values else np.nanmean(column))
    return float(np.mean(means))


def test_interval_and_test_of_means_over_labels_resample_whole_queries() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.random((2, 9, 3))
    absent = rng.random((9, 3)) < 0.4
    a[absent] = b[absent] = np.nan
    [found] = compare_paired({"m": (a, b)}, resamples=200, seed=5)
    resampled = [drawn(b - a, weights) for rows in resample_weights(9, 200, seed=5) for weights in rows]
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(resampled, [2.5, 97.5])))
    signs = np.random.default_rng(5)
    extreme = 0
    for size in (64, 64, 64, 8):  # as many at a time as are drawn at a time
        for swapped in signs.integers(0, 2, (size, 9), dtype=np.int8) == 0:
            one, two = (np.where(swapped[:, None], *pair) for pair in ((b, a), (a, b)))
            extreme += abs(drawn(two - one, np.ones(9))) >= abs(found.difference) - 1e-12
    assert found.p_value == pytest.approx((extreme + 1) / 201)


def test_too_few_queries_get_no_interval_for_agreeing() -> None:
    assert (fewest_queries(0.95), fewest_queries(0.99), fewest_queries(0.5)) == (6, 8, 2)
    [few, enough] = compare_paired({"few": ([0.1] * 5, [0.4] * 5), "enough": ([0.1] * 6, [0.4] * 6)}, resamples=2000)
    assert (few.low, few.high, few.significant, few.counted) == (None, None, False, 5)
    assert (enough.low, enough.counted, enough.significant) == (pytest.approx(0.3), 6, True)
    assert few.p_value > 0.05 > enough.p_value
    # Labels of a single query each have one mean in all resamples: an interval of no width, whatever the test says.
    a, b = np.full((8, 8), np.nan), np.full((8, 8), np.nan)
    np.fill_diagonal(a, 0.5)
    np.fill_diagonal(b, [0.0, 0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.1])
    [alone] = compare_paired({"rarest": (a, b)}, resamples=200)
    assert (alone.low, alone.counted, alone.lone_labels, alone.queries) == (None, 0, 8, 8)
    assert alone.to_json()["low"] is None


def test_a_label_of_one_query_is_counted() -> None:
    a = np.random.default_rng(9).random((20, 3))
    a[1:, 2] = np.nan
    [found] = compare_paired({"macro": (a, a + 0.1)}, resamples=50)
    assert (found.lone_labels, found.counted) == (1, 20)
    assert found.low is not None


def test_different_queries_are_refused() -> None:
    with pytest.raises(UsageError, match="different queries"):
        compare_paired({"m": (np.zeros(3), np.zeros(4))})
    with pytest.raises(UsageError, match="different queries or labels"):
        compare_paired({"m": ([[0.1, np.nan]], [[0.1, 0.2]])})
    with pytest.raises(UsageError, match="confidence"):
        bootstrap_interval({}, 3, confidence=95)
    with pytest.raises(UsageError, match="confidence"):
        compare_paired({"m": ([0.1], [0.2])}, confidence=95)
    with pytest.raises(UsageError, match="confidence"):
        fewest_queries(1.0)


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm(p_values: list[float]) -> None:
    corrected = np.array(holm(p_values))
    plain = np.array(p_values)
    assert (corrected >= plain).all()
    assert (corrected <= np.minimum(1, len(plain) * plain) + 1e-15).all()
    # Rejecting step by step, as Holm's procedure is stated, rejects the same hypotheses.
    rejected = set()
    for place, index in enumerate(np.argsort(plain, kind="stable").tolist()):
        if plain[index] * (len(plain) - place) > 0.05:
            break
        rejected.add(index)
    assert set(np.flatnonzero(corrected <= 0.05).tolist()) == rejected


def test_seeds() -> None:
    summary = summarize_seeds([{"mAP": 0.5, "P@1": 1.0}, {"mAP": 0.7, "P@1": 1.0}, {"mAP": 0.9, "P@1": 1.0}])
    assert summary["mAP"].mean == pytest.approx(0.7)
    assert summary["mAP"].std == pytest.approx(0.2)
    assert (summary["P@1"].std, summary["P@1"].seeds) == (0.0, 3)
    assert np.isnan(summarize_seeds([{"mAP": 0.5}])["mAP"].std)
    with pytest.raises(UsageError, match="no runs"):
        summarize_seeds([])
    with pytest.raises(UsageError, match="different measures"):
        summarize_seeds([{"a": 1.0}, {"b": 1.0}])
