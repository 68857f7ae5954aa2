"""Word-level tokenizers for text encoders that are trained from nothing."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from ..errors import UsageError

__all__ = ["UNKNOWN", "split_words", "word_tokenizer"]

PADDING, UNKNOWN, START = "[PAD]", "[UNK]", "[START]"
_NORMALIZER = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()])
_SPLITTER = pre_tokenizers.Split(Regex(r"[^\p{L}\p{N}]+"), "removed")


def split_words(text: str) -> list[str]:
    """The words of a text, as `word_tokenizer` will see them.

    >>> split_words("A café, two boats.")
    ['a', 'cafe', 'two', 'boats']
    """
    return [word for word, _ in _SPLITTER.pre_tokenize_str(_NORMALIZER.normalize_str(text))]


def word_tokenizer(words: Iterable[str]) -> Tokenizer:
    """A tokenizer that knows `words`, in their order, after [PAD] = 0, [UNK] = 1 and [START] = 2.

    Texts are lower-cased, accents are removed, everything but letters and digits separates words, and each text begins
    with [START], so that an empty one has a token as well.

    Raises:
        UsageError: no words, or words that such a tokenizer would never produce.

    Examples:
        >>> word_tokenizer(["river", "forest"]).encode("The forest, by the RIVER.").ids
        [2, 1, 4, 1, 1, 3]
    """
    known = {word: index for index, word in enumerate((PADDING, UNKNOWN, START, *dict.fromkeys(words)))}
    if len(known) == 3:
        raise UsageError("the vocabulary is empty: no caption has a word that is frequent enough")
    tokenizer = Tokenizer(models.WordLevel(known, unk_token=UNKNOWN))
    tokenizer.normalizer = _NORMALIZER
    tokenizer.pre_tokenizer = _SPLITTER
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, known[START])]
    )
    unreachable = [word for word in list(known)[3:] if tokenizer.encode(word).ids[1:] != [known[word]]]
    if unreachable:
        raise UsageError(
            f"{len(unreachable)} words of the vocabulary can never occur, {unreachable[0]!r} among them: "
            "words are lower-case letters and digits"
        )
    return tokenizer
