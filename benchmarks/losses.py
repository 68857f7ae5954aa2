"""What one step of a loss costs: forward and backward of the loss alone, beside pytorch-metric-learning's SupConLoss.

    python benchmarks/losses.py                # B = 256, D = 128, C = 17 and 60, one thread
    python benchmarks/losses.py --out results/losses.json

All losses take turns within every round, so that a machine that slows down slows them alike. Medians are compared; the
minima stand beside them, because on a machine that others use too single operations are interrupted for milliseconds.
Peak memory is the largest sum of live tensors that torch's allocator reports during a step, above what was live
before it. Goal for MACL: at most 1.15 times the time and 1.5 times the memory of the peer.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from terraseek.losses import LOSSES, LabelStatistics, build_loss

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pytorch_metric_learning.losses import SupConLoss as PeerSupConLoss

PEER = "pytorch-metric-learning SupConLoss"
TIME_GOAL, MEMORY_GOAL = 1.15, 1.5
Step = Callable[[], None]


def make_steps(batch: int, dim: int, labels: int) -> dict[str, Step]:
    """One closure per loss over the same embeddings; the peer gets the class of the first label."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(batch, dim, generator=generator).requires_grad_()
    frequency = torch.linspace(0.6, 0.02, labels)
    multi_hot = (torch.rand(batch, labels, generator=generator) < frequency).float()
    classes = multi_hot.argmax(1)

    def step(loss: Callable[[Tensor, Tensor], Tensor], target: Tensor) -> Step:
        def run() -> None:
            embeddings.grad = None
            loss(embeddings, target).backward()  # type: ignore[no-untyped-call]

        return run

    found = LabelStatistics.from_labels(multi_hot)
    steps = {
        PEER: step(PeerSupConLoss(), classes),
        "macl weighted": step(build_loss("macl", found, weighted=True), multi_hot),
    }
    for name in LOSSES:
        # Without a memory: what is compared is one batch.
        options = {"memory": 0} if name == "sndl" else {}
        steps[name] = step(build_loss(name, found, dim, **options), multi_hot)
    return steps


def peak_memory(step: Step) -> int:
    """Bytes live at the worst moment of one step, from the allocator's own events."""
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    live = peak = 0
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]  # type: ignore[union-attr]
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def measure(batch: int, dim: int, labels: int, rounds: int) -> dict[str, dict[str, float]]:
    steps = make_steps(batch, dim, labels)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        for _ in range(5):
            step()
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return {
        name: {
            "ms": 1e3 * statistics.median(values),
            "min_ms": 1e3 * min(values),
            "peak_mib": peak_memory(steps[name]) / 2**20,
        }
        for name, values in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    report = {"machine": platform.machine(), "torch": torch.__version__, "threads": arguments.threads, "tables": {}}
    for labels in (17, 60):
        table = measure(arguments.batch, arguments.dim, labels, arguments.rounds)
        peer = table[PEER]
        print(f"B = {arguments.batch}, D = {arguments.dim}, C = {labels}, {arguments.threads} thread(s)")
        for name, row in sorted(table.items(), key=lambda item: item[1]["ms"]):
            time_ratio, memory_ratio = row["ms"] / peer["ms"], row["peak_mib"] / peer["peak_mib"]
            cost = f"{row['ms']:7.2f} ms {time_ratio:5.2f}x (min {row['min_ms']:6.2f} ms)"
            print(f"  {name:36} {cost}  {row['peak_mib']:6.2f} MiB {memory_ratio:5.2f}x")
        report["tables"][f"C={labels}"] = table  # type: ignore[index]
        macl = table["macl"]
        reached = macl["ms"] <= TIME_GOAL * peer["ms"] and macl["peak_mib"] <= MEMORY_GOAL * peer["peak_mib"]
        print(f"  goal {TIME_GOAL}x time, {MEMORY_GOAL}x memory: {'reached' if reached else 'NOT reached'}")
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
