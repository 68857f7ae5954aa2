"""One list of promises that every registered measure keeps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.errors import ConfigError
from terraseek.metrics import (
    DEFAULT_MEASURES,
    HEADLINE_MEASURES,
    MEASURES,
    EmbeddingSet,
    LabelAP,
    QueryMeasure,
    evaluate_retrieval,
    frequency_bands,
    parse_measure,
)
from terraseek.relevance import KINDS, label_rarity, relevance

# At least one spelling of every registered name.
SPELLINGS = {
    "mAP": ["mAP", "mAP(R)", "mAP(hits)", "mAP@3(min)", "mAP@3(R)", "mAP@3(hits)"],
    "nDCG": ["nDCG(count)", *(f"nDCG@4({g})" for g in ("any", "count", "exp", "jaccard", "cosine", "rarity-jaccard"))],
    "ACG": ["ACG@3"],
    "WAP": ["WAP", "WAP@3"],
    "P": ["P@1", "P@3"],
    "R": ["R@3"],
    "Hit": ["Hit@2"],
    "Jaccard": ["Jaccard@3"],
    "Hamming": ["Hamming@3"],
    "example-P": ["example-P@3"],
    "example-R": ["example-R@3"],
    "example-F1": ["example-F1@3"],
    "macro-AP": ["macro-AP"],
    "head-AP": ["head-AP"],
    "medium-AP": ["medium-AP"],
    "tail-AP": ["tail-AP"],
    "rarest AP": ["2 rarest AP"],
}
ALL = [text for texts in SPELLINGS.values() for text in texts]


def random_set(rng: np.random.Generator, prefix: str, size: int, labels: int = 4, dim: int = 3) -> EmbeddingSet:
    vectors = rng.integers(0, 2, (size, dim)).astype(np.float32) * 2 - 1  # binary codes: few directions, many ties
    return EmbeddingSet(
        vectors, (rng.random((size, labels)) < 0.45).astype(np.uint8), tuple(f"{prefix}{i}" for i in range(size))
    )


def test_every_registered_measure_is_covered() -> None:
    assert set(SPELLINGS) == set(MEASURES.names)


@pytest.mark.parametrize("text", ALL)
def test_text_and_value_round_trip(text: str) -> None:
    measure = parse_measure(text)
    assert str(measure) == text
    assert parse_measure(str(measure)) == measure
    assert hash(measure) == hash(parse_measure(text))
    assert measure.definition
    assert "\n" not in measure.definition


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("mAP@100", "mAP@100(min)"), ("nDCG@5", "nDCG@5(count)"), (" P@1 ", "P@1"), ("6-rarest-AP", "6 rarest AP")],
)
def test_shorter_spellings(text: str, canonical: str) -> None:
    assert str(parse_measure(text)) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nDGC@100", "did you mean 'nDCG'"),
        ("nDCG@100(jacard)", "did you mean 'jaccard'"),
        ("mAP@100(max)", "known: R, hits, min"),
        ("P", "needs @k"),
        ("P@0", "at least 1"),
        ("P@3(x)", "no option"),
        ("WAP@3(x)", "no option"),
        ("macro-AP@5", "takes no @k"),
        ("3 mAP", "number in front"),
        ("rarest AP", "number of labels"),
        ("", "name@k"),
        ("P@@3", "name@k"),
    ],
)
def test_misspellings_are_explained(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_measure(text)


@pytest.mark.parametrize("text", ALL)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_promises(text: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query, gallery = random_set(rng, "q", 6), random_set(rng, "g", 9)
    measure = parse_measure(text)
    result = evaluate_retrieval(query, gallery, [text], bootstrap=0).results[0]
    if np.isnan(result.value):
        assert isinstance(measure, LabelAP), "of query measures there is always a mean"
        assert np.isnan([result.floor, result.ceiling]).all()
        return
    if measure.higher_is_better:
        assert result.value <= result.ceiling + 1e-9 or text in ("WAP@3",)  # WAP@k: see the oracle's definition
    else:
        assert result.value >= result.ceiling - 1e-9
    if measure.bounded:
        assert -1e-9 <= result.value <= 1 + 1e-9

    # All scores equal is the random ranking: value and floor must meet exactly.
    blind = EmbeddingSet(np.ones_like(gallery.vectors_ND), gallery.labels_NC, gallery.ids)
    found = evaluate_retrieval(query, blind, [text], bootstrap=0).results[0]
    assert found.value == pytest.approx(found.floor, abs=1e-12)

    # Vectors that rank exactly by the measure's own gain meet the ceiling.
    if isinstance(measure, QueryMeasure) and "@" in text:
        one = EmbeddingSet(np.eye(1, 2, dtype=np.float32), query.labels_NC[:1], ("q",))
        by_gain = _by_gain(measure, one, gallery)
        best = evaluate_retrieval(one, by_gain, [text], bootstrap=0, train_frequency=gallery.labels_NC.mean(0))
        assert best.results[0].value == pytest.approx(best.results[0].ceiling, abs=1e-9)


def _by_gain(measure: QueryMeasure, query: EmbeddingSet, gallery: EmbeddingSet) -> EmbeddingSet:
    """The gallery with vectors whose cosine to (1, 0) grows with the measure's own gain."""
    name, _, option = str(measure).rstrip(")").partition("(")
    y, ys = query.labels_NC.astype(float), gallery.labels_NC.astype(float)
    shared = (ys @ y[0]).astype(int)
    kind = {"Jaccard": "jaccard", "ACG": "count", "WAP": "count"}.get(name.partition("@")[0], option)
    if kind == "exp":
        kind = "count"
    if name.startswith("Hamming"):
        gains = -np.abs(ys - y).sum(1)
    elif name.startswith("example-P"):
        gains = shared / np.maximum(ys.sum(1), 1)
    elif name.startswith("example-R"):
        gains = shared
    elif name.startswith("example-F1"):
        gains = shared / np.maximum(ys.sum(1) + y.sum(), 1)
    else:
        gains = relevance(y, ys, kind if kind in KINDS else "any", label_rarity(ys.mean(0)))[0]
    turned = 0.2 + (gains.max() - gains) / 8
    return EmbeddingSet(np.stack([np.cos(turned), np.sin(turned)], axis=1), gallery.labels_NC, gallery.ids)


def test_defaults_lead_with_the_compared_columns() -> None:
    names = [str(measure) for measure in DEFAULT_MEASURES]
    assert names[:5] == ["mAP", "nDCG@100(jaccard)", "nDCG@100(count)", "macro-AP", "6 rarest AP"]
    assert tuple(DEFAULT_MEASURES[:5]) == HEADLINE_MEASURES
    assert len(set(names)) == len(names)


@given(frequency=st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_bands_are_ordered_thirds(frequency: list[int]) -> None:
    f = np.array(frequency, dtype=float)
    bands = np.array(frequency_bands(f))
    seen = f > 0
    third = round(int(seen.sum()) / 3)
    assert ((bands == "tail") & seen).sum() == (bands == "head").sum() == third
    assert (bands[~seen] == "tail").all()
    for low, high in (("tail", "medium"), ("medium", "head")):
        if (bands == high).any() and ((bands == low) & seen).any():
            assert f[(bands == low) & seen].max() <= f[bands == high].min()


def test_label_choices() -> None:
    frequency = np.array([9.0, 0.0, 3.0, 1.0, 4.0, 2.0])
    assert LabelAP(rarest=2).labels(frequency).tolist() == [3, 5]
    assert LabelAP(band="head").labels(frequency).tolist() == [0, 4]
    assert LabelAP(band="tail").labels(frequency).tolist() == [1, 3, 5]
    assert LabelAP().labels(frequency).tolist() == [0, 1, 2, 3, 4, 5]
