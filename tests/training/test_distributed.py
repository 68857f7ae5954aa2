"""Two processes train as one: same batches, same loss, same gradients, one run folder."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from terraseek.config import to_toml
from terraseek.training import (
    AugmentationConfig,
    ContrastConfig,
    LossConfig,
    ObjectiveConfig,
    ObjectivesConfig,
    Recipe,
)
from terraseek.training.record import read_epochs

SCRIPT = """
import importlib.util, pathlib, sys, warnings
warnings.filterwarnings("ignore", message=".*TF32.*")
spec = importlib.util.spec_from_file_location("training_conftest", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))  # registers the tiny backbone
from terraseek.training import load_recipe, run, train
run._finish = lambda job, seconds: None
train(load_recipe(sys.argv[2]), sys.argv[3])
"""


def run_script(tmp_path: Path, recipe: Recipe) -> Path:
    """`train` in a process of its own, which Lightning starts again for each further rank."""
    name = f"devices{recipe.trainer.devices}"
    script, file = tmp_path / "train.py", tmp_path / f"{name}.toml"
    script.write_text(SCRIPT)
    file.write_text(to_toml(recipe), encoding="utf-8")
    command = [
        sys.executable,
        str(script),
        str(Path(__file__).with_name("conftest.py")),
        str(file),
        str(tmp_path / name),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return tmp_path / name


def run_by_one_and_two(tmp_path: Path, recipe: Recipe) -> list[Path]:
    """The same recipe trained by one process, then by two."""
    return [run_script(tmp_path, with_devices(recipe, devices)) for devices in (1, 2)]


def with_devices(recipe: Recipe, devices: int) -> Recipe:
    return dataclasses.replace(recipe, trainer=dataclasses.replace(recipe.trainer, devices=devices, threads=1))


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state


@pytest.mark.slow
@pytest.mark.parametrize("queue", [0, 32])  # whole batches, of which ranks order the rows differently
def test_two_processes_equal_one(tiny_recipe: Recipe, tmp_path: Path, queue: int) -> None:
    still = AugmentationConfig(symmetries=False, min_area=1.0, brightness=0.0, contrast=0.0, saturation=0.0)
    # Without what is drawn or normalised per process, nothing may depend on how many there are.
    recipe = dataclasses.replace(
        tiny_recipe,
        augmentation=still,
        loss=LossConfig(queue=queue),
        model=dataclasses.replace(tiny_recipe.model, dropout=0.0, freeze=("bn",)),
    )
    runs = run_by_one_and_two(tmp_path, recipe)
    one, two = map(weights, runs)
    assert one.keys() == two.keys()
    if queue:
        for state in (one, two):
            rows = state["queue.ids"].argsort(stable=True)
            state["queue.embeddings"] = state["queue.embeddings"][rows]
            state["queue.labels"], state["queue.ids"] = state["queue.labels"][rows], state["queue.ids"][rows]
    for name in one:
        assert torch.allclose(one[name].float(), two[name].float(), atol=1e-4), name
    first, second = (read_epochs(run / "metrics.csv") for run in runs)
    for row, other in zip(first, second, strict=True):
        assert row.keys() == other.keys()
        for name in row.keys() - {"seconds"}:
            assert row[name] == pytest.approx(other[name], abs=1e-3), name


@pytest.mark.slow
def test_two_processes_equal_one_on_kept_views(tiny_recipe: Recipe, tmp_path: Path) -> None:
    """Both ranks read the one file of fronts; what they see is augmented, so the views are the same ones too."""
    recipe = dataclasses.replace(
        tiny_recipe,
        data=dataclasses.replace(tiny_recipe.data, cache=tmp_path / "pixels"),
        augmentation=dataclasses.replace(tiny_recipe.augmentation, kept_views=3),
        model=dataclasses.replace(tiny_recipe.model, dropout=0.0, freeze=("stem_conv", "bn")),
    )
    runs = [run_script(tmp_path, with_devices(recipe, 2))]
    fronts = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "pixels").glob("*-front-*")}
    assert len(fronts) == 3, "training, gallery and queries"
    runs.append(run_script(tmp_path, with_devices(recipe, 1)))
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "pixels").glob("*-front-*")} == fronts
    assert not [path.name for path in (tmp_path / "pixels").iterdir() if path.name.startswith(".")]
    two, one = map(weights, runs)
    assert one.keys() == two.keys()
    for name in one:
        assert torch.allclose(one[name].float(), two[name].float(), atol=1e-4), name
    second, first = (read_epochs(run / "metrics.csv") for run in runs)
    for row, other in zip(first, second, strict=True):
        for name in row.keys() - {"seconds"}:
            assert row[name] == pytest.approx(other[name], abs=1e-3), name


@pytest.mark.slow
def test_processes_wait_for_no_gradient_of_a_term_that_begins_later(caption_recipe: Recipe, tmp_path: Path) -> None:
    objectives = ObjectivesConfig(
        contrast=ContrastConfig(loss="sigmoid", first_epoch=1), triplet=ObjectiveConfig(weight=1.0)
    )
    trainer = dataclasses.replace(caption_recipe.trainer, epochs=2, devices=2, threads=1)
    run = run_script(tmp_path, dataclasses.replace(caption_recipe, objectives=objectives, trainer=trainer))
    rows = read_epochs(run / "metrics.csv")
    assert ["train/contrast" in row for row in rows] == [False, True]


@pytest.mark.slow
def test_two_processes_equal_one_on_captions(caption_recipe: Recipe, tmp_path: Path) -> None:
    """All captions of an image are in the batch, and the queue holds whole batches: neither depends on the process."""
    assert caption_recipe.text is not None
    objectives = caption_recipe.objectives
    recipe = dataclasses.replace(
        caption_recipe,
        text=dataclasses.replace(
            caption_recipe.text, per_image=3, network={**caption_recipe.text.network, "dropout": 0.0}
        ),
        objectives=dataclasses.replace(objectives, contrast=dataclasses.replace(objectives.contrast, queue=500)),
        augmentation=AugmentationConfig(symmetries=False, min_area=1.0, brightness=0.0, contrast=0.0, saturation=0.0),
        model=dataclasses.replace(caption_recipe.model, dropout=0.0, freeze=("bn",)),
    )
    runs = run_by_one_and_two(tmp_path, recipe)
    one, two = map(weights, runs)
    assert one.keys() == two.keys()
    for state in (one, two):
        for name in ("image_queue", "text_queue"):
            # Ranks order the rows of a batch differently; together, id and text tell captions apart.
            rows = (state[f"{name}.ids"] * 10_000 + state[f"{name}.text_ids"]).argsort(stable=True)
            for part in ("embeddings", "labels", "ids", "text_ids"):
                state[f"{name}.{part}"] = state[f"{name}.{part}"][rows]
    for name in one:
        assert torch.allclose(one[name].float(), two[name].float(), atol=1e-3), name
