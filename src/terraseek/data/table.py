"""Anybody's images: a CSV, JSON Lines or Parquet table with one row per image.

    path        the image, relative to the table's folder (or absolute); required
    id          stable name; without it the path without its suffix
    split       train, val, test or any other word; without the column, splits are drawn from the seed
    labels      a list, or in CSV text separated by "|" or ";"
    captions    a list, or in CSV text separated by "|"
    geometry    GeoJSON or WKT in EPSG:4326
    datetime    ISO 8601

Refused with file and line: a missing `path`, a malformed value, an id used twice, a label outside `labels=`.
Skipped and listed: a row whose image does not exist, or that has neither labels nor captions though the table has
such a column. A column that nearly spells one of these is an error; others are noted and ignored.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from shapely.geometry import mapping, shape

from ..errors import ConfigError, DatasetError, NotFoundError, Refused
from ..images import printable
from ..registry import nearest
from ._text import read_lines
from .captions import caption_statistics
from .catalog import DATASETS, DatasetSpec, Origin
from .dataset import ImageDataset, Sample, multi_hot
from .splits import draw_splits, given_splits, split_notes
from .tables import text_rows

__all__ = ["TABLE", "load_table"]

TABLE = Origin(
    title="table of images",
    home="your own files",
    terms="your own terms",
    layout="a .csv, .jsonl or .parquet file with the columns path, split, labels | captions",
)
COLUMNS = ("path", "id", "split", "labels", "captions", "geometry", "datetime")
_NAMES = ("samples", "images", "index", "table")
_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def load_table(
    root: Path, *, splits: Path | None, seed: int, labels: Sequence[str] | None = None, name: str = "table"
) -> ImageDataset:
    """Load a table of images.

    Args:
        root: the table, or a folder that holds ``samples.csv`` (or images, index, table; or .jsonl, .parquet).
        splits: a split file, or a folder of ``*_train.csv`` and so on, that overrides the column `split`; keyed by id.
        seed: seeds the stratified draw if there are no splits at all.
        labels: the label names and their order; without it, all labels that occur, sorted.
        name: what reports call the data set.

    Raises:
        ConfigError: `labels` has a name twice.
        DatasetError: see the rules of this module; the message begins with file and line.
        NotFoundError: there is no table, or none of its images can be used.
    """
    if twice := [label for label, count in Counter(labels or ()).items() if count > 1]:
        raise ConfigError(f"labels has {twice[0]!r} more than once, each label is named once")
    path = _find(root)
    rows = list(_read_rows(path))
    samples: list[Sample] = []
    problems: list[Refused] = []
    lines: dict[str, int] = {}
    columns = {key for _, row in rows for key in row}
    for line, row in rows:
        sample = _sample(path, line, row)
        source = f"{printable(path)}:{line}"
        if sample.id in lines:
            raise DatasetError(f"{path}:{line}: the id {sample.id!r} is already on line {lines[sample.id]}")
        lines[sample.id] = line
        if not sample.path.is_file():
            problems.append(Refused(source=source, reason=f"no image {printable(sample.path)}"))
        elif {"labels", "captions"} & columns and not sample.labels and not sample.captions:
            problems.append(Refused(source=source, reason="neither labels nor captions"))
        else:
            samples.append(sample)
    if not samples:
        raise NotFoundError(
            f"{path}: none of its {len(rows)} images can be used; {problems[0] if problems else 'it is empty'}"
        )
    names = tuple(labels) if labels is not None else tuple(sorted({label for s in samples for label in s.labels}))
    for sample in samples:
        for label in set(sample.labels) - set(names):
            raise DatasetError(f"{path}:{lines[sample.id]}: unknown label {label!r}: {nearest(label, names)}")
    samples, notes = _with_splits(samples, splits, seed, names, "split" in columns)
    return ImageDataset.build(
        name=name,
        root=path.parent,
        samples=samples,
        label_names=names,
        problems=problems,
        notes=[*_unused(path, columns), *notes],
    )


def _inspect(dataset: ImageDataset, **options: Any) -> dict[str, Any]:
    return caption_statistics(dataset) if any(sample.captions for sample in dataset.samples) else {}


def _find(root: Path) -> Path:
    if root.is_file():
        return root
    for stem in _NAMES:
        for suffix in _SUFFIXES:
            if (path := root / f"{stem}{suffix}").is_file():
                return path
    raise TABLE.missing(root, "table")


def _read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv", ".txt"):
        yield from _read_text(path)
    elif suffix in (".jsonl", ".ndjson"):
        yield from _read_json_lines(path)
    elif suffix == ".parquet":
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
        for line, row in enumerate(table.to_pylist(), 1):
            yield line, {key: value for key, value in row.items() if value is not None}
    else:
        raise DatasetError(f"{path}: a table ends in {', '.join(_SUFFIXES)}")


def _read_text(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = text_rows(path)
    _, header = next(lines, (1, []))
    header = [cell.strip().casefold() for cell in header]
    if len(set(header)) < len(header):
        raise DatasetError(f"{path}:1: a column name occurs twice")
    for line, cells in lines:
        if len(cells) != len(header):
            raise DatasetError(f"{path}:{line}: {len(cells)} columns, the header has {len(header)}")
        yield line, dict(zip(header, (cell.strip() for cell in cells), strict=True))


def _read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, raw in enumerate(read_lines(path), 1):
        if not raw.strip():
            continue
        try:
            row = json.loads(raw)
        except json.JSONDecodeError as error:
            raise DatasetError(f"{path}:{line}: not JSON ({error.msg})") from None
        if not isinstance(row, dict):
            raise DatasetError(f"{path}:{line}: a row is an object, not {type(row).__name__}")
        yield line, {key: value for key, value in row.items() if value is not None}


def _sample(path: Path, line: int, row: Mapping[str, Any]) -> Sample:
    where = f"{path}:{line}"
    file = row.get("path")
    if not isinstance(file, str) or not file:
        raise DatasetError(f"{where}: no 'path'; {nearest('path', list(row))}")
    try:
        return Sample(
            id=str(row["id"]) if row.get("id") not in (None, "") else str(PurePosixPath(file).with_suffix("")),
            path=path.parent / file,
            split=str(row.get("split", "")).strip() or None,
            labels=tuple(dict.fromkeys(_texts(row.get("labels"), "|;"))),
            captions=tuple(_texts(row.get("captions"), "|")),
            geometry=_geometry(row.get("geometry")),
            datetime=_datetime(row.get("datetime")),
        )
    except (ValueError, TypeError, KeyError, shapely.errors.GEOSException) as error:
        raise DatasetError(f"{where}: {' '.join(str(error).split())}") from None


def _texts(value: object, separators: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        for separator in separators[1:]:
            value = value.replace(separator, separators[0])
        value = value.split(separators[0])
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"expected a list of texts, not {value!r}")
    return [item.strip() for item in value if item.strip()]


def _geometry(value: object) -> Mapping[str, Any] | None:
    if value is None or value == "":
        return None
    if isinstance(value, bytes):
        found = shapely.from_wkb(value)
    elif isinstance(value, str) and not value.lstrip().startswith("{"):
        found = shapely.from_wkt(value)
    else:
        found = shape(json.loads(value) if isinstance(value, str) else value)
    west, south, east, north = found.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90) or math.isnan(west):
        raise ValueError(f"geometry reaches {found.bounds}, which is not longitude and latitude in EPSG:4326")
    plain: Mapping[str, Any] = mapping(found)
    return plain


def _datetime(value: object) -> datetime | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))


def _unused(path: Path, columns: set[str]) -> list[str]:
    notes = []
    for column in sorted(columns - set(COLUMNS)):
        if close := difflib.get_close_matches(column, set(COLUMNS) - columns, n=1, cutoff=0.75):
            raise DatasetError(f"{path}:1: unknown column {column!r}, did you mean {close[0]!r}?")
        notes.append(f"column {column!r} is not used")
    return notes


def _with_splits(
    samples: list[Sample], splits: Path | None, seed: int, names: Sequence[str], given: bool
) -> tuple[list[Sample], list[str]]:
    ids = [sample.id for sample in samples]
    if splits is None and given:
        return samples, split_notes({sample.id: sample.split for sample in samples if sample.split}, ids)
    if splits is None:
        drawn = draw_splits(multi_hot([sample.labels for sample in samples], names), seed=seed)
        assignment = dict(zip(ids, drawn, strict=True))
    else:
        assignment = given_splits(splits, ("",), images=set(ids))
    notes = split_notes(assignment, ids, drawn_from=seed if splits is None else None)
    return [dataclasses.replace(sample, split=assignment.get(sample.id)) for sample in samples], notes


DATASETS.register("table")(DatasetSpec(origin=TABLE, load=load_table, inspect=_inspect))
