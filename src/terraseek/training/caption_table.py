"""The captions of a split as tokens, drawn by image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from ..errors import DatasetError
from ..losses import number_captions
from ..models import minilm_tokenizer, split_words, word_tokenizer
from ..texts import normalise_caption
from .caption_sections import TextSideConfig

__all__ = ["CaptionTable", "Captions", "caption_tokenizer"]


class Captions(NamedTuple):
    """Captions of a batch.

    Attributes:
        tokens_TL: token numbers, padded with 0.
        mask_TL: 1 for tokens, 0 for the padding after them.
        text_ids_T: captions with equal normal forms share a number.
        owner_T: the place in the batch of the image that each belongs to.
    """

    tokens_TL: Tensor
    mask_TL: Tensor
    text_ids_T: Tensor
    owner_T: Tensor


@dataclass(frozen=True, eq=False)
class CaptionTable:
    """All captions of a split's images.

    Attributes:
        tokens_TL: (T, L) tokens of all captions, padded with 0, image after image.
        lengths_T: number of tokens of each.
        text_ids_T: captions with equal normal forms share a number.
        captions_IK: the same numbers by image, padded with -1.
        first_I: row of each image's first caption; one more entry for the end of the last.
    """

    tokens_TL: Tensor
    lengths_T: Tensor
    text_ids_T: Tensor
    captions_IK: Tensor
    first_I: Tensor

    @classmethod
    def build(cls, captions: Sequence[Sequence[str]], tokenizer: Tokenizer, max_tokens: int) -> CaptionTable:
        """Tokenize the captions of each image.

        Args:
            captions: for each image of the split, its captions.
            tokenizer: the model's.
            max_tokens: longer captions are cut.

        Raises:
            DatasetError: an image without captions, or no image.
        """
        for image, each in enumerate(captions):
            if not each:
                raise DatasetError(f"image {image} of the split has no caption: leave it out of the split")
        texts = [text for each in captions for text in each]
        if not texts:
            raise DatasetError("the split has no captions")
        tokenizer = Tokenizer.from_str(tokenizer.to_str())  # whoever uses it next sets its own lengths
        tokenizer.enable_truncation(max_tokens)
        tokenizer.enable_padding(pad_id=0)
        encoded = tokenizer.encode_batch(texts)
        captions_IK = number_captions([[normalise_caption(text) for text in each] for each in captions])
        counts = torch.tensor([0, *map(len, captions)])
        return cls(
            torch.tensor([item.ids for item in encoded]),
            torch.tensor([sum(item.attention_mask) for item in encoded]),
            captions_IK[captions_IK >= 0],
            captions_IK,
            counts.cumsum(0),
        )

    def draw(self, images_N: Tensor, per_image: int, generator: torch.Generator) -> Captions:
        """Draw captions of the images without repetition: `per_image` of each, or all where it has fewer.

        Args:
            images_N: places of the images in the split.
            per_image: captions of each.
            generator: a CPU generator; its state decides everything.
        """
        first_N = self.first_I[images_N]
        counts_N = self.first_I[images_N + 1] - first_N
        # Sorting random keys shuffles each image's captions; keys beyond its number of captions sort last.
        keys_NK = torch.rand(len(images_N), int(counts_N.max()), generator=generator)
        keys_NK += 2 * (torch.arange(keys_NK.shape[1]) >= counts_N[:, None])
        drawn_NK = keys_NK.argsort(1)[:, :per_image]
        taken_NK = torch.arange(drawn_NK.shape[1]) < counts_N[:, None]
        owner_T = torch.arange(len(images_N))[:, None].expand_as(drawn_NK)[taken_NK]
        return self._captions((first_N[:, None] + drawn_NK)[taken_NK], owner_T)

    def _captions(self, rows_T: Tensor, owner_T: Tensor) -> Captions:
        lengths_T = self.lengths_T[rows_T]
        longest = int(lengths_T.max())
        mask_TL = (torch.arange(longest) < lengths_T[:, None]).long()
        return Captions(self.tokens_TL[rows_T, :longest] * mask_TL, mask_TL, self.text_ids_T[rows_T], owner_T)

    @property
    def owner_T(self) -> Tensor:  # noqa: N802
        """Place in the split of each caption's image."""
        return torch.repeat_interleave(torch.arange(len(self.first_I) - 1), self.first_I.diff())

    def batches(self, size: int) -> tuple[list[Captions], Tensor]:
        """Captions of each sequence of tokens once, the shortest first and `size` at a time.

        What a network makes of a caption depends, in the last bits, on what else is in its batch. Equal captions get
        equal vectors only if they are encoded once.

        Returns:
            The batches, and for each of the T captions its place in them.
        """
        keys_TL = torch.cat([self.lengths_T[:, None], self.tokens_TL], 1).numpy()
        _, first_U, place_T = np.unique(keys_TL, axis=0, return_index=True, return_inverse=True)
        return self._batches(torch.from_numpy(first_U), size), torch.from_numpy(place_T.reshape(-1))

    def distinct(self, most: int, size: int, generator: torch.Generator) -> list[Captions]:
        """The first caption of each text, in order; where these are more than `most`, that many at random.

        Args:
            most: number of captions at most.
            size: captions in a batch.
            generator: a CPU generator; its state decides which are drawn.
        """
        numbers = self.text_ids_T.numpy()
        rows_T = torch.from_numpy(np.unique(numbers, return_index=True)[1])
        drawn_T = torch.randperm(len(rows_T), generator=generator)[:most]
        return self._batches(rows_T[drawn_T].sort().values, size)

    def _batches(self, rows_T: Tensor, size: int) -> list[Captions]:
        owner_T = self.owner_T[rows_T]
        return [self._captions(rows_T[i : i + size], owner_T[i : i + size]) for i in range(0, len(rows_T), size)]


def caption_tokenizer(config: TextSideConfig, captions: Sequence[Sequence[str]]) -> Tokenizer:
    """The tokenizer of a text side: the one that belongs to packaged weights, or words of the training captions.

    Args:
        config: of the text side.
        captions: of the training split alone, for each image.

    Raises:
        DatasetError: no word of the captions occurs `least_count` times.
        MissingExtraError: the package with the weights is not installed.
    """
    if config.pretrained:
        return minilm_tokenizer()
    counts = Counter(word for each in captions for text in each for word in split_words(text))
    words = sorted(
        (word for word, count in counts.items() if count >= config.least_count), key=lambda w: (-counts[w], w)
    )
    if not words:
        raise DatasetError(
            f"no word of the {sum(map(len, captions)):,} training captions occurs {config.least_count} times: "
            "lower text.least_count, or check the captions"
        )
    return word_tokenizer(words)
