"""The pure functions against plain loops, every order of tied items, scikit-learn and their own invariants."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from terraseek.errors import UsageError
from terraseek.metrics import (
    Ranking,
    average_precision,
    discounted_gain,
    gain_from_count,
    hit_probability,
    ideal_discounted_gain,
    label_distance,
    mean_value,
    ndcg,
    precision,
    rank,
    recall,
    shared_labels,
    weighted_average_precision,
)


def load_reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("metrics_reference", Path(__file__).with_name("reference.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load_reference()

# name -> (function of a ranking, gains and k; the same as a loop over one order)
FUNCTIONS: dict[str, tuple[Callable[[Ranking, Any, Any], float], Callable[[Any, Any, Any], float]]] = {
    "AP min": (
        lambda r, g, k: average_precision(r, g > 0, k),
        lambda o, g, k: reference.average_precision(o, g > 0, k, "min"),
    ),
    "AP R": (
        lambda r, g, k: average_precision(r, g > 0, k, "R"),
        lambda o, g, k: reference.average_precision(o, g > 0, k, "R"),
    ),
    "AP hits": (
        lambda r, g, k: average_precision(r, g > 0, k, "hits"),
        lambda o, g, k: reference.average_precision(o, g > 0, k, "hits"),
    ),
    "WAP": (weighted_average_precision, reference.weighted_average_precision),
    "DCG": (discounted_gain, reference.dcg),
    "nDCG": (ndcg, reference.ndcg),
    "nDCG exp": (lambda r, g, k: ndcg(r, gain_from_count(g), k), lambda o, g, k: reference.ndcg(o, 2.0**g - 1, k)),
    "ACG": (mean_value, reference.mean_value),
    "P": (precision, lambda o, g, k: reference.mean_value(o, g > 0, k)),
    "R": (recall, lambda o, g, k: reference.recall(o, g > 0, k)),
    "Hit": (hit_probability, lambda o, g, k: reference.hit(o, g > 0, k)),
}
every_function = pytest.mark.parametrize("name", FUNCTIONS)


@st.composite
def tied_rankings(draw: st.DrawFn, most: int = 6) -> tuple[np.ndarray, np.ndarray, int]:
    """Scores with many ties, gains 0..3, and k up to beyond the gallery."""
    size = draw(st.integers(1, most))
    scores = draw(st.lists(st.sampled_from([-1.5, -0.25, 0.0, 0.25]), min_size=size, max_size=size))
    gains = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    kind = draw(st.sampled_from([np.float64, np.float32, np.float16]))
    return np.array(scores, dtype=kind), np.array(gains), draw(st.integers(1, most + 2))


@every_function
@settings(max_examples=60, deadline=None)
@given(case=tied_rankings())
def test_ties_give_the_mean_over_all_orders(name: str, case: tuple[np.ndarray, np.ndarray, int]) -> None:
    scores, gains, k = case
    function, loop = FUNCTIONS[name]
    expected = reference.expected(lambda order: loop(order, gains, k), scores.tolist())
    assert function(rank(scores), gains, k) == pytest.approx(expected, abs=1e-12)


@every_function
def test_without_ties_equals_the_loop(name: str) -> None:
    rng = np.random.default_rng(5)
    function, loop = FUNCTIONS[name]
    for size, k in [(1, 1), (7, 3), (53, 10), (211, 211), (400, 57)]:
        gains = rng.integers(0, 4, size) * (rng.random(size) < 0.4)
        scores = rng.standard_normal(size)
        order = np.argsort(-scores).tolist()
        assert function(rank(scores), gains, k) == pytest.approx(loop(order, gains, k), abs=1e-12)


@every_function
@settings(max_examples=25, deadline=None)
@given(case=tied_rankings(most=40), seed=st.integers(0, 2**31))
def test_item_order_and_increasing_maps_change_nothing(
    name: str, case: tuple[np.ndarray, np.ndarray, int], seed: int
) -> None:
    scores, gains, k = case
    function, _ = FUNCTIONS[name]
    value = function(rank(scores), gains, k)
    shuffle = np.random.default_rng(seed).permutation(len(scores))
    assert function(rank(scores[shuffle]), gains[shuffle], k) == pytest.approx(value, abs=1e-12)
    # Strictly increasing, and all scores negative afterwards: some libraries drop what scores <= 0.
    mapped = np.exp(scores.astype(np.float64)) - 100.0
    assert function(rank(mapped), gains, k) == pytest.approx(value, abs=1e-12)


@every_function
@settings(max_examples=25, deadline=None)
@given(case=tied_rankings(), data=st.data())
def test_an_excluded_item_might_as_well_not_be_there(
    name: str, case: tuple[np.ndarray, np.ndarray, int], data: st.DataObject
) -> None:
    scores, gains, k = case
    assume(len(scores) > 1)
    out = data.draw(st.integers(0, len(scores) - 1))
    function, _ = FUNCTIONS[name]
    rest = np.delete(np.arange(len(scores)), out)
    assert function(rank(scores, exclude=out), gains, k) == pytest.approx(function(rank(scores[rest]), gains[rest], k))


@every_function
def test_nothing_relevant_scores_zero(name: str) -> None:
    assert FUNCTIONS[name][0](rank([1.0, 2.0, 2.0, 3.0]), np.zeros(4), 3) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = 200
    relevant = rng.random(size) < 0.2
    distinct = rng.standard_normal(size)
    # scikit-learn's AP takes tied items as one threshold (every tied item at the group's last rank): no ties here.
    assert average_precision(rank(distinct), relevant) == pytest.approx(average_precision_score(relevant, distinct))
    gains = rng.integers(0, 5, size).astype(float)
    tied = np.round(distinct, 1)
    for k in (None, 10, 77):
        assert ndcg(rank(tied), gains, k) == pytest.approx(ndcg_score(gains[None], tied[None], k=k))


def test_agrees_with_trec_eval() -> None:
    rng = np.random.default_rng(11)
    judged, run, rankings = {}, {}, {}
    for number in range(8):
        gains, scores = rng.integers(0, 4, 120) * (rng.random(120) < 0.3), rng.permutation(120) - 60.0  # no ties
        judged[f"q{number}"] = {f"d{i}": int(gain) for i, gain in enumerate(gains)}
        run[f"q{number}"] = {f"d{i}": float(score) for i, score in enumerate(scores)}
        rankings[f"q{number}"] = (rank(scores), gains)
    names = {"map", "map_cut.10", "P.10", "recall.10", "ndcg", "ndcg_cut.10", "success.5"}
    found = pytrec_eval.RelevanceEvaluator(judged, names).evaluate(run)
    for query, (ranking, gains) in rankings.items():
        ours = {
            "map": average_precision(ranking, gains),
            "map_cut_10": average_precision(ranking, gains, 10, "R"),
            "P_10": precision(ranking, gains, 10),
            "recall_10": recall(ranking, gains, 10),
            "ndcg": ndcg(ranking, gains),
            "ndcg_cut_10": ndcg(ranking, gains, 10),
            "success_5": hit_probability(ranking, gains, 5),
        }
        assert found[query] == pytest.approx(ours, abs=1e-6)


def test_large_tie_groups_keep_their_precision() -> None:
    # A collapsed embedding: 40,000 equal scores. The expectation is that of a random order, estimated by sampling.
    rng = np.random.default_rng(0)
    size = 20_000
    gains = rng.integers(0, 3, size) * (rng.random(size) < 0.3)
    ranking = rank(np.full(size, 0.25, dtype=np.float32))
    for name in ("AP min", "AP hits", "WAP", "nDCG"):
        function, loop = FUNCTIONS[name]
        for k in (100, size):
            draws = [loop(rng.permutation(size).tolist(), gains, k) for _ in range(40 if k == 100 else 1)]
            spread = max(np.std(draws) / np.sqrt(len(draws)), 2e-3)
            assert abs(function(ranking, gains, k) - np.mean(draws)) < 5 * spread


def test_denominators_differ_as_documented() -> None:
    ranking, relevant = rank([5.0, 4.0, 3.0, 2.0, 1.0]), np.array([1, 0, 1, 1, 1], dtype=bool)
    total = 1 + 2 / 3
    assert average_precision(ranking, relevant, 3, "min") == pytest.approx(total / 3)
    assert average_precision(ranking, relevant, 3, "R") == pytest.approx(total / 4)
    assert average_precision(ranking, relevant, 3, "hits") == pytest.approx(total / 2)


def test_ideal_is_over_the_whole_gallery() -> None:
    # The best item was not retrieved: an ideal over the retrieved list alone would call this ranking perfect.
    ranking, gains = rank([3.0, 2.0, 1.0]), np.array([1.0, 1.0, 5.0])
    assert ndcg(ranking, gains, 2) == pytest.approx((1 + 1 / np.log2(3)) / (5 + 1 / np.log2(3)))
    assert ideal_discounted_gain(gains, 1) == 5.0


def test_label_quantities_against_sets() -> None:
    rng = np.random.default_rng(3)
    query, gallery = rng.integers(0, 2, 9), rng.integers(0, 2, (20, 9))
    gallery[4] = 0
    parts, distance = shared_labels(query, gallery), label_distance(query, gallery)
    wanted = set(np.flatnonzero(query).tolist())
    for i, row in enumerate(gallery):
        got = set(np.flatnonzero(row).tolist())
        both = len(wanted & got)
        assert parts[0][i] == (both / len(got) if got else 0)
        assert parts[1][i] == both / len(wanted)
        assert parts[2][i] == pytest.approx(2 * both / (len(wanted) + len(got)))
        assert distance[i] == pytest.approx(len(wanted ^ got) / 9)
    assert not any(part.any() for part in shared_labels(np.zeros(9), gallery))


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.float16])
def test_rank_orders_all_number_types(kind: type) -> None:
    scores = np.array([3, -2, 0, 7, -5, 0, -0.0, 7], dtype=kind)
    ranking = rank(scores)
    assert scores[ranking.order_G].tolist() == sorted(scores.tolist(), reverse=True)
    assert ranking.starts_T.tolist() == [0, 3]
    assert ranking.sizes_T.tolist() == [2, 3]


def test_rank_keeps_infinities_apart_from_the_excluded() -> None:
    ranking = rank(np.array([-np.inf, 1, np.inf, -np.inf], dtype=np.float32), exclude=1)
    assert ranking.order_G[0] == 2
    assert sorted(ranking.order_G[1:].tolist()) == [0, 3]
    assert ranking.sizes_T.tolist() == [2]


def test_empty_gallery() -> None:
    ranking = rank(np.array([0.5], dtype=np.float32), exclude=0)
    assert len(ranking) == 0
    for function, _ in FUNCTIONS.values():
        assert function(ranking, np.array([1]), 5) == 0.0


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_bad_input_is_refused(kind: type) -> None:
    with pytest.raises(UsageError, match="NaN"):
        rank(np.array([1, np.nan, 2], dtype=kind))
    with pytest.raises(UsageError, match="row"):
        rank(np.zeros((2, 2), dtype=kind))
    with pytest.raises(UsageError, match="k is 0"):
        precision(rank([1.0]), [1], 0)
    with pytest.raises(UsageError, match="'max'"):
        average_precision(rank([1.0]), [1], 1, "max")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="3 items"):
        average_precision(rank([1.0, 2.0, 3.0]), [1, 0])
