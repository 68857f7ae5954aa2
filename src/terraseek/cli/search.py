"""``terraseek search``: examples, words and conditions in, hits out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import NotFoundError, UsageError
from .filters import Model, Uri, say_why_nothing, takes_filter
from .output import Json, emit_json, say, show_table, stderr
from .places import open_place, open_place_with_model

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..archive import Filter
    from ..search import Hit, Page, Query, Retriever

__all__ = ["search"]

Crop = tuple[int, int, int, int]
SHOWN_PREDICTED = 5
SHEET_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@takes_filter
def search(
    uri: Uri,
    image: Annotated[
        list[Path] | None, typer.Option(help="An example: an image file or a GeoTIFF; may be repeated.")
    ] = None,
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
    feedback: Annotated[
        Literal["rocchio", "logistic"] | None,
        typer.Option(help="Take --like and --not-like as marks on hits, which move the search."),
    ] = None,
    diversity: Annotated[float, typer.Option(min=0, max=1, help="Above 0, put back hits that repeat others.")] = 0.0,
    *,
    condition: Filter,
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.")] = 20,
    after: Annotated[str | None, typer.Option(help="The `next` of the page before, for the page that follows.")] = None,
    mode: Annotated[Literal["exact", "ann"], typer.Option(help="ann uses the index on disk.")] = "exact",
    model: Model = None,
    as_json: Json = False,
    as_geojson: Annotated[bool, typer.Option("--geojson", help="Print a GeoJSON FeatureCollection.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    sheet: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Also draw the hits as a picture.")] = None,
    compare: Annotated[
        str | None, typer.Option(metavar="URI", help="Ask this archive too, and show both answers side by side.")
    ] = None,
) -> None:
    """Search an archive: by example image, record or text, under conditions that are applied before ranking.

    Without any example the records that pass come in the order of their ids.

    A score is the cosine of a record with the query, -1 to 1. What is high differs from model to model and from query
    to query: it puts the hits of one search in order and says no more. What the records at large score for the same
    query is said below the hits: a hit that scores like half of them is no better than a record taken blindly. Look
    where along the ranking the hits stop fitting, not for a fixed number.

    Example: `terraseek search coast --image beach.png --bbox=-75.7,37.6,-75.5,37.8 -k 10 --geojson`

    Example: `terraseek search coast --image beach.png --labels-none cloud --datetime 2021-05/.. --sheet hits.png`

    Example: `terraseek search coast --image beach.png --compare coast-of-another-model`
    """
    from ..search import Query, read_example

    if sum((as_json, as_geojson, as_csv)) > 1:
        raise UsageError("choose one of --json, --geojson and --csv")
    if sheet is not None and sheet.suffix.lower() not in SHEET_SUFFIXES:
        raise UsageError(f"--sheet is {sheet.name!r}, its name must end in {', '.join(SHEET_SUFFIXES)}")
    paths = _existing(image or [])
    window = None if crop is None else _window(crop, paths)
    retriever = _retriever(uri, model, encodes=bool(paths or text) or model is not None)
    examples: Sequence[Any] = paths
    if window is not None:
        examples = [read_example(retriever.archive, paths[0], collections=condition.collections, window=window)]
    query = Query(
        **{name: getattr(condition, name) for name in type(condition).__dataclass_fields__},
        image=tuple(examples),
        text=tuple(text or ()),
        like=tuple(like or ()),
        not_like=tuple(not_like or ()),
        combine=combine,
        weights=_weights(weight or []),
        feedback=feedback,
        diversity=diversity,
        k=k,
        after=after,
        mode=mode,
    )
    if compare is not None:
        if as_geojson or as_csv:
            raise UsageError("--compare prints a table or, with --json, both answers; it has no --geojson and no --csv")
        other = _retriever(compare, None, encodes=bool(paths or text))
        _compare(retriever, other, query, sheet, as_json=as_json)
        return
    page = retriever.search(query)
    _show(page, as_json=as_json, as_geojson=as_geojson, as_csv=as_csv)
    if not page.matched:
        say_why_nothing(retriever.archive, query.filter)
    if sheet is not None:
        _draw(retriever, page, query, sheet)


def _retriever(uri: str, model: str | None, *, encodes: bool) -> Retriever:
    from ..search import Retriever

    return Retriever(*open_place_with_model(uri, model)) if encodes else Retriever(open_place(uri))


def _compare(first: Retriever, second: Retriever, query: Query, sheet: Path | None, *, as_json: bool) -> None:
    from ..search import compare_searches, comparison_sheet

    found = compare_searches(first, second, query)
    if as_json:
        emit_json(found.to_json())
    else:
        shared = frozenset(found.shared)
        pages = (found.first.hits, found.second.hits)
        rows = [
            (at + 1, *(cell for hits in pages for cell in _compared(hits[at] if at < len(hits) else None, shared)))
            for at in range(max(map(len, pages)))
        ]
        show_table("", ("rank", "score", first.archive.uri, "score", second.archive.uri), rows)
        overlaps = ", ".join(f"{value:.2f} at {k}" for k, value in found.overlaps.items())
        order = "" if found.rank_correlation is None else f"; order of the shared (tau): {found.rank_correlation:.2f}"
        say(f"overlap {overlaps}{order}; = marks hits of both", to=stderr)
        for retriever, page in ((first, found.first), (second, found.second)):
            if page.spread:
                say(f"{retriever.archive.uri}: {page.spread.describe()}", to=stderr)
    if sheet is not None and (found.first.hits or found.second.hits):
        _save(comparison_sheet(first, second, found, query), sheet)


def _compared(hit: Hit | None, shared: frozenset[str]) -> tuple[str, str]:
    if hit is None:
        return "", ""
    return "" if hit.score is None else f"{hit.score:.3f}", f"{'= ' if hit.id in shared else ''}{hit.id}"


def _existing(paths: list[Path]) -> list[Path]:
    for path in paths:
        if not path.is_file():
            raise NotFoundError(f"no image at {path}")
    return paths


def _window(text: str, paths: list[Path]) -> Crop:
    if len(paths) != 1:
        raise UsageError(f"--crop needs exactly one --image, there are {len(paths)}")
    try:
        column, row, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--crop is {text!r}, four whole numbers are needed: COLUMN,ROW,WIDTH,HEIGHT") from None
    return column, row, width, height


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
        show_table("", ("rank", "score", "id", "labels", "predicted", "bbox", "source"), rows, hide_empty=True)
        say(f"{len(page.hits):,} of {page.matched:,} that matched the conditions", to=stderr)
        if page.spread:
            say(page.spread.describe(), to=stderr)
        if page.next:
            say(f"the next page: --after {page.next}", to=stderr)


def _predicted(scores: Mapping[str, float]) -> str:
    best = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:SHOWN_PREDICTED]
    return ", ".join(f"{name} {score:.2f}" for name, score in best)


def _draw(retriever: Retriever, page: Page, query: Query, out: Path) -> None:
    from ..search import page_sheet

    if not page.hits:
        say(f"nothing was found, so there is nothing to draw: {out} is not written", to=stderr)
        return
    sys.stdout.flush()
    _save(page_sheet(retriever, page, query), out)


def _save(picture: Image, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)  # as `archive export` does
    picture.save(out)
    say(f"the hits as a picture: {out}", to=stderr)
