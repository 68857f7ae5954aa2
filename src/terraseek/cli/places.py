"""Opening the archive that a command names, on this disk or on object storage, with the settings of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .model import find_model
from .settings import fetched_models_home, storage_options

if TYPE_CHECKING:
    from ..archive import Archive
    from ..encoders import OnnxEncoder

__all__ = ["open_place", "open_place_with_model"]


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
