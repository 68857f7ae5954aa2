"""Evaluation beside the bare work that it cannot avoid: the similarity matrix product and a top-k.

    python benchmarks/evaluation.py                              20,000 queries, 100,000 gallery items, 128 dimensions
    python benchmarks/evaluation.py --queries 4000 --rounds 3    a few minutes less

Both run in one process on the same vectors with the same BLAS threads, and take turns: after every block of queries
that the evaluation has finished, the bare form does the same queries. So a busy neighbour slows both. The bare form
multiplies the block with the gallery and keeps the 100 best of each row (argpartition, then a sort of those). The full
form computes `DEFAULT_MEASURES` with their floors, ceilings, per-label AP, precision-recall curve and bootstrap
intervals; what it does before the first and after the last block counts as well, and weighs the more the fewer the
queries. Peak memory is what the process holds above the inputs, sampled from the system while the evaluation runs.

Beside both stands the time of one plain sort of every row of float64 scores, the least that any measure over whole
rankings costs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import threading
import time
from datetime import date
from pathlib import Path

import numpy as np

from _machine import cpu_name
from terraseek.metrics import DEFAULT_MEASURES, EmbeddingSet, evaluate_retrieval, unit_rows
from terraseek.metrics.embeddings import block_rows


def labelled(count: int, labels: int, dim: int, seed: int) -> EmbeddingSet:
    """Long-tailed label sets, drawn independently per label, and vectors that lean towards their labels' directions."""
    frequency = 0.6 / np.arange(1, labels + 1) ** 0.8
    directions = np.random.default_rng(99).standard_normal((labels, dim))
    rng = np.random.default_rng(seed)
    labels_NC = (rng.random((count, labels)) < frequency).astype(np.uint8)
    vectors = labels_NC @ directions * 0.5 + rng.standard_normal((count, dim))
    return EmbeddingSet(vectors.astype(np.float32), labels_NC, tuple(f"{seed}-{i}" for i in range(count)))


class Clock:
    """Adds up wall and processor time, all threads together, while it runs."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._wall
        self.cpu += time.process_time() - self._cpu


class Bare:
    """The bare form, a part of the queries at a time; also what a sort of each row takes."""

    def __init__(self, query: np.ndarray, gallery: np.ndarray, k: int = 100) -> None:
        self.query, self.gallery, self.k = query, gallery, k
        self.scores = np.empty((block_rows(len(gallery)), len(gallery)), dtype=np.float32)
        self.done = 0
        self.clock, self.sort_clock = Clock(), Clock()

    def advance(self, done: int, _: int) -> None:
        part = self.query[self.done : done]
        self.done = done
        with self.clock:
            block = np.matmul(part, self.gallery.T, out=self.scores[: len(part)])
            best = np.argpartition(block, len(self.gallery) - self.k, axis=1)[:, -self.k :]
            np.argsort(-np.take_along_axis(block, best, axis=1), axis=1)
        keys = block[:4].astype(np.float64)
        with self.sort_clock:
            keys.sort(axis=1)


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


def measure(query: EmbeddingSet, gallery: EmbeddingSet) -> dict[str, float]:
    bare = Bare(unit_rows(query.vectors_ND), unit_rows(gallery.vectors_ND))
    bare.scores.fill(0)  # touched now: it is not part of what the evaluation holds
    both = Clock()
    with Peak() as peak, both:
        found = evaluate_retrieval(query, gallery, progress=bare.advance)
    sorts = 4 * -(-len(query) // len(bare.scores))
    wall, cpu = both.wall - bare.clock.wall - bare.sort_clock.wall, both.cpu - bare.clock.cpu - bare.sort_clock.cpu
    return {
        "bare_s": bare.clock.wall,
        "bare_cpu_s": bare.clock.cpu,
        "full_s": wall,
        "full_cpu_s": cpu,
        "ratio": wall / bare.clock.wall,
        "ratio_cpu": cpu / bare.clock.cpu,
        "sort_ratio_cpu": bare.sort_clock.cpu / sorts * len(query) / bare.clock.cpu,
        "peak_mib": peak.bytes / 2**20,
        "mAP": found["mAP"],
    }


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
    rounds = []
    for number in range(options.rounds):
        rounds.append(measure(query, gallery))
        print(
            f"round {number + 1}: " + "  ".join(f"{key} {value:.2f}" for key, value in rounds[-1].items()), flush=True
        )
    ratio, sort = (statistics.median(r[key] for r in rounds) for key in ("ratio", "sort_ratio_cpu"))
    peak = max(r["peak_mib"] for r in rounds)
    print(f"{len(DEFAULT_MEASURES)} measures: median ratio {ratio:.2f} (goal 3), a sort alone {sort:.2f}")
    print(f"peak above inputs {peak:.0f} MiB (goal 2048)")
    if options.out:
        result = {
            "settings": {key: value for key, value in vars(options).items() if key != "out"},
            "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "numpy": np.__version__, "date": str(date.today())},
            "measures": [str(measure) for measure in DEFAULT_MEASURES],
            "median_ratio": ratio,
            "rounds": rounds,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
