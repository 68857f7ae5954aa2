"""Opening the archive that a command names, on this disk or on object storage, with the settings of this machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .model import find_model
from .settings import fetched_models_home, storage_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..archive import Archive
    from ..encoders import OnnxEncoder

__all__ = ["encoder_loader", "open_place", "open_place_with_model"]


def open_place(uri: str) -> Archive:
    """The archive at `uri`."""
    from ..archive import Archive

    return Archive.open(uri, storage_options=storage_options(uri))


def open_place_with_model(uri: str, model: str | None = None) -> tuple[Archive, OnnxEncoder]:
    """The archive at `uri` with an encoder: of the model of that name, else of the copy that the archive keeps."""
    from ..archive import open_archive

    return open_archive(
        uri,
        None if model is None else find_model(model),
        storage_options=storage_options(uri),
        cache=fetched_models_home(),
    )


def encoder_loader(uri: str, model: str | None = None) -> Callable[[], OnnxEncoder]:
    """What loads the encoder of `open_place_with_model` on another machine, for a worker with one CPU."""
    place = uri if "://" in uri else str(Path(uri).expanduser().resolve())
    named = None if model is None else find_model(model).resolve()
    return partial(_load_encoder, place, named, storage_options(uri))


def _load_encoder(uri: str, model: Path | None, options: dict[str, str] | None) -> OnnxEncoder:
    from ..archive import open_archive

    return open_archive(uri, model, storage_options=options, threads=1)[1]
