"""From two sides in torch to a model directory that finds images by text, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from terraseek.encoders import load_encoder, preprocess
from terraseek.errors import ConfigError, UsageError
from terraseek.models import (
    ConceptHead,
    ImageTextEmbedder,
    NetworkConfig,
    TextNetworkConfig,
    build_image_text_embedder,
    embedder_config,
    load_image_text_model,
    load_model,
    save_model,
    text_config,
    word_tokenizer,
)

WORDS = ["river", "forest", "airport", "the", "by"]
CONCEPTS = ("river", "forest", "airport")
TEXTS = ["the river by the forest", "airport", "", "something else entirely, and far too long for this model"]
IMAGES = [np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8) for i in range(3)]
NETWORK = NetworkConfig(aggregator="mean", aggregator_dim=24, concept_head=True, hidden=16)
TEXT = {
    "vocabulary": 8,
    "width": 12,
    "hidden": 16,
    "layers": 1,
    "heads": 2,
    "positions": 6,
    "dim": 10,
    "head_hidden": 9,
}


def make(
    architecture: str, above: NetworkConfig = NETWORK, dim: int = 8, **changes: object
) -> tuple[ImageTextEmbedder, object]:
    torch.manual_seed(0)
    network = TextNetworkConfig(**(TEXT | changes))  # type: ignore[arg-type]
    config = embedder_config(
        "resnet-18",
        input_size=32,
        dim=dim,
        network=above,
        concepts=CONCEPTS,
        text=text_config(architecture, network, max_tokens=6),
    )
    return build_image_text_embedder(config), config


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("gru", {}),
        pytest.param("gru", {"variant": "published", "concept_tokens": (3, 4)}, marks=pytest.mark.slow),
        pytest.param("transformer", {}, marks=pytest.mark.slow),
    ],
)
def test_search_path_gives_what_torch_gives(architecture: str, changes: dict[str, object], tmp_path: Path) -> None:
    module, config = make(architecture, **changes)
    tokenizer = word_tokenizer(WORDS)
    report = save_model(tmp_path / "model", module, config, tokenizer)  # type: ignore[arg-type]
    assert 0 < report.max_abs_difference < 1e-5
    encoder = load_encoder(report.directory, batch_size=4)
    assert encoder.has_text

    tokenizer.enable_truncation(6)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(TEXTS)
    tokens = torch.tensor([text.ids for text in encoded])
    mask = torch.tensor([text.attention_mask for text in encoded])
    with torch.no_grad():
        images, texts = module.eval()(torch.from_numpy(preprocess(IMAGES, config)), tokens, mask)  # type: ignore[arg-type]
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), texts.vectors_ND, atol=1e-5)
    vectors, scores = encoder.encode_images_and_concepts(IMAGES)
    np.testing.assert_allclose(vectors, images.vectors_ND, atol=1e-5)
    np.testing.assert_allclose(scores, images.concept_logits_NC.sigmoid(), atol=1e-5)
    np.testing.assert_allclose(vectors, encoder.encode_images(IMAGES), atol=1e-6)

    both, _ = load_image_text_model(report.directory)
    state = module.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in both.state_dict().items())
    image_side, _ = load_model(report.directory)
    assert all(torch.equal(tensor, state[f"image.{name}"]) for name, tensor in image_side.state_dict().items())


def test_concept_head_by_hand() -> None:
    torch.manual_seed(0)
    latent = torch.randn(4, 5)
    equal = ConceptHead(5, 5)
    embedding, logits = equal(latent)
    torch.testing.assert_close(logits, latent @ equal.predict.weight.T + equal.predict.bias)
    torch.testing.assert_close(embedding, latent + 1 / (1 + torch.exp(-logits)))
    mapped = ConceptHead(5, 3)
    embedding, logits = mapped(latent)
    torch.testing.assert_close(embedding, latent + logits.sigmoid() @ mapped.add.weight.T)


def test_scores_apart_are_the_same_and_learn_from_their_own_loss_alone() -> None:
    torch.manual_seed(0)
    latent, head = torch.randn(4, 5, requires_grad=True), ConceptHead(5, 3)
    torch.nn.init.normal_(head.add.weight)  # type: ignore[arg-type]
    expected, _ = head(latent)
    expected.square().sum().backward()
    assert head.predict.weight.grad is not None
    head.zero_grad()
    head.apart = True
    embedding, logits = head(latent)
    assert torch.equal(embedding, expected)
    embedding.square().sum().backward(retain_graph=True)
    assert head.predict.weight.grad is None
    assert head.add.weight.grad is not None
    logits.sum().backward()
    torch.testing.assert_close(head.predict.weight.grad, latent.detach().sum(0).expand(3, 5))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    module, config = make("gru")
    with pytest.raises(UsageError, match="one is missing"):
        save_model(tmp_path / "model", module, config)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="one is missing"):
        save_model(tmp_path / "model", module.image, config)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="max_tokens is 6, the encoder reads at most 5"):
        make("transformer", positions=5)
    config.text.network["widht"] = 1  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"unknown key 'text\.network\.widht': did you mean 'width'"):
        build_image_text_embedder(config)  # type: ignore[arg-type]
    plain = embedder_config("resnet-18", input_size=32, dim=8)
    with pytest.raises(ConfigError, match="no text side"):
        build_image_text_embedder(plain)
    other, _ = make("gru", dim=9)
    with pytest.raises(UsageError, match="images have 9 dimensions, texts 8"):
        ImageTextEmbedder(other.image, module.text)
    without = embedder_config("resnet-18", input_size=32, dim=8, network=NETWORK, text=text_config("gru"))
    with pytest.raises(ConfigError, match="a concept head needs concepts"):
        build_image_text_embedder(without)
