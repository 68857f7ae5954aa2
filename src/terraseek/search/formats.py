"""Hits as JSON, GeoJSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from ..archive import Record, record_feature
from ..archive.features import record_mapping
from ..archive.table import RECORD_CELLS, record_cells

__all__ = ["CSV_COLUMNS", "feature_collection", "hit_csv", "hit_mapping"]

Row: TypeAlias = tuple[int, float | None, Record]
"""Rank, score and record of a hit."""

CSV_COLUMNS = ("rank", "id", "score", *RECORD_CELLS[1:])


def hit_mapping(rank: int, score: float | None, record: Record) -> dict[str, Any]:
    """A hit as JSON values; what a record does not have is null or empty, never left out."""
    fields = record_mapping(record)
    return {"rank": rank, "id": fields.pop("id"), "score": score, **fields}


def feature_collection(rows: Iterable[Row]) -> dict[str, Any]:
    """Hits as a GeoJSON FeatureCollection (RFC 7946); a record without a place has a null geometry."""
    features = [record_feature(record, rank=rank, score=score) for rank, score, record in rows]
    return {"type": "FeatureCollection", "features": features}


def hit_csv(rows: Sequence[Row]) -> str:
    """Hits as CSV (RFC 4180) with a header; see `CSV_COLUMNS` and `safe_cell`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for rank, score, record in rows:
        cells = {**record_cells(record), "rank": rank, "score": score}
        writer.writerow([cells[name] for name in CSV_COLUMNS])
    return out.getvalue()
