"""KAMCL as published, corrected, and this project's method, on the same images: one command, resumable.

    python benchmarks/kamcl.py --data DATA                  # everything: many hours on two cores
    python benchmarks/kamcl.py --data DATA --quick          # UCM-Captions, one seed, three epochs: minutes
    python benchmarks/kamcl.py --data DATA --stage report   # the tables again from the kept runs

DATA is the folder that holds UCM-Captions (`ucm/`) and RSICD-10k (`rsicd/`, `aid/`). Every row of the tables is the
recipe recipes/rsicd10k-kamcl.toml with the changes listed under ROWS: same images, same ImageNet weights, same epochs,
same optimizer, same batch. The checkpoint is chosen by mR on validation, and judged once on test. A finished run is
kept in results/kamcl.json under its full recipe, the captions and the concepts mined from them: a change of any of
these makes the run a new one. An interruption costs at most an epoch: a run that was cut short goes on from its last.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import itertools
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from _machine import describe_machine
from _study import MissingError, Store, as_before, interval, key_of, write_tables
from terraseek.config import from_mapping, to_mapping
from terraseek.data import ImageDataset, load_dataset
from terraseek.training import KnowledgeMode, Recipe, evaluate_captions, mine_concepts, resolve_precision, train

HERE = Path(__file__).parent
RECIPE = HERE.parent / "recipes" / "rsicd10k-kamcl.toml"
SEEDS = (0, 1, 2)
RECALLS = tuple(f"{way}_R@{k}" for way in ("i2t", "t2i") for k in (1, 5, 10))
COLUMNS = (*RECALLS, "mR", "mR(equivalent)")
# Short enough for two CPU cores; on a GPU give --size 224 and more epochs.
SCHEDULE = {"ucm-captions": 12, "rsicd-10k": 6}
SIZE = 160


@dataclass(frozen=True)
class Row:
    """A line of the tables: what differs from the recipe, as dotted keys, and the row that it is compared with."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    against: str = "final"


PUBLISHED_TEXT = {"width": 300, "hidden": 512, "heads": 1, "dropout": 0.0}
# Structure and objectives of the paper: hierarchical aggregation over channels; GRU, MLP and GPO without further heads;
# 512 dimensions for 512 concepts; momentum contrast with queues, hardest triplet, two steps. What differs from it is
# common to all rows (EfficientNet-Lite0 with its first blocks frozen, AdamW with a cosine, batch, augmentation) or owed
# to the time it takes (a GRU of 512 units, not 2,400). The momentum of 0.999 is meant for tens of thousands of steps;
# 0.99 follows as far in the few hundred of this schedule. UCM-Captions has 120 concepts: a linear map brings their
# scores to 512 dimensions.
CORRECTED: dict[str, Any] = {
    "model.aggregator": "channels",
    "model.dim": 512,
    "model.aggregator_dim": 512,
    "model.head": "none",
    "text.encoder": "gru",
    "text.network": PUBLISHED_TEXT | {"head": "none"},
    "text.word_vectors": "random",
    "text.per_image": 1,
    "text.query_bank": 0,
    "objectives.overlap": False,
    "objectives.contrast.loss": "info-nce",
    "objectives.contrast.weight": 10.0,
    "objectives.contrast.queue": "train",
    "objectives.contrast.momentum": 0.99,
    "objectives.contrast.options": {"temperature": 0.07},
    "objectives.triplet.weight": 1.0,
    "objectives.triplet.options": {"margin": 0.2},
    "objectives.alignment.weight": 10.0,
    "objectives.alignment.first_epoch": "half",
}
FAULTS = {"concepts.mode": "published", "objectives.variant": "published"}
PUBLISHED = CORRECTED | FAULTS | {"text.network": PUBLISHED_TEXT | {"head": "none", "variant": "published"}}
# All losses here are means, over the batch and over both directions. In code of the published method's line of descent
# the triplet is a sum over both, beside which the other terms count for little.
SUMMED = {"objectives.triplet.weight": 128.0, "objectives.alignment.weight": 5.0}
# The same with fewer dimensions and heads.
HEADS = {"model.dim": 256, "model.head": "mlp"}
CORRECTED_256 = CORRECTED | HEADS | {"text.network": PUBLISHED_TEXT}
PUBLISHED_256 = PUBLISHED | HEADS | {"text.network": PUBLISHED_TEXT | {"variant": "published"}}
UNBANKED = {"text.query_bank": 0}
# Tried as the recipe.
POOLED = {"model.aggregator": "pooled", "objectives.alignment.weight": 1.0}
LIVE = {"objectives.contrast.queue": 0, "objectives.contrast.momentum": 0.0}


def unbanked(change: str, changes: dict[str, Any], seeds: tuple[int, ...] = SEEDS[:1]) -> Row:
    """A change of the final method without its query bank; compared with that."""
    return Row(f"unbanked {change}", UNBANKED | changes, seeds, against="unbanked")


ROWS = (
    Row("published", PUBLISHED, SEEDS),
    Row("corrected", CORRECTED, SEEDS),
    Row("final", {}, SEEDS),
    Row("unbanked", UNBANKED, SEEDS),
    Row("final, concept scores apart", {"concepts.apart": True}, SEEDS),
    Row("final with the backbone's features, a tenth of the alignment", POOLED, SEEDS),
    Row("published, triplet summed", PUBLISHED | SUMMED),
    Row("published, with heads and 256 dimensions", PUBLISHED_256),
    Row("corrected, with heads and 256 dimensions", CORRECTED_256),
    Row("corrected + query bank", CORRECTED | {"text.query_bank": 2048}),
    Row("corrected + mean aggregator", CORRECTED | {"model.aggregator": "mean"}),
    Row("corrected + contrast of live encoders", CORRECTED | LIVE),
    Row("corrected + three captions an image", CORRECTED | {"text.per_image": 3}),
    Row(
        "corrected + graded relevance",
        CORRECTED | {"objectives.overlap": True, "objectives.contrast.loss": "graded"},
    ),
    unbanked("with random word vectors", {"text.word_vectors": "random"}, SEEDS),
    unbanked(
        "with two groups of blocks trained",
        {"model.freeze": ["conv_stem", "bn1", *(f"blocks.{group}" for group in range(5))]},
        SEEDS,
    ),
    unbanked("with EfficientNet-Lite2", {"model.backbone": "efficientnet-lite2"}),
    unbanked("without aggregator", {"model.aggregator": "none", "model.head": "mlp"}),
    unbanked("without concepts (no KAL)", {"objectives.alignment.weight": 0.0}),
    unbanked("in one step", {"objectives.alignment.first_epoch": 0}),
    unbanked("without graded relevance", {"objectives.overlap": False, "objectives.contrast.loss": "info-nce"}),
    unbanked("without queue and momentum (no MCL)", LIVE),
    unbanked(
        "with the sigmoid loss",
        {"objectives.contrast.loss": "sigmoid", "objectives.contrast.options": {}, "objectives.overlap": False},
    ),
    unbanked("without triplet", {"objectives.triplet.weight": 0.0}),
    unbanked("with one caption an image", {"text.per_image": 1}),
    unbanked(
        "with a GRU and vectors of 512",
        {"model.dim": 512, "model.aggregator_dim": 512, "text.network": PUBLISHED_TEXT | {"head": "none"}},
    ),
    unbanked(
        "with a smaller GRU and heads",
        HEADS | {"text.network": {"width": 256, "hidden": 256, "heads": 1, "dropout": 0.2}},
    ),
    unbanked(
        "with a transformer",
        {"text.encoder": "transformer", "text.network": {"width": 256, "hidden": 512, "layers": 2, "heads": 4}},
    ),
    unbanked(
        "with MiniLM-L6",
        {"text.encoder": "minilm-l6", "text.pretrained": True, "text.network": {}, "text.word_vectors": "random"},
    ),
)
QUICK = ("published", "corrected", "final")
JOINT = unbanked("with label sets in the batch", {"objectives.labels.weight": 0.2})  # UCM-Captions has labels


def rows_of(dataset: str) -> tuple[Row, ...]:
    return (*ROWS, JOINT) if dataset == "ucm-captions" else ROWS


def recipe_of(row: Row, dataset: str, train_images: int, seed: int, size: int, epochs: int) -> Recipe:
    """The base recipe with the row's changes on the study's schedule."""
    tree = tomllib.loads(RECIPE.read_text(encoding="utf-8"))
    changes = {
        "name": f"{dataset}-{row.name}",
        "data.name": dataset,
        "data.pixels": size * 8 // 7,
        "model.input_size": size,
        "trainer.epochs": epochs,
        "trainer.validate_every": max(1, epochs // 4),
        "objectives.contrast.queue": "train",
        "objectives.alignment.first_epoch": "half",
        **row.changes,
    }
    words = {"half": epochs // 2, "train": train_images}
    for key, value in changes.items():
        *sections, name = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = words.get(value, value) if isinstance(value, str) else copy.deepcopy(value)
    tree["seed"] = seed
    return from_mapping(Recipe, tree)


def digest(content: Any, more: bytes = b"") -> str:
    """A short name for JSON content and bytes."""
    return hashlib.sha256(json.dumps(content).encode() + more).hexdigest()[:16]


def annotations_digest(dataset: ImageDataset) -> str:
    """Captions and labels of all images: the hash of the splits has the ids alone."""
    return digest([[sample.id, sample.captions, sample.labels] for sample in dataset.samples])


class Study:
    """Runs of one data set on one schedule."""

    def __init__(self, store: Store, data: Path | None, runs: Path, dataset: str, size: int, epochs: int) -> None:
        self.store, self.runs, self.name, self.size, self.epochs = store, runs, dataset, size, epochs
        self.dataset = load_dataset(dataset, data) if data else None
        self.root = data
        self._digests: dict[tuple[str, int], str] = {}

    def config(self, row: Row, seed: int) -> dict[str, Any]:
        """All that the outcome of a run depends on, but for machine and versions."""
        assert self.dataset is not None
        recipe = recipe_of(row, self.name, self.dataset.splits["train"], seed, self.size, self.epochs)
        tree = to_mapping(recipe)
        tree.pop("name")
        tree["concepts"] = as_before("concepts", tree["concepts"])
        return {
            "row": row.name,
            "split_hash": self.dataset.split_hash,
            "annotations": annotations_digest(self.dataset),
            "concepts": self._concepts(recipe.concepts.mode, recipe.concepts.size),
            "recipe": tree,
        }

    def _concepts(self, mode: KnowledgeMode, size: int) -> str:
        """Which words are concepts, and how far they hold for each image: stop words and mining decide it."""
        assert self.dataset is not None
        if (mode, size) not in self._digests:
            knowledge = mine_concepts(self.dataset, size=size, mode=mode)
            self._digests[mode, size] = digest([knowledge.words, knowledge.ids], knowledge.scores_NC.tobytes())
        return self._digests[mode, size]

    def finish(self, row: Row, seed: int) -> dict[str, float]:
        """The kept test scores of this run; trains it where there are none."""
        config = self.config(row, seed)
        kept = self.store.runs().get(key_of(config))
        if kept is None and self.store.kept_only:
            raise MissingError(row.name)
        if kept is None:
            kept = self._run(row, seed, key_of(config))
            self.store.put(config, kept)
            print(f"{self.name:12} {row.name:40} seed {seed}: test mR {kept['scores']['mR']:.2f}", flush=True)
        return kept["scores"]  # type: ignore[no-any-return]

    def machines(self, rows: tuple[Row, ...]) -> list[str]:
        """What the kept runs of these rows were trained on."""
        runs = self.store.runs()
        keys = [key_of(self.config(row, seed)) for row in rows for seed in row.seeds]
        return sorted({runs[key]["machine"] for key in keys if key in runs})

    def _run(self, row: Row, seed: int, key: str) -> dict[str, Any]:
        assert self.dataset is not None
        recipe = recipe_of(row, self.name, self.dataset.splits["train"], seed, self.size, self.epochs)
        tree = to_mapping(recipe)
        tree["data"] |= {"root": str(self.root), "cache": str(self.runs / "pixels")}
        out = self.runs / key
        run = train(from_mapping(Recipe, tree), out, resume=(out / "recipe.toml").is_file())
        found, _ = evaluate_captions(run.model, self.dataset, split="test", bootstrap=0)
        return {
            "scores": {name: round(found[name], 3) for name in COLUMNS},
            "validation": round(run.validation["mR"], 3),
            "epoch": run.best_epoch,
            "seconds": round(run.seconds),
            "machine": describe_machine(),
            "precision": resolve_precision(recipe.trainer),
        }

    def table(self, rows: tuple[Row, ...]) -> str:
        """Means and deviations over seeds, the difference to what a row is compared with over those that both have.

        Empty where there are no runs.
        """
        found: dict[str, dict[int, dict[str, float]]] = {}
        for row in rows:
            for seed in row.seeds:
                try:
                    found.setdefault(row.name, {})[seed] = self.finish(row, seed)
                except MissingError:
                    continue
        if not found:
            return ""
        head = (*COLUMNS, "seeds", "compared with", "which minus this, mR (95 %)")
        against = {row.name: row.against for row in rows}
        lines = ["| | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
        for name, runs in found.items():
            cells = []
            for column in COLUMNS:
                values = np.array([run[column] for run in runs.values()])
                spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 and column.startswith("mR") else ""
                cells.append(f"{values.mean():.1f}{spread}")
            others = found.get(against[name], {})
            shared = sorted(runs.keys() & others.keys())
            difference = np.array([others[s]["mR"] - runs[s]["mR"] for s in shared])
            compared = "" if name == against[name] or not shared else against[name]
            said = f"{difference[0]:+.2f}" if len(shared) == 1 else interval(difference)
            cells += [str(len(runs)), compared, said if compared else ""]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("TERRASEEK_DATA"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "kamcl.json")
    parser.add_argument("--runs", type=Path, default=Path("runs", "kamcl"), help="run folders and decoded pixels")
    parser.add_argument("--stage", choices=("main", "ablation", "report", "all"), default="all")
    parser.add_argument("--datasets", nargs="+", choices=tuple(SCHEDULE), default=tuple(SCHEDULE))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="of the rows that have three")
    parser.add_argument("--rows", nargs="+", help="only these rows, by name")
    parser.add_argument("--size", type=int, nargs="+", default=(SIZE,), help="input sizes in pixels, a table for each")
    parser.add_argument("--epochs", type=int, help="in place of the schedule of each data set")
    parser.add_argument(
        "--quick", action="store_true", help=f"{', '.join(QUICK)} on UCM-Captions: one seed, three epochs, 64 px"
    )
    parser.add_argument("--markdown", type=Path, help="also write the tables to this page, between its marks")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data, the folder that holds ucm/, rsicd/ and aid/ (or set TERRASEEK_DATA)")
    if arguments.quick:
        arguments.datasets, arguments.seeds, arguments.size, arguments.epochs = ("ucm-captions",), (0,), (64,), 3
        arguments.stage, arguments.rows = "main", QUICK
        arguments.out = arguments.out.with_name("kamcl-quick.json")
    store = Store(arguments.out, kept_only=arguments.stage == "report")
    tables = []
    for name, size in itertools.product(arguments.datasets, arguments.size):
        epochs = arguments.epochs or SCHEDULE[name]
        study = Study(store, Path(arguments.data), arguments.runs, name, size, epochs)
        assert study.dataset is not None
        rows = tuple(row for row in rows_of(name) if arguments.stage != "main" or len(row.seeds) > 1)
        # Seed by seed: the comparison of the three is whole as early as it can be.
        wanted = [row for row in rows if not arguments.rows or row.name in arguments.rows]
        for seed in arguments.seeds if arguments.stage in ("main", "all") else ():
            for row in wanted:
                if len(row.seeds) > 1:
                    study.finish(row, seed)
        for row in wanted if arguments.stage in ("ablation", "all") else ():
            if len(row.seeds) == 1:
                study.finish(row, row.seeds[0])
        study.store = Store(arguments.out, kept_only=True)
        splits = "/".join(str(count) for count in study.dataset.splits.values())
        heading = (
            f"## {name}: train/val/test {splits}, split {study.dataset.split_hash[:12]}, {size} px, {epochs} epochs, "
            f"{'; '.join(study.machines(rows))}"
        )
        if table := study.table(rows):
            tables += [heading, table]
    print("\n\n".join(tables))
    if arguments.markdown:
        write_tables(arguments.markdown, "\n\n".join(tables))


if __name__ == "__main__":
    main()
