"""Records as CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..images import printable
from .archive import Archive
from .batches import Batch
from .features import record_mapping
from .record import Record

__all__ = ["RECORD_CELLS", "joined", "record_cells", "safe_cell", "scored_labels", "write_csv"]


RECORD_CELLS = (
    *("id", "source", "collection", "datetime", "labels", "predicted", "caption"),
    *("west", "south", "east", "north", "window", "properties"),
)


def write_csv(path: Path, archive: Archive, batches: Iterator[Batch]) -> None:
    """Write a table; vectors are left out and no cell can be a formula."""
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(RECORD_CELLS)
        for batch in batches:
            for record in batch.records:
                cells = record_cells(record)
                writer.writerow([cells[name] for name in RECORD_CELLS])


def record_cells(record: Record) -> dict[str, object]:
    """A record as cells of a table by `RECORD_CELLS`, each of them safe; what it does not have is empty."""
    values = record_mapping(record)
    values |= dict(zip(("west", "south", "east", "north"), record.bbox or (None,) * 4, strict=True))
    values["labels"] = joined(record.labels)
    values["predicted"] = scored_labels(record.predicted)
    values["window"] = " ".join(map(str, record.window or ()))
    values["properties"] = json.dumps(values["properties"], ensure_ascii=False) if values["properties"] else ""
    return {name: safe_cell(values[name]) for name in RECORD_CELLS}


def scored_labels(predicted: Mapping[str, float]) -> str:
    """Predicted labels with their scores, best first.

    >>> scored_labels({"sea": 0.5, "port": 0.81})
    'port=0.81;sea=0.5'
    """
    best_first = sorted(predicted.items(), key=lambda pair: (-pair[1], pair[0]))
    return joined(f"{name}={score:g}" for name, score in best_first)


def joined(names: Iterable[str]) -> str:
    """Several texts in one cell, each safe on its own: spreadsheets of many countries split at the semicolon.

    >>> joined(["beach", "=1+1"])
    "beach;'=1+1"
    """
    return ";".join(str(safe_cell(name)) for name in names)


def safe_cell(value: object) -> object:
    """A text as a cell that is neither a formula nor an instruction to a terminal.

    What a spreadsheet would run as a formula gets an apostrophe before it (OWASP, CSV injection). Control and
    bidirectional characters are escaped, line feeds excepted.

    >>> safe_cell("=1+1"), safe_cell("beach"), safe_cell(-3.5)
    ("'=1+1", 'beach', -3.5)
    """
    if not isinstance(value, str):
        return value
    risky = value[:1] in ("\t", "\r", "\n") or value.lstrip()[:1] in ("=", "+", "-", "@", "|", "%")
    shown = "\n".join(map(printable, value.split("\n")))
    return "'" + shown if risky else shown
