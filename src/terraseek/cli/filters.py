"""The filter options that `search`, `archive remove` and `archive export` share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import NotFoundError, QueryError

if TYPE_CHECKING:
    from ..archive import Filter

__all__ = [
    "Bbox",
    "Collections",
    "Datetime",
    "LabelsAll",
    "LabelsAny",
    "LabelsExact",
    "LabelsNone",
    "MinScore",
    "PredictedAll",
    "PredictedAny",
    "PredictedNone",
    "Sources",
    "Where",
    "Within",
    "make_filter",
]

LabelsAny = Annotated[str | None, typer.Option(metavar="A,B", help="Given at least one of these labels.")]
LabelsAll = Annotated[str | None, typer.Option(metavar="A,B", help="Given each of these labels.")]
LabelsNone = Annotated[str | None, typer.Option(metavar="A,B", help="Given none of these labels.")]
LabelsExact = Annotated[str | None, typer.Option(metavar="A,B", help="Given these labels and no other.")]
PredictedAny = Annotated[str | None, typer.Option(metavar="A,B", help="The model predicted one of these labels.")]
PredictedAll = Annotated[str | None, typer.Option(metavar="A,B", help="The model predicted each of these labels.")]
PredictedNone = Annotated[str | None, typer.Option(metavar="A,B", help="The model predicted none of these labels.")]
MinScore = Annotated[
    float | None, typer.Option(min=0, max=1, help="What a predicted label's score must reach to count; 0.5 by default.")
]
Bbox = Annotated[str | None, typer.Option(metavar="W,S,E,N", help="Degrees; west above east crosses the antimeridian.")]
Within = Annotated[Path | None, typer.Option(metavar="FILE.geojson", help="Meeting the geometry in this file.")]
Datetime = Annotated[str | None, typer.Option(metavar="A/B", help="Taken from A to B; '..' leaves an end open.")]
Where = Annotated[str | None, typer.Option(metavar="TEST", help="Properties, such as 'cloud_cover < 10'.")]
Collections = Annotated[list[str] | None, typer.Option("--collection", help="In this collection; may be repeated.")]
Sources = Annotated[list[str] | None, typer.Option("--source", help="From this source; may be repeated.")]


def make_filter(
    *,
    labels_any: str | None = None,
    labels_all: str | None = None,
    labels_none: str | None = None,
    labels_exact: str | None = None,
    predicted_any: str | None = None,
    predicted_all: str | None = None,
    predicted_none: str | None = None,
    min_score: float | None = None,
    bbox: str | None = None,
    within: Path | None = None,
    datetime: str | None = None,
    where: str | None = None,
    collections: list[str] | None = None,
    sources: list[str] | None = None,
) -> Filter:
    """The filter that the options describe.

    Raises:
        QueryError: a value that makes no sense.
        NotFoundError: the file of `within` is not there.
    """
    from ..archive import Filter

    values: dict[str, Any] = {
        "labels_any": _names(labels_any),
        "labels_all": _names(labels_all),
        "labels_none": _names(labels_none),
        "labels_exact": _names(labels_exact),
        "predicted_any": _names(predicted_any),
        "predicted_all": _names(predicted_all),
        "predicted_none": _names(predicted_none),
        "min_score": min_score,
        "bbox": bbox,
        "within": None if within is None else _read_geojson(within),
        "datetime": datetime,
        "where": where,
        "collections": collections or None,
        "sources": sources or None,
    }
    return Filter.from_mapping({name: value for name, value in values.items() if value is not None})


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _read_geojson(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFoundError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise QueryError(f"{path} is not GeoJSON: {error}") from None
