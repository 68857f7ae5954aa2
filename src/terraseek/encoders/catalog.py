"""What models there are in a folder, and what each of them is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import TerraseekError
from .config import CONFIG_FILE, WEIGHTS_FILE, ModelConfig, check_weights, model_fingerprint, read_model_config

__all__ = ["ModelInfo", "list_models", "model_info"]


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """One model directory.

    Attributes:
        name: its path below the folder that was listed, or the directory's own name.
        path: the directory.
        config: its `config.json`; None when that cannot be read.
        fingerprint: see `model_fingerprint`; None when the model is damaged.
        bytes: size of all its files.
        files: their names, sorted.
        problem: what is wrong with it, one line; None for a whole model.
    """

    name: str
    path: Path
    config: ModelConfig | None
    fingerprint: str | None
    bytes: int
    files: tuple[str, ...]
    problem: str | None = None


def model_info(directory: str | Path, name: str | None = None) -> ModelInfo:
    """Describe one model directory.

    Raises:
        NotFoundError: there is no model; a damaged one is described, not refused.
    """
    directory = Path(directory)
    if not (directory / CONFIG_FILE).is_file():
        read_model_config(directory)  # says what to do about it
    files = sorted(path for path in directory.iterdir() if path.is_file())
    config = fingerprint = problem = None
    try:
        config = read_model_config(directory)
        check_weights(directory / WEIGHTS_FILE)
        fingerprint = model_fingerprint(directory)
    except TerraseekError as error:
        problem = str(error)
    return ModelInfo(
        name=name or directory.resolve().name,
        path=directory,
        config=config,
        fingerprint=fingerprint,
        bytes=sum(path.stat().st_size for path in files),
        files=tuple(path.name for path in files),
        problem=problem,
    )


def list_models(root: str | Path) -> list[ModelInfo]:
    """All model directories below `root`, by name; a folder that does not exist holds none."""
    root = Path(root)
    found = sorted(path.parent for path in root.rglob(CONFIG_FILE))
    # Half-written directories of an export start with a dot.
    seen = [path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    return [model_info(path, path.relative_to(root).as_posix() if path != root else None) for path in seen]
