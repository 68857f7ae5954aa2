"""Captions as tokens, drawn by image."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from terraseek.errors import DatasetError
from terraseek.models import word_tokenizer
from terraseek.training import CaptionTable, TextSideConfig, caption_tokenizer

CAPTIONS = [
    ["a port", "ships in a port", "A Port."],
    ["a field"],
    ["a port", "many ships"],
]
TOKENIZER = word_tokenizer(["a", "port", "ships", "in", "field", "many"])


@pytest.fixture
def table() -> CaptionTable:
    return CaptionTable.build(CAPTIONS, TOKENIZER, max_tokens=8)


def test_equal_texts_share_a_number(table: CaptionTable) -> None:
    assert table.captions_IK.tolist() == [[0, 1, 0], [2, -1, -1], [0, 3, -1]]
    assert table.text_ids_T.tolist() == [0, 1, 0, 2, 0, 3]


@given(seed=st.integers(0, 1000), per_image=st.integers(1, 4))
def test_a_draw_has_each_caption_of_an_image_at_most_once(seed: int, per_image: int) -> None:
    table = CaptionTable.build(CAPTIONS, TOKENIZER, max_tokens=8)
    images = torch.tensor([2, 0, 1, 0])
    drawn = table.draw(images, per_image, torch.Generator().manual_seed(seed))
    for place, image in enumerate(images.tolist()):
        rows = (drawn.owner_T == place).nonzero().flatten().tolist()
        own = [TOKENIZER.encode(text).ids for text in CAPTIONS[image]]
        got = [drawn.tokens_TL[row][: int(drawn.mask_TL[row].sum())].tolist() for row in rows]
        assert len(got) == min(per_image, len(own))
        for tokens in got:
            own.remove(tokens)  # fails on a caption that is not the image's, or was drawn twice
        assert {int(drawn.text_ids_T[row]) for row in rows} <= set(table.captions_IK[image].tolist())


def test_every_caption_is_drawn_equally_often(table: CaptionTable) -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(4)
    for _ in range(600):
        counts[table.draw(torch.tensor([0]), 1, generator).text_ids_T] += 1
    # "a port" stands twice among three.
    assert counts[2:].tolist() == [0, 0]
    assert counts[0] / 600 == pytest.approx(2 / 3, abs=0.06)


def test_batches_have_each_sequence_of_tokens_once(table: CaptionTable) -> None:
    parts, places = table.batches(3)
    assert [part.tokens_TL.shape for part in parts] == [(3, 3), (1, 5)]  # [START] and the longest of each
    rows = [
        part.tokens_TL[i][: int(part.mask_TL[i].sum())].tolist() for part in parts for i in range(len(part.owner_T))
    ]
    texts = [text for each in CAPTIONS for text in each]
    assert [rows[place] for place in places.tolist()] == [TOKENIZER.encode(text).ids for text in texts]
    assert len(set(map(tuple, rows))) == len(rows) == 4
    assert table.owner_T.tolist() == [0, 0, 0, 1, 2, 2]


def test_long_captions_are_cut_and_padding_is_masked() -> None:
    table = CaptionTable.build([["ships in a port", ""]], TOKENIZER, max_tokens=3)
    (part,), places = table.batches(8)
    assert part.mask_TL[places].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert (part.tokens_TL * (1 - part.mask_TL)).sum() == 0


def test_an_image_without_captions_is_named() -> None:
    with pytest.raises(DatasetError, match="image 1 of the split has no caption"):
        CaptionTable.build([["a port"], []], TOKENIZER, max_tokens=8)


def test_the_vocabulary_has_frequent_words_in_order_of_their_count() -> None:
    tokenizer = caption_tokenizer(TextSideConfig(least_count=2), CAPTIONS)
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    assert [word for word, _ in words] == ["[PAD]", "[UNK]", "[START]", "a", "port", "ships"]


def test_a_vocabulary_that_covers_nothing_says_what_to_do() -> None:
    with pytest.raises(DatasetError, match=r"no word of the 6 training captions occurs 9 times: lower text\.least"):
        caption_tokenizer(TextSideConfig(least_count=9), CAPTIONS)


def test_distinct_texts_come_once(table: CaptionTable) -> None:
    every = table.distinct(9, 3, torch.Generator())
    assert [len(part.owner_T) for part in every] == [3, 1]
    assert torch.cat([part.text_ids_T for part in every]).tolist() == [0, 1, 2, 3]
    assert torch.cat([part.owner_T for part in every]).tolist() == [0, 0, 1, 2]
    drawn = set()
    for seed in range(40):
        parts = table.distinct(2, 9, torch.Generator().manual_seed(seed))
        drawn.add(tuple(torch.cat([part.text_ids_T for part in parts]).tolist()))
    assert drawn == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
