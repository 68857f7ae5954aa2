from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from terraseek.data import check_dataset, load_dataset
from terraseek.data.caption_files import read_precomp
from terraseek.data.captions import caption_hash, exact_id_ceiling, normalise_caption, vocabulary


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


def test_vocabulary_counts_words() -> None:
    assert vocabulary(["Sea, sea and sand", "sand"]) == {"sand": 2, "sea": 2, "and": 1}
    assert list(vocabulary(["b a b"], least=2)) == ["b"]


def simulated_ceiling(captions: list[list[str]], rounds: int = 4000) -> dict[str, float]:
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


def test_ceiling_equals_a_simulated_perfect_matcher() -> None:
    rng = random.Random(1)
    captions = [[f"text {rng.randrange(9)}" for _ in range(5)] for _ in range(14)]
    ceiling = exact_id_ceiling(captions)
    for name, value in simulated_ceiling(captions).items():
        assert ceiling[name] == pytest.approx(value, abs=3.0), name


def test_ceiling_without_repeats_is_100() -> None:
    assert set(exact_id_ceiling([["a", "b"], ["c", "d"]]).values()) == {100.0}


def test_statistics_find_repeats_within_and_across_splits(tmp_path: Path) -> None:
    rows = [("a", "train", "A port.|some boats"), ("b", "train", "a port|cranes"), ("c", "test", "cranes|a fence")]
    for name, _, _ in rows:
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    lines = [f"{name}.png,{split},{captions}" for name, split, captions in rows]
    (tmp_path / "t.csv").write_text("path,split,captions\n" + "\n".join(lines) + "\n")
    details = check_dataset("table", tmp_path / "t.csv").details
    assert details["captions_per_split"] == {"train": 4, "test": 2}
    assert details["distinct"] == 4
    assert details["repeated"] == {"train": 2, "test": 0}
    assert details["cross_split_repeats"] == {"test": 1}
    assert details["exact_id_ceiling"]["mR"] == 100.0


@pytest.mark.data
@pytest.mark.parametrize(("name", "ceiling"), [("rsicd", 95.9), ("rsitmd", 99.9)])
def test_the_published_ceilings_come_out(terraseek_data: Path, name: str, ceiling: float) -> None:
    entries, _ = read_precomp(terraseek_data / name)
    test = [entry.captions for entry in entries if entry.split == "test"]
    assert len(test) == {"rsicd": 1093, "rsitmd": 452}[name]
    assert round(exact_id_ceiling(test)["mR"], 1) == ceiling


@pytest.mark.data
def test_ucm_captions_have_labels_too(terraseek_data: Path) -> None:
    report = check_dataset("ucm-captions", terraseek_data)
    assert report.splits == {"train": 1680, "val": 210, "test": 210}
    assert report.captions == 10_500
    assert not report.problems
    assert round(report.details["exact_id_ceiling"]["mR"], 1) == 70.4
    labelled = load_dataset("ucmerced-ml", terraseek_data)
    captioned = load_dataset("ucm-captions", terraseek_data / "ucm")
    assert captioned.ids == labelled.ids
    assert (captioned.labels_NC == labelled.labels_NC).all()


@pytest.mark.data
def test_rsicd_10k_is_the_documented_view(terraseek_data: Path) -> None:
    report = check_dataset("rsicd-10k", terraseek_data)
    assert report.splits["train"] + report.splits["val"] == 8973
    assert report.splits["test"] == 1027
    assert report.details["also_in_ml_aid"]["test"] == 821
    assert not report.problems
    dataset = load_dataset("rsicd-10k", terraseek_data)
    assert dataset.read(0).shape == (131, 131, 3)
    shared = set(dataset.ids) & set(load_dataset("ml-aid", terraseek_data).ids)
    assert len(shared) == 3000
