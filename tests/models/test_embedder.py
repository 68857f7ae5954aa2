from __future__ import annotations

import pytest
import torch

from terraseek.errors import ConfigError
from terraseek.models import ConceptHead, NetworkConfig, ProjectionHead, build_embedder, embedder_config


@pytest.mark.parametrize("hidden", [0, 16])
def test_head_by_hand(hidden: int) -> None:
    torch.manual_seed(0)
    head = ProjectionHead(6, 4, hidden, dropout=0.5).eval()
    x = torch.randn(3, 6)
    weights = list(head.parameters())
    expected = x @ weights[0].T + weights[1]
    if hidden:
        expected = expected.clamp(min=0) @ weights[2].T + weights[3]
    torch.testing.assert_close(head(x), expected)


def test_embeddings_are_unit_vectors_in_float32() -> None:
    torch.manual_seed(0)
    config = embedder_config("resnet-18", input_size=32, dim=16)
    embedder = build_embedder(config).eval()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        plain = embedder(images)
        torch.testing.assert_close(plain, embedder.embed(embedder.features(images)).vectors_ND)
        with torch.autocast("cpu", torch.bfloat16):
            half = embedder(images)
    for vectors in (plain, half):
        assert vectors.shape == (3, 16)
        assert vectors.dtype == torch.float32
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))


def test_without_a_head_features_are_the_embedding() -> None:
    config = embedder_config("resnet-18", input_size=32, dim=512, network=NetworkConfig(head="none"))
    embedder = build_embedder(config).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        features = embedder.features(images)
        torch.testing.assert_close(embedder(images), features / features.norm(dim=1, keepdim=True))


def test_config_knows_what_the_weights_expect() -> None:
    lite = embedder_config("efficientnet-lite0", input_size=128, dim=64, label_names=("sea",))
    assert (lite.mean, lite.std, lite.label_names) == ((127.0,) * 3, (128.0,) * 3, ("sea",))
    resnet = embedder_config("resnet-50", input_size=128, dim=64)
    assert resnet.mean == pytest.approx([255 * m for m in (0.485, 0.456, 0.406)])
    assert resnet.std == pytest.approx([255 * s for s in (0.229, 0.224, 0.225)])
    many = embedder_config("resnet-18", input_size=64, dim=8, bands=4, mean=(1000.0,) * 4, std=(500.0,) * 4)
    assert build_embedder(many).backbone.bands == 4


def test_bad_configs() -> None:
    with pytest.raises(ConfigError, match="did you mean 'efficientnet-lite0'"):
        embedder_config("efficientnet_lite0", input_size=64, dim=8)
    with pytest.raises(ConfigError, match="an input of 4 bands needs mean and std"):
        embedder_config("resnet-18", input_size=64, dim=8, bands=4)
    config = embedder_config("resnet-18", input_size=64, dim=8, network=NetworkConfig(head="none"))
    with pytest.raises(ConfigError, match="dim is 8, but without a head it is the number of features, 512"):
        build_embedder(config)
    config.network["hiden"] = 3
    with pytest.raises(ConfigError, match=r"unknown key 'network\.hiden': did you mean 'hidden'"):
        build_embedder(config)
    for change in ({"hidden": -1}, {"dropout": 1.0}):
        with pytest.raises(ConfigError, match=next(iter(change))):
            NetworkConfig(**change)  # type: ignore[arg-type]


def test_concept_scores_begin_at_the_prior() -> None:
    head = ConceptHead(4, 3)
    head.set_prior(torch.tensor([0.5, 0.01, 0.0]))
    embedding, logits = head(torch.zeros(2, 4))
    assert torch.allclose(logits.sigmoid()[0], torch.tensor([0.5, 0.01, 1e-4]), atol=1e-6)
    assert not embedding.any(), "an untrained head adds nothing"
