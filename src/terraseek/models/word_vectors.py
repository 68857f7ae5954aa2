"""Word vectors for text encoders that are trained from nothing, from a language model that is not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from .text import build_text_encoder, minilm_tokenizer_file

__all__ = ["begin_with_meanings", "minilm_word_vectors"]

_BATCH = 256


def minilm_word_vectors(words: Sequence[str]) -> Tensor:
    """What MiniLM-L6 makes of each word as a text of its own, (N, 384) unit vectors: words of like meaning are near.

    Raises:
        MissingExtraError: the package with the weights is not installed.
    """
    tokenizer = Tokenizer.from_file(str(minilm_tokenizer_file()))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    encoder = build_text_encoder("minilm-l6", pretrained=True).eval()
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(words), _BATCH):
            read = tokenizer.encode_batch(list(words[start : start + _BATCH]))
            tokens_NL, mask_NL = (torch.tensor([getattr(r, name) for r in read]) for name in ("ids", "attention_mask"))
            vectors.append(nn.functional.normalize(encoder(tokens_NL, mask_NL)))
    return torch.cat(vectors)


def begin_with_meanings(table: nn.Embedding, tokenizer: Tokenizer) -> None:
    """Let a table of random word vectors begin with MiniLM-L6's, as far as its width allows.

    The vectors are centred and brought to their principal components, of which as many are kept as the table is wide;
    their spread is made the table's own, so that the encoder above starts as it would have. Tokens in brackets, as
    "[START]", keep their random vectors, and so do columns for which there are no components left.

    Args:
        table: of a text encoder, a row for every token of `tokenizer`; changed in place.
        tokenizer: of whole words, see `word_tokenizer`.

    Raises:
        MissingExtraError: the package with the weights is not installed.
    """
    # By row: `get_vocab` has another order in every process, and in another order sums have other last digits.
    words = sorted((row, word) for word, row in tokenizer.get_vocab().items() if not word.startswith("["))
    vectors_ND = minilm_word_vectors([word for _, word in words])
    left, singular, _ = torch.linalg.svd(vectors_ND - vectors_ND.mean(0), full_matrices=False)
    components = (left * singular)[:, : table.embedding_dim]
    with torch.no_grad():
        begun = components * (table.weight.std() / components.std())
        table.weight[[row for row, _ in words], : begun.shape[1]] = begun
