"""``terraseek search``: examples, words and conditions in, hits out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import NotFoundError, UsageError
from .archive import Model, Uri
from .filters import (
    Bbox,
    Collections,
    Datetime,
    LabelsAll,
    LabelsAny,
    LabelsExact,
    LabelsNone,
    MinScore,
    PredictedAll,
    PredictedAny,
    PredictedNone,
    Sources,
    Where,
    Within,
    make_filter,
)
from .model import find_model
from .output import Json, emit_json, say, show_table, stderr

if TYPE_CHECKING:
    from ..search import Page, Retriever

__all__ = ["search"]

Crop = tuple[int, int, int, int]
SHOWN_PREDICTED = 5


def search(
    uri: Uri,
    image: Annotated[list[Path] | None, typer.Option(help="An example image; may be repeated.")] = None,
    crop: Annotated[
        str | None, typer.Option(metavar="COL,ROW,WIDTH,HEIGHT", help="Use only this window of the (one) image.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="What to look for, in words; may be repeated.")] = None,
    like: Annotated[list[str] | None, typer.Option(help="A record to resemble; may be repeated.")] = None,
    not_like: Annotated[list[str] | None, typer.Option(help="A record to avoid resembling; may be repeated.")] = None,
    combine: Annotated[
        Literal["mean", "max"], typer.Option(help="Several examples: like all of them, or like any.")
    ] = "mean",
    weight: Annotated[
        list[str] | None, typer.Option(metavar="SIDE=W", help="Weight of image, text or like, such as text=0.5.")
    ] = None,
    diversity: Annotated[float, typer.Option(min=0, max=1, help="Above 0, put back hits that repeat others.")] = 0.0,
    labels_any: LabelsAny = None,
    labels_all: LabelsAll = None,
    labels_none: LabelsNone = None,
    labels_exact: LabelsExact = None,
    predicted_any: PredictedAny = None,
    predicted_all: PredictedAll = None,
    predicted_none: PredictedNone = None,
    min_score: MinScore = None,
    bbox: Bbox = None,
    within: Within = None,
    datetime: Datetime = None,
    where: Where = None,
    collection: Collections = None,
    source: Sources = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.")] = 20,
    after: Annotated[str | None, typer.Option(help="The `next` of the page before, for the page that follows.")] = None,
    mode: Annotated[Literal["exact", "ann"], typer.Option(help="ann uses the index on disk.")] = "exact",
    model: Model = None,
    as_json: Json = False,
    as_geojson: Annotated[bool, typer.Option("--geojson", help="Print a GeoJSON FeatureCollection.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    sheet: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Also draw the hits as a picture.")] = None,
) -> None:
    """Search an archive: by example image, record or text, under conditions that are applied before ranking.

    Without any example the records that pass come in the order of their ids.

    Example: `terraseek search coast --image beach.png --bbox=-75.7,37.6,-75.5,37.8 -k 10 --geojson`
    """
    from ..archive import Archive, open_archive
    from ..search import Query, Retriever

    if sum((as_json, as_geojson, as_csv)) > 1:
        raise UsageError("choose one of --json, --geojson and --csv")
    condition = make_filter(
        labels_any=labels_any,
        labels_all=labels_all,
        labels_none=labels_none,
        labels_exact=labels_exact,
        predicted_any=predicted_any,
        predicted_all=predicted_all,
        predicted_none=predicted_none,
        min_score=min_score,
        bbox=bbox,
        within=within,
        datetime=datetime,
        where=where,
        collections=collection,
        sources=source,
    )
    examples = _examples(image or [], crop)
    query = Query(
        **{name: getattr(condition, name) for name in type(condition).__dataclass_fields__},
        image=tuple(examples),
        text=tuple(text or ()),
        like=tuple(like or ()),
        not_like=tuple(not_like or ()),
        combine=combine,
        weights=_weights(weight or []),
        diversity=diversity,
        k=k,
        after=after,
        mode=mode,
    )
    if examples or text or model is not None:
        archive, encoder = open_archive(uri, None if model is None else find_model(model))
        retriever = Retriever(archive, encoder)
    else:
        retriever = Retriever(Archive.open(uri))
    page = retriever.search(query)
    if sheet is not None:
        _draw(retriever, page, image or [], like or [], sheet)
    _show(page, as_json=as_json, as_geojson=as_geojson, as_csv=as_csv)


def _examples(paths: list[Path], crop: str | None) -> list[Any]:
    from ..images import read_image

    for path in paths:
        if not path.is_file():
            raise NotFoundError(f"no image at {path}")
    if crop is None:
        return list(paths)
    if len(paths) != 1:
        raise UsageError(f"--crop needs exactly one --image, there are {len(paths)}")
    image = read_image(paths[0])
    column, row, width, height = _window(crop, image.shape[1], image.shape[0])
    return [image[row : row + height, column : column + width]]


def _window(text: str, width: int, height: int) -> Crop:
    try:
        column, row, w, h = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--crop is {text!r}, four whole numbers are needed: COLUMN,ROW,WIDTH,HEIGHT") from None
    if column < 0 or row < 0 or w < 1 or h < 1 or column + w > width or row + h > height:
        raise UsageError(f"--crop {text} does not lie within the image of {width} x {height} pixels")
    return column, row, w, h


def _weights(texts: list[str]) -> dict[str, float]:
    weights = {}
    for text in texts:
        side, _, value = text.partition("=")
        try:
            weights[side] = float(value)
        except ValueError:
            raise UsageError(f"--weight is {text!r}, a side and a number are needed, such as text=0.5") from None
    return weights


def _show(page: Page, *, as_json: bool, as_geojson: bool, as_csv: bool) -> None:
    if as_json:
        emit_json(page.to_json())
    elif as_geojson:
        emit_json(page.to_geojson())
    elif as_csv:
        sys.stdout.write(page.to_csv())
    else:
        rows = [
            (
                hit.rank,
                "" if hit.score is None else f"{hit.score:.3f}",
                hit.id,
                ", ".join(hit.record.labels),
                _predicted(hit.record.predicted),
                "" if hit.record.bbox is None else ", ".join(f"{value:.4f}" for value in hit.record.bbox),
                hit.record.source,
            )
            for hit in page.hits
        ]
        show_table("", ("rank", "score", "id", "labels", "predicted", "bbox", "source"), rows)
        say(f"{len(page.hits):,} of {page.matched:,} that matched the conditions", to=stderr)
        if page.next:
            say(f"the next page: --after {page.next}", to=stderr)


def _predicted(scores: Mapping[str, float]) -> str:
    best = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:SHOWN_PREDICTED]
    return ", ".join(f"{name} {score:.2f}" for name, score in best)


def _draw(retriever: Retriever, page: Page, images: list[Path], like: list[str], out: Path) -> None:
    from ..search import SheetRow, SheetTile, contact_sheet

    records = retriever.archive.get([hit.id for hit in page.hits])
    tiles = tuple(
        SheetTile(image=record.thumbnail, caption="" if hit.score is None else f"{hit.rank}   {hit.score:.3f}")
        for hit, record in zip(page.hits, records, strict=True)
        if record.thumbnail
    )
    if not tiles:
        raise UsageError("there is nothing to draw: no hit has a thumbnail")
    shown = images[0].read_bytes() if images else retriever.archive.get(like[:1])[0].thumbnail if like else None
    rows = [
        SheetRow(title="" if start else "query and hits", example=SheetTile(image=shown or tiles[0].image), hits=part)
        for start in range(0, len(tiles), 10)
        if (part := tiles[start : start + 10])
    ]
    contact_sheet(rows).save(out)
