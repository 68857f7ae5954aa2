"""A small evaluation to report on, better or worse by its noise."""

from __future__ import annotations

import numpy as np

from terraseek.metrics import EmbeddingSet, Evaluation, Provenance, evaluate_retrieval

NAMES = ["airplane", "bare-soil", "<b>sand</b> & sea", "dock"]
ORIGIN = Provenance(
    dataset="toy", split="test in train", split_hash="abc", model="<script>x</script>", seed=3, notes={"epochs": "2"}
)


def evaluation(
    noise: float = 1.0, queries: int = 24, gallery: int = 60, seed: int = 0, empty: str = "zero"
) -> Evaluation:
    rng = np.random.default_rng(7)
    directions = rng.standard_normal((4, 6))

    def make(prefix: str, size: int) -> EmbeddingSet:
        labels = (rng.random((size, 4)) < [0.6, 0.4, 0.2, 0.0]).astype(np.uint8)
        drawn = np.random.default_rng([seed, ord(prefix)]).standard_normal((size, 6))
        return EmbeddingSet(labels @ directions + noise * drawn, labels, tuple(f"{prefix}{i}" for i in range(size)))

    return evaluate_retrieval(make("q", queries), make("g", gallery), label_names=NAMES, bootstrap=50, empty=empty)  # type: ignore[arg-type]
