"""Captions that occur twice: found, and made positives, left out, or negatives as published."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from terraseek.data import normalise_caption
from terraseek.data.caption_files import read_precomp
from terraseek.errors import ConfigError, UsageError
from terraseek.losses import (
    CaptionMatches,
    EmbeddingQueue,
    LabelStatistics,
    MACLLoss,
    anchor_rarity,
    number_captions,
    pair_relevance,
)

# Images 0 and 1 share a caption, image 2 has one caption three times, image 3 has fewer.
CAPTIONS = [["a port", "boats"], ["cranes", "a port"], ["sand", "sand"], ["grass"]]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.integers(0, 6), max_size=4), min_size=1, max_size=5),
    st.lists(st.integers(-1, 4), max_size=6),
    st.lists(st.integers(-1, 8), max_size=7),
)
def test_matches_are_membership(captions: list[list[int]], images: list[int], texts: list[int]) -> None:
    width = max(map(len, captions))
    table = torch.tensor([[*row, *[-1] * (width - len(row))] for row in captions]).long().reshape(len(captions), width)
    images = [min(i, len(captions) - 1) for i in images]
    found = CaptionMatches(table).matches(torch.tensor(images).long(), torch.tensor(texts).long())
    assert found.shape == (len(images), len(texts))
    for (n, i), (m, t) in itertools.product(enumerate(images), enumerate(texts)):
        assert bool(found[n, m]) == (i >= 0 and t >= 0 and t in captions[i])


def test_equal_captions_have_one_number() -> None:
    table = number_captions(CAPTIONS)
    assert table.tolist() == [[0, 1], [2, 0], [3, 3], [4, -1]]
    assert number_captions([]).shape == (0, 0)


def test_the_table_is_no_weight_of_the_model() -> None:
    module = CaptionMatches(number_captions(CAPTIONS))
    assert not module.state_dict()
    assert not list(module.parameters())
    assert [name for name, _ in module.named_buffers()] == ["captions_IK"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (torch.zeros(3, dtype=torch.long), "must be integer text ids"),
        (torch.zeros(0, 5, dtype=torch.long), "must be integer text ids"),
        (torch.zeros(2, 5), "must be integer text ids"),
        (torch.tensor([[0, -2]]), "at least 0, or -1 for padding, not -2"),
    ],
)
def test_bad_tables_are_named(table: Tensor, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CaptionMatches(table)


def test_bad_ids_are_named() -> None:
    matcher = CaptionMatches(number_captions(CAPTIONS))
    with pytest.raises(UsageError, match="image 4 is not among the 4"):
        matcher.matches(torch.tensor([4]), torch.tensor([0]))
    with pytest.raises(UsageError, match="must be 1-D"):
        matcher.matches(torch.tensor([[0]]), torch.tensor([0]))


MATCHES = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 1]]).bool()
OVERLAP = torch.tensor([[0.2, 1.0, 0.3, 0.4]] * 3)


def test_own_pairs_are_positives_whatever_the_duplicates_are() -> None:
    own = torch.eye(3, 4).bool()
    unknown = torch.zeros(3, 4, dtype=torch.bool)  # a batch without ids
    for duplicates in ("positive", "left-out", "negative"):
        for matches in (MATCHES, unknown):
            relevance, valid = pair_relevance(matches, duplicates=duplicates)  # type: ignore[arg-type]
            assert (relevance[own] == 1).all()
            assert valid[own].all()


def test_duplicates_are_positives_left_out_or_negatives() -> None:
    extra = MATCHES & ~torch.eye(3, 4).bool()
    positive, left_out, negative = (
        pair_relevance(MATCHES, duplicates=kind)  # type: ignore[arg-type]
        for kind in ("positive", "left-out", "negative")
    )
    assert (positive.relevance_NM[extra] == 1).all()
    assert positive.valid_NM.all()
    assert (left_out.relevance_NM[extra] == 0).all()
    assert torch.equal(left_out.valid_NM, ~extra)
    assert (negative.relevance_NM[extra] == 0).all()
    assert negative.valid_NM.all()


def test_overlap_alone_makes_no_positive() -> None:
    relevance, _ = pair_relevance(MATCHES, OVERLAP)
    assert torch.equal(relevance == 1, MATCHES)
    assert torch.equal(relevance.bfloat16() == 1, MATCHES)
    torch.testing.assert_close(relevance[1], torch.tensor([0.2, 1.0, 0.3, 0.4]))
    published, _ = pair_relevance(MATCHES, OVERLAP, duplicates="negative")
    assert torch.equal(published == 1, torch.eye(3, 4).bool())


def test_several_captions_of_an_image_can_be_its_own() -> None:
    # Two images with two captions each; both directions.
    own = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]]).bool()
    forth = pair_relevance(own, own_NM=own, duplicates="negative")
    back = pair_relevance(own.T, own_NM=own.T, duplicates="negative")
    assert torch.equal(forth.relevance_NM, own.float())
    assert torch.equal(back.relevance_NM, own.T.float())


def test_bad_pairs_are_named() -> None:
    with pytest.raises(UsageError, match="duplicates is 'ignored'"):
        pair_relevance(MATCHES, duplicates="ignored")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="must be bool"):
        pair_relevance(MATCHES.float())
    with pytest.raises(UsageError, match="overlap are"):
        pair_relevance(MATCHES, OVERLAP[:, :2])
    with pytest.raises(UsageError, match="4 queries have no keys of their own among 3"):
        pair_relevance(MATCHES.T)


def test_anchor_rarity_is_macls_on_scores_of_0_and_1() -> None:
    generator = torch.Generator().manual_seed(0)
    train = (torch.rand(60, 6, generator=generator) < torch.linspace(0.1, 0.8, 6)).long()
    labels = (torch.rand(9, 6, generator=generator) < 0.4).float()
    labels[0] = 0
    macl = MACLLoss(LabelStatistics.from_labels(train), alpha=0.0, beta=1.0, temperature=0.1)
    pairs = macl._pairs(torch.randn(9, 4, generator=generator), labels, None, None, None, None)
    temperature, _ = macl.temperatures(pairs, pairs.positive_NM)
    assert isinstance(temperature, Tensor)
    rarity_N = anchor_rarity(labels, LabelStatistics.from_labels(train).rarity(1.3, 100.0))
    torch.testing.assert_close(temperature[:, 0], (0.1 * (1 + rarity_N)).to(temperature), rtol=1e-5, atol=1e-6)
    assert rarity_N[0] == 0


def test_anchor_rarity_of_equally_rare_concepts_is_0() -> None:
    assert anchor_rarity(torch.rand(4, 3), torch.full((3,), 2.0)).tolist() == [0.0] * 4


# What published objectives do to duplicates, and what the default does. KAMCL's queues hold 8,000 captions, its batches
# 100; its masks know nothing but the place in the batch.


def _shares(captions_IK: Tensor, batch: int, queue_size: int) -> dict[str, float]:
    """In the second epoch, the share of anchors that meet a negative of their own image or text, by mask."""
    images, width = captions_IK.shape
    texts_R = captions_IK.flatten()
    matcher, queue = CaptionMatches(captions_IK), EmbeddingQueue(queue_size, 1, 0)
    generator = torch.Generator().manual_seed(0)
    met, anchors = {"in batch": 0, "same image in queue": 0, "default": 0}, 0
    for epoch in range(2):
        for step, rows in enumerate(torch.randperm(images * width, generator=generator).split(batch)):
            if epoch and step % 4 == 0:
                past = queue.view()
                matches = matcher.matches(rows // width, torch.cat([texts_R[rows], past.text_ids_M]))
                published, valid = pair_relevance(matches, duplicates="negative")
                wrong = matches & (published < 1) & valid
                batch_wrong, queue_wrong = wrong.split([len(rows), len(past.ids_M)], dim=1)
                same_text = texts_R[rows][:, None] == texts_R[rows]
                same_image = rows[:, None] // width == rows // width
                met["in batch"] += int((batch_wrong & (same_text | same_image)).any(1).sum())
                other = (rows[:, None] // width == past.ids_M // width) & (rows[:, None] != past.ids_M)
                met["same image in queue"] += int((queue_wrong & other).any(1).sum())
                default, valid = pair_relevance(matches)
                met["default"] += int((matches & (default < 1) & valid).any(1).sum())
                anchors += len(rows)
            queue.push(torch.zeros(len(rows), 1), torch.zeros(len(rows), 0), rows, texts_R[rows])
    return {name: count / anchors for name, count in met.items()}


def test_published_masks_take_duplicates_for_negatives() -> None:
    generator = torch.Generator().manual_seed(0)
    own = torch.arange(200 * 5).reshape(200, 5)
    common = 1000 + torch.randint(0, 20, (200, 5), generator=generator)
    shares = _shares(torch.where(torch.rand(200, 5, generator=generator) < 0.3, common, own), 50, 400)
    assert shares["in batch"] > 0.2
    assert shares["same image in queue"] > 0.8
    assert shares["default"] == 0


@pytest.mark.data
def test_published_masks_on_rsicd(terraseek_data: Path) -> None:
    entries, _ = read_precomp(terraseek_data / "rsicd")
    captions = [[normalise_caption(text) for text in entry.captions] for entry in entries if entry.split == "train"]
    table = number_captions(captions)
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(0))
    shares = _shares(table[order[:7862]], 100, 8000)  # the size of KAMCL's training split
    assert shares["same image in queue"] == pytest.approx(0.60, abs=0.03)
    assert shares["in batch"] == pytest.approx(0.057, abs=0.01)
    assert shares["default"] == 0
