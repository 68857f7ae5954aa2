"""How far the concepts that a model predicts for images can be believed: against captions that it has not seen.

    python benchmarks/concepts.py MODEL --dataset rsicd-10k --root DATA      # a table in Markdown, a minute

A concept counts as right where a caption of the image names it, and as agreed on where two do. People name what strikes
them and leave out the rest, so that a part of what counts as wrong is there to be seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from terraseek.data import ImageDataset, load_dataset
from terraseek.encoders import OnnxEncoder, load_encoder
from terraseek.texts import normalise_caption

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
HEAD = ("score at least", "concepts an image", "named by a caption", "named by two", "mean score")
BATCH = 64


def predicted(encoder: OnnxEncoder, dataset: ImageDataset) -> np.ndarray:
    """Scores, (N, C)."""
    parts = []
    for first in range(0, len(dataset), BATCH):
        images = [dataset.read(row) for row in range(first, min(first + BATCH, len(dataset)))]
        parts.append(encoder.encode_images_and_concepts(images)[1])
    return np.concatenate(parts)


def named(dataset: ImageDataset, concepts: tuple[str, ...]) -> np.ndarray:
    """By how many captions of each image each concept is named, (N, C)."""
    rows = []
    for sample in dataset.samples:
        captions = [set(normalise_caption(caption).split()) for caption in sample.captions]
        rows.append([sum(concept in words for words in captions) for concept in concepts])
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--dataset", default="rsicd-10k")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--split", default="test")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.model)
    dataset = load_dataset(arguments.dataset, arguments.root).subset(arguments.split)
    scores_NC, count_NC = predicted(encoder, dataset), named(dataset, encoder.config.concepts)
    print("| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|", sep="\n")
    for threshold in THRESHOLDS:
        kept_NC = scores_NC >= threshold
        if not kept_NC.any():
            print(f"| {threshold} | 0.0 | | | |")
            continue
        counts = count_NC[kept_NC]
        shares = f"{100 * (counts >= 1).mean():.0f} % | {100 * (counts >= 2).mean():.0f} %"
        print(f"| {threshold} | {kept_NC.sum(1).mean():.1f} | {shares} | {scores_NC[kept_NC].mean():.2f} |")


if __name__ == "__main__":
    main()
