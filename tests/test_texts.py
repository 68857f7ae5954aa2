"""Normal forms, and both ceilings of exact-id recall against counting out."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.texts import caption_hash, matcher_ceiling, normalise_caption, oracle_ceiling


@given(st.text())
def test_normal_form_is_idempotent_and_single_spaced(text: str) -> None:
    once = normalise_caption(text)
    assert normalise_caption(once) == once
    assert "  " not in once
    assert once == once.strip()


@pytest.mark.parametrize("other", ["a beach .", "A  Beach", "a-beach!", "a_beach", "\uff21 beach"])
def test_same_text_same_hash(other: str) -> None:
    assert caption_hash("a beach") == caption_hash(other)
    assert caption_hash("a beach") != caption_hash("a peach")


def simulated_matcher(captions: list[list[str]], rounds: int = 4000) -> dict[str, float]:
    """A matcher that scores 1 for a known text and 0 otherwise, ties broken by drawing, counted out."""
    rng = random.Random(0)
    flat = [(image, text) for image, texts in enumerate(captions) for text in texts]
    hits = {f"{way}_R@{k}": 0.0 for way in ("i2t", "t2i") for k in (1, 5, 10)}
    for _ in range(rounds):
        image = rng.randrange(len(captions))
        order = sorted(flat, key=lambda pair: (pair[1] not in captions[image], rng.random()))
        query, text = rng.choice(flat)
        images = sorted(range(len(captions)), key=lambda i: (text not in captions[i], rng.random()))
        for k in (1, 5, 10):
            hits[f"i2t_R@{k}"] += any(owner == image for owner, _ in order[:k])
            hits[f"t2i_R@{k}"] += query in images[:k]
    return {name: 100 * count / rounds for name, count in hits.items()}


def test_matcher_ceiling_equals_a_simulated_matcher() -> None:
    rng = random.Random(1)
    captions = [[f"text {rng.randrange(9)}" for _ in range(5)] for _ in range(14)]
    ceiling = matcher_ceiling(captions)
    for name, value in simulated_matcher(captions).items():
        assert ceiling[name] == pytest.approx(value, abs=3.0), name


def test_ceilings_without_repeats_are_100_and_images_without_captions_do_not_count() -> None:
    for captions in ([["a", "b"], ["c", "d"]], [["a"], [], ["c"]]):
        assert set(matcher_ceiling(captions).values()) == {100.0}
        assert set(oracle_ceiling(captions).values()) == {100.0}


def best_ranking(captions: list[list[str]], k: int) -> tuple[float, float]:
    """The oracle by trying every order of the texts for an image, and every choice of k images for a text."""
    flat = [(image, text) for image, texts in enumerate(captions) for text in texts]
    names = sorted({text for _, text in flat})

    def hit(image: int, order: tuple[str, ...]) -> float:
        ahead = 0
        for name in order:
            owners = [owner for owner, text in flat if text == name]
            if image in owners:
                draws = list(itertools.combinations(owners, min(max(k - ahead, 0), len(owners))))
                return sum(image in draw for draw in draws) / len(draws)
            ahead += len(owners)
        return 0.0

    i2t = [max(hit(image, order) for order in itertools.permutations(names)) for image in range(len(captions))]
    chosen = list(itertools.combinations(range(len(captions)), min(k, len(captions))))
    t2i = sum(max(sum(o in few for o, text in flat if text == name) for few in chosen) for name in names) / len(flat)
    return 100 * sum(i2t) / len(i2t), 100 * t2i


captions_of_images = st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3), min_size=1, max_size=5)


@settings(max_examples=80, deadline=None)
@given(captions=captions_of_images, k=st.integers(1, 4))
def test_oracle_ceiling_equals_the_best_of_all_rankings(captions: list[list[str]], k: int) -> None:
    ceiling = oracle_ceiling(captions, (k,))
    i2t, t2i = best_ranking(captions, k)
    assert ceiling[f"i2t_R@{k}"] == pytest.approx(i2t)
    assert ceiling[f"t2i_R@{k}"] == pytest.approx(t2i)
    assert ceiling["mR"] == pytest.approx((i2t + t2i) / 2)
    for name, value in matcher_ceiling(captions, (k,)).items():
        assert value <= ceiling[name] + 1e-9
