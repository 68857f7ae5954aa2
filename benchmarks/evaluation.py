"""Evaluation beside the bare work that it cannot avoid: the similarity matrix product and a top-k.

    python benchmarks/evaluation.py                              20,000 queries, 100,000 gallery items, 128 dimensions
    python benchmarks/evaluation.py --queries 2000 --rounds 3    a few minutes less

Both run in one process on the same vectors, in turns, with the same BLAS threads. The bare form multiplies blocks of
queries with the gallery and keeps the 100 best of each row (argpartition, then a sort of those). The full form computes
`DEFAULT_MEASURES` with their floors, ceilings, per-label AP, precision-recall curve and bootstrap intervals. Peak
memory is what the process holds above the inputs, sampled from the system while the evaluation runs.

Wall times mean something on a quiet machine only: a busy neighbour makes BLAS threads wait for each other, which slows
the bare form more than the full one. The processor times beside them tell: they should not change between rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from terraseek.metrics import DEFAULT_MEASURES, EmbeddingSet, evaluate_retrieval, unit_rows
from terraseek.metrics.embeddings import block_rows

T = TypeVar("T")


def labelled(count: int, labels: int, dim: int, seed: int) -> EmbeddingSet:
    """Long-tailed label sets, drawn independently per label, and vectors that lean towards their labels' directions."""
    frequency = 0.6 / np.arange(1, labels + 1) ** 0.8
    directions = np.random.default_rng(99).standard_normal((labels, dim))
    rng = np.random.default_rng(seed)
    labels_NC = (rng.random((count, labels)) < frequency).astype(np.uint8)
    vectors = labels_NC @ directions * 0.5 + rng.standard_normal((count, dim))
    return EmbeddingSet(vectors.astype(np.float32), labels_NC, tuple(f"{seed}-{i}" for i in range(count)))


def bare(query: np.ndarray, gallery: np.ndarray, k: int = 100) -> None:
    rows = block_rows(len(gallery))
    scores = np.empty((rows, len(gallery)), dtype=np.float32)
    for first in range(0, len(query), rows):
        part = query[first : first + rows]
        block = np.matmul(part, gallery.T, out=scores[: len(part)])
        best = np.argpartition(block, len(gallery) - k, axis=1)[:, -k:]
        np.argsort(-np.take_along_axis(block, best, axis=1), axis=1)


def timed(work: Callable[[], T]) -> tuple[T, float, float]:
    """What the work returns, its wall time and its processor time, all threads together."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Peak:
    """The largest resident size above the one at entry."""

    def __enter__(self) -> Peak:
        self.base = self.most = resident()
        self.stop = threading.Event()
        self.watch = threading.Thread(target=self._watch)
        self.watch.start()
        return self

    def _watch(self) -> None:
        while not self.stop.wait(0.02):
            self.most = max(self.most, resident())

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.watch.join()
        self.bytes = self.most - self.base


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--gallery", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--labels", type=int, default=17)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the figures as JSON here")
    options = parser.parse_args()
    query = labelled(options.queries, options.labels, options.dim, 1)
    gallery = labelled(options.gallery, options.labels, options.dim, 2)
    query_unit, gallery_unit = unit_rows(query.vectors_ND), unit_rows(gallery.vectors_ND)
    rounds = []
    for number in range(options.rounds):
        _, bare_s, bare_cpu_s = timed(lambda: bare(query_unit, gallery_unit))
        with Peak() as peak:
            found, full_s, full_cpu_s = timed(lambda: evaluate_retrieval(query, gallery))
        rounds.append(
            {
                "bare_s": bare_s,
                "bare_cpu_s": bare_cpu_s,
                "full_s": full_s,
                "full_cpu_s": full_cpu_s,
                "ratio": full_s / bare_s,
                "ratio_cpu": full_cpu_s / bare_cpu_s,
                "peak_mib": peak.bytes / 2**20,
            }
        )
        print(
            f"round {number + 1}: " + "  ".join(f"{key} {value:.2f}" for key, value in rounds[-1].items()), flush=True
        )
    ratio = statistics.median(r["ratio"] for r in rounds)
    print(f"{len(DEFAULT_MEASURES)} measures, mAP {found['mAP']:.4f}; median ratio {ratio:.2f} (goal 3), ", end="")
    print(f"peak above inputs {max(r['peak_mib'] for r in rounds):.0f} MiB (goal 2048)")
    if options.out:
        machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "numpy": np.__version__}
        settings = {key: value for key, value in vars(options).items() if key != "out"}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(
            json.dumps({"settings": settings, "machine": machine, "rounds": rounds}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
