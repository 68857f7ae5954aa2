"""What each sampler shows of the labels: the training splits of UC Merced and ML-AID, ten epochs of seed 0.

    python benchmarks/samplers.py --data DATA       # a table in Markdown, seconds

DATA is the folder that holds both data sets. The samplers are those of the study's ablation (`benchmarks/macl.py`).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from _settings import LABEL_AWARE, REPEAT
from macl import IMAGES
from terraseek.config import from_mapping
from terraseek.data import load_dataset
from terraseek.training import BatchSampler, SamplerConfig, build_sampler, label_coverage

EPOCHS, RAREST = 10, 6
HEAD = ("", "batch", "images shown", "rarest: places", "rarest: batches with a pair", "without any partner")
SAMPLERS = {"shuffled": {"kind": "shuffle"}, "repeat-factor, t 0.1": REPEAT, "label-aware, 4 of 4": LABEL_AWARE}


def batches(sampler: BatchSampler) -> Iterator[list[int]]:
    """Those of all epochs."""
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        yield from sampler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("TERRASEEK_DATA"))
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data, the folder that holds the data sets (or set TERRASEEK_DATA)")
    print("| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|", sep="\n")
    for name, folder in IMAGES.items():
        dataset = load_dataset(name, Path(arguments.data, folder)).subset("train")
        labels_NC = dataset.labels_NC
        rarest = np.argsort(labels_NC.sum(0), kind="stable")[:RAREST]
        for size in (32, 128):
            for shown, sampler in SAMPLERS.items():
                config = from_mapping(SamplerConfig, {**sampler, "batch_size": size})
                found = label_coverage(batches(build_sampler(config, labels_NC)), labels_NC)
                cells = (found.images, found.shown_C[rarest].mean(), found.paired_C[rarest].mean(), found.alone)
                shares = " | ".join(f"{100 * share:.1f} %" for share in cells)
                print(f"| {name}, {shown} | {size} | {shares} |")


if __name__ == "__main__":
    main()
