"""A training from recipe to model: what it leaves behind, how it resumes, how it refuses."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.data.conftest import MINIATURES

from terraseek.data import load_dataset
from terraseek.encoders import read_model_config
from terraseek.errors import ConfigError, CorruptError, IntegrityError, NotFoundError, UsageError
from terraseek.losses import LOSSES
from terraseek.training import (
    DataConfig,
    LossConfig,
    Recipe,
    evaluate_model,
    load_recipe,
    preview,
    resolve_recipe,
    train,
)
from terraseek.training.record import read_epochs
from terraseek.training.run import resolve_precision
from terraseek.training.seen_images import hash_ids


def changed(recipe: Recipe, section: str, **values: object) -> Recipe:
    return dataclasses.replace(recipe, **{section: dataclasses.replace(getattr(recipe, section), **values)})


@pytest.fixture
def only_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """`train` without the export at its end, which takes seconds; it then returns the job instead of the run."""
    monkeypatch.setattr("terraseek.training.run._finish", lambda job, seconds: job)


def state(run: Path) -> dict[str, torch.Tensor]:
    """All tensors of the last checkpoint: network, loss, queue and optimizer."""
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    moments = last["optimizer_states"][0]["state"]
    optimizer = {f"{i}.{name}": value for i, entry in moments.items() for name, value in entry.items()}
    return {**last["state_dict"], **optimizer}


def differing(first: Path, second: Path) -> set[str]:
    one, two = state(first), state(second)
    assert one.keys() == two.keys()
    return {name for name in one if not torch.equal(one[name], two[name])}


def without_times(path: Path) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_epochs(path)]


def test_run_learns_and_leaves_everything_on_record(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(tiny_recipe, "trainer", epochs=15, validate_every=5)
    steps: list[tuple[int, int]] = []
    rows: list[Mapping[str, float]] = []
    run = train(recipe, tmp_path / "run", progress=lambda *s: steps.append(s), on_epoch=rows.append)

    dataset = load_dataset("table", recipe.data.root or "")
    trained, _ = evaluate_model(run.model, dataset, measures=["mAP", "nDCG@10(jaccard)", "macro-AP"], bootstrap=0)
    for result in trained.results:  # nearly all images share a colour: the floors are high
        assert result.value > result.floor + 0.3 * (1 - result.floor), f"{result.measure}: {result}"
    assert rows[-1]["train/loss"] < rows[0]["train/loss"]

    assert steps == [(i + 1, 30) for i in range(30)]  # 40 images in batches of 16: two whole batches per epoch
    assert [row["epoch"] for row in run.epochs] == list(range(15))
    assert [row["epoch"] for row in run.epochs if "val/mAP" in row] == [4, 9, 14]
    best = max((row for row in run.epochs if "val/mAP" in row), key=lambda row: row["val/selection"])
    assert run.best_epoch == best["epoch"]
    # The model as exported answers as the network did in training: same pixels, same measure.
    assert run.validation["mAP"] == pytest.approx(best["val/mAP"], abs=1e-3)

    folder = run.directory
    written = load_recipe(folder / "recipe.toml")
    assert written == resolve_recipe(recipe)
    assert written.loss.options["gamma"] == 1.3, "the defaults of today are written out"
    record = json.loads((folder / "run.json").read_text())
    assert record["data"]["split_hash"] == dataset.split_hash
    assert record["seed"] == 3
    assert record["machine"]["precision"] == "32-true"
    assert {"python", "torch", "numpy"} <= record["versions"].keys()
    assert any((folder / "tensorboard").glob("events.out.tfevents.*"))
    assert (folder / "checkpoints" / "last.ckpt").is_file()

    config = read_model_config(run.model)
    assert config.label_names == dataset.label_names
    assert config.training["split_hash"] == dataset.split_hash
    assert config.training["image_hashes"] == hash_ids(dataset.subset("train").ids)
    assert "root" not in config.training["recipe"]["data"], "a model must not tell where its maker keeps things"
    assert run.export.max_abs_difference < 1e-4


def test_without_validation_all_images_may_be_trained_on_and_the_last_epoch_stays(
    tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = changed(changed(tiny_recipe, "trainer", epochs=3, validate_every=0), "data", train="train+val", val="none")
    run = train(recipe, tmp_path / "run")
    assert (run.best_epoch, dict(run.validation)) == (2, {})
    assert not any("val/selection" in row for row in run.epochs)
    assert not (run.directory / "validation.json").exists()
    assert {path.name for path in (run.directory / "checkpoints").iterdir()} == {"last.ckpt"}

    last = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    weights = load_file(run.model / "model.safetensors")
    assert all(torch.equal(weights[name], last[f"embedder.{name}"]) for name in weights)
    dataset = load_dataset("table", recipe.data.root or "")
    config = read_model_config(run.model)
    assert (config.training["split"], config.training["images"]) == ("train+val", 56)
    assert config.training["image_hashes"] == hash_ids(dataset.subset("train+val").ids)
    record = json.loads((run.directory / "run.json").read_text())["data"]
    assert (record["train_images"], record["validation_images"]) == (56, 0)
    assert preview(recipe)["validation_images"] == 0
    train(recipe, tmp_path / "run", resume=True)  # a finished run is exported again


@pytest.mark.parametrize(("stop_at", "epochs"), [(1, 1), (5, 4)])
@pytest.mark.usefixtures("only_fit")
def test_resumed_equals_uninterrupted_bit_for_bit(
    tiny_recipe: Recipe, tmp_path: Path, stop_at: int, epochs: int
) -> None:
    recipe = dataclasses.replace(tiny_recipe, loss=LossConfig(name="macl", queue=32))
    recipe = changed(recipe, "trainer", epochs=epochs)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train(recipe, whole)

    def interrupt(done: int, _: int) -> None:
        if done == stop_at:  # an epoch has two steps: this is the middle of one
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, halves, progress=interrupt)
    train(recipe, halves, resume=True)

    assert not differing(whole, halves)
    best = [torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] for run in (whole, halves)]
    assert best[0] == best[1]
    assert without_times(whole / "metrics.csv") == without_times(halves / "metrics.csv")


def judged_by(patch: pytest.MonkeyPatch, *scores: float) -> None:
    """Let one validation after another find these values."""
    found = iter(scores)

    def judge(*given: Any, **_: Any) -> dict[Any, float]:
        return dict.fromkeys(given[2], next(found))

    patch.setattr("terraseek.training.task.evaluate_retrieval", judge)


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree], ids=["moved", "copied"])
@pytest.mark.usefixtures("only_fit")
def test_a_run_goes_on_where_it_was_moved_to_and_still_knows_its_best(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, move: Any
) -> None:
    recipe = changed(tiny_recipe, "trainer", epochs=3, validate_every=1)
    scores = (0.9, 0.5, 0.6)
    judged_by(monkeypatch, *scores)
    train(recipe, tmp_path / "whole")
    judged_by(monkeypatch, *scores)

    def interrupt(done: int, _: int) -> None:
        if done == 3:  # an epoch has two steps: this is the middle of the second
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "halves", progress=interrupt)
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    move(tmp_path / "halves", moved)
    train(recipe, moved, resume=True)

    assert not differing(tmp_path / "whole", moved)
    whole, best = (
        torch.load(run / "checkpoints" / "best.ckpt", weights_only=True) for run in (tmp_path / "whole", moved)
    )
    assert whole["epoch"] == best["epoch"] == 0
    assert all(torch.equal(tensor, best["state_dict"][name]) for name, tensor in whole["state_dict"].items())


@pytest.mark.usefixtures("only_fit")
def test_seed_decides_everything(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(tiny_recipe, "trainer", epochs=1)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(dataclasses.replace(recipe, seed=seed), tmp_path / name)
    assert not differing(tmp_path / "a", tmp_path / "b")
    assert differing(tmp_path / "a", tmp_path / "c")


def test_finished_training_that_lacks_its_model_is_exported_by_resuming(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(tiny_recipe, "trainer", epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("terraseek.training.run.save_model", _full_disk)
        with pytest.raises(OSError, match="disk"):
            train(recipe, tmp_path / "run")
    run = train(recipe, tmp_path / "run", resume=True)
    assert len(run.epochs) == 1
    assert read_model_config(run.model).training["seed"] == recipe.seed


def _full_disk(*_: object) -> None:
    raise OSError("no space left on disk")


@pytest.mark.usefixtures("only_fit")
def test_frozen_parts_keep_weights_and_statistics(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(changed(tiny_recipe, "trainer", epochs=2), "model", freeze=("stem_conv", "bn"))
    train(changed(recipe, "trainer", epochs=1), tmp_path / "one")
    train(recipe, tmp_path / "two")
    moved = {name for name in differing(tmp_path / "one", tmp_path / "two") if name.startswith("embedder.backbone.")}
    assert moved == {"embedder.backbone.last.weight", "embedder.backbone.last.bias"}


def moments(run: Path) -> list[torch.Tensor]:
    """AdamW's first moments, which after a single step are a tenth of the gradient."""
    return [value for name, value in state(run).items() if name.endswith(".exp_avg")]


@pytest.mark.usefixtures("only_fit")
def test_gradients_are_clipped_to_the_norm_of_the_recipe(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(changed(tiny_recipe, "trainer", epochs=1), "sampler", batch_size=40)  # one step
    norms = {}
    for clip in (0.0, 0.01):
        train(changed(recipe, "optimizer", clip_norm=clip), tmp_path / str(clip))
        norms[clip] = 10 * float(torch.cat([value.ravel() for value in moments(tmp_path / str(clip))]).norm())
    assert norms[0.0] > 0.1
    assert norms[0.01] == pytest.approx(0.01, rel=1e-3)


@pytest.mark.usefixtures("only_fit")
def test_twelve_bands_reach_the_first_convolution(tiny_recipe: Recipe, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    MINIATURES["bigearthnet"](root)
    recipe = changed(changed(tiny_recipe, "trainer", epochs=1, select=("mAP",)), "sampler", batch_size=4)
    data = DataConfig(name="bigearthnet", root=root, pixels=24, cache=tmp_path / "pixels")
    # Of the losses one that needs no positives: no two of the images share a label.
    job = train(dataclasses.replace(recipe, data=data, loss=LossConfig(name="bce")), tmp_path / "run")
    # Band k of image i is 1000 k + i, and the four training images are 0, 1, 4 and 5.
    assert job.plan.config.mean == pytest.approx([1000 * k + 2.5 for k in range(12)])  # type: ignore[attr-defined]
    (gradient,) = [value for value in moments(tmp_path / "run") if value.shape == (8, 12, 3, 3)]
    assert (gradient.abs().amax((0, 2, 3)) > 0).all(), "every band has a part in the step"


@pytest.mark.parametrize("loss", LOSSES.names)
@pytest.mark.usefixtures("only_fit")
def test_every_loss_trains(tiny_recipe: Recipe, tmp_path: Path, loss: str) -> None:
    recipe = dataclasses.replace(tiny_recipe, loss=LossConfig(name=loss))
    recipe = changed(changed(recipe, "trainer", epochs=1), "augmentation", views=2)
    train(recipe, tmp_path / "run")
    (row,) = read_epochs(tmp_path / "run" / "metrics.csv")
    assert np.isfinite(row["train/loss"])


def test_run_folder_is_not_overwritten(tiny_recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").write_text("")
    with pytest.raises(UsageError, match="go on with --resume"):
        train(tiny_recipe, tmp_path / "run")


def test_resuming_needs_the_run_and_its_recipe(tiny_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no run to resume"):
        train(tiny_recipe, tmp_path / "run", resume=True)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_recipe, tmp_path / "run", progress=_interrupted)
    other = changed(changed(tiny_recipe, "optimizer", lr=0.1), "trainer", threads=1)
    with pytest.raises(UsageError, match=r"differing: optimizer\.lr$"):
        train(other, tmp_path / "run", resume=True)


def moved(lines: list[str]) -> list[str]:
    """The table with the first test image in training, and the first training image in test."""
    swapped = {"train00": "test", "test00": "train"}
    return [
        line.replace(f",{line.split(',')[1]},", f",{swapped[name]},")
        if (name := line[7:].split(".")[0]) in swapped
        else line
        for line in lines
    ]


@pytest.fixture
def begun(tiny_recipe: Recipe, colours: Path, tmp_path: Path) -> tuple[Recipe, Path]:
    """A run that was interrupted in its first step, and the images that it may spoil."""
    root = tmp_path / "data"
    shutil.copytree(colours, root)
    recipe = changed(tiny_recipe, "data", root=root, cache=tmp_path / "pixels")
    (root / "images" / "train03.png").write_bytes(b"")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", progress=_interrupted)
    return recipe, root


@pytest.mark.usefixtures("only_fit")
def test_resuming_needs_the_split_and_images_of_the_run(begun: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, root = begun
    run, table = tmp_path / "run", root / "samples.csv"
    record = (run / "run.json").read_bytes()
    lines = table.read_text().splitlines()
    was = json.loads(record)["data"]["split_hash"]

    table.write_text("\n".join(moved(lines)))
    now = load_dataset("table", root).split_hash
    assert now != was
    with pytest.raises(UsageError, match=rf"begun with other data: split hash {was}, now {now}\. Restore"):
        train(recipe, run, resume=True)

    table.write_text("\n".join(lines))
    (root / "images" / "val01.png").write_bytes(b"")
    with pytest.raises(
        UsageError, match=r"data: validation images 16, now 15; left out 1 images, now 2 \(images/val01\.png makes"
    ):
        train(recipe, run, resume=True)
    assert (run / "run.json").read_bytes() == record, "a refused resume leaves the record as it was"

    shutil.copy(root / "images" / "val02.png", root / "images" / "val01.png")
    (root / "images" / "train03.png").write_bytes((root / "images" / "train04.png").read_bytes())
    (root / "images" / "train05.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"data: left out 1 images, now 1 \(images/train03\.png makes a difference\)"):
        train(recipe, run, resume=True)


@pytest.mark.usefixtures("only_fit")
def test_a_run_goes_on_where_its_data_were_moved_to(begun: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, root = begun
    elsewhere = tmp_path / "elsewhere"
    root.rename(elsewhere)
    moved_recipe = changed(recipe, "data", root=elsewhere)
    (tmp_path / "run" / "run.json").rename(tmp_path / "run.json")
    (tmp_path / "run" / "run.json").write_text("[]")
    with pytest.raises(CorruptError, match=r"run\.json is no record of a run"):
        train(moved_recipe, tmp_path / "run", resume=True)
    (tmp_path / "run.json").rename(tmp_path / "run" / "run.json")
    train(moved_recipe, tmp_path / "run", resume=True)
    assert len(read_epochs(tmp_path / "run" / "metrics.csv")) == 4


def _interrupted(done: int, total: int) -> None:
    raise KeyboardInterrupt


def test_errors_name_the_key(tiny_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--set data\.root"):
        train(changed(tiny_recipe, "data", root=None), tmp_path / "a")
    with pytest.raises(ConfigError, match=r"model\.freeze: .* no part 'stem': did you mean 'stem_conv'"):
        train(changed(tiny_recipe, "model", freeze=("stem",)), tmp_path / "b")
    with pytest.raises(ConfigError, match=r"40 images, fewer than a batch of 64"):
        train(changed(tiny_recipe, "sampler", batch_size=64), tmp_path / "c")


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": "train+val"}, r"16 images of data\.val 'val' are in data\.train 'train\+val' too \(images/val00, "),
        ({"val": "train"}, r"40 images of data\.val 'train' are in data\.train 'train' too .*name another data\.val"),
    ],
)
def test_validation_images_are_not_trained_on(
    tiny_recipe: Recipe, tmp_path: Path, splits: dict[str, str], message: str
) -> None:
    recipe = changed(changed(tiny_recipe, "data", **splits), "data", cache=tmp_path / "pixels")
    with pytest.raises(ConfigError, match=message):
        train(recipe, tmp_path / "run")
    with pytest.raises(ConfigError, match=message):
        preview(recipe)
    assert not any(tmp_path.iterdir()), "refused before an image is decoded"
    assert preview(changed(recipe, "trainer", validate_every=0))["validation_images"] == 0


def test_a_mean_over_no_label_takes_no_part_in_the_choice(tiny_recipe: Recipe, colours: Path, tmp_path: Path) -> None:
    """Two labels leave none for the middle third."""
    root = tmp_path / "data"
    shutil.copytree(colours, root)
    head, *lines = (root / "samples.csv").read_text().splitlines()
    rows = [line.split(",")[:3] for line in lines]
    two = [f"{path},{split},{'roof' if 'roof' in labels else 'field'}," for path, split, labels in rows]
    (root / "samples.csv").write_text("\n".join([head, *two]))
    recipe = changed(changed(tiny_recipe, "data", root=root), "trainer", epochs=1, select=("mAP", "medium-AP"))
    run = train(recipe, tmp_path / "run")
    [row] = run.epochs
    assert row["val/selection"] == row["val/mAP"] > 0
    assert "val/medium-AP" not in row
    assert run.validation.keys() == {"mAP"}
    medium = json.loads((run.directory / "validation.json").read_text())["results"][1]
    assert (medium["measure"], medium["value"], medium["floor"]) == ("medium-AP", None, None)
    with pytest.raises(ConfigError, match=r"trainer\.select: medium-AP has no value: no label"):
        train(changed(recipe, "trainer", select=("medium-AP",)), tmp_path / "none")
    assert not (tmp_path / "none" / "recipe.toml").exists()


@pytest.mark.parametrize("kind", ["shuffle", "repeat-factor", "label-aware"])
@pytest.mark.usefixtures("only_fit")
def test_a_preview_counts_the_steps_that_are_taken(tiny_recipe: Recipe, tmp_path: Path, kind: str) -> None:
    recipe = changed(changed(tiny_recipe, "trainer", epochs=1), "sampler", kind=kind, batch_size=8, labels=2)
    recipe = changed(recipe, "sampler", threshold=1.0)
    told = preview(changed(recipe, "data", cache=tmp_path / "pixels"))
    assert not any(tmp_path.iterdir()), "a preview decodes nothing"
    steps: list[tuple[int, int]] = []
    train(recipe, tmp_path / "run", progress=lambda *s: steps.append(s))
    assert steps[-1] == (told["steps"], told["steps"])
    assert (told["steps"] > 5) == (kind == "repeat-factor")
    with pytest.raises(ConfigError, match=r"40 images, fewer than a batch of 64"):
        preview(changed(tiny_recipe, "sampler", batch_size=64))


def test_divergence_says_what_to_do(tiny_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"diverged in epoch 1: .* lower optimizer\.lr"):
        train(changed(tiny_recipe, "optimizer", lr=1e30), tmp_path / "run")


@pytest.mark.usefixtures("only_fit")
def test_broken_images_are_left_out_and_listed(tiny_recipe: Recipe, colours: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(colours, root)
    (root / "images" / "train03.png").write_bytes(b"")
    (root / "images" / "val01.png").write_bytes((root / "images" / "val01.png").read_bytes()[:40])
    recipe = changed(changed(tiny_recipe, "data", root=root), "trainer", epochs=1)
    train(recipe, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())["data"]
    assert (record["train_images"], record["validation_images"]) == (39, 15)
    assert ["train03" in item["source"] or "val01" in item["source"] for item in record["refused"]] == [True, True]


def test_precision_follows_the_processor(tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(tiny_recipe.trainer, precision="auto")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert resolve_precision(config) == "32-true"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert resolve_precision(config) == "bf16-mixed"
    assert resolve_precision(dataclasses.replace(config, precision="32-true")) == "32-true"


def test_a_precision_that_was_chosen_by_itself_is_told_once(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    recipe = changed(changed(tiny_recipe, "trainer", epochs=1), "trainer", precision="auto")
    train(recipe, tmp_path / "auto")
    [told] = [record for record in caplog.records if "precision" in record.getMessage()]
    assert (told.levelname, "trains in bf16-mixed" in told.getMessage()) == ("WARNING", True)
    assert json.loads((tmp_path / "auto" / "run.json").read_text())["machine"]["precision"] == "bf16-mixed"
    caplog.clear()
    train(changed(recipe, "trainer", precision="32-true"), tmp_path / "full")
    assert "precision" not in caplog.text
