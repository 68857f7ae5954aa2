"""MACL against every other loss: one command, resumable, one kept record per run.

    python benchmarks/macl.py --data DATA                    # everything, resumes
    python benchmarks/macl.py --data DATA --quick            # two seeds, the main losses untuned: minutes
    python benchmarks/macl.py --data DATA --stage ablation   # one stage: tune, study, ablation, finetune
    python benchmarks/macl.py --data DATA --stage report --markdown docs/results-macl.md --plots docs/images

(a) Frozen features. DATA is the folder with `features/ucmerced-ml.npz` and `features/ml-aid.npz` (frozen
EfficientNet-Lite0 features, labels and splits). A run trains an MLP head 1280-512-128 on the training split; queries
are the validation split while tuning, the test split in the study; the gallery is the training split.

(b) Fine-tuned. The images are in DATA/ucm and DATA/aid; the last part of EfficientNet-Lite0 (see _finetune.py) is
trained on from ImageNet weights, with what was tuned in (a).

Every finished run is kept in results/macl.json under its full configuration, so an interruption costs one run (in (b)
one epoch), and two processes (one per data set, `--datasets`) may fill the same file.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch

import _finetune
from _finetune import Images
from _plots import plot_fronts, plot_labels
from _probe import SCHEDULE, Features, finish, load_features
from _settings import ABLATION, COMPETITORS, FINETUNED, FROZEN, MACL, QUICK
from _study import MEAN, Competitor, MissingError, Row, Setting, Store, Tuned, table, tune, verdict, write_tables
from terraseek.data import load_dataset

HERE = Path(__file__).parent
DATASETS = ("ucmerced-ml", "ml-aid")
SEEDS = (0, 1, 2, 3, 4)
QUICK_SEEDS = ABLATION_SEEDS = SEEDS[:2]
FINETUNE_SEEDS = SEEDS[:3]
STAGES = ("tune", "study", "ablation", "finetune", "report", "all")
# By how much MACL was to lead the best competitor in the mean of four, set before anything was run.
LEADS = {"ucmerced-ml": 0.5, "ml-aid": 1.0}
IMAGES = {"ucmerced-ml": "ucm", "ml-aid": "aid"}


def tuned(store: Store, data: Features, rival: Competitor) -> Tuned:
    """The setting with the best mean of four on validation, seed 0."""
    return tune(rival, lambda setting: float(finish(store, data, setting, 0, "val")["scores"][MEAN]))


def run_tests(store: Store, data: Features, setting: Setting, seeds: Sequence[int]) -> None:
    """Finish a setting's runs on the test split."""
    for seed in seeds:
        finish(store, data, setting, seed, "test")


def run_quick(store: Store, everything: Sequence[Features]) -> None:
    """MACL and the main competitors, untuned."""
    for data in everything:
        for setting in [FROZEN, *MACL, *(Setting(loss, loss) for loss in QUICK)]:
            run_tests(store, data, setting, QUICK_SEEDS)


def run_probe(store: Store, everything: Sequence[Features], stage: str) -> None:
    """The most telling runs first: MACL, then each competitor tuned and, unless only tuning is wanted, tested."""
    testing = stage in ("study", "all")
    for data in everything if testing else ():
        for setting in (FROZEN, *MACL):
            run_tests(store, data, setting, SEEDS)
    for rival in COMPETITORS if stage in ("tune", "study", "all") else ():
        for data in everything:
            best = tuned(store, data, rival)
            print(f"{data.name}: {rival.base.name} tuned to {best.setting.described()}", flush=True)
            if testing:
                run_tests(store, data, best.setting, SEEDS)
    for setting in ABLATION if stage in ("ablation", "all") else ():
        for data in everything:
            run_tests(store, data, setting, ABLATION_SEEDS)


def finetuned_settings(store: Store, data: Features) -> list[Setting]:
    """MACL, and the competitors with the options that were best for them on frozen features."""
    bases = [tuned(store, data, rival).setting for rival in COMPETITORS if rival.base.name in FINETUNED]
    return [*MACL, *(Setting(best.name, best.loss, best.options) for best in bases)]


def run_finetune(store: Store, data: Features, images: Images, epochs: int, runs: Path) -> None:
    """Seed by seed, so that an unfinished study has every loss."""
    for seed in FINETUNE_SEEDS:
        for setting in finetuned_settings(store, data):
            _finetune.finish(store, images, setting, seed, epochs=epochs, runs=runs)


def kept(name: str, outcome: Callable[[int], Any], seeds: Sequence[int], *, seeded: bool = True) -> Iterator[Row]:
    """A row of the runs that are there; none where there are none."""
    runs = {}
    for seed in seeds:
        with suppress(MissingError):
            runs[seed] = outcome(seed)
    if runs:
        yield Row(name, runs, seeded)


def probe_rows(store: Store, data: Features, *, quick: bool) -> list[Row]:
    """The main table: MACL as it comes, every competitor tuned (in quick form as it comes too)."""
    named = [(setting.name, setting) for setting in (FROZEN, *MACL)]
    if quick:
        named += [(loss, Setting(loss, loss)) for loss in QUICK]
    for rival in () if quick else COMPETITORS:
        with suppress(MissingError):
            best = tuned(store, data, rival)
            value = {**best.setting.options, **best.setting.schedule}[rival.option]
            end = ", the end of what was tried" if best.at_end else ""
            named.append((f"{rival.base.name} ({rival.option} {value:g}{end})", best.setting))
    seeds = QUICK_SEEDS if quick else SEEDS
    rows = []
    for name, setting in named:
        run = partial(finish, store, data, setting, split="test")
        rows += kept(name, run, seeds) if setting != FROZEN else kept(name, run, seeds[:1], seeded=False)
    return rows


def ablation_rows(store: Store, data: Features) -> list[Row]:
    """MACL with one choice changed at a time."""
    rows = []
    for setting in ABLATION:
        rows += kept(setting.name, partial(finish, store, data, setting, split="test"), ABLATION_SEEDS)
    return rows


def finetuned_rows(store: Store, data: Features, images: Images, epochs: int) -> list[Row]:
    """The table of setting (b)."""
    rows: list[Row] = []
    with suppress(MissingError):
        for setting in finetuned_settings(store, data):
            run = partial(_finetune.finish, store, images, setting, epochs=epochs, runs=Path())
            rows += kept(setting.name, run, FINETUNE_SEEDS)
    return rows


def compared(title: str, rows: Sequence[Row], lead: float) -> list[str]:
    """A table, and below it MACL against the best competitor of each measure."""
    rivals = [row.name for row in rows if row.name not in {setting.name for setting in (FROZEN, *MACL)}]
    against = verdict(rows, "MACL", rivals, lead)
    return [title, table(rows, "MACL"), "MACL against the best competitor of each measure:", against]


def report(store: Store, everything: Sequence[Features], arguments: argparse.Namespace) -> list[str]:
    """All tables of what is kept; draws the figures where they are wanted."""
    schedule = ", ".join(f"{name} {value}" for name, value in SCHEDULE.items())
    parts = [f"Schedule: {schedule}; one thread."]
    tables = {}
    for data in everything:
        sizes = "/".join(str(len(labels)) for _, labels in data.parts.values())
        where = f"{data.name} (train/val/test {sizes}, split {data.split_hash[:16]})"
        rows = tables[data.name] = probe_rows(store, data, quick=arguments.quick)
        parts += compared(f"## {where}: frozen features", rows, LEADS[data.name])
        if not arguments.quick:
            parts += [f"### {data.name}: ablation", table(ablation_rows(store, data), "default")]
            images = open_images(arguments.data, data.name)
            if images and (tuned_rows := finetuned_rows(store, data, images, arguments.epochs)):
                parts += compared(
                    f"## {data.name}: fine-tuned, {arguments.epochs} epochs", tuned_rows, LEADS[data.name]
                )
    if arguments.plots:
        ours = [setting.name for setting in MACL]
        trained = {name: [row for row in rows if row.name != FROZEN.name] for name, rows in tables.items()}
        plot_fronts(trained, ours, arguments.plots / "macl-front.png")
        plot_labels({data.name: (data, tables[data.name]) for data in everything}, arguments.plots / "macl-labels.png")
    return parts


def open_images(root: Path, name: str) -> Images | None:
    """The images behind the features, where they are at hand."""
    folder = root / IMAGES[name]
    return Images(folder, load_dataset(name, folder)) if folder.is_dir() else None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("TERRASEEK_DATA"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "macl.json")
    parser.add_argument("--stage", choices=STAGES, default="all")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=DATASETS)
    parser.add_argument("--quick", action="store_true", help="two seeds, main losses, untuned, no ablation")
    parser.add_argument("--epochs", type=int, default=40, help="of fine-tuning")
    parser.add_argument("--runs", type=Path, default=Path("runs", "macl"), help="run folders of fine-tuning")
    parser.add_argument("--markdown", type=Path, help="also write the tables to this file, between its marks")
    parser.add_argument("--plots", type=Path, help="draw the figures into this folder")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data, the folder that holds features/ (or set TERRASEEK_DATA)")
    arguments.data = Path(arguments.data)
    return arguments


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    store = Store(arguments.out)
    everything = [load_features(arguments.data, name) for name in arguments.datasets]
    if arguments.quick and arguments.stage != "report":
        run_quick(store, everything)
    elif arguments.stage != "report":
        run_probe(store, everything, arguments.stage)
    for data in everything if arguments.stage in ("finetune", "all") and not arguments.quick else ():
        images = open_images(arguments.data, data.name)
        if images:
            run_finetune(store, data, images, arguments.epochs, arguments.runs)
        else:
            print(f"{data.name}: no images in {arguments.data / IMAGES[data.name]}, nothing to fine-tune")
    parts = report(Store(arguments.out, kept_only=True), everything, arguments)
    print("\n\n".join(parts))
    if arguments.markdown:
        write_tables(arguments.markdown, "\n\n".join(parts))


if __name__ == "__main__":
    main()
