"""Image-text recalls against loops over every order of tied items; ceilings and floors against search and sampling."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.errors import UsageError
from terraseek.metrics import evaluate_image_text, normalize_text


def orders_of(scores: list[float]) -> list[list[int]]:
    levels = sorted(set(scores), reverse=True)
    groups = [[i for i, s in enumerate(scores) if s == level] for level in levels]
    return [[i for part in parts for i in part] for parts in itertools.product(*map(itertools.permutations, groups))]


def loop_recall(scores: list[float], right: set[int], k: int) -> tuple[float, float]:
    """Recall@k and rank of the first right item, averaged over the orders that the scores allow."""
    orders = orders_of(scores)
    hit = math.fsum(bool(right & set(order[:k])) for order in orders) / len(orders)
    first = math.fsum(min(order.index(item) for item in right) + 1 for order in orders) / len(orders)
    return hit, first


@st.composite
def tiny_sets(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[int], list[str]]:
    images = draw(st.integers(1, 4))
    owner = list(range(images)) + draw(st.lists(st.integers(0, images - 1), max_size=2))
    texts = draw(
        st.lists(st.sampled_from(["a pier", "A pier.", "two fields"]), min_size=len(owner), max_size=len(owner))
    )
    axes = np.eye(3)  # a few directions only: many ties
    pick = st.integers(0, 2)
    image_vectors = axes[draw(st.lists(pick, min_size=images, max_size=images))]
    text_vectors = axes[draw(st.lists(pick, min_size=len(owner), max_size=len(owner)))]
    return image_vectors, text_vectors, owner, texts


@settings(max_examples=60, deadline=None)
@given(case=tiny_sets())
def test_equals_the_loop(case: tuple[np.ndarray, np.ndarray, list[int], list[str]]) -> None:
    images, captions, owner, texts = case
    result = evaluate_image_text(images, captions, owner, texts, ks=(1, 2, 5))
    similar = images @ captions.T
    alike = [normalize_text(text) for text in texts]
    for k in (1, 2, 5):
        exact = [
            loop_recall(similar[i].tolist(), {t for t, o in enumerate(owner) if o == i}, k) for i in range(len(images))
        ]
        assert result.exact["i2t"].recall[k] == pytest.approx(100 * np.mean([hit for hit, _ in exact]))
        assert result.exact["i2t"].first_rank_Q == pytest.approx([rank for _, rank in exact])
        loose = [
            loop_recall(similar[:, t].tolist(), {owner[u] for u in range(len(owner)) if alike[u] == alike[t]}, k)
            for t in range(len(owner))
        ]
        assert result.equivalent["t2i"].recall[k] == pytest.approx(100 * np.mean([hit for hit, _ in loose]))
        assert result.equivalent["t2i"].median_rank == pytest.approx(np.median([rank for _, rank in loose]))
    for way in ("i2t", "t2i"):
        assert (result.equivalent[way].first_rank_Q <= result.exact[way].first_rank_Q + 1e-12).all()


@settings(max_examples=40, deadline=None)
@given(case=tiny_sets(), data=st.data())
def test_no_model_of_text_beats_the_ceiling(
    case: tuple[np.ndarray, np.ndarray, list[int], list[str]], data: st.DataObject
) -> None:
    _, _, owner, texts = case
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    names = sorted({normalize_text(text) for text in texts})
    vectors = rng.standard_normal((len(names), 3))
    captions = np.stack([vectors[names.index(normalize_text(text))] for text in texts])
    images = np.stack([captions[owner.index(i)] for i in range(max(owner) + 1)]) + 0.01 * rng.standard_normal(
        (max(owner) + 1, 3)
    )
    result = evaluate_image_text(images, captions, owner, texts, ks=(1, 2))
    for way in ("i2t", "t2i"):
        for k in (1, 2):
            assert result.exact[way].recall[k] <= result.ceilings[f"{way}_R@{k}"] + 1e-9


def test_ceilings_by_hand() -> None:
    # "a" belongs to three images, "b" to one of them as well: text "a" finds one of three images at K=1, two at K=2.
    result = evaluate_image_text(np.eye(3), np.ones((4, 3)), [0, 1, 2, 2], ["a", "a", "a", "b"], ks=(1, 2))
    assert result.ceilings["t2i_R@1"] == pytest.approx(100 * (1 + 1) / 4)
    assert result.ceilings["t2i_R@2"] == pytest.approx(100 * (2 + 1) / 4)
    assert result.ceilings["i2t_R@1"] == pytest.approx(100 * (1 / 3 + 1 / 3 + 1) / 3)
    assert result.repeated_texts == 3


def test_floor_is_the_mean_of_random_rankings() -> None:
    rng = np.random.default_rng(0)
    owner = [0, 0, 0, 1, 2, 2, 3]
    runs = [
        evaluate_image_text(rng.standard_normal((4, 8)), rng.standard_normal((7, 8)), owner, ks=(1, 3)).to_json()
        for _ in range(300)
    ]
    for name, floor in runs[0]["floors"].items():
        assert np.mean([run["exact"][name] for run in runs]) == pytest.approx(floor, abs=4)


def test_blocks_change_nothing_and_progress_is_told() -> None:
    rng = np.random.default_rng(1)
    images, captions, owner = rng.standard_normal((9, 4)), rng.standard_normal((18, 4)), [i // 2 for i in range(18)]
    seen: list[tuple[int, int]] = []
    whole = evaluate_image_text(images, captions, owner)
    parts = evaluate_image_text(images, captions, owner, block_size=4, progress=lambda a, b: seen.append((a, b)))
    assert whole.to_json() == parts.to_json()
    assert seen[-1] == (27, 27)
    recalls = [value for result in whole.exact.values() for value in result.recall.values()]
    assert whole.mean_recall == pytest.approx(np.mean(recalls))
    assert whole.to_json()["exact"]["mR"] == whole.mean_recall


@pytest.mark.parametrize(
    ("owner", "texts", "ks", "message"),
    [
        ([0, 0], None, (1,), "no caption"),
        ([0, 1, 1], None, (1,), "image numbers"),
        ([0, 1], ["a"], (1,), "1 texts"),
        ([0, 1], None, (0,), "at least 1"),
    ],
)
def test_bad_input_is_refused(owner: list[int], texts: list[str] | None, ks: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate_image_text(np.eye(2), np.eye(2), owner, texts, ks=ks)
    with pytest.raises(UsageError, match="dimensions"):
        evaluate_image_text(np.eye(2), np.eye(3)[:2], [0, 1])
    with pytest.raises(UsageError, match=r"0\.\.1"):
        evaluate_image_text(np.eye(2), np.eye(2)[[0, 1, 1]], [0, 1, 7])
