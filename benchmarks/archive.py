"""What an archive costs beside the bare faiss index inside it.

    python benchmarks/archive.py                        # 100,000 and 1,000,000 records of 256 dims
    python benchmarks/archive.py --sizes 10000 --json out.json

Each size is built once in a temporary folder from the same clustered random vectors; every figure of a size comes
from one run on the same vectors, so that ratios hold whatever the machine was doing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import shapely

from terraseek.archive import Archive, Filter, ModelIdentity, Record
from terraseek.search import Query, Retriever

QUERIES = 40


def clustered(count: int, dim: int, seed: int) -> np.ndarray:
    """Unit rows around 1,000 centres: real embeddings cluster, uniform ones make any index look bad."""
    centres = np.random.default_rng(0).standard_normal((1000, dim), dtype=np.float32)
    rng = np.random.default_rng(seed)
    rows = centres[rng.integers(0, 1000, count)] + 0.7 * rng.standard_normal((count, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def records(first: int, count: int) -> list[Record]:
    rng = np.random.default_rng(first)
    corners = rng.uniform([-180, -85], [179.9, 84.9], (count, 2))
    return [
        Record(
            id=f"scene{at // 900:06d}/{at:09d}",
            source=f"s3://imagery/scene{at // 900:06d}.tif",
            window=(at % 30 * 64, at // 30 % 30 * 64, 64, 64),
            footprint=shapely.box(west, south, west + 0.01, south + 0.01),
            # One record in a hundred: the filter that the figures speak of.
            labels=("rare",) if at % 100 == 0 else ("field",),
            properties={"cloud_cover": at // 900 % 100},
        )
        for at, (west, south) in enumerate(corners.tolist(), start=first)
    ]


def timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def p50_ms(calls: list[Callable[[], Any]]) -> float:
    calls[0]()
    return float(np.median([timed(call) for call in calls]) * 1e3)


def measure(count: int, dim: int, folder: Path, ann: bool) -> dict[str, float]:
    vectors = clustered(count, dim, 1)
    queries = clustered(QUERIES, dim, 2)
    archive = Archive.create(folder / "a", ModelIdentity(fingerprint="benchmark", dim=dim))
    figures: dict[str, float] = {"records": count, "dim": dim}

    started = time.perf_counter()
    for first in range(0, count, 50_000):
        last = min(count, first + 50_000)
        archive.add(records(first, last - first), vectors[first:last])
    figures["build_s"] = time.perf_counter() - started
    archive.compact()

    faiss.omp_set_num_threads(1)
    bare = faiss.IndexFlatIP(dim)
    bare.add(vectors)
    del vectors

    def opened() -> Archive:
        fresh = Archive.open(archive.uri)
        fresh.search(queries[0], 10).records()
        return fresh

    started = time.perf_counter()
    archive = opened()
    figures["open_and_first_search_s"] = time.perf_counter() - started

    rare, box = Filter(labels_any=("rare",)), Filter(bbox=(0, 0, 36, 17))
    retriever = Retriever(archive)
    # Interleaved: each query goes to every contestant before the next, so that other load hits all alike.
    contestants: dict[str, Callable[[np.ndarray], Any]] = {
        "bare_faiss_ms": lambda q: bare.search(q[None], 10),
        "exact_ms": lambda q: archive.search(q, 10),
        "page_ms": lambda q: retriever.search(Query(vector=q, k=10)),
        "filter_1_percent_ms": lambda q: archive.search(q, 10, rare),
        "bbox_1_percent_ms": lambda q: archive.search(q, 10, box),
    }
    if ann:
        figures["index_build_s"] = timed(archive.build_index)
        contestants["ann_ms"] = lambda q: archive.search(q, 10, mode="ann")
        hits = [len(set(archive.search(q, 10).ids) & set(archive.search(q, 10, mode="ann").ids)) for q in queries]
        figures["ann_recall_at_10"] = sum(hits) / (10 * QUERIES)
    for contestant in contestants.values():
        contestant(queries[0])
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for query in queries:
        for name, contestant in contestants.items():
            times[name].append(timed(lambda c=contestant, q=query: c(q)))
    figures |= {name: float(np.median(values) * 1e3) for name, values in times.items()}
    figures["exact_over_faiss"] = figures["exact_ms"] / figures["bare_faiss_ms"]
    figures["page_over_faiss"] = figures["page_ms"] / figures["bare_faiss_ms"]
    figures["filter_over_exact"] = figures["filter_1_percent_ms"] / figures["exact_ms"]
    figures["bbox_over_exact"] = figures["bbox_1_percent_ms"] / figures["exact_ms"]

    fresh, more = records(count, 1000), clustered(1000, dim, 3)
    figures["add_1000_s"] = timed(lambda: archive.add(fresh, more))
    figures["search_after_add_s"] = timed(lambda: archive.search(queries[0], 10))
    doomed = [record.id for record in fresh]
    figures["remove_1000_s"] = timed(lambda: archive.remove(doomed))
    figures["search_after_remove_s"] = timed(lambda: archive.search(queries[0], 10))
    assert not set(doomed) & set(archive.search(more[0], 10).ids)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--no-ann", action="store_true", help="leave the index on disk out")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    results = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(size, options.dim, Path(folder), ann=not options.no_ann))
    for name in results[0]:
        print(f"{name:28s}" + "".join(f"{result[name]:14,.3f}" for result in results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
