"""One training from a recipe to a model directory, resumable, with everything on record.

recipe.toml      the recipe, resolved: every default written out
run.json         versions, seed, data (splits, hash, what was refused), machine, times
concepts.json    with captions: the concepts and which images have them (`Knowledge.load` reads it)
metrics.csv      one row per epoch          tensorboard/    the same as curves
checkpoints/     last.ckpt, best.ckpt: full training states (without validation the last alone)
model/           the best checkpoint as a model directory
validation.json  the model, as exported, judged on the validation split, where there is one
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities import rank_zero_only

from ..config import to_toml
from ..data import ImageDataset, load_dataset
from ..errors import ConfigError, DatasetError, NotFoundError, UsageError
from ..models import ExportReport, save_model
from .base_task import SELECTION
from .caption_plan import caption_plan, captioned_images
from .checkpoint import MovableCheckpoint, WholeCheckpoints, read_checkpoint
from .knowledge import Knowledge
from .label_plan import label_plan
from .memory import keep_freed_memory
from .plan import Plan
from .recipe import Recipe, load_recipe, recipe_differences, resolve_recipe
from .record import EpochTable, StepCounter, data_differences, now, read_epochs, run_record, write_json
from .samplers import build_sampler
from .sections import TrainerConfig

__all__ = ["Run", "preview", "resolve_precision", "train"]

_log = logging.getLogger(__name__)
_RECIPE, _RECORD, _METRICS, _VALIDATION = "recipe.toml", "run.json", "metrics.csv", "validation.json"
_CONCEPTS = "concepts.json"
_LAST, _BEST = Path("checkpoints", "last.ckpt"), Path("checkpoints", "best.ckpt")
_UNLEARNT = (
    "the best checkpoint is of epoch %d, but %s counts from epoch %d on: the model has learnt nothing from it%s. Lower "
    "objectives.%s.first_epoch, give more epochs, or take the last epoch with trainer.validate_every=0"
)
_CONSEQUENCES = {"alignment": ", and the concepts that it predicts mean nothing"}
Progress = Callable[[int, int], None]
Precision = Literal["bf16-mixed", "16-mixed", "32-true"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished training.

    Attributes:
        directory: the run folder.
        model: the model directory in it.
        best_epoch: epoch, from 0, whose weights the model has.
        unlearnt: terms of the loss that count from a later epoch only.
        validation: measure -> value of the exported model on the validation split; empty without one.
        epochs: the rows of `metrics.csv`.
        seconds: of training, over all resumptions.
        export: what was written as model, and how far ONNX is from torch.
    """

    directory: Path
    model: Path
    best_epoch: int
    unlearnt: tuple[str, ...]
    validation: Mapping[str, float]
    epochs: tuple[Mapping[str, float], ...]
    seconds: float
    export: ExportReport


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    cache: str | Path | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[Mapping[str, float]], None] | None = None,
) -> Run:
    """Train what the recipe says, and export the best checkpoint, without validation the last, as a model.

    An interrupted run (Ctrl-C, a crash, a power cut) goes on with `resume` from its last finished epoch, and ends with
    the same weights as if it had not been interrupted.

    From then on glibc keeps the memory that this process frees (`terraseek.training.memory`).

    Args:
        recipe: what to do.
        out: run folder; made, and refused if there is a run in it unless `resume`.
        resume: go on with the run in `out`; one that has finished already is exported again.
        cache: folder for decoded pixels where the recipe names none; by default one in the run folder.
        progress: called with (optimizer steps done, all steps).
        on_epoch: called with each row of `metrics.csv`.

    Raises:
        ConfigError: the recipe lacks `data.root`, names something unknown, or validates on training images.
        UsageError: a run is in `out` already, or one by another recipe, split or set of images is to be resumed.
        NotFoundError: nothing to resume, or the data are not where the recipe says.
        DatasetError: the data contradict themselves, or have too few images.
        MissingExtraError: a package with weights that the recipe asks for is not installed.
        IntegrityError: the training diverged, or (CorruptError) a file to resume from is damaged.
        KeyboardInterrupt: after Ctrl-C, with the last finished epoch kept.
        SystemExit: in the helper processes of a training on several devices, when it is over.
    """
    job = _begin(resolve_recipe(recipe), Path(out), resume, cache, progress, on_epoch)
    seconds = _fit(job, resume)
    if not job.trainer.is_global_zero:
        raise SystemExit(0)  # a helper process of a distributed training: the rest is the first one's
    return _finish(job, seconds)


def preview(recipe: Recipe) -> dict[str, Any]:
    """What a training would do, without writing anything: its data, steps and precision.

    No image is decoded: those that cannot be are counted.

    Raises:
        ConfigError: the recipe lacks `data.root`, names an unknown data set or split, validates on training images, or
            asks for larger batches than there are images.
        NotFoundError: the data are not where the recipe says.
        DatasetError: the data contradict themselves, or are not what the recipe needs.
    """
    dataset = _load(resolve_recipe(recipe))
    if recipe.text is not None:
        dataset = captioned_images(recipe, dataset)
    trained_on = dataset.subset(recipe.data.train)
    steps = len(build_sampler(recipe.sampler, trained_on.labels_NC, seed=recipe.seed))
    return {
        "dataset": dataset.name,
        "split_hash": dataset.split_hash,
        "train_images": len(trained_on),
        "validation_images": len(dataset.subset(recipe.data.val)) if recipe.trainer.validates else 0,
        "labels": len(dataset.label_names),
        "captions": sum(len(sample.captions) for sample in trained_on.samples),
        "refused": len(dataset.problems),
        "epochs": recipe.trainer.epochs,
        "steps": steps * recipe.trainer.epochs,
        "precision": resolve_precision(recipe.trainer),
        "select": list(recipe.trainer.select),
    }


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A plan in its run folder."""

    recipe: Recipe
    out: Path
    plan: Plan
    trainer: pl.Trainer
    record: dict[str, Any]


def _begin(
    recipe: Recipe,
    out: Path,
    resume: bool,
    cache: str | Path | None,
    progress: Progress | None,
    on_epoch: Callable[[Mapping[str, float]], None] | None,
) -> _Job:
    dataset = _load(recipe)
    _refuse_other_run(out, recipe, resume)
    keep_freed_memory()
    if recipe.trainer.threads:
        torch.set_num_threads(recipe.trainer.threads)
    torch.manual_seed(recipe.seed)
    make_plan = label_plan if recipe.text is None else caption_plan
    plan = make_plan(recipe, dataset, Path(recipe.data.cache or cache or out / "pixels"))
    # Only now is the recipe known to make sense: a run folder that it had taken would refuse the mended one.
    _take_folder(out, recipe, resume)
    _tell_precision(recipe.trainer)
    with _quiet():
        trainer = _trainer(recipe, plan, out, progress, on_epoch)
    record = run_record(recipe, dataset, plan.data, resolve_precision(recipe.trainer))
    if resume:
        _refuse_other_data(out / _RECORD, record["data"])
    job = _Job(recipe=recipe, out=out, plan=plan, trainer=trainer, record={**record, **plan.record})
    _write(out / _RECORD, job.record)
    if plan.knowledge is not None:
        _save(plan.knowledge, out / _CONCEPTS)
    return job


def _load(recipe: Recipe) -> ImageDataset:
    data = recipe.data
    if data.root is None:
        raise ConfigError("the recipe does not say where the data are: add --set data.root=DIR")
    dataset = load_dataset(data.name, data.root, splits=data.splits, seed=data.split_seed, **data.options)
    if recipe.text is None and not dataset.label_names:
        raise DatasetError(
            f"{data.name} has no labels: this training needs label sets, or captions and a section [text]"
        )
    if recipe.text is not None and not any(sample.captions for sample in dataset.samples):
        raise DatasetError(f"{data.name} has no captions: a training with a section [text] needs some")
    if recipe.trainer.validates:
        _check_apart(dataset, data.train, data.val)
    return dataset


def _check_apart(dataset: ImageDataset, train: str, val: str) -> None:
    """Refuse validation images that are trained on: by them the best checkpoint cannot be told."""
    trained = set(dataset.subset(train).ids)
    shared = [name for name in dataset.subset(val).ids if name in trained]
    if shared:
        raise ConfigError(
            f"{len(shared):,} images of data.val {val!r} are in data.train {train!r} too ({', '.join(shared[:3])}"
            f"{', ...' if len(shared) > 3 else ''}): set trainer.validate_every=0, or name another data.val"
        )


@rank_zero_only
def _refuse_other_run(out: Path, recipe: Recipe, resume: bool) -> None:
    """Make sure that there is no run in the folder, or that it is the one to go on with."""
    path = out / _RECIPE
    if resume:
        if not path.is_file():
            raise NotFoundError(f"no run to resume at {out}: there is no {_RECIPE}; leave out --resume to begin one")
        differing = recipe_differences(resolve_recipe(load_recipe(path)), recipe)
        if differing:
            raise UsageError(f"the run at {out} was begun with another recipe; differing: {', '.join(differing)}")
    elif path.exists() or (out.exists() and not out.is_dir()):
        raise UsageError(f"there is a run at {out} already: go on with --resume, or name another folder with --out")


@rank_zero_only
def _refuse_other_data(path: Path, data: Mapping[str, Any]) -> None:
    """Make sure that the run goes on with the images that it began with: the recipe does not say which they are."""
    differing = data_differences(path, data)
    if differing:
        raise UsageError(
            f"the run at {path.parent} was begun with other data: {'; '.join(differing)}. Restore the images and split "
            "files that it began with, or train into a new folder with --out"
        )


@rank_zero_only
def _take_folder(out: Path, recipe: Recipe, resume: bool) -> None:
    """Make the run folder and put the recipe there, by which it is known."""
    if not resume:
        out.mkdir(parents=True, exist_ok=True)
        (out / _RECIPE).write_text(to_toml(recipe), encoding="utf-8")


@rank_zero_only
def _tell_precision(config: TrainerConfig) -> None:
    """Say what "auto" chose where that is not full precision: on another processor the recipe gives other numbers."""
    chosen = resolve_precision(config)
    if config.precision == "auto" and chosen != "32-true":
        _log.warning(
            'trainer.precision is "auto", this machine trains in %s; "32-true" is slower and the same on every machine',
            chosen,
        )


@rank_zero_only
def _save(knowledge: Knowledge, path: Path) -> None:
    knowledge.save(path)


@rank_zero_only
def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_json(path, content)


def resolve_precision(config: TrainerConfig) -> Precision:
    """What "auto" means on this machine: bfloat16 only where the processor computes in it."""
    if config.precision != "auto":
        return config.precision
    if config.accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return "bf16-mixed"
    return "32-true"


def _trainer(
    recipe: Recipe,
    plan: Plan,
    out: Path,
    progress: Progress | None,
    on_epoch: Callable[[Mapping[str, float]], None] | None,
) -> pl.Trainer:
    config = recipe.trainer
    columns = ("train/loss", *plan.task.terms, *(f"val/{name}" for name in plan.measures), SELECTION)
    folder = out / _LAST.parent
    callbacks: list[Callback] = [
        EpochTable(out / _METRICS, columns, on_epoch),
        MovableCheckpoint(folder, _LAST.stem, save_on_train_epoch_end=True, enable_version_counter=False),
    ]
    if config.validates:
        best = MovableCheckpoint(folder, _BEST.stem, monitor=SELECTION, mode="max", enable_version_counter=False)
        callbacks.insert(1, best)
    if progress:
        callbacks.append(StepCounter(progress))
    return pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        strategy=_strategy(recipe),
        precision=resolve_precision(config),
        max_epochs=config.epochs,
        check_val_every_n_epoch=max(1, config.validate_every),
        limit_val_batches=1.0 if config.validates else 0,
        num_sanity_val_steps=0,
        gradient_clip_val=recipe.optimizer.clip_norm or None,
        use_distributed_sampler=False,
        sync_batchnorm=config.devices > 1 and config.accelerator != "cpu" and torch.cuda.is_available(),
        logger=TensorBoardLogger(out, name="tensorboard", version=""),
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=10,
        default_root_dir=out,
    )


def _strategy(recipe: Recipe) -> str:
    if recipe.trainer.devices == 1:
        return "auto"
    # Most aggregators take the maps before the backbone's last layer, and parameters of a term of the loss wait for its
    # first epoch: DDP must be told to look for what has no gradient.
    partly = recipe.text is not None or recipe.model.aggregator != "none"
    return "ddp_find_unused_parameters_true" if partly else "ddp"


def _fit(job: _Job, resume: bool) -> float:
    """Train, from the last finished epoch where there is one; returns the seconds spent, earlier sittings included."""
    checkpoint = job.out / _LAST
    resumed = resume and checkpoint.is_file()
    before = sum(row["seconds"] for row in read_epochs(job.out / _METRICS)) if resumed else 0.0
    if resumed:
        read_checkpoint(checkpoint)  # Lightning's words for a damaged one help nobody
    started = time.monotonic()
    with _quiet():
        try:
            job.trainer.fit(
                job.plan.task, datamodule=job.plan.data, ckpt_path=checkpoint if resumed else None, weights_only=True
            )
        except SystemExit:
            # Lightning answers Ctrl-C with exit(1); whoever called decides what an interruption is.
            if job.trainer.state.status == TrainerStatus.INTERRUPTED:
                raise KeyboardInterrupt from None
            raise
    return before + time.monotonic() - started


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's hints are for people who write training loops, not for those who run this one."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        logger.setLevel(level)


def _finish(job: _Job, seconds: float) -> Run:
    """Export the best checkpoint and judge the export on the validation split, where there is one."""
    best = read_checkpoint(job.out / (_BEST if job.recipe.trainer.validates else _LAST))
    network, prefix = job.plan.task.network_to_export, f"{job.plan.task.module_name}."
    weights = {name.removeprefix(prefix): t for name, t in best["state_dict"].items() if name.startswith(prefix)}
    network.load_state_dict(weights)
    config = job.plan.complete() if job.plan.complete else job.plan.config
    export = save_model(job.out / "model", network, config, job.plan.tokenizer)
    validation: Mapping[str, float] = {}
    if job.plan.judge is not None:
        judgement = job.plan.judge(export.directory)
        content = {"schema": 1, "model": export.fingerprint, "best_epoch": best["epoch"], **judgement.content}
        _write(job.out / _VALIDATION, content)
        validation = judgement.values
    unlearnt = job.recipe.objectives.unlearnt_after(best["epoch"]) if job.recipe.text else {}
    for name, first_epoch in unlearnt.items():
        _log.warning(_UNLEARNT, best["epoch"], name, first_epoch, _CONSEQUENCES.get(name, ""), name)
    job.record.update(
        finished=now(),
        seconds=round(seconds, 1),
        best_epoch=best["epoch"],
        unlearnt=list(unlearnt),
        model=export.fingerprint,
        onnx_difference=export.max_abs_difference,
    )
    _write(job.out / _RECORD, job.record)
    return Run(
        directory=job.out,
        model=export.directory,
        best_epoch=int(best["epoch"]),
        unlearnt=tuple(unlearnt),
        validation=validation,
        epochs=tuple(read_epochs(job.out / _METRICS)),
        seconds=seconds,
        export=export,
    )
