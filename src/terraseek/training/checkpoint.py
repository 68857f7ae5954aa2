"""Checkpoints that are whole or not there, whatever moment the process is killed at."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ..errors import CorruptError
from ._files import whole_file

__all__ = ["WholeCheckpoints", "read_checkpoint"]


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
