"""The bank of captions that holds back images near to every text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from tests.models.test_image_text import IMAGES, TEXTS, WORDS, make
from torch import Tensor
from torch.nn import functional as F

from terraseek.encoders import load_encoder, preprocess
from terraseek.errors import ConfigError, UsageError
from terraseek.models import (
    QueryBank,
    build_embedder,
    embedder_config,
    load_image_text_model,
    save_model,
    word_tokenizer,
)
from terraseek.models.embedder import NetworkConfig


def unit(count: int, dim: int = 12, seed: int = 0) -> Tensor:
    return F.normalize(
        torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1
    )


@pytest.fixture
def bank() -> QueryBank:
    return QueryBank.of(unit(30, seed=1), unit(9, seed=2))


def hubness(image: list[float], captions: list[list[float]]) -> float:
    """The formula, one caption after the other."""
    total = 0.0
    for caption in captions:
        total += math.exp(sum(a * b for a, b in zip(image, caption, strict=True)) / 0.07)
    return 0.07 * math.log(total / len(captions))


def test_hubness_is_what_a_loop_gives(bank: QueryBank) -> None:
    images, captions = unit(5), bank.captions_KD.tolist()
    expected = [hubness(image, captions) for image in images.tolist()]
    torch.testing.assert_close(bank.hubness(images), torch.tensor(expected, dtype=torch.float64))
    level = np.mean([hubness(image, captions) for image in unit(9, seed=2).tolist()])
    assert float(bank.level) == pytest.approx(level)


def test_the_cosine_is_what_the_formula_ranks_by(bank: QueryBank) -> None:
    images, texts = unit(7), unit(4, seed=3)
    extended, asked = bank(images), QueryBank.extend_texts(texts)
    for vectors in (extended, asked):
        assert vectors.shape[1] == 13
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors), dtype=torch.float64))
    held_back = 0.5 * (bank.hubness(images) - bank.level)
    # What bringing both back to unit length divides by: one number for all texts, and near one for images.
    lengths = (1 + (held_back / 0.5) ** 2).sqrt() * math.sqrt(1 + 0.5**2)
    torch.testing.assert_close(extended @ asked.T, (images @ texts.T - held_back[:, None]) / lengths[:, None])
    # Each image's ranking of texts stays as it was.
    assert torch.equal((extended @ asked.T).argsort(1), (images @ texts.T).argsort(1))


def test_an_image_near_to_all_captions_comes_down() -> None:
    captions = F.normalize(torch.eye(6)[:5] + 1, dim=1)  # around one direction, each with a place of its own
    hub, found = F.normalize(torch.ones(1, 6), dim=1), captions[:1] - 0.35 * torch.eye(6)[5:]
    images = torch.cat([hub, F.normalize(found, dim=1)])
    asked = captions[:1]
    bank = QueryBank.of(captions, images)
    before = (images @ asked.T).flatten()
    after = (bank(images) @ QueryBank.extend_texts(asked).T).flatten()
    assert before[0] > before[1]
    assert after[0] < after[1]


@pytest.mark.parametrize("head", ["mlp", "none"])
def test_a_model_keeps_its_bank(head: Literal["mlp", "none"], tmp_path: Path) -> None:
    """Without heads, the features of both sides must be one fewer than the config's dimensions."""
    above = NetworkConfig(head=head, aggregator="mean", aggregator_dim=16, concept_head=True)
    module, config = make("gru", above, dim=16, head=head)
    module.eval()
    pixels = torch.from_numpy(preprocess(IMAGES, config))  # type: ignore[arg-type]
    with torch.no_grad():
        plain = module.image(pixels)
        bank = QueryBank.of(unit(5, 16).float(), plain)
        config = module.add_query_bank(bank, config)  # type: ignore[arg-type]
        expected = bank(plain)
    assert (config.dim, module.dim, module.text.dim, config.network["query_bank"]) == (17, 17, 17, 5)
    report = save_model(tmp_path / "model", module, config, word_tokenizer(WORDS))
    encoder = load_encoder(report.directory)
    np.testing.assert_allclose(encoder.encode_images(IMAGES), expected, atol=1e-5)
    texts = encoder.encode_texts(TEXTS)
    np.testing.assert_allclose(texts[:, -1], 0.5 / math.sqrt(1.25), atol=1e-6)
    again, known = load_image_text_model(report.directory)
    assert known == config
    assert again.dim == 17
    with torch.no_grad():
        torch.testing.assert_close(again.image(pixels), expected)
    assert "bank of 5 captions" in (report.directory / "README.md").read_text()


def test_banks_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="needs captions"):
        QueryBank.of(unit(0), unit(3))
    for captions, images in ((unit(3), unit(0)), (unit(3), unit(3, 11))):
        with pytest.raises(UsageError, match="of the same dimensions"):
            QueryBank.of(captions, images)
    module, config = make("gru")
    with pytest.raises(UsageError, match="of 8 dimensions cannot take a bank of 12"):
        module.add_query_bank(QueryBank(3, 12), config)  # type: ignore[arg-type]
    config = module.add_query_bank(QueryBank(3, 8), config)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="of 9 dimensions with a query bank"):
        module.add_query_bank(QueryBank(3, 9), config)


def test_a_model_without_texts_has_no_bank() -> None:
    config = embedder_config("resnet-18", input_size=32, dim=8, network=NetworkConfig(query_bank=3))
    with pytest.raises(ConfigError, match="searches by none"):
        build_embedder(config)
    with pytest.raises(ConfigError, match="query_bank is -1"):
        NetworkConfig(query_bank=-1)


def test_a_config_without_a_bank_does_not_mention_it() -> None:
    """The fingerprint of a model is taken over its config: that of models without a bank stays what it was."""
    assert "query_bank" not in embedder_config("resnet-18", input_size=32, dim=8).network
