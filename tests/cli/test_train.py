"""``terraseek train`` at the command line; what a training does is tested in tests/training."""

from __future__ import annotations

from pathlib import Path

import pytest

from terraseek.data import load_dataset, synthesize

from .conftest import Run

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    synthesize(root, images=40, seed=5, size=64)
    return root


def test_a_dry_run_reads_recipe_and_data_and_writes_nothing(run: Run, scenes: Path, tmp_path: Path) -> None:
    command = ("train", RECIPES / "ucmerced-macl.toml", "--set", f"data.root={scenes}", "--out", tmp_path / "run")
    told = run(*command, "--set", "sampler.batch_size=8", "--dry-run", "--json").json
    assert told["dry_run"] is True
    splits = load_dataset("ucmerced-ml", scenes).splits
    assert (told["train_images"], told["validation_images"], told["labels"]) == (splits["train"], splits["val"], 17)
    assert told["steps"] == splits["train"] // 8 * told["epochs"]
    assert "nothing written" in run(*command, "--set", "sampler.batch_size=8", "--dry-run").out
    assert not (tmp_path / "run").exists()


def test_a_recipe_for_captions_needs_captions(run: Run, scenes: Path, tmp_path: Path) -> None:
    command = ("train", RECIPES / "rsicd10k-kamcl.toml", "--set", f"data.root={scenes}", "--dry-run")
    refused = run(*command, "--set", "data.name=ucmerced-ml")
    assert refused.code != 0
    assert "has no captions" in refused.err
    small = ("--set", "sampler.batch_size=8")
    trained = len(load_dataset("ucm-captions", scenes).subset("train"))
    assert run(*command, *small, "--set", "data.name=ucm-captions", "--json").json["captions"] == 5 * trained
