"""What the captions of a data set are like: their words, how often they repeat, and what that does to recall."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from ..texts import matcher_ceiling, normalise_caption, oracle_ceiling
from .dataset import ImageDataset, Sample

__all__ = ["caption_statistics", "vocabulary"]


def vocabulary(captions: Iterable[str], least: int = 1) -> dict[str, int]:
    """Words with their counts, the commonest first, ties by spelling; give it the captions of the training split only.

    >>> vocabulary(["a beach", "a long beach"], least=2)
    {'a': 2, 'beach': 2}
    """
    counts = Counter(word for text in captions for word in normalise_caption(text).split())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {word: count for word, count in ordered if count >= least}


def caption_statistics(dataset: ImageDataset, **_: Any) -> dict[str, Any]:
    """Counts, repeats and ceilings, for `check_dataset`.

    Returns:
        ``captions_per_split``; ``distinct``; ``repeated``: captions whose text another image of the same split has
        too; ``cross_split_repeats``: captions of val and test whose text occurs in train; ``exact_id_ceiling`` of the
        test split, in percent: ``matcher`` and ``oracle`` (see `terraseek.texts`).
    """
    by_split: dict[str, list[Sample]] = defaultdict(list)
    for sample in dataset.samples:
        by_split[sample.split or ""].append(sample)
    texts = {split: [_texts(sample) for sample in samples] for split, samples in by_split.items()}
    trained = {text for captions in texts.get("train", []) for text in captions}
    held_out = [split for split in texts if split != "train"]
    statistics: dict[str, Any] = {
        "captions_per_split": {split: sum(map(len, captions)) for split, captions in texts.items()},
        "distinct": len({text for captions in texts.values() for each in captions for text in each}),
        "repeated": {split: _repeated(captions) for split, captions in texts.items()},
        "cross_split_repeats": {
            split: sum(text in trained for captions in texts[split] for text in captions) for split in held_out
        },
    }
    if "test" in texts:
        statistics["exact_id_ceiling"] = _ceiling([sample.captions for sample in by_split["test"]])
    return statistics


def _ceiling(captions: Sequence[Sequence[str]]) -> dict[str, dict[str, float]]:
    both = {"matcher": matcher_ceiling(captions), "oracle": oracle_ceiling(captions)}
    return {kind: {name: round(value, 3) for name, value in recall.items()} for kind, recall in both.items()}


def _texts(sample: Sample) -> list[str]:
    return [normalise_caption(text) for text in sample.captions]


def _repeated(captions: Sequence[Sequence[str]]) -> int:
    images_with = Counter(text for each in captions for text in set(each))
    return sum(images_with[text] > 1 for each in captions for text in each)
