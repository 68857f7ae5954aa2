"""MACL against every other loss: one command, resumable, one kept record per run.

    python benchmarks/macl.py --data DATA                    # everything, resumes
    python benchmarks/macl.py --data DATA --quick            # two seeds, the main losses untuned: minutes
    python benchmarks/macl.py --data DATA --stage ablation   # one stage: tune, study, ablation
    python benchmarks/macl.py --data DATA --stage report --markdown docs/tables.md   # tables from the kept runs

DATA is the folder with `features/ucmerced-ml.npz` and `features/ml-aid.npz` (frozen EfficientNet-Lite0 features, labels
and splits). A run trains an MLP head 1280-512-128 on the training split; queries are the validation split while
tuning, the test split in the study; the gallery is the training split. Every finished run is kept in
results/macl.json under its full configuration, so an interruption costs one run, and two processes (one per data set,
`--datasets`) may fill the same file.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from _probe import SCHEDULE, Features, finish, load_features
from _study import MEAN, Competitor, MissingError, Row, Setting, Store, Tuned, table, tune, verdict

HERE = Path(__file__).parent
DATASETS = ("ucmerced-ml", "ml-aid")
SEEDS = (0, 1, 2, 3, 4)
STAGES = ("tune", "study", "ablation", "report", "all")

TEMPERATURES = (0.03, 0.055, 0.1, 0.18, 0.33, 0.6)
MARGINS = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8)


def competitor(loss: str, option: str, grid: tuple[float, ...], name: str = "", **options: Any) -> Competitor:
    return Competitor(Setting(name or loss, loss, options), option, grid)


# Eight runs for each competitor on each data set: six values and two between the best and its neighbours, chosen on
# validation. MACL has one default for both data sets.
COMPETITORS = [
    competitor("mul-supcon", "temperature", TEMPERATURES),
    competitor("multi-supcon", "temperature", TEMPERATURES),
    competitor("bce", "lr", (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
    competitor("any-supcon", "temperature", TEMPERATURES),
    competitor("triplet", "margin", MARGINS),
    competitor("triplet", "margin", MARGINS, "triplet, all positives", mining="hard-negative"),
    competitor("similarity-dissimilarity", "temperature", TEMPERATURES),
    competitor("proxy-anchor", "alpha", (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)),
    competitor("all-supcon", "temperature", TEMPERATURES),
    competitor("nt-xent", "temperature", TEMPERATURES),
    competitor(
        "multi-supcon",
        "temperature",
        TEMPERATURES,
        "multi-supcon, as published",
        threshold=0.3,
        normalisation="count",
    ),
    competitor("sndl", "temperature", TEMPERATURES),
]
MACL = [Setting("MACL", "macl"), Setting("MACL weighted", "macl", {"weighted": True})]
QUICK = ("mul-supcon", "multi-supcon", "bce", "any-supcon", "triplet")


def macl(name: str, queue: int = 0, sampler: dict[str, Any] | None = None, **options: Any) -> Setting:
    return Setting(name, "macl", options, queue=queue, sampler=sampler or {})


REPEAT = {"kind": "repeat-factor", "threshold": 0.1}
LABEL_AWARE = {"kind": "label-aware", "labels": 4, "per_label": 4}
ABLATION = [
    macl("default"),
    macl("PLR off", plr="off"),
    macl("PLR label (training frequencies)", plr="label"),
    macl("DTS off", alpha=0.0, beta=0.0),
    macl("PLR and DTS off", plr="off", alpha=0.0, beta=0.0),
    macl("PLR pair", plr="pair"),
    macl("PLR mean instead of sum", aggregation="mean"),
    macl("gamma 0", gamma=0.0),
    macl("gamma 1", gamma=1.0),
    macl("gamma 2, kappa 1000", gamma=2.0, kappa=1000.0),
    macl("over anchors", over="anchors"),
    macl("eta 0.5", eta=0.5),
    macl("eta 1 (weighted)", eta=1.0),
    macl("alpha 0", alpha=0.0),
    macl("alpha 1", alpha=1.0),
    macl("alpha 2", alpha=2.0),
    macl("alpha -0.5", alpha=-0.5),
    macl("beta 0", beta=0.0),
    macl("beta -0.3", beta=-0.3),
    macl("beta 1", beta=1.0),
    macl("fading 0", fading=0.0),
    macl("alpha 0, fading kept", alpha=1e-6, fading=9e5),
    macl("DTS off, gamma 1 (MulSupCon at 0.1)", alpha=0.0, beta=0.0, gamma=1.0),
    macl("overlap jaccard", overlap="jaccard"),
    macl("anchor rarity max", anchor_rarity="max"),
    macl("DTS numerator", dts="numerator"),
    macl("DTS denominator", dts="denominator"),
    macl("DTS anchor", dts="anchor"),
    macl("normalisation count", normalisation="count"),
    macl("positives jaccard >= 0.3", positives="jaccard", jaccard_threshold=0.3),
    macl("queue 512", queue=512),
    macl("queue 1024", queue=1024),
    macl("repeat-factor sampling", sampler=REPEAT),
    macl("label-aware sampling", sampler=LABEL_AWARE),
]


def tuned(store: Store, data: Features, rival: Competitor) -> Tuned:
    """The setting with the best mean of four on validation, seed 0."""
    return tune(rival, lambda setting: float(finish(store, data, setting, 0, "val")["scores"][MEAN]))


def study_settings(store: Store, data: Features, quick: bool) -> list[tuple[str, Setting]]:
    """The rows of the main table: MACL as it comes, every competitor tuned (in quick form as it comes too)."""
    rows = [("frozen features", Setting("frozen features", "frozen")), *((s.name, s) for s in MACL)]
    if quick:
        return rows + [(loss, Setting(loss, loss)) for loss in QUICK]
    for rival in COMPETITORS:
        try:
            best = tuned(store, data, rival)
        except MissingError:
            print(f"{data.name}: {rival.base.name} is not tuned yet")
            continue
        value = {**best.setting.options, **best.setting.schedule}[rival.option]
        end = ", the end of what was tried" if best.at_end else ""
        rows.append((f"{rival.base.name} ({rival.option} {value:g}{end})", best.setting))
    return rows


def rows_of(store: Store, data: Features, settings: Iterable[tuple[str, Setting]], seeds: tuple[int, ...]) -> list[Row]:
    """Test scores of every setting whose runs are there, after running what may be run."""
    rows = []
    for name, setting in settings:
        try:
            runs = [finish(store, data, setting, seed, "test")["scores"] for seed in seeds]
        except MissingError:
            print(f"{data.name}: {name} lacks runs, left out of the table")
            continue
        rows.append(Row(name, runs))
    return rows


def probe_report(store: Store, data: Features, quick: bool, stage: str) -> list[str]:
    """The tables of one data set; computes what is missing unless the store holds kept runs only."""
    seeds = SEEDS[:2] if quick else SEEDS
    sizes = "/".join(str(len(labels)) for _, labels in data.parts.values())
    parts = [f"## {data.name}: train/val/test {sizes}, split {data.split_hash[:16]}, {len(seeds)} seeds"]
    if stage in ("study", "report", "all"):
        rows = rows_of(store, data, study_settings(store, data, quick), seeds)
        rivals = [row.name for row in rows if row.name not in [s.name for s in MACL] + ["frozen features"]]
        parts += [table(rows, "MACL"), "### Against the best competitor of each measure", verdict(rows, "MACL", rivals)]
    if stage in ("ablation", "report", "all") and not quick:
        named = [(s.name, s) for s in ABLATION]
        parts += ["### Ablation, 2 seeds", table(rows_of(store, data, named, SEEDS[:2]), "default")]
    return parts


def run_in_order_of_interest(store: Store, everything: list[Features], stage: str) -> None:
    """MACL first, then each competitor tuned and, unless only tuning is wanted, tested at once."""
    if stage == "all":
        for data in everything:
            rows_of(store, data, [("MACL", MACL[0])], SEEDS)
    for rival in COMPETITORS:
        for data in everything:
            best = tuned(store, data, rival)
            print(f"{data.name}: {rival.base.name} tuned to {best.setting.described()}", flush=True)
            if stage == "all":
                rows_of(store, data, [(rival.base.name, best.setting)], SEEDS)


def machine() -> str:
    cores, python = os.cpu_count(), platform.python_version()
    return f"{platform.machine()}, {cores} CPU cores, one thread, Python {python}, torch {torch.__version__}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("TERRASEEK_DATA"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "macl.json")
    parser.add_argument("--stage", choices=STAGES, default="all")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=DATASETS)
    parser.add_argument("--quick", action="store_true", help="two seeds, main losses, untuned, no ablation")
    parser.add_argument("--markdown", type=Path, help="also write the tables to this file")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data, the folder that holds features/ (or set TERRASEEK_DATA)")
    arguments.data = Path(arguments.data)
    return arguments


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    store = Store(arguments.out, kept_only=arguments.stage == "report")
    everything = [load_features(arguments.data, name) for name in arguments.datasets]
    if arguments.stage in ("tune", "all") and not arguments.quick:
        run_in_order_of_interest(store, everything, arguments.stage)
    if arguments.stage == "tune":
        return
    schedule = ", ".join(f"{name} {value}" for name, value in SCHEDULE.items())
    parts = [f"Schedule: {schedule}. Machine: {machine()}."]
    for data in everything:
        parts += probe_report(store, data, arguments.quick, arguments.stage)
    print("\n\n".join(parts))
    if arguments.markdown:
        arguments.markdown.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
