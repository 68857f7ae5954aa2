"""Checkpoints that are whole or not there, whatever moment the process is killed at, and wherever they are moved to."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ..errors import CorruptError
from ._files import whole_file

__all__ = ["MovableCheckpoint", "WholeCheckpoints", "read_checkpoint"]

_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the file, then renames.

    Lightning writes into the system's temporary folder, and a move from there
    to another disk is a copy, which a crash cuts short.
    """

    def save_checkpoint(self, checkpoint: Mapping[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write the checkpoint; the one that was there stays until the new one is complete."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            torch.save(checkpoint, file)


class MovableCheckpoint(ModelCheckpoint):
    """Knows the best score also after the folder was moved or copied.

    Lightning forgets it where the folder's path is not the one on record, and the next epoch that is validated then
    counts as the best.
    """

    @property
    def state_key(self) -> str:
        """Lightning's own, under which runs of earlier releases have their state."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state, with the files that it names where they lie now."""
        named = {key: self._here(state_dict[key]) for key in _PATHS if key in state_dict}
        scores = {self._here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict({**state_dict, **named, "best_k_models": scores, "dirpath": self.dirpath})

    def _here(self, path: str) -> str:
        return str(Path(self.dirpath or "", Path(path).name)) if path else ""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint by torch's restricted unpickler, which runs no code.

    Raises:
        CorruptError: it is damaged.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CorruptError(f"{path} is damaged ({reason}): restore it, or train into a new folder") from None
    return content
