"""MACL against every other loss on frozen features: one command, resumable, one kept record per run.

    python benchmarks/macl.py --data DATA              # tune, study, ablation, report: about an hour on two cores
    python benchmarks/macl.py --data DATA --quick      # two seeds, the main losses, nothing tuned: minutes
    python benchmarks/macl.py --stage report           # the tables again from the kept runs

DATA is the folder with `features/ucmerced-ml.npz` and `features/ml-aid.npz` (frozen EfficientNet-Lite0 features, labels
and splits). A run trains an MLP head 1280-512-128 on the training split; queries are the validation split while
tuning, the test split in the study; the gallery is the training split. Every finished run is kept in
results/macl.json under its full configuration, so an interruption costs one run, and two processes (one per data set,
`--datasets`) may fill the same file.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from terraseek.losses import EmbeddingQueue, LabelStatistics, build_loss
from terraseek.metrics import EmbeddingSet, evaluate_retrieval

HERE = Path(__file__).parent
DATASETS = ("ucmerced-ml", "ml-aid")
MEASURES = ("mAP", "nDCG@100(jaccard)", "nDCG@100(count)", "macro-AP", "6 rarest AP")
MEAN = "mean of four"
# UC Merced's 1,285 training samples would leave a last batch of 5, whose noise costs every loss about a point: a last
# batch below `least` is left out.
SCHEDULE: dict[str, Any] = {
    "epochs": 60,
    "batch": 128,
    "least": 64,
    "lr": 1e-3,
    "weight_decay": 0.01,
    "hidden": 512,
    "dim": 128,
}
SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Setting:
    """A named row of a table: the loss, its options, and what differs from the common schedule."""

    name: str
    loss: str
    options: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    queue: int = 0


def temperatures(loss: str, values: Iterable[float]) -> list[Setting]:
    return [Setting(loss, loss, {"temperature": t}) for t in values]


# Four candidates for each competitor, chosen on validation for each data set on its own.
# MACL has none: its one default serves both data sets.
CANDIDATES: dict[str, list[Setting]] = {
    "any-supcon": temperatures("any-supcon", (0.05, 0.1, 0.2, 0.3)),
    "all-supcon": temperatures("all-supcon", (0.05, 0.1, 0.2, 0.3)),
    "multi-supcon": [
        *temperatures("multi-supcon", (0.05, 0.1, 0.2)),
        Setting("multi-supcon", "multi-supcon", {"temperature": 0.1, "threshold": 0.3, "normalisation": "count"}),
    ],
    "mul-supcon": temperatures("mul-supcon", (0.1, 0.15, 0.2, 0.3)),
    "similarity-dissimilarity": temperatures("similarity-dissimilarity", (0.05, 0.1, 0.2, 0.3)),
    "nt-xent": temperatures("nt-xent", (0.05, 0.1, 0.2, 0.5)),
    "sndl": temperatures("sndl", (0.03, 0.05, 0.1, 0.2)),
    "triplet": [
        *(Setting("triplet", "triplet", {"margin": m}) for m in (0.1, 0.2, 0.4)),
        Setting("triplet", "triplet", {"margin": 0.2, "mining": "hard-negative"}),
    ],
    "proxy-anchor": [
        Setting("proxy-anchor", "proxy-anchor", {"alpha": a, "margin": m})
        for a, m in ((32.0, 0.1), (16.0, 0.1), (8.0, 0.1), (16.0, 0.0))
    ],
    "bce": [Setting("bce", "bce", {}, {"lr": lr}) for lr in (3e-4, 1e-3, 3e-3, 1e-2)],
}
MACL = [Setting("MACL", "macl"), Setting("MACL weighted", "macl", {"weighted": True})]
QUICK = ("any-supcon", "multi-supcon", "mul-supcon", "triplet", "bce")


def macl(name: str, queue: int = 0, **options: Any) -> Setting:
    return Setting(name, "macl", options, queue=queue)


ABLATION = [
    macl("default"),
    macl("PLR off", plr="off"),
    macl("PLR pair", plr="pair"),
    macl("PLR in-batch, gamma 1", plr="in-batch", gamma=1.0),
    macl("PLR mean instead of sum", aggregation="mean"),
    macl("gamma 0", gamma=0.0),
    macl("gamma 1, kappa 30", gamma=1.0, kappa=30.0),
    macl("gamma 2, kappa 1000", gamma=2.0, kappa=1000.0),
    macl("eta 0.5", eta=0.5),
    macl("eta 1 (weighted)", eta=1.0),
    macl("DTS off", alpha=0.0, beta=0.0),
    macl("alpha 0", alpha=0.0),
    macl("alpha 1", alpha=1.0),
    macl("alpha 2", alpha=2.0),
    macl("alpha -0.5", alpha=-0.5),
    macl("beta 0", beta=0.0),
    macl("beta -0.3", beta=-0.3),
    macl("beta 1", beta=1.0),
    macl("fading 0", fading=0.0),
    macl("overlap jaccard", overlap="jaccard"),
    macl("fading 0, overlap jaccard, alpha 1, eta 0.5", fading=0.0, overlap="jaccard", alpha=1.0, eta=0.5),
    macl("anchor rarity max", anchor_rarity="max"),
    macl("DTS numerator", dts="numerator"),
    macl("DTS denominator", dts="denominator"),
    macl("DTS anchor", dts="anchor"),
    macl("normalisation count", normalisation="count"),
    macl("positives jaccard >= 0.3", positives="jaccard", jaccard_threshold=0.3),
    macl("queue 512", queue=512),
    macl("queue 1024", queue=1024),
]


@dataclass(frozen=True)
class Features:
    """One data set: per split (N, 1280) features and (N, C) labels."""

    name: str
    parts: dict[str, tuple[Tensor, Tensor]]
    split_hash: str


def load_features(root: Path, name: str) -> Features:
    with np.load(root / "features" / f"{name}.npz", allow_pickle=False) as file:
        features, labels, split, names = (file[key] for key in ("features", "labels", "split", "names"))
    parts = {
        part: (torch.from_numpy(features[split == part].astype(np.float32)), torch.from_numpy(labels[split == part]))
        for part in ("train", "val", "test")
    }
    listing = "\n".join(f"{n}\t{s}" for n, s in sorted(zip(names.tolist(), split.tolist(), strict=True)))
    return Features(name, parts, hashlib.sha256(listing.encode()).hexdigest()[:16])


def score(query: tuple[Tensor, Tensor], gallery: tuple[Tensor, Tensor]) -> dict[str, float]:
    """The five measures in percent; frequencies come from the gallery, which is the training split."""
    sides = [
        EmbeddingSet(vectors.numpy(), labels.numpy(), tuple(f"{side}/{i}" for i in range(len(labels))))
        for side, (vectors, labels) in (("query", query), ("gallery", gallery))
    ]
    evaluation = evaluate_retrieval(*sides, MEASURES, bootstrap=0, threads=1)
    return {name: 100 * evaluation[name] for name in MEASURES}


def train_and_score(data: Features, setting: Setting, seed: int, split: str) -> dict[str, float]:
    if setting.loss == "frozen":
        return score(data.parts[split], data.parts["train"])
    schedule = SCHEDULE | setting.schedule
    torch.manual_seed(seed)
    features, labels = data.parts["train"]
    hidden, dim = schedule["hidden"], schedule["dim"]
    head = nn.Sequential(nn.Linear(features.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, dim))
    loss = build_loss(setting.loss, LabelStatistics.from_labels(labels), dim, **setting.options)
    parameters = [*head.parameters(), *loss.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=schedule["lr"], weight_decay=schedule["weight_decay"], fused=True)
    queue = EmbeddingQueue(setting.queue, dim, labels.shape[1]) if setting.queue else None
    order = torch.Generator().manual_seed(seed)
    for _ in range(schedule["epochs"]):
        for ids in torch.randperm(len(features), generator=order).split(schedule["batch"]):
            if len(ids) < schedule["least"]:
                continue
            embeddings, batch = head(features[ids]), labels[ids]
            if queue is None:
                value = loss(embeddings, batch, ids=ids)
            else:
                past = queue.view()
                references = torch.cat([embeddings, past.embeddings_MD]), torch.cat([batch.float(), past.labels_MC])
                value = loss(embeddings, batch, *references, ids=ids, ref_ids=torch.cat([ids, past.ids_M]))
                queue.push(embeddings, batch, ids)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    with torch.no_grad():
        query, query_labels = data.parts[split]
        return score((head(query), query_labels), (head(features), labels))


class MissingError(Exception):
    """A run that is not kept, while only kept runs are wanted."""


class Store:
    """Finished runs by configuration, in one JSON file that several processes may fill."""

    def __init__(self, path: Path, *, kept_only: bool = False) -> None:
        self.path = path
        self.kept_only = kept_only
        path.parent.mkdir(parents=True, exist_ok=True)

    def runs(self) -> dict[str, Any]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def put(self, key: str, record: dict[str, Any]) -> None:
        with (self.path.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            runs = self.runs() | {key: record}
            partial = self.path.with_suffix(".partial")
            partial.write_text(json.dumps(runs, indent=1, sort_keys=True) + "\n")
            partial.replace(self.path)  # all of it or nothing, whenever the process dies


def key_of(data: Features, setting: Setting, seed: int, split: str) -> str:
    """All that the outcome depends on; the defaults of MACL too, so that a change of them is a new run."""
    options = setting.options
    if setting.loss == "macl":
        config = build_loss("macl", LabelStatistics.from_labels([[1]]), **options).config  # type: ignore[union-attr]
        options = {name: getattr(config, name) for name in config.__dataclass_fields__}
    fields = {
        "dataset": data.name,
        "hash": data.split_hash,
        "split": split,
        "loss": setting.loss,
        "options": options,
        "schedule": SCHEDULE | setting.schedule,
        "queue": setting.queue,
        "seed": seed,
    }
    return json.dumps(fields, sort_keys=True)


def finish(store: Store, data: Features, setting: Setting, seed: int, split: str) -> dict[str, float]:
    """The kept scores of this run; runs it where there are none."""
    key = key_of(data, setting, seed, split)
    record = store.runs().get(key)
    if record is None and store.kept_only:
        raise MissingError(key)
    if record is None:
        start = time.perf_counter()
        scores = train_and_score(data, setting, seed, split)
        scores[MEAN] = float(np.mean([scores[m] for m in MEASURES[:4]]))
        record = {"scores": {m: round(v, 4) for m, v in scores.items()}, "seconds": round(time.perf_counter() - start)}
        store.put(key, record)
        print(
            f"{data.name:12} {split:5} {setting.name:26} {setting.options} seed {seed}: {scores[MEAN]:.2f}", flush=True
        )
    return record["scores"]  # type: ignore[no-any-return]


def tuned(store: Store, data: Features, loss: str, seeds: Iterable[int] = (0,)) -> Setting:
    """The candidate with the best mean of four on validation."""

    def worth(setting: Setting) -> float:
        return float(np.mean([finish(store, data, setting, seed, "val")[MEAN] for seed in seeds]))

    return max(CANDIDATES[loss], key=worth)


def study(store: Store, data: Features, quick: bool) -> list[Setting]:
    """The rows of the main table: MACL as it comes, every competitor tuned (in quick form as it comes too)."""
    settings = [Setting("frozen features", "frozen"), *MACL]
    for loss in QUICK if quick else CANDIDATES:
        try:
            settings.append(Setting(loss, loss) if quick else tuned(store, data, loss))
        except MissingError:
            print(f"{data.name}: {loss} is not tuned yet")
    return settings


def all_seeds(store: Store, data: Features, setting: Setting, seeds: tuple[int, ...]) -> list[dict[str, float]] | None:
    try:
        return [finish(store, data, setting, seed, "test") for seed in seeds]
    except MissingError:
        print(f"{data.name}: {setting.name} lacks runs, left out of the table")
        return None


def table(store: Store, data: Features, settings: Iterable[Setting], seeds: tuple[int, ...], against: str) -> str:
    """Mean and standard deviation over seeds, and the paired difference to the row `against` with its interval."""
    columns = (*MEASURES, MEAN)
    lines = ["| | " + " | ".join((*columns, f"{against} minus this (95 %)")) + " |", "|---" * (len(columns) + 2) + "|"]
    found = {s.name: (s, runs) for s in settings if (runs := all_seeds(store, data, s, seeds)) is not None}
    scores = {name: runs for name, (_, runs) in found.items()}
    if against not in scores:
        return f"(no finished runs of {against})"
    for setting, _ in found.values():
        cells = []
        for column in columns:
            values = np.array([run[column] for run in scores[setting.name]])
            spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 and setting.loss != "frozen" else ""
            cells.append(f"{values.mean():.1f}{spread}")
        difference = np.array([a[MEAN] - b[MEAN] for a, b in zip(scores[against], scores[setting.name], strict=True)])
        options = ", ".join(f"{k} {v}" for k, v in (setting.options | setting.schedule).items())
        name = f"{setting.name} ({options})" if options and setting.loss != "macl" else setting.name
        lines.append(f"| {name} | " + " | ".join([*cells, interval(difference)]) + " |")
    return "\n".join(lines)


def interval(difference: np.ndarray) -> str:
    """Mean with the 95 % interval of a paired t test over seeds."""
    n = len(difference)
    if n < 2 or not difference.any():
        return ""
    quantile = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}[n]
    half = quantile * difference.std(ddof=1) / math.sqrt(n)
    return f"{difference.mean():+.2f} ({difference.mean() - half:+.2f} to {difference.mean() + half:+.2f})"


def machine() -> str:
    cores, python = os.cpu_count(), platform.python_version()
    return f"{platform.machine()}, {cores} CPU cores, Python {python}, torch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("TERRASEEK_DATA"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "macl.json")
    parser.add_argument("--stage", choices=("tune", "study", "ablation", "report", "all"), default="all")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=DATASETS)
    parser.add_argument("--quick", action="store_true", help="two seeds, main losses, untuned, no ablation")
    parser.add_argument("--markdown", type=Path, help="also write the tables to this file")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data, the folder that holds features/ (or set TERRASEEK_DATA)")
    torch.set_num_threads(1)
    store = Store(arguments.out, kept_only=arguments.stage == "report")
    seeds = SEEDS[:2] if arguments.quick else SEEDS
    tables = []
    for name in arguments.datasets:
        data = load_features(arguments.data, name)
        sizes = "/".join(str(len(labels)) for _, labels in data.parts.values())
        tables.append(f"## {name}: train/val/test {sizes}, split {data.split_hash}, seeds {seeds}, {machine()}")
        if arguments.stage == "tune":
            for loss in CANDIDATES:
                best = tuned(store, data, loss)
                print(f"{name}: {loss} tuned to {best.options | best.schedule}")
        if arguments.stage in ("study", "report", "all"):
            tables.append(table(store, data, study(store, data, arguments.quick), seeds, "MACL"))
        if arguments.stage in ("ablation", "report", "all") and not arguments.quick:
            tables.append("### Ablation")
            tables.append(table(store, data, ABLATION, seeds[:2], "default"))
    if arguments.stage != "tune":
        print("\n\n".join(tables))
    if arguments.markdown:
        arguments.markdown.write_text("\n\n".join(tables) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
