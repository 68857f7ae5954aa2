"""What an archive costs beside the bare faiss index inside it, and how that grows with its size.

    python benchmarks/archive.py                                  # 10,000, 100,000 and 1,000,000 records of 256 dims
    python benchmarks/archive.py --sizes 10000 --out figures.json

Each size is one archive in a temporary folder; every figure of a size comes from one run on the same vectors, and
contestants take turns query by query, so that ratios hold whatever else the machine was doing. Times are medians. Of
searches the processor time is given too: on a busy machine it tells what an idle one would need.

Two kinds of vectors. "clustered" has the spectrum and the neighbour distances of real embeddings (measured on
ImageNet features of UC Merced: nearest neighbour at cosine 0.76); it is what the figures speak of. "noise" is uniform
on the sphere, where no index can be good; its recall is given beside, up to --noise-up-to records.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import shapely

from terraseek.archive import Archive, Filter, ModelIdentity, Record
from terraseek.archive.ann import index_status
from terraseek.search import Query, Retriever

Figures = dict[str, float]
QUERIES = 40
BATCH = 50_000
CENTRES = 1_000
GOALS = {
    "exact_over_faiss": "<= 1.5",
    "filter_over_exact": "<= 2",
    "open_and_first_search_s": "<= 5",
    "add_1000_s": "<= 2",
    "remove_1000_and_search_s": "<= 1",
    "ann_recall_at_10": ">= 0.98",
    "ann_ms": "<= 10",
}


def spectral(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """Gaussian rows whose variance falls along the axes as that of embeddings does along their principal ones."""
    return rng.standard_normal((count, dim), dtype=np.float32) * (1 + np.arange(dim, dtype=np.float32)) ** -0.5


def clustered(count: int, dim: int, seed: int) -> np.ndarray:
    """Unit rows around 1,000 centres, of which some have a thousand times the rows of others."""
    centres = spectral(np.random.default_rng(0), CENTRES, dim)
    share = 1 / np.arange(1, CENTRES + 1)
    rng = np.random.default_rng(seed)
    rows = centres[rng.choice(CENTRES, count, p=share / share.sum())] + 0.7 * spectral(rng, count, dim)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def noise(count: int, dim: int, seed: int) -> np.ndarray:
    """Unit rows in every direction alike."""
    rows = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def records(first: int, count: int) -> list[Record]:
    """Chips of scenes of 900; one in a hundred is rare: the filter that the figures speak of."""
    corners = np.random.default_rng(first).uniform([-180, -85], [179.9, 84.9], (count, 2))
    return [
        Record(
            id=f"scene{at // 900:06d}/{at:09d}",
            source=f"s3://imagery/scene{at // 900:06d}.tif",
            window=(at % 30 * 64, at // 30 % 30 * 64, 64, 64),
            footprint=shapely.box(west, south, west + 0.01, south + 0.01),
            labels=("rare",) if at % 100 == 0 else ("field",),
            properties={"cloud_cover": at // 900 % 100},
        )
        for at, (west, south) in enumerate(corners.tolist(), start=first)
    ]


def timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def take_turns(contestants: dict[str, Callable[[np.ndarray], Any]], queries: np.ndarray) -> Figures:
    """Median wall and processor time of each contestant in ms, every query going to all before the next does."""
    walls: dict[str, list[float]] = {name: [] for name in contestants}
    busy: dict[str, list[float]] = {name: [] for name in contestants}
    for contestant in contestants.values():
        contestant(queries[0])
    turns = np.random.default_rng(4)
    for query in queries:
        # In another order each time: who follows whom decides whose data is in the cache and who is interrupted.
        for name in turns.permutation(list(contestants)).tolist():
            contestant = contestants[name]
            at_work = time.process_time()
            walls[name].append(timed(lambda c=contestant, q=query: c(q)))
            busy[name].append(time.process_time() - at_work)
    figures = {f"{name}_ms": float(np.median(times) * 1e3) for name, times in walls.items()}
    return figures | {f"{name}_cpu_ms": float(np.median(times) * 1e3) for name, times in busy.items()}


def build(uri: Path, vectors: np.ndarray) -> tuple[Archive, Figures]:
    archive = Archive.create(uri, ModelIdentity(fingerprint="benchmark", dim=vectors.shape[1]))
    started, at_work = time.perf_counter(), time.process_time()
    for first in range(0, len(vectors), BATCH):
        last = min(len(vectors), first + BATCH)
        archive.add(records(first, last - first), vectors[first:last])
    figures = {"build_s": time.perf_counter() - started, "build_cpu_s": time.process_time() - at_work}
    size = archive.compact().bytes_after
    assert size is not None
    return archive, figures | {"bytes_per_record": size / len(vectors)}


def searches(archive: Archive, vectors: np.ndarray, queries: np.ndarray) -> Figures:
    """Opening, and exact search beside bare faiss."""
    faiss.omp_set_num_threads(1)
    bare = faiss.IndexFlatIP(archive.dim)
    bare.add(vectors)

    def open_and_search() -> None:
        Archive.open(archive.uri).search(queries[0], 10).records()

    resident = memory()
    figures = {"open_and_first_search_s": timed(open_and_search)}
    archive.search(queries[0], 10).records()
    figures["memory_per_record"] = (memory() - resident) / len(vectors)
    rare, box = Filter(labels_any=("rare",)), Filter(bbox=(0, 0, 36, 17))
    retriever = Retriever(archive)
    figures |= take_turns(
        {
            "bare_faiss": lambda q: bare.search(q[None], 10),
            "exact": lambda q: archive.search(q, 10),
            "page": lambda q: retriever.search(Query(vector=q, k=10)),
            "filter_1_percent": lambda q: archive.search(q, 10, rare),
            "bbox_1_percent": lambda q: archive.search(q, 10, box),
        },
        queries,
    )
    return figures | {
        "exact_over_faiss": figures["exact_ms"] / figures["bare_faiss_ms"],
        "exact_over_faiss_cpu": figures["exact_cpu_ms"] / figures["bare_faiss_cpu_ms"],
        "page_over_faiss": figures["page_ms"] / figures["bare_faiss_ms"],
        "filter_over_exact": figures["filter_1_percent_ms"] / figures["exact_ms"],
        "bbox_over_exact": figures["bbox_1_percent_ms"] / figures["exact_ms"],
    }


def memory() -> float:
    """Resident bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return float(pages * resource.getpagesize())


def changes(archive: Archive, queries: np.ndarray) -> Figures:
    """Adding and removing 1,000 records, and when the next search sees it."""
    count = len(archive)
    fresh, more = records(count, 1000), clustered(1000, archive.dim, 3)
    figures = {"add_1000_s": timed(lambda: archive.add(fresh, more))}
    figures["search_after_add_s"] = timed(lambda: archive.search(queries[0], 10))
    assert archive.search(more[0], 1).ids == (fresh[0].id,)
    doomed = [record.id for record in fresh]
    figures["remove_1000_s"] = timed(lambda: archive.remove(doomed))
    figures["search_after_remove_s"] = timed(lambda: archive.search(queries[0], 10))
    assert not set(doomed) & set(archive.search(more[0], 10).ids)
    figures["remove_1000_and_search_s"] = figures["remove_1000_s"] + figures["search_after_remove_s"]
    return figures


def approximate(archive: Archive, queries: np.ndarray) -> Figures:
    """Building the index on disk, its recall and its speed."""
    at_work = time.process_time()
    figures = {"index_build_s": timed(archive.build_index)}
    figures["index_build_cpu_s"] = time.process_time() - at_work
    assert index_status(archive.snapshot().table) is not None
    figures |= take_turns({"ann": lambda q: archive.search(q, 10, mode="ann")}, queries)
    return figures | {"ann_recall_at_10": recall(archive, queries)}


def recall(archive: Archive, queries: np.ndarray) -> float:
    near = [set(archive.search(q, 10, mode="ann").ids) & set(archive.search(q, 10).ids) for q in queries]
    return sum(map(len, near)) / (10 * len(queries))


def measure(count: int, dim: int, folder: Path, *, ann: bool, with_noise: bool) -> Iterator[Figures]:
    """The figures of one size, as they come."""
    queries = clustered(QUERIES, dim, 2)
    vectors = clustered(count, dim, 1)
    archive, figures = build(folder / "clustered", vectors)
    yield {"records": count, "dim": dim, **figures}
    yield searches(archive, vectors, queries)
    del vectors
    yield changes(archive, queries)
    if ann:
        yield approximate(archive, queries)
    if ann and with_noise:
        other, _ = build(folder / "noise", noise(count, dim, 1))
        found = approximate(other, noise(QUERIES, dim, 2))
        yield {"noise_ann_recall_at_10": found["ann_recall_at_10"], "noise_ann_ms": found["ann_ms"]}


def table(results: dict[str, Figures]) -> str:
    names = dict.fromkeys(name for figures in results.values() for name in figures)
    lines = [f"{'':28s}" + "".join(f"{int(size):>14,}" for size in results) + "   goal"]
    for name in names:
        cells = "".join(f"{f[name]:14,.3f}" if name in f else f"{'':>14s}" for f in results.values())
        lines.append(f"{name:28s}{cells}   {GOALS.get(name, '')}".rstrip())
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--no-ann", action="store_true", help="leave the index on disk out")
    parser.add_argument("--noise-up-to", type=int, default=10_000, help="largest size measured on noise too")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "archive.json")
    options = parser.parse_args()
    kept = json.loads(options.out.read_text(encoding="utf-8"))["sizes"] if options.out.exists() else {}
    for size in options.sizes:
        figures: Figures = {}
        with tempfile.TemporaryDirectory() as folder:
            noisy = size <= options.noise_up_to
            for part in measure(size, options.dim, Path(folder), ann=not options.no_ann, with_noise=noisy):
                # What is measured is kept at once: the largest index takes longest and comes last.
                figures |= part | {"load_average": os.getloadavg()[0]}
                kept[str(size)] = figures
                machine = f"{platform.machine()}, {os.cpu_count()} cores, one thread per query"
                tree = {"schema": 1, "machine": machine, "sizes": dict(sorted(kept.items(), key=lambda p: int(p[0])))}
                options.out.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    print(table(tree["sizes"]))


if __name__ == "__main__":
    main()
