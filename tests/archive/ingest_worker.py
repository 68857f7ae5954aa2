"""An encoder without a model, and, run as a script, an ingest with it in a process that can be killed."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Sequence

import numpy as np

from terraseek.archive import Archive
from terraseek.archive.ingest import IngestOptions, ingest
from terraseek.geo import ChipConfig

DIM = 16


class FakeEncoder:
    """Vectors from the bytes of the pixels: equal for equal pixels, unrelated for others."""

    dim = DIM
    fingerprint = "fake"

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.encoded = 0

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        self.encoded += len(images)
        time.sleep(self.delay * len(images))
        seeds = [hashlib.sha256(image.tobytes()).digest()[:8] for image in images]
        vectors = np.stack([np.random.default_rng(int.from_bytes(seed)).normal(size=DIM) for seed in seeds])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        raise NotImplementedError


def main(uri: str, *sources: str) -> None:
    archive = Archive.create(uri, FakeEncoder(), exist_ok=True)
    ingest(
        archive,
        FakeEncoder(delay=0.002),
        sources,
        IngestOptions(chip=ChipConfig(size=32), batch_size=8, commit_size=8),
        progress=lambda done, expected: os.write(1, f"{done} {expected}\n".encode()),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
