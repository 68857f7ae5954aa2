from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from terraseek.encoders import ModelConfig, load_encoder, preprocess, read_model_config
from terraseek.errors import ConfigError, CorruptError
from terraseek.models import (
    ImageEmbedder,
    NetworkConfig,
    build_embedder,
    build_image_text_embedder,
    embedder_config,
    orient_model,
    save_model,
    text_config,
    word_tokenizer,
)
from terraseek.models.orientations import in_orientations
from terraseek.models.text import TextNetworkConfig

IMAGES = [np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8) for i in range(3)]
WORDS = ["river", "forest", "airport"]
CONFIG = embedder_config("resnet-18", input_size=32, dim=8, label_names=("sea",), training={"dataset": "none"})


def embedder(orientations: int, config: ModelConfig = CONFIG) -> ImageEmbedder:
    torch.manual_seed(0)
    module = build_embedder(config).eval()
    module.orientations = orientations  # type: ignore[assignment]
    return module


def images() -> Tensor:
    return torch.from_numpy(preprocess(IMAGES, CONFIG))


def test_all_eight_orientations_of_a_square() -> None:
    corners = torch.arange(4.0).reshape(1, 1, 2, 2)
    found = [tuple(each.flatten().tolist()) for each in in_orientations(corners, 8)]
    # Of the 24 ways to put four numbers on corners, the eight that leave neighbours neighbours.
    assert sorted(found) == sorted(
        (a, b, c, d)
        for a, b, d, c in (
            *[tuple(np.roll((0, 1, 3, 2), k).tolist()) for k in range(4)],
            *[tuple(np.roll((1, 0, 2, 3), k).tolist()) for k in range(4)],
        )
    )
    assert found[0] == (0, 1, 2, 3)
    assert [tuple(each.flatten().tolist()) for each in in_orientations(corners, 4)] == found[:4]
    assert torch.equal(in_orientations(corners, 1), corners)


@pytest.mark.parametrize("count", [4, 8])
def test_the_mean_over_orientations_by_a_loop(count: int) -> None:
    one = embedder(1)
    turns = [np.rot90(image, k).copy() for image in IMAGES for k in range(4)]
    turns += [turn[:, ::-1].copy() for turn in turns] if count == 8 else []
    with torch.no_grad():
        vectors = one(torch.from_numpy(preprocess(turns, CONFIG)))
        expected = torch.stack([vectors[[i // 4 % 3 == k for i in range(len(turns))]].mean(0) for k in range(3)])
        got = embedder(count)(images())
    torch.testing.assert_close(got, F.normalize(expected, dim=-1))


def test_a_turned_image_is_the_same_image() -> None:
    module = embedder(4)
    with torch.no_grad():
        torch.testing.assert_close(module(images()), module(images().rot90(1, (2, 3))))
        assert not torch.allclose(embedder(1)(images()), embedder(1)(images().rot90(1, (2, 3))), atol=1e-3)


def test_training_knows_one_orientation() -> None:
    first, second = embedder(1).train(), embedder(4).train()
    with torch.no_grad():
        assert torch.equal(first(images()), second(images()))


def test_a_model_of_images_and_back(tmp_path: Path) -> None:
    before = save_model(tmp_path / "one", embedder(1), CONFIG)
    turned = orient_model(tmp_path / "one", tmp_path / "four", 4)
    assert turned.fingerprint != before.fingerprint
    assert read_model_config(turned.directory).network["orientations"] == 4
    got = load_encoder(turned.directory, batch_size=2).encode_images(IMAGES)
    with torch.no_grad():
        np.testing.assert_allclose(got, embedder(4)(images()).numpy(), atol=1e-5)
    assert "mean over 4 orientations" in (turned.directory / "README.md").read_text()
    assert orient_model(turned.directory, tmp_path / "back", 1).fingerprint == before.fingerprint


def test_a_model_of_images_and_texts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    text = TextNetworkConfig(vocabulary=8, width=12, hidden=16, layers=1, heads=1, positions=6, dim=8, head_hidden=9)
    config = embedder_config(
        "resnet-18",
        input_size=32,
        dim=8,
        network=NetworkConfig(concept_head=True),
        concepts=("river", "forest"),
        text=text_config("gru", text, max_tokens=6),
    )
    module = build_image_text_embedder(config).eval()
    save_model(tmp_path / "one", module, config, word_tokenizer(WORDS))
    orient_model(tmp_path / "one", tmp_path / "eight", 8)
    one, eight = load_encoder(tmp_path / "one"), load_encoder(tmp_path / "eight")
    np.testing.assert_array_equal(one.encode_texts(WORDS), eight.encode_texts(WORDS))
    with torch.no_grad():
        each = [module.image.outputs(turn) for turn in in_orientations(images(), 8).chunk(8)]
        vectors = F.normalize(torch.stack([found.vectors_ND for found in each]).mean(0), dim=-1)
        logits = torch.stack([found.concept_logits_NC for found in each if found.concept_logits_NC is not None])
    np.testing.assert_allclose(eight.encode_images(IMAGES), vectors.numpy(), atol=1e-5)
    found = eight.encode_images_and_concepts(IMAGES)
    np.testing.assert_allclose(found[1], logits.mean(0).sigmoid().numpy(), atol=1e-5)
    (tmp_path / "one" / "tokenizer.json").write_text("{")
    with pytest.raises(CorruptError, match=r"tokenizer\.json is not a tokenizer"):
        orient_model(tmp_path / "one", tmp_path / "four", 4)


def test_other_numbers_are_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "one", embedder(1), CONFIG)
    with pytest.raises(ConfigError, match=r"orientations' is 3, allowed are 1, 4, 8"):
        orient_model(tmp_path / "one", tmp_path / "three", 3)  # type: ignore[arg-type]
    assert not (tmp_path / "three").exists()
