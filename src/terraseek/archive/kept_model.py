"""The copy of its model that an archive keeps, so that it can be searched and added to as long as it exists."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import weakref
from pathlib import Path

from ..encoders import CONFIG_FILE, OnnxEncoder, load_encoder, model_fingerprint
from ..errors import CorruptError, NotFoundError
from .archive import Archive
from .model_sums import SUMS_FILE, changed_files, has_sums, sums_of, sums_text
from .model_table import fetch_model, keep_model
from .reports import Problem
from .storage import local_directory, storage_errors

__all__ = ["check_kept_model", "create_archive", "open_archive"]

FOLDER = "model"
_ADVICE = "put the file back from the model it was copied from, or name the model with --model"
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
"""Of a model directory. In Python an archive may be made with an encoder of one's own, and any name for it."""


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
        UsageError: there is an archive already, or other files are where it is to go.
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
            (copied / SUMS_FILE).write_text(sums_text(sums_of(Path(model))), encoding="utf-8")
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
        CorruptError: a file of the kept copy is not what was written.
    """
    archive = Archive.open(uri, storage_options=storage_options)
    if model is not None:
        encoder = load_encoder(model, threads=threads)
    elif (home := local_directory(str(uri))) is not None:
        encoder = _load_kept(archive, home / FOLDER, threads)
    elif cache is not None:
        encoder = _load_kept(archive, cache / _cache_name(archive), threads)
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


def _cache_name(archive: Archive) -> str:
    """Of the folder that the kept model is fetched to.

    An archive's metadata and ONNX files are what its writer made them: the name is no path whatever they say, and no
    archive gets a model that another one brought.
    """
    text = f"{archive.uri.rstrip('/')}\n{archive.model.fingerprint}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _load_kept(archive: Archive, folder: Path, threads: int | None) -> OnnxEncoder:
    """The encoder of the copy in `folder`, which is fetched there first if the archive lies on object storage."""
    remote = local_directory(archive.uri) is None
    there = (folder / CONFIG_FILE).is_file()
    if not there and remote:
        there = _fetch(archive, folder)
    if not there:
        raise NotFoundError(
            f"{archive.uri} keeps no copy of its model {archive.model.describe()}; name it with --model"
        )
    with storage_errors(archive.uri, "reading its model"):
        changed = changed_files(folder)
    if changed:
        advice = f"delete {folder}, it is then fetched again" if remote else _ADVICE
        raise CorruptError(f"{archive.uri}: {', '.join(changed)} of the kept model in {folder} has changed; {advice}")
    return load_encoder(folder, threads=threads)


def _fetch(archive: Archive, folder: Path) -> bool:
    fingerprint = archive.model.fingerprint
    if _FINGERPRINT.fullmatch(fingerprint) is None:  # no model directory has such a one
        return False
    return fetch_model(archive.connection, archive.uri, folder, fingerprint)


def check_kept_model(archive: Archive) -> tuple[list[Problem], list[str]]:
    """Compare the copy that the archive keeps of its model with its checksums and with the archive's fingerprint.

    Returns:
        What is wrong with it, and what could not be checked, as lines for a person.
    """
    home = local_directory(archive.uri)
    with storage_errors(archive.uri, "reading its model"):
        if home is not None:
            return _checked(archive, home / FOLDER)
        with tempfile.TemporaryDirectory(prefix="terraseek-") as draft:
            folder = Path(draft) / FOLDER
            try:
                _fetch(archive, folder)
            except CorruptError as error:
                return [Problem(kind="kept model", detail=str(error))], []
            return _checked(archive, folder)


def _checked(archive: Archive, folder: Path) -> tuple[list[Problem], list[str]]:
    if not folder.is_dir():
        return [], []
    wrong = [f"its {name} has changed" for name in changed_files(folder)]
    try:
        found = model_fingerprint(folder)
    except NotFoundError as error:
        wrong = wrong or [str(error)]
    else:
        if found != archive.model.fingerprint and not wrong:
            wrong = [f"it has the fingerprint {found[:12]}, the vectors are of {archive.model.fingerprint[:12]}"]
    problems = [Problem(kind="kept model", detail=f"the kept model in {folder}: {what}; {_ADVICE}") for what in wrong]
    old = f"{archive.uri}: its kept model has no checksums, an older release put it there: ONNX files were not checked"
    return problems, [] if has_sums(folder) else [old]
