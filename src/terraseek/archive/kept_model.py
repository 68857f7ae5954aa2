"""The copy of its model that an archive keeps, so that it can be searched and added to as long as it exists."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

from ..encoders import CONFIG_FILE, OnnxEncoder, load_encoder
from ..errors import NotFoundError
from .archive import Archive
from .model_table import fetch_model, keep_model
from .storage import local_directory, storage_errors

__all__ = ["create_archive", "open_archive"]

FOLDER = "model"


def create_archive(
    uri: str | Path,
    model: str | Path,
    *,
    exist_ok: bool = False,
    storage_options: dict[str, str] | None = None,
) -> tuple[Archive, OnnxEncoder]:
    """Make an archive for a model directory, and keep a copy of the model with it.

    Args:
        uri: where the archive goes, see `Archive.create`.
        model: the model directory.
        exist_ok: open the archive if it is there already and of this model.
        storage_options: credentials and endpoint of an object store.

    Raises:
        UsageError: there is an archive already.
        ModelMismatchError: with `exist_ok`, there is one of another model.
        NotFoundError: there is no model.
    """
    encoder = load_encoder(model)
    archive = Archive.create(uri, encoder, exist_ok=exist_ok, storage_options=storage_options)
    home = local_directory(str(uri))
    if home is None:
        keep_model(archive.connection, str(uri), Path(model))
    elif not (home / FOLDER / CONFIG_FILE).is_file():
        with storage_errors(str(uri), "keeping its model"), tempfile.TemporaryDirectory(dir=home, prefix=".") as draft:
            copied = shutil.copytree(model, Path(draft) / FOLDER)
            copied.replace(home / FOLDER)
    return archive, encoder


def open_archive(
    uri: str | Path,
    model: str | Path | None = None,
    *,
    storage_options: dict[str, str] | None = None,
    cache: Path | None = None,
    threads: int | None = None,
) -> tuple[Archive, OnnxEncoder]:
    """Open an archive with an encoder that fits it: `model`, else the copy that the archive keeps.

    Args:
        uri: where the archive is.
        model: a model directory.
        storage_options: credentials and endpoint of an object store.
        cache: where the kept model of an archive on object storage is put for next time; by default it is fetched
            each time, into a folder that goes with the encoder.
        threads: CPU threads of the encoder; by default as many as there are cores.

    Raises:
        NotFoundError: there is no archive, or no model was given and the archive keeps none.
        ModelMismatchError: the model is not the one that made the archive.
    """
    archive = Archive.open(uri, storage_options=storage_options)
    if model is not None:
        encoder = load_encoder(model, threads=threads)
    elif (home := local_directory(str(uri))) is not None:
        encoder = _load_kept(archive, home / FOLDER, threads)
    elif cache is not None:
        encoder = _load_kept(archive, cache / archive.model.fingerprint, threads)
    else:
        folder = Path(tempfile.mkdtemp(prefix="terraseek-"))
        try:
            encoder = _load_kept(archive, folder / FOLDER, threads)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(encoder, shutil.rmtree, folder, ignore_errors=True)
    archive.check_model(encoder)
    return archive, encoder


def _load_kept(archive: Archive, folder: Path, threads: int | None) -> OnnxEncoder:
    there = (folder / CONFIG_FILE).is_file()
    if not there and local_directory(archive.uri) is None:
        there = fetch_model(archive.connection, archive.uri, folder)
    if not there:
        raise NotFoundError(
            f"{archive.uri} keeps no copy of its model {archive.model.describe()}; name it with --model"
        )
    return load_encoder(folder, threads=threads)
