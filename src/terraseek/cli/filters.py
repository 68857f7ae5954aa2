"""The arguments and options that `search` and the commands of `archive` share."""

from __future__ import annotations

import csv
import functools
import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_type_hints

import typer

from ..errors import NotFoundError, QueryError
from .output import say, stderr

if TYPE_CHECKING:
    from ..archive import Archive, Filter

__all__ = [
    "Bbox",
    "Collections",
    "Datetime",
    "LabelsAll",
    "LabelsAny",
    "LabelsExact",
    "LabelsNone",
    "MinScore",
    "Model",
    "PredictedAll",
    "PredictedAny",
    "PredictedNone",
    "Sources",
    "Uri",
    "Where",
    "Within",
    "make_filter",
    "say_why_nothing",
    "takes_filter",
]

Uri = Annotated[str, typer.Argument(metavar="URI", help="The archive: a folder, or s3://, gs://, az://.")]
Model = Annotated[str | None, typer.Option(help="The model; by default the copy that the archive keeps.")]

LabelsAny = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="Given at least one of these labels. A name with a comma stands in double quotes: '\"dunes, sands\",sea'.",
    ),
]
LabelsAll = Annotated[str | None, typer.Option(metavar="A,B", help="Given each of these labels.")]
LabelsNone = Annotated[str | None, typer.Option(metavar="A,B", help="Given none of these labels.")]
LabelsExact = Annotated[str | None, typer.Option(metavar="A,B", help="Given these labels and no other; '' for none.")]
PredictedAny = Annotated[str | None, typer.Option(metavar="A,B", help="The model predicted one of these labels.")]
PredictedAll = Annotated[str | None, typer.Option(metavar="A,B", help="The model predicted each of these labels.")]
PredictedNone = Annotated[str | None, typer.Option(metavar="A,B", help="The model predicted none of these labels.")]
MinScore = Annotated[
    float | None, typer.Option(min=0, max=1, help="What a predicted label's score must reach to count; 0.5 by default.")
]
Bbox = Annotated[str | None, typer.Option(metavar="W,S,E,N", help="Degrees; west above east crosses the antimeridian.")]
Within = Annotated[Path | None, typer.Option(metavar="FILE.geojson", help="Meeting the geometry in this file.")]
Datetime = Annotated[
    str | None,
    typer.Option(
        metavar="A/B",
        help="Taken from A to B, both included; '..' leaves an end open. An end is a time, a day, a month (2021-05) "
        "or a year (2021), and means all of it.",
    ),
]
Where = Annotated[str | None, typer.Option(metavar="TEST", help="Properties, such as 'cloud_cover < 10'.")]
Collections = Annotated[list[str] | None, typer.Option("--collection", help="In this collection; may be repeated.")]
Sources = Annotated[
    list[str] | None, typer.Option("--source", help="From this source (a file or address); may be repeated.")
]


Command: TypeAlias = Callable[..., None]

# In the order in which --help shows them; an option that may be repeated has its name in the singular.
REPEATED = {"collection": "collections", "source": "sources"}
OPTIONS: dict[str, Any] = {
    "labels_any": LabelsAny,
    "labels_all": LabelsAll,
    "labels_none": LabelsNone,
    "labels_exact": LabelsExact,
    "predicted_any": PredictedAny,
    "predicted_all": PredictedAll,
    "predicted_none": PredictedNone,
    "min_score": MinScore,
    "bbox": Bbox,
    "within": Within,
    "datetime": Datetime,
    "where": Where,
    "collection": Collections,
    "source": Sources,
}


def takes_filter(command: Command) -> Command:
    """Give a command the options of a filter in place of its parameter `condition`, which gets the filter they make."""

    @functools.wraps(command)
    def call(**values: Any) -> None:
        chosen = {REPEATED.get(name, name): values.pop(name) for name in OPTIONS}
        command(**values, condition=make_filter(**chosen))

    # The filter's class is imported only when a command runs; its name means nothing before that.
    hints = get_type_hints(command, localns={"Filter": object}, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name == "condition":
            keyword = inspect.Parameter.KEYWORD_ONLY
            parameters += [inspect.Parameter(n, keyword, default=None, annotation=a) for n, a in OPTIONS.items()]
        else:
            annotation = hints[parameter.name]
            parameters.append(parameter.replace(annotation=annotation, kind=inspect.Parameter.KEYWORD_ONLY))
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


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
        "labels_any": _names("labels-any", labels_any),
        "labels_all": _names("labels-all", labels_all),
        "labels_none": _names("labels-none", labels_none),
        "labels_exact": _names("labels-exact", labels_exact, may_be_none=True),
        "predicted_any": _names("predicted-any", predicted_any),
        "predicted_all": _names("predicted-all", predicted_all),
        "predicted_none": _names("predicted-none", predicted_none),
        "min_score": min_score,
        "bbox": bbox,
        "within": None if within is None else _read_geojson(within),
        "datetime": datetime,
        "where": where,
        "collections": collections or None,
        "sources": None if not sources else [name for text in sources for name in _source_names(text)],
    }
    return Filter.from_mapping({name: value for name, value in values.items() if value is not None})


def _names(option: str, text: str | None, *, may_be_none: bool = False) -> list[str] | None:
    """Names between commas; one that has a comma itself stands in double quotes, as in CSV."""
    if text is None:
        return None
    try:
        names = [name.strip() for name in next(csv.reader([text], skipinitialspace=True, strict=True), [])]
    except csv.Error as error:
        raise QueryError(f"--{option} is {text!r:.80}, names between commas are needed ({error})") from None
    # An empty variable of a script must not become a condition that everything passes.
    if not may_be_none and not any(names):
        raise QueryError(f"--{option} names no label; leave it out, or name one")
    return [name for name in names if name]


def _source_names(text: str) -> list[str]:
    """What a record may call the source: as it stands, and a file of this folder by its full path."""
    from ..geo import is_address

    return list(dict.fromkeys((text, text if is_address(text) else os.path.realpath(text))))


def say_why_nothing(archive: Archive, condition: Filter) -> None:
    """Name, on stderr, what a filter that kept nothing asks for and no record has."""
    for line in archive.hints(condition):
        say(f"WARNING: {line}", to=stderr)


def _read_geojson(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFoundError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise QueryError(f"{path} is not GeoJSON: {error}") from None
    except RecursionError:
        raise QueryError(f"{path} is not GeoJSON: it is nested too deep") from None
