"""The copy of its model that a local archive keeps, so that it can be searched and added to as long as it exists."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ..encoders import CONFIG_FILE, OnnxEncoder, load_encoder
from ..errors import NotFoundError
from .archive import Archive
from .storage import local_directory, storage_errors

__all__ = ["create_archive", "open_archive"]

FOLDER = "model"


def create_archive(uri: str | Path, model: str | Path, *, exist_ok: bool = False) -> tuple[Archive, OnnxEncoder]:
    """Make an archive for a model directory; where the archive is local it keeps a copy of the model.

    Args:
        uri: where the archive goes, see `Archive.create`.
        model: the model directory.
        exist_ok: open the archive if it is there already and of this model.

    Raises:
        UsageError: there is an archive already.
        ModelMismatchError: with `exist_ok`, there is one of another model.
        NotFoundError: there is no model.
    """
    encoder = load_encoder(model)
    archive = Archive.create(uri, encoder, exist_ok=exist_ok)
    home = local_directory(str(uri))
    if home is not None and not (home / FOLDER / CONFIG_FILE).is_file():
        with storage_errors(str(uri), "keeping its model"), tempfile.TemporaryDirectory(dir=home, prefix=".") as draft:
            copied = shutil.copytree(model, Path(draft) / FOLDER)
            copied.replace(home / FOLDER)
    return archive, encoder


def open_archive(uri: str | Path, model: str | Path | None = None) -> tuple[Archive, OnnxEncoder]:
    """Open an archive with an encoder that fits it: `model`, else the copy that the archive keeps.

    Raises:
        NotFoundError: there is no archive, or no model was given and the archive keeps none.
        ModelMismatchError: the model is not the one that made the archive.
    """
    archive = Archive.open(uri)
    home = local_directory(str(uri))
    kept = None if home is None else home / FOLDER
    if model is None and (kept is None or not (kept / CONFIG_FILE).is_file()):
        raise NotFoundError(f"{uri} keeps no copy of its model {archive.model.describe()}; name it with --model")
    encoder = load_encoder(model if model is not None else str(kept))
    archive.check_model(encoder)
    return archive, encoder
