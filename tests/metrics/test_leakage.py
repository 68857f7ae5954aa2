"""Planted duplicates are found, and nothing else; hashes survive what a re-encoding does."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from terraseek.errors import UsageError
from terraseek.metrics import find_leakage, near_duplicates, pixel_hash, shared_scenes


def scene(seed: int, size: int = 96) -> np.ndarray:
    """A smooth random picture, as aerial imagery is: large areas with some texture."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (7, 7, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def distance(a: np.ndarray, b: np.ndarray) -> int:
    return (pixel_hash(a) ^ pixel_hash(b)).bit_count()


@given(seed=st.integers(0, 10_000), threshold=st.floats(0.3, 0.99))
@settings(max_examples=30, deadline=None)
def test_pairs_equal_the_double_loop(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((20, 3))
    groups = rng.integers(0, 3, 20).astype(str).tolist()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    expected = {
        (i, j) for i in range(20) for j in range(i + 1, 20) if groups[i] != groups[j] and cosine[i, j] >= threshold
    }
    found = near_duplicates(vectors, threshold, groups)
    near_limit = {(i, j) for i in range(20) for j in range(i + 1, 20) if abs(cosine[i, j] - threshold) < 2e-6}
    assert {pair[:2] for pair in found} - near_limit == expected - near_limit
    assert [pair[2] for pair in found] == sorted((pair[2] for pair in found), reverse=True)


def test_identical_vectors_reach_a_threshold_of_one() -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 77))
    vectors[7] = 3 * vectors[31]
    assert [pair[:2] for pair in near_duplicates(vectors, 1.0)] == [(7, 31)]


@pytest.mark.parametrize("seed", range(6))
def test_a_hash_survives_encoding_size_and_brightness(seed: int) -> None:
    image = scene(seed)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=60)
    encoded = np.asarray(Image.open(buffer))
    smaller = np.asarray(Image.fromarray(image).resize((61, 45), Image.Resampling.BILINEAR))
    darker = (image * 0.6 + 10).astype(np.uint8)
    for other in (encoded, smaller, darker, image[..., :3].astype(np.uint16) * 200):
        assert distance(image, other) <= 4
    assert distance(image, scene(seed + 100)) > 12


def test_flat_images_are_nobodys_duplicate() -> None:
    flat = [np.full((20, 30), value, dtype=np.uint8) for value in (0, 90)]
    assert [pixel_hash(image) for image in flat] == [0, 0]
    assert not find_leakage(["a", "b"], ["train", "test"], images=flat).by_pixels
    assert pixel_hash(np.arange(3, dtype=np.uint8)[None]) >= 0  # fewer pixels than cells


def test_planted_leakage_is_found_across_splits_only() -> None:
    rng = np.random.default_rng(1)
    ids, splits = [f"i{n}" for n in range(12)], ["train"] * 6 + ["val"] * 2 + ["test"] * 4
    vectors = rng.standard_normal((12, 16))
    images = [scene(n) for n in range(12)]
    vectors[9] = vectors[2] + 0.01 * rng.standard_normal(16)  # test sees train again
    vectors[3] = vectors[2]  # within train: no leakage
    images[11] = images[6]  # test sees val again
    seen: list[tuple[int, int]] = []
    scenes = ["s1"] * 3 + ["s2"] * 3 + ["s3"] * 2 + ["s1"] + ["s4"] * 3
    report = find_leakage(
        ids, splits, vectors_ND=vectors, images=images, scenes=scenes, progress=lambda a, b: seen.append((a, b))
    )
    assert {(pair.first, pair.second) for pair in report.by_vector} == {("i2", "i9"), ("i3", "i9")}
    assert [(p.first, p.second, p.first_split, p.second_split, p.similarity) for p in report.by_pixels] == [
        ("i6", "i11", "val", "test", 1.0)
    ]
    assert report.touched == {"test": 2, "train": 2, "val": 1}
    assert report.images == {"test": 4, "train": 6, "val": 2}
    assert report.scenes == {"s1": {"test": 1, "train": 3}}
    assert seen[-1] == (12, 12)
    assert report.to_json()["by_vector"][0]["first"] in ("i2", "i3")


def test_scenes_within_one_split_are_fine() -> None:
    assert shared_scenes(["a", "a", "b"], ["train", "train", "test"]) == {}


def test_bad_input_is_refused() -> None:
    with pytest.raises(UsageError, match="2 ids, but 3 splits, 1 images"):
        find_leakage(["a", "b"], ["x"] * 3, images=[np.zeros((2, 2))])
    with pytest.raises(UsageError, match="cosine threshold"):
        near_duplicates(np.eye(2), 1.5)
    with pytest.raises(UsageError, match="3 groups"):
        near_duplicates(np.eye(2), 0.9, ["a", "b", "c"])
    with pytest.raises(UsageError, match="bits is 40"):
        find_leakage(["a"], ["x"], images=[np.zeros((2, 2))], bits=40)
    with pytest.raises(UsageError, match="an image is"):
        pixel_hash(np.zeros(3))
