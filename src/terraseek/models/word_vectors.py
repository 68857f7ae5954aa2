"""Word vectors for text encoders that are trained from nothing, from a language model that is not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..errors import UsageError
from .text import build_text_encoder, minilm_tokenizer

__all__ = ["init_word_vectors", "minilm_word_vectors"]

_BATCH = 256


def minilm_word_vectors(words: Sequence[str]) -> Tensor:
    """What MiniLM-L6 makes of each word as a text of its own, (N, 384) unit vectors: words of like meaning are near.

    Wang et al., 2020, MiniLM, https://arxiv.org/abs/2002.10957, as a sentence encoder (Reimers and Gurevych, 2019,
    https://arxiv.org/abs/1908.10084).

    Raises:
        UsageError: no words.
        MissingExtraError: the package with the weights is not installed.
    """
    if not words:
        raise UsageError("there are no words to take vectors of")
    tokenizer = minilm_tokenizer()
    tokenizer.enable_padding()
    # Weights are drawn before the packaged ones replace them: not from the caller's random numbers.
    with torch.random.fork_rng(devices=[]):
        encoder = build_text_encoder("minilm-l6", pretrained=True).eval()
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(words), _BATCH):
            read = tokenizer.encode_batch(list(words[start : start + _BATCH]))
            tokens_NL, mask_NL = (torch.tensor([getattr(r, name) for r in read]) for name in ("ids", "attention_mask"))
            vectors.append(nn.functional.normalize(encoder(tokens_NL, mask_NL)))
    return torch.cat(vectors)


def init_word_vectors(table: nn.Embedding, tokenizer: Tokenizer) -> None:
    """Initialise a table of word vectors with the principal components of `minilm_word_vectors`.

    As many components are taken as the table is wide, or as there are; they are scaled to the standard deviation that
    the table's random vectors had. What is left stays random: further columns, and tokens in brackets, as "[START]".

    Args:
        table: (V, D), of a text encoder; changed in place.
        tokenizer: of V tokens, whole words, see `word_tokenizer`.

    Raises:
        UsageError: another number of tokens than rows.
        MissingExtraError: the package with the weights is not installed.
    """
    if tokenizer.get_vocab_size() != table.num_embeddings:
        raise UsageError(f"{tokenizer.get_vocab_size()} tokens for a table of {table.num_embeddings} word vectors")
    # By row: `get_vocab` has another order in every process, and in another order sums have other last digits.
    words = sorted((row, word) for word, row in tokenizer.get_vocab().items() if not word.startswith("["))
    vectors_ND = minilm_word_vectors([word for _, word in words])
    left, singular, _ = torch.linalg.svd(vectors_ND - vectors_ND.mean(0), full_matrices=False)
    # N centred vectors span N - 1 dimensions; one more component would be rounding noise.
    count = min(table.embedding_dim, vectors_ND.shape[1], len(words) - 1)
    if count:
        components_NC = (left * singular)[:, :count]
        with torch.no_grad():
            table.weight[[row for row, _ in words], :count] = components_NC * (table.weight.std() / components_NC.std())
