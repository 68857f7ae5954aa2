"""Image-text recalls against loops over every order of tied items; ceilings and floors against search and sampling."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.errors import UsageError
from terraseek.metrics import evaluate_image_text
from terraseek.texts import normalise_caption


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
    result = evaluate_image_text(images, captions, owner, texts, ks=(1, 2, 5), bootstrap=0)
    similar = images @ captions.T
    alike = [normalise_caption(text) for text in texts]
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
    names = sorted({normalise_caption(text) for text in texts})
    vectors = rng.standard_normal((len(names), 3))
    captions = np.stack([vectors[names.index(normalise_caption(text))] for text in texts])
    images = np.stack([captions[owner.index(i)] for i in range(max(owner) + 1)]) + 0.01 * rng.standard_normal(
        (max(owner) + 1, 3)
    )
    result = evaluate_image_text(images, captions, owner, texts, ks=(1, 2), bootstrap=0)
    for number in result.results:
        if number.higher_is_better:
            assert number.value <= number.oracle + 1e-9


def test_ceilings_by_hand() -> None:
    # "a" belongs to three images, "b" to one of them as well: text "a" finds one of three images at K=1, two at K=2.
    result = evaluate_image_text(np.eye(3), np.ones((4, 3)), [0, 1, 2, 2], ["a", "a", "a", "b"], ks=(1, 2), bootstrap=0)
    oracle = {number.name: number.oracle for number in result.results}
    assert oracle["t2i_R@1"] == pytest.approx(100 * (1 + 1) / 4)
    assert oracle["t2i_R@2"] == pytest.approx(100 * (2 + 1) / 4)
    assert oracle["i2t_R@1"] == pytest.approx(100 * (1 / 3 + 1 / 3 + 1) / 3)
    assert oracle["mR(equivalent)"] == 100
    assert np.isnan(oracle["t2i_median_rank"])
    matcher = {number.name: number.matcher for number in result.results}
    assert matcher["t2i_R@1"] == pytest.approx(100 * (3 / 3 + 1) / 4)
    assert matcher["i2t_R@1"] == pytest.approx(100 * (1 / 3 + 1 / 3 + 2 / 4) / 3)
    assert result.repeated_T.tolist() == [True, True, True, False]


def test_floor_is_the_mean_of_random_rankings() -> None:
    rng = np.random.default_rng(0)
    owner = [0, 0, 0, 1, 2, 2, 3]
    texts = ["a", "b", "c", "a", "d", "e", "f"]
    runs = [
        evaluate_image_text(
            rng.standard_normal((4, 8)), rng.standard_normal((7, 8)), owner, texts, ks=(1, 3), bootstrap=0
        )
        for _ in range(200)
    ]
    for number in runs[0].results:
        if number.higher_is_better:
            assert np.mean([run[number.name] for run in runs]) == pytest.approx(number.floor, abs=4), number.name
    for way, results in (("i2t", runs[0].exact), ("t2i", runs[0].equivalent)):
        suffix = "(equivalent)" if way == "t2i" else ""
        everyone = [rank for run in runs for rank in (run.equivalent if suffix else run.exact)[way].first_rank_Q]
        assert results[way].median_rank_at_random() == np.median(everyone)


def test_intervals_are_those_of_resampled_images() -> None:
    rng = np.random.default_rng(2)
    owner = np.array([0, 0, 0, 1, 2, 2, 3, 4, 4, 5, 5, 5, 5])
    images = rng.standard_normal((6, 4))
    captions = images[owner] + rng.standard_normal((13, 4))
    result = evaluate_image_text(images, captions, owner, ks=(1, 2), bootstrap=300, seed=5)
    drawn: dict[str, list[float]] = {"i2t_R@1": [], "t2i_R@2": [], "mR": [], "t2i_median_rank": []}
    generator = np.random.default_rng(5)
    for _ in range(300):
        rows = generator.integers(0, 6, 6)
        own = np.concatenate([np.flatnonzero(owner == row) for row in rows])
        i2t, t2i = result.exact["i2t"], result.exact["t2i"]
        recalls = [100 * i2t.hits[k][rows].mean() for k in (1, 2)] + [100 * t2i.hits[k][own].mean() for k in (1, 2)]
        drawn["i2t_R@1"].append(recalls[0])
        drawn["t2i_R@2"].append(recalls[3])
        drawn["mR"].append(float(np.mean(recalls)))
        drawn["t2i_median_rank"].append(float(np.median(t2i.first_rank_Q[own])))
    for number in result.results:
        if number.name in drawn:
            low, high = np.percentile(drawn[number.name], [2.5, 97.5])
            assert (number.low, number.high) == (pytest.approx(low), pytest.approx(high)), number.name


def test_five_images_have_no_interval() -> None:
    vectors = np.random.default_rng(0).standard_normal((6, 4))
    for count, interval in ((5, False), (6, True)):
        found = evaluate_image_text(vectors[:count], vectors[:count], list(range(count)), bootstrap=20)
        assert np.isfinite([number.low for number in found.results]).all() == interval


def test_the_curve_passes_through_the_recalls_and_first_items_are_first() -> None:
    rng = np.random.default_rng(3)
    owner = np.arange(30) // 2
    images = rng.integers(-1, 2, (15, 4)).astype(float)  # ties, also at the cuts
    captions = rng.integers(-1, 2, (30, 4)).astype(float)
    result = evaluate_image_text(images, captions, owner, image_ids=[f"i{n}" for n in range(15)], bootstrap=0)
    for found in (result.exact, result.equivalent):
        for way, size in (("i2t", 30), ("t2i", 15)):
            assert len(found[way].curve_K) == size
            assert (np.diff(found[way].curve_K) >= -1e-9).all()
            for k, recall in found[way].recall.items():
                assert found[way].curve_K[k - 1] == pytest.approx(recall)
    unit = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (images, captions)]
    similar = unit[0] @ unit[1].T
    for image, items in enumerate(result.nearest["i2t"]):
        assert similar[image, items] == pytest.approx(np.sort(similar[image])[::-1][:10], abs=1e-6)
    assert result.image_ids[3] == "i3"


def test_blocks_change_nothing_and_progress_is_told() -> None:
    rng = np.random.default_rng(1)
    images, captions, owner = rng.standard_normal((9, 4)), rng.standard_normal((18, 4)), [i // 2 for i in range(18)]
    seen: list[tuple[int, int]] = []
    whole = evaluate_image_text(images, captions, owner)
    parts = evaluate_image_text(images, captions, owner, block_size=4, progress=lambda a, b: seen.append((a, b)))
    assert repr(whole.results) == repr(parts.results)  # not ==: some ceilings are nan
    assert seen[-1] == (27, 27)
    for mean, found in ((whole.mean_recall, whole.exact), (whole.mean_recall_equivalent, whole.equivalent)):
        assert mean == pytest.approx(np.mean([value for r in found.values() for value in r.recall.values()]))
    assert whole["t2i_median_rank"] == whole.exact["t2i"].median_rank
    with pytest.raises(UsageError, match="R@7 was not evaluated"):
        whole["i2t_R@7"]


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
    with pytest.raises(UsageError, match="2 images need as many different ids, not 1"):
        evaluate_image_text(np.eye(2), np.eye(2), [0, 1], image_ids=["a", "a"])
    with pytest.raises(UsageError, match="vector of caption 1 has entries that are not finite"):
        evaluate_image_text(np.eye(2), np.array([[1, 0], [0, np.nan]]), [0, 1])
    with pytest.raises(UsageError, match=r"confidence is 1\.0, it lies between 0 and 1"):
        evaluate_image_text(np.eye(2), np.eye(2), [0, 1], confidence=1.0)
    with pytest.raises(UsageError, match=r"0\.\.1"):
        evaluate_image_text(np.eye(2), np.eye(2)[[0, 1, 1]], [0, 1, 7])
