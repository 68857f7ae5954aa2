"""Checkpoints survive being interrupted, and damage is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from terraseek.errors import CorruptError
from terraseek.training.checkpoint import MovableCheckpoint, WholeCheckpoints, read_checkpoint


def test_written_whole_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"epoch": 3, "state_dict": {"w": torch.ones(2)}}, path)
    content = read_checkpoint(path)
    assert content["epoch"] == 3
    assert torch.equal(content["state_dict"]["w"], torch.ones(2))
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_interrupted_writing_keeps_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"epoch": 3}, path)

    def half(content: Any, file: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        WholeCheckpoints().save_checkpoint({"epoch": 4}, path)
    assert read_checkpoint(path)["epoch"] == 3
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_damage_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"w": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorruptError, match=r"last\.ckpt is damaged"):
        read_checkpoint(path)


def test_objects_that_could_run_code_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"where": Path("/")}, path)
    with pytest.raises(CorruptError, match="is damaged"):
        read_checkpoint(path)


def test_state_of_a_run_that_lightning_kept_is_taken_where_the_run_was_moved_to(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    before = ModelCheckpoint(there, "best", monitor="score", mode="max")
    old = str(there / "best.ckpt")
    before.best_model_score = torch.tensor(0.5)
    before.best_model_path = before.kth_best_model_path = old
    before.best_k_models, before.kth_value = {old: torch.tensor(0.5)}, torch.tensor(0.5)
    after = MovableCheckpoint(here, "best", monitor="score", mode="max")
    assert after.state_key == before.state_key, "by it the state is found in the checkpoint"
    after.load_state_dict(before.state_dict())
    new = str(here / "best.ckpt")
    assert (after.best_model_path, after.kth_best_model_path, list(after.best_k_models)) == (new, new, [new])
    assert (after.best_model_score, after.kth_value) == (0.5, 0.5)
    assert (after.last_model_path, after.dirpath) == ("", str(here))
