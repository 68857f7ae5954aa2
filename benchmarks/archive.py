"""What an archive costs beside the bare faiss index inside it, and how that grows with its size.

    python benchmarks/archive.py                                  # 10,000, 100,000 and 1,000,000 records of 256 dims
    python benchmarks/archive.py --work DIR --parts build index   # fill the archives and build their indexes, once
    python benchmarks/archive.py --work DIR                       # measure what is kept in DIR, in minutes
    python benchmarks/archive.py --table                          # the results so far, for docs/scale.md
    python benchmarks/archive.py --like FEATURES.npz              # are the vectors like real ones?

Each size is one archive; every figure of a part comes from one run on the same vectors, and contestants take turns
query by query, so that ratios hold whatever else the machine was doing. Times are medians. The processor time is given
too: on a busy machine it tells what an idle one would need. Without --work everything is made in a temporary folder;
with it archives and indexes stay there with what their making cost, and a later run goes on from them.

Two kinds of vectors. "clustered" has the spectrum and the neighbour distances of real embeddings (--like shows it); it
is what the figures speak of. "noise" is uniform on the sphere, where no index can be good; its recall is given beside,
up to --noise-up-to records.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import faiss
import numpy as np
import shapely

from _vectors import KINDS, clustered, likeness
from terraseek.archive import Archive, Filter, ModelIdentity, Record
from terraseek.archive.ann import EF
from terraseek.search import Query, Retriever

Figures = dict[str, float]
QUERIES, RECALL_QUERIES = 40, 100
BATCH = 50_000
CANDIDATES = (64, 128, 256)
BESIDE = 3  # times the bytes of the vectors: bare faiss, the archive's own, and its columns
PARTS = ("build", "searches", "changes", "index", "ann", "noise")


def record_id(at: int) -> str:
    return f"scene{at // 900:06d}/{at:09d}"


def records(first: int, count: int) -> list[Record]:
    """Chips of scenes of 900; one in a hundred is rare: the filter that the figures speak of."""
    corners = np.random.default_rng(first).uniform([-180, -85], [179.9, 84.9], (count, 2))
    return [
        Record(
            id=record_id(at),
            source=f"s3://imagery/scene{at // 900:06d}.tif",
            window=(at % 30 * 64, at // 30 % 30 * 64, 64, 64),
            footprint=shapely.box(west, south, west + 0.01, south + 0.01),
            labels=("rare",) if at % 100 == 0 else ("field",),
            properties={"cloud_cover": at // 900 % 100},
        )
        for at, (west, south) in enumerate(corners.tolist(), start=first)
    ]


def timed(name: str, call: Callable[[], Any]) -> Figures:
    """Wall and processor time of one call in s."""
    started, at_work = time.perf_counter(), time.process_time()
    call()
    return {f"{name}_s": time.perf_counter() - started, f"{name}_cpu_s": time.process_time() - at_work}


def take_turns(contestants: dict[str, Callable[[np.ndarray], Any]], queries: np.ndarray) -> Figures:
    """Median wall and processor time of each contestant in ms, every query going to all before the next does."""
    spent: dict[str, list[Figures]] = {name: [] for name in contestants}
    for contestant in contestants.values():
        contestant(queries[0])
    turns = np.random.default_rng(4)
    for query in queries:
        # In another order each time: who follows whom decides whose data is in the cache and who is interrupted.
        for name in turns.permutation(list(contestants)).tolist():
            spent[name].append(timed("", lambda c=contestants[name], q=query: c(q)))
    return {
        f"{name}{measure}_ms": float(np.median([each[f"{measure}_s"] for each in times]) * 1e3)
        for name, times in spent.items()
        for measure in ("", "_cpu")
    }


def memory() -> float:
    """Resident bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return float(pages * resource.getpagesize())


def free_memory() -> float:
    """Bytes that could be taken without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else []
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), float("inf"))


@dataclass(frozen=True)
class Subject:
    """The archive of one size and kind of vectors, with what stays beside it in its folder."""

    folder: Path
    kind: str
    count: int
    dim: int

    def slices(self) -> Iterator[tuple[int, np.ndarray]]:
        """Its vectors and the place of the first of each slice, drawn anew: the largest sizes fit no memory twice."""
        for first in range(0, self.count, BATCH):
            yield first, KINDS[self.kind](min(BATCH, self.count - first), self.dim, (1, first))

    def queries(self, count: int = QUERIES) -> np.ndarray:
        """Vectors of the same kind that are not in the archive."""
        return KINDS[self.kind](count, self.dim, 2)

    def nearest(self, queries: np.ndarray, k: int) -> list[set[str]]:
        """The ids of the k records nearest to each query, by bare faiss: what an index is judged by."""
        heap = faiss.ResultHeap(len(queries), k, keep_max=True)
        for first, vectors in self.slices():
            scores, places = faiss.knn(queries, vectors, k, faiss.METRIC_INNER_PRODUCT)
            heap.add_result(scores, places + first)
        heap.finalize()
        return [{record_id(at) for at in places} for places in heap.I.tolist()]

    def open(self) -> Archive:
        """The archive at rest: for a second after a change every call looks for further ones, which costs a little."""
        time.sleep(1.1)
        return Archive.open(self.folder / "archive")

    def once(self, name: str, make: Callable[[], Figures]) -> Figures:
        """What making something cost, which is done only if its note is not in the folder."""
        note = self.folder / f"{name}.json"
        if not note.exists():
            found = make()
            note.write_text(json.dumps(found), encoding="utf-8")
        figures: Figures = json.loads(note.read_text(encoding="utf-8"))
        return figures

    def build(self) -> Figures:
        return self.once("build", self._build)

    def _build(self) -> Figures:
        shutil.rmtree(self.folder / "archive", ignore_errors=True)  # one that was not finished
        archive = Archive.create(self.folder / "archive", ModelIdentity(fingerprint="benchmark", dim=self.dim))
        spent = [
            timed("build", lambda first=first, vectors=vectors: archive.add(records(first, len(vectors)), vectors))
            for first, vectors in self.slices()
        ]
        figures = {name: sum(each[name] for each in spent) for name in spent[0]}
        size = archive.compact().bytes_after
        assert size is not None
        return figures | {"bytes_per_record": size / self.count}

    def index(self) -> Figures:
        return self.once("index", lambda: timed("index_build", self.open().build_index))


def searches(subject: Subject) -> Figures:
    """Opening, and exact search beside bare faiss; without that where the memory does not hold all vectors twice."""
    queries = subject.queries()
    faiss.omp_set_num_threads(1)
    bare = None
    if free_memory() > BESIDE * 4 * subject.count * subject.dim:
        bare = faiss.IndexFlatIP(subject.dim)
        for _, vectors in subject.slices():
            bare.add(vectors)
    resident = memory()
    archive = subject.open()
    figures = timed("open_and_first_search", lambda: Archive.open(archive.uri).search(queries[0], 10).records())
    archive.search(queries[0], 10).records()
    figures["memory_per_record"] = (memory() - resident) / subject.count
    rare, box = Filter(labels_any=("rare",)), Filter(bbox=(0, 0, 36, 17))
    retriever = Retriever(archive)
    contestants: dict[str, Callable[[np.ndarray], Any]] = {
        "exact": lambda q: archive.search(q, 10),
        "page": lambda q: retriever.search(Query(vector=q, k=10)),
        "filter_1_percent": lambda q: archive.search(q, 10, rare),
        "bbox_1_percent": lambda q: archive.search(q, 10, box),
    }
    if bare is not None:
        contestants["bare_faiss"] = lambda q: bare.search(q[None], 10)
    figures |= take_turns(contestants, queries)
    ratios = {"exact_over_faiss": ("exact", "bare_faiss"), "page_over_faiss": ("page", "bare_faiss")}
    ratios |= {"filter_over_exact": ("filter_1_percent", "exact"), "bbox_over_exact": ("bbox_1_percent", "exact")}
    for name, (one, other) in ratios.items():
        if other in contestants:
            figures[name] = figures[f"{one}_ms"] / figures[f"{other}_ms"]
            figures[f"{name}_cpu"] = figures[f"{one}_cpu_ms"] / figures[f"{other}_cpu_ms"]
    return figures


def changes(subject: Subject) -> Figures:
    """Adding and removing 1,000 records, and when the next search sees it; leaves the archive as it was."""
    archive, query = subject.open(), subject.queries(1)[0]
    archive.search(query, 10).records()
    fresh, more = records(subject.count, 1000), clustered(1000, subject.dim, 3)
    doomed = [record.id for record in fresh]
    figures = timed("add_1000", lambda: archive.add(fresh, more))
    figures |= timed("search_after_add", lambda: archive.search(query, 10))
    assert archive.search(more[0], 1).ids == (fresh[0].id,)
    figures |= timed("remove_1000", lambda: archive.remove(doomed))
    figures |= timed("search_after_remove", lambda: archive.search(query, 10))
    assert not set(doomed) & set(archive.search(more[0], 10).ids)
    for measure in ("s", "cpu_s"):
        parts = ("remove_1000", "search_after_remove")
        figures[f"remove_1000_and_search_{measure}"] = sum(figures[f"{part}_{measure}"] for part in parts)
    return figures


def ann(subject: Subject) -> Figures:
    """The speed and the recall of the index on disk, and both by how many candidates a walk keeps."""
    archive, queries = subject.open(), subject.queries(RECALL_QUERIES)
    figures = timed("ann_first", lambda: archive.search(queries[0], 10, mode="ann"))
    retriever = Retriever(archive)
    figures |= take_turns(
        {
            "ann": lambda q: archive.search(q, 10, mode="ann"),
            "ann_page": lambda q: retriever.search(Query(vector=q, k=10, mode="ann")),
        },
        queries[:QUERIES],
    )
    exact = subject.nearest(queries, 10)
    for candidates in (*CANDIDATES, EF):
        with patch("terraseek.archive.ann.EF", candidates):
            found = [set(archive.search(q, 10, mode="ann").ids) for q in queries]
            times = take_turns({"ann": lambda q: archive.search(q, 10, mode="ann")}, queries[:QUERIES])
        near = sum(len(one & other) for one, other in zip(found, exact, strict=True))
        figures[f"ann_recall_at_10_of_{candidates}"] = near / (10 * len(queries))
        figures[f"ann_cpu_ms_of_{candidates}"] = times["ann_cpu_ms"]
    return figures | {"ann_recall_at_10": figures[f"ann_recall_at_10_of_{EF}"]}


def measure(count: int, dim: int, folder: Path, parts: list[str]) -> Iterator[Figures]:
    """The figures of one size, as they come."""
    subject = Subject(folder / f"clustered-{count}x{dim}", "clustered", count, dim)
    steps: dict[str, Callable[[], Figures]] = {
        "build": subject.build,
        "searches": lambda: searches(subject),
        "changes": lambda: changes(subject),
        "index": subject.index,
        "ann": lambda: ann(subject),
    }
    subject.build()
    for name in parts:
        if name == "ann":
            subject.index()
        if name in steps:
            yield {"records": count, "dim": dim, **steps[name]()}
    if "noise" in parts:
        other = Subject(folder / f"noise-{count}x{dim}", "noise", count, dim)
        other.build()
        other.index()
        found = ann(other)
        yield {f"noise_{name}": found[name] for name in ("ann_recall_at_10", "ann_ms")}


ROWS = {
    "bytes_per_record": ("bytes on disk per record", "{:,.0f}", ""),
    "memory_per_record": ("bytes of memory per record, `exact`", "{:,.0f}", ""),
    "build_s": ("filling, s", "{:.1f}", ""),
    "build_cpu_s": ("filling, processor s", "{:.1f}", ""),
    "open_and_first_search_s": ("opening, first search and its records, s", "{:.2f}", "5"),
    "bare_faiss_ms": ("bare faiss Flat, p50, ms", "{:.2f}", ""),
    "exact_ms": ("`exact`, p50, ms", "{:.2f}", ""),
    "page_ms": ("a whole page (query to records), p50, ms", "{:.2f}", ""),
    "exact_over_faiss": ("`exact` / bare faiss", "{:.2f}", "1.5"),
    "exact_over_faiss_cpu": ("`exact` / bare faiss, processor", "{:.2f}", "1.5"),
    "page_over_faiss": ("a whole page / bare faiss", "{:.2f}", ""),
    "page_over_faiss_cpu": ("a whole page / bare faiss, processor", "{:.2f}", ""),
    "filter_over_exact": ("filter keeping 1 % / unfiltered", "{:.2f}", "2"),
    "filter_over_exact_cpu": ("filter keeping 1 % / unfiltered, processor", "{:.2f}", "2"),
    "bbox_over_exact": ("box keeping 1 % / unfiltered", "{:.2f}", "2"),
    "bbox_over_exact_cpu": ("box keeping 1 % / unfiltered, processor", "{:.2f}", "2"),
    "add_1000_s": ("adding 1,000 records, s", "{:.2f}", "2"),
    "search_after_add_s": ("first search after it, s", "{:.2f}", ""),
    "remove_1000_s": ("removing 1,000 records, s", "{:.2f}", ""),
    "remove_1000_and_search_s": ("removing 1,000 and searching without them, s", "{:.2f}", "1"),
    "index_build_s": ("building the index, s", "{:.1f}", ""),
    "index_build_cpu_s": ("building the index, processor s", "{:.1f}", ""),
    "ann_first_s": ("`ann`, first search (reads the index), s", "{:.2f}", ""),
    "ann_ms": ("`ann`, p50, ms", "{:.2f}", "10"),
    "ann_cpu_ms": ("`ann`, p50, processor ms", "{:.2f}", ""),
    "ann_page_ms": ("a whole page in `ann`, p50, ms", "{:.2f}", ""),
    "ann_recall_at_10": ("`ann` recall@10, clustered", "{:.3f}", ">= 0.98"),
    "noise_ann_recall_at_10": ("`ann` recall@10, uniform noise", "{:.3f}", ""),
    "load_average": ("load of the machine meanwhile, highest", "{:.1f}", ""),
}


def table(results: dict[str, Figures]) -> str:
    """The results in Markdown, with the goals."""
    lines = ["| | " + " | ".join(f"{int(size):,}" for size in results) + " | goal |"]
    lines.append("|---" * (len(results) + 2) + "|")
    for name, (title, form, goal) in ROWS.items():
        if any(name in figures for figures in results.values()):
            cells = " | ".join(form.format(f[name]) if name in f else "" for f in results.values())
            goal = f"<= {goal}" if goal and goal[0].isdigit() else goal
            lines.append(f"| {title} | {cells} | {goal} |")
    return "\n".join(lines)


def run(options: argparse.Namespace, kept: dict[str, Figures]) -> None:
    """Measure, and keep what is measured at once: the largest index takes longest and comes last."""
    with contextlib.ExitStack() as stack:
        folder = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for size in options.sizes:
            parts = [part for part in options.parts if part != "noise" or size <= options.noise_up_to]
            figures = kept.setdefault(str(size), {})
            loads = [0.0]
            for found in measure(size, options.dim, folder, parts):
                loads.append(os.getloadavg()[0])
                figures |= found | {"load_average": max(loads)}
                machine = f"{platform.machine()}, {os.cpu_count()} cores, one thread per query"
                sizes = dict(sorted(kept.items(), key=lambda pair: int(pair[0])))
                tree = {"schema": 1, "machine": machine, "sizes": sizes}
                options.out.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure; all")
    parser.add_argument("--noise-up-to", type=int, default=10_000, help="largest size measured on noise too")
    parser.add_argument("--work", type=Path, help="folder where archives and indexes are kept for the next run")
    parser.add_argument("--table", action="store_true", help="print the results so far and measure nothing")
    parser.add_argument("--like", type=Path, metavar="FEATURES", help="compare the vectors with real ones")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "archive.json")
    options = parser.parse_args()
    if options.like:
        print(likeness(options.like, options.dim))
        return
    kept = json.loads(options.out.read_text(encoding="utf-8"))["sizes"] if options.out.exists() else {}
    if not options.table:
        run(options, kept)
    print(table(dict(sorted(kept.items(), key=lambda pair: int(pair[0])))))


if __name__ == "__main__":
    main()
