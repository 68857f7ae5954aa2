"""Which texts go with which images, and what becomes of captions that occur more than once.

Five captions an image, and captions that data sets repeat word for word: in a batch, and far more in a queue of
thousands, a text that is not an image's own draw may still describe it. `CaptionMatches` knows which do, and
`pair_relevance` says what they are then: further positives, left out, or, as published objectives have it, negatives.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import ConfigError, UsageError

__all__ = ["CaptionMatches", "PairRelevance", "anchor_rarity", "number_captions", "pair_relevance"]

Duplicates = Literal["positive", "left-out", "negative"]

_NO_ID = -1
# Below 1, in bfloat16 too: overlap alone, however large, makes no positive.
_MOST_OVERLAP = 0.99


class CaptionMatches(nn.Module):
    """The captions of every image of a data set, asked for whole batches and queues at once.

    The table belongs to the data, not to the model: it moves with the module and is not saved with it.

    Args:
        captions_IK: (I, K) int64, the text ids of each image's captions, padded with -1. Captions whose texts are
            equal have one id (`number_captions` gives such a table).

    Raises:
        ConfigError: not a table of integers of at least -1 with at least one row.

    Examples:
        Images 0 and 1 share the text 7:

        >>> captions = CaptionMatches(torch.tensor([[7, 3], [7, -1]]))
        >>> captions.matches(torch.tensor([0, 1]), torch.tensor([3, 7, -1]))
        tensor([[ True,  True, False],
                [False,  True, False]])
    """

    captions_IK: Tensor

    def __init__(self, captions_IK: Tensor) -> None:
        super().__init__()
        whole = not (captions_IK.is_floating_point() or captions_IK.is_complex() or captions_IK.dtype == torch.bool)
        if captions_IK.ndim != 2 or len(captions_IK) == 0 or not whole:
            raise ConfigError(
                f"captions must be integer text ids (images, captions), not {captions_IK.dtype} "
                f"{tuple(captions_IK.shape)}"
            )
        if captions_IK.numel() and int(captions_IK.min()) < _NO_ID:
            raise ConfigError(f"text ids must be at least 0, or -1 for padding, not {int(captions_IK.min())}")
        self.register_buffer("captions_IK", captions_IK.long(), persistent=False)

    def matches(self, image_ids_N: Tensor, text_ids_T: Tensor) -> Tensor:
        """Whether text j is one of image i's captions, as itself or as an equal text; (N, T) bool.

        Ids of -1 (an empty place, an unknown image or text) match nothing. Memory is a few (N, T) tables of bool.

        Args:
            image_ids_N: (N,) rows of the table, or -1.
            text_ids_T: (T,) text ids, or -1.

        Raises:
            UsageError: ids that are not 1-D, or an image that the table does not have.
        """
        if image_ids_N.ndim != 1 or text_ids_T.ndim != 1:
            raise UsageError(
                f"image and text ids must be 1-D, not {tuple(image_ids_N.shape)} and {tuple(text_ids_T.shape)}"
            )
        if len(image_ids_N) and int(image_ids_N.max()) >= len(self.captions_IK):
            raise UsageError(f"image {int(image_ids_N.max())} is not among the {len(self.captions_IK)} with captions")
        image_ids_N, text_ids_T = image_ids_N.to(self.captions_IK), text_ids_T.to(self.captions_IK)
        own_NK = self.captions_IK[image_ids_N.clamp_min(0)]
        own_NK = own_NK.masked_fill((image_ids_N < 0)[:, None], _NO_ID)
        # Padding is -1 on both sides and must not be found equal.
        sought_T = text_ids_T.masked_fill(text_ids_T < 0, _NO_ID - 1)
        found_NT = torch.zeros(len(own_NK), len(sought_T), dtype=torch.bool, device=own_NK.device)
        # K comparisons of (N, T) instead of one of (N, T, K).
        for own_N in own_NK.unbind(1):
            found_NT |= own_N[:, None] == sought_T
        return found_NT


def number_captions(captions: Sequence[Sequence[Hashable]]) -> Tensor:
    """Text ids of each image's captions, (I, K) int64, padded with -1; equal captions get one id.

    Args:
        captions: for each image its captions, in the form in which equal texts are equal
            (`terraseek.data.normalise_caption` or `caption_hash`).

    Examples:
        >>> number_captions([["a port", "two boats"], ["a port"]])
        tensor([[ 0,  1],
                [ 0, -1]])
    """
    ids: dict[Hashable, int] = {}
    width = max((len(each) for each in captions), default=0)
    rows = [[ids.setdefault(text, len(ids)) for text in each] + [_NO_ID] * (width - len(each)) for each in captions]
    return torch.tensor(rows, dtype=torch.long).reshape(len(rows), width)


class PairRelevance(NamedTuple):
    """What a `CrossModalLoss` asks for: (N, M) relevance, 1 for positives, and (N, M) bool, which pairs count."""

    relevance_NM: Tensor
    valid_NM: Tensor


def pair_relevance(
    matches_NM: Tensor,
    overlap_NM: Tensor | None = None,
    *,
    own_NM: Tensor | None = None,
    duplicates: Duplicates = "positive",
) -> PairRelevance:
    """Relevance of keys to queries, of which some were drawn together and further ones may match.

    For the other direction give everything transposed; with queues each direction has matches of its own.

    Args:
        matches_NM: (N, M) bool, from `CaptionMatches.matches`.
        overlap_NM: (N, M) in 0..1, how far keys and queries that do not match have concepts in common
            (`terraseek.relevance.concept_relevance`); kept below 1, for only a match makes a positive.
        own_NM: (N, M) bool, which were drawn together; by default query n and key n, and a queue's keys follow.
        duplicates: what a key is that matches without being the query's own: "positive"; "left-out" of numerator and
            denominator; or "negative", which is what published objectives make of it.

    Raises:
        UsageError: shapes that differ, an unknown choice, or no `own_NM` where there are fewer keys than queries.

    Examples:
        >>> matches = torch.tensor([[True, False, True], [False, True, False]])
        >>> pair_relevance(matches).relevance_NM
        tensor([[1., 0., 1.],
                [0., 1., 0.]])
        >>> pair_relevance(matches, duplicates="negative").relevance_NM
        tensor([[1., 0., 0.],
                [0., 1., 0.]])
        >>> pair_relevance(matches, duplicates="left-out").valid_NM
        tensor([[ True,  True, False],
                [ True,  True,  True]])
    """
    if duplicates not in ("positive", "left-out", "negative"):
        raise UsageError(f"duplicates is {duplicates!r}, allowed are 'positive', 'left-out', 'negative'")
    if matches_NM.ndim != 2 or matches_NM.dtype != torch.bool:
        raise UsageError(f"matches must be bool (N, M), not {matches_NM.dtype} {tuple(matches_NM.shape)}")
    for name, given in (("overlap", overlap_NM), ("own pairs", own_NM)):
        if given is not None and given.shape != matches_NM.shape:
            raise UsageError(f"{name} are {tuple(given.shape)}, matches {tuple(matches_NM.shape)}: they must agree")
    if own_NM is None:
        if matches_NM.shape[0] > matches_NM.shape[1]:
            raise UsageError(f"{matches_NM.shape[0]} queries have no keys of their own among {matches_NM.shape[1]}")
        own_NM = torch.eye(*matches_NM.shape, dtype=torch.bool, device=matches_NM.device)
    # A pair that was drawn together is a positive even where its ids are unknown.
    positive_NM = own_NM | matches_NM if duplicates == "positive" else own_NM
    valid_NM = ~matches_NM | own_NM if duplicates == "left-out" else torch.ones_like(own_NM)
    if overlap_NM is None:
        return PairRelevance(positive_NM.float(), valid_NM)
    return PairRelevance(overlap_NM.detach().clamp(0, _MOST_OVERLAP).masked_fill(positive_NM, 1), valid_NM)


def anchor_rarity(scores_NC: Tensor, rarity_C: Tensor) -> Tensor:
    """How rare a query's concepts are, (N,) in 0..1: the mean of log rarity, scaled to 0..1, over what it carries.

    0 for a query without concepts, and throughout where all concepts are equally rare. Weighted by the scores, it is
    what MACL takes for an anchor's rarity when they are 0 and 1.

    Args:
        scores_NC: (N, C) concept scores in 0..1.
        rarity_C: (C,) above 0, see `terraseek.relevance.label_rarity`.

    Examples:
        >>> anchor_rarity(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]), torch.tensor([4.0, 0.5]))
        tensor([1.0000, 0.5000, 0.0000])
    """
    log_C = rarity_C.to(torch.promote_types(scores_NC.dtype, torch.float32)).log()
    span = log_C.max() - log_C.min()
    scaled_C = (log_C - log_C.min()) / span.masked_fill(span == 0, 1)
    scores_NC = scores_NC.detach().to(scaled_C.dtype)
    total_N = scores_NC.sum(1)
    return scores_NC @ scaled_C / total_N.masked_fill(total_N == 0, 1)
