"""KAMCL's four operations on captions exactly as its published code does them, to compare with.

Source: Knowledge-Aided Momentum Contrastive Learning, TGRS 2023, https://doi.org/10.1109/TGRS.2023.3332317. Fed with
the caption lines of RSICD and RSITMD, these functions give the contents of the ``tags_label_th_1.txt`` and
``tag_vocab_512.txt`` that come with that code, character by character.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .stop_words import STOP_WORDS

__all__ = [
    "align_published",
    "construct_published",
    "filtrate_published",
    "initialise_published",
    "tag_lines",
    "word_vocabulary",
]

_NO_ALPHANUMERIC = re.compile(r"[^A-Za-z0-9]")
_BETWEEN_TOKENS = re.compile(r"[\s,.:;?!()\[\]{}<>\"`&@#$%*]+")
_CLITIC = re.compile(r"(?='s$|n't$)|'$")


def initialise_published(caption: str) -> list[str]:
    """The words of a caption: split at single spaces, so that two spaces in a row enclose an empty word.

    >>> initialise_published("A beach, and a port .")
    ['a', 'beach', '', 'and', 'a', 'port']
    """
    return _NO_ALPHANUMERIC.sub(" ", caption).strip().lower().split(" ")


def construct_published(captions: Sequence[str]) -> dict[str, int]:
    """How often an image's captions use each word, stop words and the empty word included, where that is above 1.

    Most frequent first, ties by first appearance.

    >>> construct_published(["a port, a ship", "the port, the sea"])
    {'a': 2, 'port': 2, '': 2, 'the': 2}
    """
    counts = Counter(word for caption in captions for word in initialise_published(caption))
    return {word: count for word, count in counts.most_common() if count > 1}


def tag_lines(counts: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    r"""The lines of a tag file: an image's place in the caption file, a tab, ``word:count`` with a space after each.

    >>> list(tag_lines({"port_1.jpg": {"port": 5, "": 2}}))
    ['0\tport:5 :2 ']
    """
    for place, words in enumerate(counts.values()):
        yield f"{place}\t" + "".join(f"{word}:{count} " for word, count in words.items())


def word_vocabulary(captions: Iterable[str], least: int = 5) -> frozenset[str]:
    """The words that KAMCL's text encoder knows, and to which it confines concepts; built on train AND test captions.

    The published code cuts captions into tokens with NLTK. The rule here (cut at white space and at punctuation,
    then cut off a final ``'s`` or ``n't``) gives the same tokens wherever they decide: among all words that the tag
    files of RSICD and RSITMD name, the same ones pass. Tokens with a hyphen stay whole: they match no word there.

    Args:
        captions: of train, val and test.
        least: how often a word must occur.

    Examples:
        >>> sorted(word_vocabulary(["the bird's nest", "A bird-shaped nest.", "some nests"], least=1))
        ["'s", 'bird', 'bird-shaped', 'nest', 'nests']
    """
    counts = Counter(
        token
        for caption in captions
        for run in _BETWEEN_TOKENS.split(caption.lower())
        for token in _CLITIC.split(run)
        if token
    )
    return frozenset(word for word, count in counts.items() if count >= least and word not in STOP_WORDS)


def filtrate_published(
    counts: Mapping[str, Mapping[str, int]], vocabulary: Collection[str], size: int = 512
) -> tuple[str, ...]:
    """The concepts: the `size` words of `vocabulary` with most counts in all images, ties by first appearance.

    >>> filtrate_published({"a": {"the": 4, "port": 3}, "b": {"sea": 3}}, {"sea", "port"}, size=1)
    ('port',)
    """
    total: Counter[str] = Counter()
    for words in counts.values():
        total.update(words)
    return tuple(word for word, _ in total.most_common() if word in vocabulary)[:size]


def align_published(counts: Mapping[str, Mapping[str, int]], concepts: Sequence[str]) -> NDArray[np.float32]:
    """Soft labels, (N, C): a concept's count over the largest count of any word of the image, stop words included.

    >>> align_published({"a": {"the": 4, "port": 3}, "b": {}}, ["port", "sea"])
    array([[0.75, 0.  ],
           [0.  , 0.  ]], dtype=float32)
    """
    column = {concept: index for index, concept in enumerate(concepts)}
    scores_NC = np.zeros((len(counts), len(column)), np.float32)
    for row, words in enumerate(counts.values()):
        most = max(words.values(), default=1)
        for word, count in words.items():
            if word in column:
                scores_NC[row, column[word]] = count / most
    return scores_NC
