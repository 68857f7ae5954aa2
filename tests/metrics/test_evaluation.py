"""The evaluator against a slow reference, its invariances, what it leaves out, known values of real features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.errors import ConfigError, UsageError
from terraseek.metrics import (
    DEFAULT_MEASURES,
    EmbeddingSet,
    Evaluation,
    LabelAP,
    average_precision,
    evaluate_retrieval,
    gain_from_count,
    hit_probability,
    label_distance,
    mean_value,
    ndcg,
    precision,
    rank,
    recall,
    shared_labels,
    weighted_average_precision,
)
from terraseek.relevance import label_rarity, relevance

NAMES = [str(measure) for measure in DEFAULT_MEASURES]
MORE = ["mAP@5(hits)", "mAP@5(R)", "WAP", "nDCG(exp)", "nDCG@7(rarity-jaccard)", "example-P@3", "example-R@3"]


def make(seed: int, size: int, labels: int, prefix: str, dim: int = 5, codes: bool = True) -> EmbeddingSet:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(0, 2, (size, dim)).astype(np.float32) * 2 - 1  # binary codes: few directions, many ties
    if not codes:
        vectors = rng.standard_normal((size, dim))
        vectors[::4] = vectors[0]
    frequency = 0.7 / np.arange(1, labels + 1)
    return EmbeddingSet(
        vectors, (rng.random((size, labels)) < frequency).astype(np.uint8), tuple(f"{prefix}{i}" for i in range(size))
    )


def slow(query: EmbeddingSet, gallery: EmbeddingSet, frequency: np.ndarray) -> dict[str, np.ndarray]:
    """Every measure, query after query, from the pure functions on plain scores."""
    rarity = label_rarity(frequency)
    values: dict[str, list[float]] = {}
    unit_q = query.vectors_ND / np.maximum(np.linalg.norm(query.vectors_ND, axis=1, keepdims=True), 1e-12)
    unit_g = gallery.vectors_ND / np.maximum(np.linalg.norm(gallery.vectors_ND, axis=1, keepdims=True), 1e-12)
    for i, name in enumerate(query.ids):
        scores = np.round((unit_g * unit_q[i]).sum(1).astype(np.float64), 6)
        ranking = rank(scores, exclude=gallery.ids.index(name) if name in gallery.ids else None)
        y, ys = query.labels_NC[i].astype(float), gallery.labels_NC.astype(float)

        def gain(kind: str, y: np.ndarray = y, ys: np.ndarray = ys) -> np.ndarray:
            return relevance(y[None], ys, kind, rarity)[0]

        any_, count = gain("any"), gain("count")
        example = shared_labels(y, ys)
        row = {
            "mAP": average_precision(ranking, any_),
            "mAP@100(min)": average_precision(ranking, any_, 100),
            "mAP@5(hits)": average_precision(ranking, any_, 5, "hits"),
            "mAP@5(R)": average_precision(ranking, any_, 5, "R"),
            "nDCG@100(jaccard)": ndcg(ranking, gain("jaccard"), 100),
            "nDCG@100(count)": ndcg(ranking, count, 100),
            "nDCG(exp)": ndcg(ranking, gain_from_count(count)),
            "nDCG@7(rarity-jaccard)": ndcg(ranking, gain("rarity-jaccard"), 7),
            "ACG@100": mean_value(ranking, count, 100),
            "WAP@100": weighted_average_precision(ranking, count, 100),
            "WAP": weighted_average_precision(ranking, count),
            "P@10": precision(ranking, any_, 10),
            "R@100": recall(ranking, any_, 100),
            "Hit@10": hit_probability(ranking, any_, 10),
            "Jaccard@100": mean_value(ranking, gain("jaccard"), 100),
            "Hamming@100": mean_value(ranking, label_distance(y, ys), 100),
            "example-P@3": mean_value(ranking, example[0], 3),
            "example-R@3": mean_value(ranking, example[1], 3),
            "example-F1@10": mean_value(ranking, example[2], 10),
        }
        for c in range(len(y)):
            row[f"AP {c}"] = average_precision(ranking, ys[:, c]) if y[c] else np.nan
        for key, value in row.items():
            values.setdefault(key, []).append(value)
    return {key: np.array(column) for key, column in values.items()}


@pytest.mark.parametrize(("labels", "overlap", "codes"), [(3, False, True), (9, True, False), (20, True, True)])
def test_equals_the_slow_reference(labels: int, overlap: bool, codes: bool) -> None:
    gallery = make(1, 150, labels, "g", codes=codes)
    query = EmbeddingSet(gallery.vectors_ND[20:60], gallery.labels_NC[20:60], gallery.ids[20:60])
    if not overlap:
        query = make(2, 40, labels, "q", codes=codes)
    frequency = gallery.labels_NC.mean(0)
    expected = slow(query, gallery, frequency)
    found = evaluate_retrieval(query, gallery, [*NAMES, *MORE], bootstrap=0)
    for name, values in found.per_query.items():
        np.testing.assert_allclose(values, expected[name], atol=1e-9, err_msg=name)
        assert found[name] == pytest.approx(expected[name].mean())
    ap = np.stack([expected[f"AP {c}"] for c in range(labels)], axis=1)
    kept = ~np.isnan(found.label_ap_QC)
    np.testing.assert_allclose(found.label_ap_QC[kept], ap[kept], atol=1e-9)
    seen = [c for c in range(labels) if not np.isnan(ap[:, c]).all()]
    assert found["macro-AP"] == pytest.approx(np.mean([np.nanmean(ap[:, c]) for c in seen]))
    assert found.self_excluded == (40 if overlap else 0)
    assert found.tied_queries > 0


@pytest.mark.parametrize("codes", [False, True])
def test_shallow_measures_equal_the_slow_reference(codes: bool) -> None:
    # Without a measure over whole rankings that asks for items, the sort knows the first few by number alone.
    gallery = make(1, 400, 7, "g", dim=16, codes=codes)
    query = EmbeddingSet(gallery.vectors_ND[:40], gallery.labels_NC[:40], gallery.ids[:40])
    expected = slow(query, gallery, gallery.labels_NC.mean(0))
    found = evaluate_retrieval(query, gallery, ["mAP", "nDCG@7(rarity-jaccard)", "example-P@3", "P@10"], bootstrap=0)
    for name, values in found.per_query.items():
        np.testing.assert_allclose(values, expected[name], atol=1e-9, err_msg=name)
    for c in range(7):
        np.testing.assert_allclose(found.label_ap_QC[:, c], expected[f"AP {c}"], atol=1e-9)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), block=st.integers(1, 9), threads=st.integers(1, 2))
def test_order_blocks_and_threads_change_nothing(seed: int, block: int, threads: int) -> None:
    query, gallery = make(seed, 12, 5, "q"), make(seed + 1, 30, 5, "g")
    whole = evaluate_retrieval(query, gallery, bootstrap=0)
    shuffle = np.random.default_rng(seed).permutation(30)
    turned = EmbeddingSet(
        gallery.vectors_ND[shuffle], gallery.labels_NC[shuffle], tuple(gallery.ids[i] for i in shuffle)
    )
    again = evaluate_retrieval(query, turned, bootstrap=0, block_size=block, threads=threads)
    for name, value in whole.values.items():
        assert again[name] == pytest.approx(value, abs=1e-9, nan_ok=True)
    np.testing.assert_allclose(again.precision_recall.precision_L, whole.precision_recall.precision_L, atol=1e-6)
    assert (again.similarities.relevant == whole.similarities.relevant).all()
    assert whole.similarities.relevant.sum() + whole.similarities.other.sum() == 12 * 30


def test_queries_without_relevant_items() -> None:
    vectors = np.eye(3, dtype=np.float32)
    gallery = EmbeddingSet(vectors, np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=np.uint8), ("a", "b", "c"))
    query = EmbeddingSet(vectors, np.array([[1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=np.uint8), ("x", "y", "z"))
    zero = evaluate_retrieval(query, gallery, ["mAP", "macro-AP"], label_names=["sea", "sand", "dock"], bootstrap=0)
    skip = evaluate_retrieval(query, gallery, ["mAP", "macro-AP"], empty="skip", bootstrap=0)
    assert zero.queries_without_relevant == 2
    assert zero["mAP"] == pytest.approx(skip["mAP"] / 3)
    assert [result.queries for result in (*zero.results, *skip.results)] == [3, 1, 1, 1]
    # No query has sand, no item has dock: both are named and in no mean.
    assert zero.skipped_labels == ("sand", "dock")
    assert zero["macro-AP"] == zero.labels[0].ap == skip["mAP"]


def test_a_query_never_finds_itself() -> None:
    gallery = make(4, 25, 4, "g")
    for name in ("Hit@1", "mAP", "nDCG@100(count)"):
        found = evaluate_retrieval(gallery, gallery, [name], bootstrap=0).per_query[name]
        for i in range(25):
            rest = np.delete(np.arange(25), i)
            others = EmbeddingSet(
                gallery.vectors_ND[rest], gallery.labels_NC[rest], tuple(gallery.ids[j] for j in rest)
            )
            alone = EmbeddingSet(gallery.vectors_ND[[i]], gallery.labels_NC[[i]], gallery.ids[i : i + 1])
            assert found[i] == pytest.approx(evaluate_retrieval(alone, others, [name], bootstrap=0)[name])
    assert not any(
        i in row for i, row in enumerate(evaluate_retrieval(gallery, gallery, bootstrap=0).nearest_QK.tolist())
    )


def test_one_item_that_is_the_query() -> None:
    alone = make(0, 1, 3, "g")
    found = evaluate_retrieval(alone, alone, bootstrap=0)
    for result in found.results:
        assert np.isnan(result.value) if isinstance(result.measure, LabelAP) else result.value == 0
    assert (found.nearest_QK == -1).all()


def test_frequencies_come_from_training_when_given() -> None:
    query, gallery = make(5, 20, 6, "q"), make(6, 40, 6, "g")
    names = ["2 rarest AP", "nDCG@5(rarity-jaccard)"]
    own = evaluate_retrieval(query, gallery, names, bootstrap=0)
    turned = evaluate_retrieval(query, gallery, names, bootstrap=0, train_frequency=[1, 2, 30, 40, 50, 60])
    assert [label.band for label in turned.labels] == ["tail", "tail", "medium", "medium", "head", "head"]
    assert own.settings["frequency_from"] == "gallery"
    assert turned.settings["frequency_from"] == "training split"
    assert turned["2 rarest AP"] == pytest.approx(np.nanmean(np.nanmean(turned.label_ap_QC[:, :2], axis=0)))
    assert all(own[name] != turned[name] for name in names)


def test_intervals_hold_the_value_and_shrink_with_queries() -> None:
    gallery = make(7, 80, 5, "g")
    widths = []
    for size in (30, 300):
        found = evaluate_retrieval(make(8, size, 5, "q"), gallery, bootstrap=300, seed=3)
        for result in found.results:
            assert result.low <= result.value <= result.high
        widths.append(found.results[0].high - found.results[0].low)
    assert widths[1] < widths[0]


def test_no_interval_where_too_few_queries_say_anything() -> None:
    labels = np.zeros((12, 3), dtype=np.uint8)
    labels[:, 0], labels[3, 1], labels[:6, 2] = 1, 1, 1
    query = EmbeddingSet(np.random.default_rng(1).standard_normal((12, 5)), labels, tuple("abcdefghijkl"))
    gallery = make(7, 80, 3, "g", codes=False)
    found = evaluate_retrieval(query, gallery, ["P@10", "macro-AP"], bootstrap=50)
    assert all(result.low < result.high for result in found.results), "one label of three has a single query"
    first, lone, third = found.labels
    assert first.low < first.high
    assert third.low < third.high
    assert (lone.queries, np.isnan(lone.ap)) == (1, False)
    assert np.isnan([lone.low, lone.high]).all()

    few = EmbeddingSet(query.vectors_ND[:5], labels[:5], query.ids[:5])
    found = evaluate_retrieval(few, gallery, ["P@10", "macro-AP"], bootstrap=50)
    assert np.isnan([end for entry in (*found.results, *found.labels) for end in (entry.low, entry.high)]).all()


def test_a_mean_over_no_label_has_no_value() -> None:
    found = evaluate_retrieval(make(7, 40, 2, "q"), make(8, 80, 2, "g"), ["medium-AP", "macro-AP"], bootstrap=50)
    medium, macro = found.results
    assert np.isnan([medium.value, medium.low, medium.high, medium.floor, medium.ceiling]).all()
    assert medium.queries == 0
    assert macro.low <= macro.value <= macro.high


def test_precision_recall_without_ties_by_hand() -> None:
    query = EmbeddingSet(np.array([[1.0, 0.0]]), np.array([[1]]), ("q",))
    angle = np.array([0.1, 0.2, 0.3, 0.4])
    gallery = EmbeddingSet(np.stack([np.cos(angle), np.sin(angle)], 1), np.array([[1], [0], [1], [0]]), tuple("abcd"))
    curve = evaluate_retrieval(query, gallery, ["mAP"], bootstrap=0).precision_recall
    assert curve.precision_L[:50] == pytest.approx(1.0)
    assert curve.precision_L[50:] == pytest.approx(2 / 3)
    assert curve.floor == 0.5


def test_progress_and_lookup() -> None:
    seen: list[tuple[int, int]] = []
    query, gallery = make(1, 10, 3, "q"), make(2, 10, 3, "g")
    found = evaluate_retrieval(
        query, gallery, ["P@3"], bootstrap=0, block_size=4, progress=lambda a, b: seen.append((a, b))
    )
    assert seen == [(4, 10), (8, 10), (10, 10)]
    assert found[" P@3"] == found.values["P@3"]
    with pytest.raises(UsageError, match="was not evaluated"):
        found["P@4"]


def test_bad_input_is_refused() -> None:
    query, gallery = make(1, 4, 3, "q"), make(2, 5, 3, "g")
    with pytest.raises(UsageError, match="5 dimensions and 3 labels, the gallery 5 and 2"):
        evaluate_retrieval(query, make(2, 5, 2, "g"))
    with pytest.raises(UsageError, match="nothing to evaluate"):
        evaluate_retrieval(EmbeddingSet(np.zeros((0, 5)), np.zeros((0, 3)), ()), gallery)
    with pytest.raises(UsageError, match="2 label names for 3"):
        evaluate_retrieval(query, gallery, label_names=["a", "b"])
    with pytest.raises(UsageError, match="train_frequency"):
        evaluate_retrieval(query, gallery, train_frequency=[1, 2])
    with pytest.raises(UsageError, match="'drop'"):
        evaluate_retrieval(query, gallery, empty="drop")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="threads"):
        evaluate_retrieval(query, gallery, threads=0)
    with pytest.raises(ConfigError, match="no measure"):
        evaluate_retrieval(query, gallery, ["precision at five"])
    for confidence in (1.0, 0.0, 95.0, float("nan")):
        with pytest.raises(UsageError, match=f"confidence is {confidence}, it lies between 0 and 1"):
            evaluate_retrieval(query, gallery, confidence=confidence, progress=lambda *_: pytest.fail("ranked first"))


def real(path: Path) -> Evaluation:
    with np.load(path) as file:
        features, labels, split, ids = (file[key] for key in ("features", "labels", "split", "names"))

    def part(name: str) -> EmbeddingSet:
        rows = split == name
        return EmbeddingSet(features[rows].astype(np.float32), labels[rows], tuple(ids[rows].tolist()))

    return evaluate_retrieval(part("test"), part("train"), bootstrap=0)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "values", "floor"),
    [
        ("ucmerced-ml", (85.67, 72.24, 76.54, 59.18, 67.17), 64.4),
        ("ml-aid", (91.23, 74.87, 80.41, 45.13, 19.64), 84.0),
    ],
)
def test_frozen_features_give_the_known_values(
    terraseek_data: Path, name: str, values: tuple[float, ...], floor: float
) -> None:
    # The values were computed by an independent script of plain argsort and cumsum over the same features.
    found = real(terraseek_data / "features" / f"{name}.npz")
    measured = [100 * result.value for result in found.results[:5]]
    assert measured == pytest.approx(values, abs=0.006)
    assert 100 * found.results[0].floor == pytest.approx(floor, abs=0.05)
