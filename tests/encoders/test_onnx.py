from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from terraseek.encoders import load_encoder, model_fingerprint
from terraseek.encoders.preprocess import preprocess
from terraseek.errors import ConfigError, CorruptError, NotFoundError, UsageError
from terraseek.typing import ConceptEncoder, Encoder

from .conftest import WEIGHT, WORD_VECTORS, WORDS, write_image_onnx

MakeModel = Callable[..., Path]
RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (RNG.integers(5, 20), RNG.integers(5, 20), 3), dtype=np.uint8) for _ in range(11)]


def test_encodes_as_the_protocol_says(make_model: MakeModel) -> None:
    directory = make_model()
    encoder = load_encoder(directory)
    assert isinstance(encoder, Encoder)
    assert (encoder.dim, encoder.label_names) == (4, ("sea", "trees"))
    assert encoder.fingerprint == model_fingerprint(directory)


def test_vectors_are_what_the_network_computes(make_model: MakeModel) -> None:
    flat = [np.full((9, 5, 3), colour, np.uint8) for colour in ([10, 200, 30], [90, 0, 255])]
    expected = (np.array([[10, 200, 30], [90, 0, 255]]) - 127.0) / 128.0 @ WEIGHT
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    got = load_encoder(make_model()).encode_images(flat)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_concepts_are_scored_beside_the_same_vectors(make_model: MakeModel) -> None:
    encoder = load_encoder(make_model(concepts=("red", "green")), batch_size=4)
    assert isinstance(encoder, ConceptEncoder)
    assert encoder.concepts == ("red", "green")
    vectors, scores = encoder.encode_images_and_concepts(IMAGES)
    np.testing.assert_array_equal(vectors, encoder.encode_images(IMAGES))
    means = np.stack([preprocess([image], encoder.config)[0].mean(axis=(1, 2))[:2] for image in IMAGES])
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-means)), atol=1e-6)
    bare = load_encoder(make_model("bare"))
    assert bare.concepts == ()
    with pytest.raises(UsageError, match="predicts no concepts"):
        bare.encode_images_and_concepts(IMAGES)


@pytest.mark.parametrize("batch_size", [1, 3, 11, 64])
def test_batching_changes_nothing(make_model: MakeModel, batch_size: int) -> None:
    directory = make_model()
    encoder = load_encoder(directory, batch_size=batch_size, threads=1)
    got = encoder.encode_images(IMAGES)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(got, load_encoder(directory).encode_images(IMAGES), atol=1e-6)
    np.testing.assert_array_equal(got, encoder.encode_images(IMAGES))


def test_nothing_in_nothing_out(make_model: MakeModel) -> None:
    encoder = load_encoder(make_model(text=True))
    assert encoder.encode_images([]).shape == (0, 4)
    assert encoder.encode_texts([]).shape == (0, 4)


def test_texts(make_model: MakeModel) -> None:
    encoder = load_encoder(make_model(text=True), batch_size=2)
    texts = ["Beach", "forest river", "river forest beach beach beach"]
    words = [["beach"], ["forest", "river"], ["river", "forest", "beach"]]  # the last is cut at max_tokens = 3
    expected = np.stack([WORD_VECTORS[[WORDS[word] for word in line]].sum(0) for line in words])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode_texts(texts), expected, atol=1e-6)


def test_model_without_text_side_says_so(make_model: MakeModel) -> None:
    encoder = load_encoder(make_model())
    assert not encoder.has_text
    with pytest.raises(UsageError, match="'mean-colour' has no text side"):
        encoder.encode_texts(["beach"])


@pytest.mark.parametrize("name", ["image.onnx", "model.safetensors"])
def test_truncated_and_missing_files(make_model: MakeModel, name: str) -> None:
    path = make_model() / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CorruptError, match=name):
        load_encoder(path.parent)
    path.unlink()
    with pytest.raises(NotFoundError, match=name):
        load_encoder(path.parent)


def test_damaged_text_side(make_model: MakeModel) -> None:
    directory = make_model(text=True)
    (directory / "tokenizer.json").write_text("{}")
    with pytest.raises(CorruptError, match=r"tokenizer\.json is not a tokenizer"):
        load_encoder(directory).encode_texts(["beach"])
    (directory / "tokenizer.json").unlink()
    with pytest.raises(NotFoundError, match=r"tokenizer\.json is missing"):
        load_encoder(directory).encode_texts(["beach"])


def test_onnx_of_another_model_is_noticed(make_model: MakeModel) -> None:
    directory = make_model()
    write_image_onnx(directory / "image.onnx", size=9)
    with pytest.raises(CorruptError, match="belong to different models"):
        load_encoder(directory)
    write_image_onnx(directory / "image.onnx", weight=WEIGHT[:, :3])
    with pytest.raises(CorruptError, match="belong to different models"):
        load_encoder(directory)


def test_bad_arguments(make_model: MakeModel, tmp_path: Path) -> None:
    directory = make_model()
    with pytest.raises(UsageError, match="threads is 0"):
        load_encoder(directory, threads=0)
    with pytest.raises(UsageError, match="batch_size is 0"):
        load_encoder(directory, batch_size=0)
    with pytest.raises(NotFoundError, match="no model at"):
        load_encoder(tmp_path / "none")
    (directory / "config.json").write_text('{"format_version": 1, "architecture": "x"}')
    with pytest.raises(ConfigError, match="missing key 'input_size'"):
        load_encoder(directory)


@pytest.mark.parametrize("threads", [None, 2, 3])
def test_many_images_are_spread_over_the_threads_and_come_back_in_order(
    make_model: MakeModel, threads: int | None
) -> None:
    directory = make_model(concepts=("red", "green"))
    one, several = load_encoder(directory, threads=1), load_encoder(directory, threads=threads)
    images = [np.roll(image, shift, axis=2) for shift in range(3) for image in IMAGES]
    for got, expected in zip(
        several.encode_images_and_concepts(images), one.encode_images_and_concepts(images), strict=True
    ):
        np.testing.assert_allclose(got, expected, atol=1e-6)
    with pytest.raises(UsageError, match="image 20 has 1 bands"):
        several.encode_images([*images[:20], images[0][..., :1]])
