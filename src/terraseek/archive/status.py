"""What an archive holds, in short."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from .footprint import bbox_of_boxes
from .schema import BBOX_COLUMNS
from .view import View

__all__ = ["bytes_of", "summary"]


def summary(view: View) -> dict[str, Any]:
    """Version, number of records, labels, collections, sources, extent and time of a view, as JSON values."""
    snapshot, facets = view.snapshot, view.facets()
    moments = pc.min_max(snapshot.column("datetime")).as_py()
    columns = snapshot.columns(BBOX_COLUMNS)
    return {
        "version": view.version,
        "records": snapshot.size,
        "collections": facets["collections"],
        "labels": facets["labels"],
        "predicted": facets["predicted"],
        "sources": pc.count_distinct(snapshot.column("source")).as_py(),
        "bbox": bbox_of_boxes(*(columns[side].to_numpy(zero_copy_only=False) for side in BBOX_COLUMNS)),
        "datetime": [end and end.isoformat() for end in (moments["min"], moments["max"])],
    }


def bytes_of(directory: Path | None) -> int | None:
    """The size of an archive's folder; None on object storage, which does not tell."""
    if directory is None:
        return None
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):  # a writer removed it since its folder was listed
                total += Path(folder, name).stat().st_size
    return total
