from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.errors import UsageError
from terraseek.models import word_tokenizer


def test_words_punctuation_case_and_accents() -> None:
    tokenizer = word_tokenizer(["river", "2", "cafe", "river"])
    assert tokenizer.encode("RIVER--river, 2 Café!").ids == [2, 3, 3, 4, 5]
    assert tokenizer.encode("the lake").ids == [2, 1, 1]
    assert tokenizer.encode("").ids == [2]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text(st.characters(codec="ascii", categories=("Ll", "Nd")), min_size=1), min_size=1, unique=True))
def test_every_word_has_its_place(words: list[str]) -> None:
    assert word_tokenizer(words).encode(" ".join(words)).ids == [2, *range(3, 3 + len(words))]


def test_unusable_vocabularies() -> None:
    with pytest.raises(UsageError, match="the vocabulary is empty"):
        word_tokenizer([])
    with pytest.raises(UsageError, match="2 words of the vocabulary can never occur, 'River' among them"):
        word_tokenizer(["sea", "River", "two words"])
