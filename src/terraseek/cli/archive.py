"""``terraseek archive``: make archives, put imagery in and take it out, see what is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..config import from_mapping, to_mapping
from ..errors import UsageError
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
from .output import DryRun, Json, emit_json, parse_options, raise_if_refused, say, show_progress, show_table
from .remote import AllowHost, ItemBbox, ItemDatetime, ItemWhere, MaxItems, StacCollection, make_query, make_web

if TYPE_CHECKING:
    from ..archive import IngestReport

__all__ = ["Uri", "app"]

app = typer.Typer(no_args_is_help=True, help="Archives: create, add, remove, status and upkeep.")

Uri = Annotated[str, typer.Argument(metavar="URI", help="The archive: a folder, or s3://, gs://, az://.")]
Model = Annotated[str | None, typer.Option(help="The model; by default the copy that the archive keeps.")]


@app.command(no_args_is_help=True)
def create(
    uri: Uri,
    model: Annotated[str, typer.Option(help="A model directory, or a name from `terraseek model list`.")],
    as_json: Json = False,
) -> None:
    """Make an empty archive for one model. A local archive keeps a copy of the model.

    Example: `terraseek archive create coast --model efficientnet-lite0`
    """
    from ..archive import create_archive

    archive, _ = create_archive(uri, find_model(model))
    if as_json:
        emit_json(archive.status())
    else:
        say(f"{uri}: empty, for the model {archive.model.describe()}")


@app.command(no_args_is_help=True)
def add(
    uri: Uri,
    sources: Annotated[
        list[str], typer.Argument(help="Folders, image files, GeoTIFFs, STAC documents (.json); https:// addresses.")
    ],
    model: Model = None,
    collection: Annotated[str, typer.Option(help="The collection that the new records belong to.")] = "default",
    chip: Annotated[int, typer.Option(min=16, help="Edge of a chip, in pixels of the scene.")] = 256,
    stride: Annotated[int | None, typer.Option(min=1, help="From chip to chip; the chip's edge if left out.")] = None,
    band: Annotated[
        list[str] | None, typer.Option(help="Band name or number, once for each band, in the model's order.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of the chipping, such as scaling.kind=range.")
    ] = None,
    kind: Annotated[Literal["auto", "image", "scene"], typer.Option(help="What files are taken for.")] = "auto",
    allow_host: AllowHost = None,
    stac_collection: StacCollection = None,
    bbox: ItemBbox = None,
    datetime: ItemDatetime = None,
    where: ItemWhere = None,
    max_items: MaxItems = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Records per commit.")] = 256,
    refresh: Annotated[bool, typer.Option("--refresh", help="Embed what is unchanged too.")] = False,
    predict_labels: Annotated[
        bool, typer.Option("--predict-labels", help="Keep what the model sees in each record, apart from given labels.")
    ] = False,
    min_score: Annotated[
        float, typer.Option(min=0, max=1, help="With --predict-labels: the least score of a label that is kept.")
    ] = 0.1,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Put imagery in: images whole, scenes cut into chips. Only what is new or changed is embedded.

    Interrupted or killed, it loses nothing: the same command goes on where it stopped. What cannot be read is listed
    with the reason, everything else goes in, and the exit code is 5.

    Examples: `terraseek archive add coast scene.tif photos/ --chip 96 --stride 62`

    `terraseek archive add coast https://stac.example.org/v1 --allow-host stac.example.org --stac-collection s2
    --bbox 7,46,8,47 --datetime 2024-06 --band red --band green --band blue`
    """
    from ..archive import find_sources, ingest, open_archive
    from ..geo import ChipConfig

    tree: dict[str, Any] = {"size": chip, "bands": tuple(band or ())}
    if stride is not None:
        tree["stride"] = stride
    for name, value in parse_options(set_ or ()).items():
        node = tree
        *sections, key = name.split(".")
        for section in sections:
            node = node.setdefault(section, {})
        node[key] = value
    config = from_mapping(ChipConfig, tree)
    query = make_query(
        sources, collections=stac_collection, bbox=bbox, datetime=datetime, where=where, max_items=max_items
    )
    web = make_web(allow_host)
    archive, encoder = open_archive(uri, None if model is None else find_model(model))
    with show_progress("adding") as progress:
        report = ingest(
            archive,
            encoder,
            find_sources(sources, bands=config.bands, kind=kind, web=web, query=query),
            chip=config,
            collection=collection,
            batch_size=batch_size,
            refresh=refresh,
            predict_labels=min_score if predict_labels else None,
            dry_run=dry_run,
            progress=progress,
        )
    _show_ingest(report, dry_run=dry_run, as_json=as_json)


def _show_ingest(report: IngestReport, *, dry_run: bool, as_json: bool) -> None:
    counts = f"{report.added:,} added, {report.updated:,} updated, {report.removed:,} removed"
    done = f"{counts}, {report.unchanged:,} sources unchanged" + (" (dry run, nothing written)" if dry_run else "")
    if as_json:
        emit_json({"schema": 1, "dry_run": dry_run, **to_mapping(report)})
    else:
        say(done)
    raise_if_refused(report.refused, done)


@app.command(no_args_is_help=True)
def remove(
    uri: Uri,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of records; or say by the options which.")] = None,
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
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Take records out, by id or by filter. `archive compact` then removes their bytes.

    Example: `terraseek archive remove coast --collection test-flight --dry-run`
    """
    from ..archive import Archive

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
    if ids:
        condition = replace(condition, ids=tuple(ids))
    if condition.is_empty:
        raise UsageError("say which records: ids, or options such as --collection (see --help)")
    archive = Archive.open(uri)
    removed = archive.count(condition) if dry_run else archive.remove(condition)
    if as_json:
        emit_json({"schema": 1, "dry_run": dry_run, "removed": removed})
    else:
        say(f"{removed:,} records " + ("would be removed (dry run)" if dry_run else "removed"))


@app.command(no_args_is_help=True)
def status(uri: Uri, as_json: Json = False) -> None:
    """Say what an archive holds: records, collections, labels, extent, model, size.

    Example: `terraseek archive status coast --json`
    """
    from ..archive import Archive

    found = Archive.open(uri).status()
    if as_json:
        emit_json(found)
        return
    model = found["model"]
    rows = [
        ("records", f"{found['records']:,} from {found['sources']:,} sources"),
        ("collections", _counts(found["collections"])),
        ("labels", _counts(found["labels"])),
        ("predicted", _counts(found["predicted"])),
        ("bbox", "none" if found["bbox"] is None else ", ".join(f"{value:.5f}" for value in found["bbox"])),
        ("datetime", " to ".join(end or "?" for end in found["datetime"]) if any(found["datetime"]) else "none"),
        ("model", f"{model['name']}, {model['dim']} dims, {model['fingerprint'][:12]}"),
        ("index", found["index"] or "exact"),
        ("size", "?" if found["bytes"] is None else f"{found['bytes'] / 1e6:.1f} MB"),
    ]
    show_table(uri, ("", ""), rows)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:12]) or "none"


@app.command(no_args_is_help=True)
def compact(uri: Uri, as_json: Json = False) -> None:
    """Remove the bytes of everything that was deleted or replaced.

    Example: `terraseek archive compact coast`
    """
    from ..archive import Archive

    result = Archive.open(uri).compact()
    if as_json:
        emit_json({"schema": 1, **to_mapping(result)})
    else:
        before, after = result.bytes_before, result.bytes_after
        sizes = "" if before is None or after is None else f": {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now"
        say(f"{uri} compacted{sizes}")


@app.command(no_args_is_help=True)
def index(uri: Uri) -> None:
    """Build the index on disk that `search --mode ann` uses, for archives that outgrow memory.

    Example: `terraseek archive index coast`
    """
    from ..archive import Archive

    archive = Archive.open(uri)
    archive.build_index()
    say(f"{uri}: {len(archive):,} records indexed; measure its recall with: terraseek archive verify {uri} --recall")


@app.command(no_args_is_help=True)
def verify(
    uri: Uri,
    recall: Annotated[bool, typer.Option("--recall", help="Also compare the index with exact search.")] = False,
    as_json: Json = False,
) -> None:
    """Read everything and compare it with its checksums. Exit code 4 when something is not as it was written.

    Example: `terraseek archive verify coast --recall`
    """
    from ..archive import Archive

    with show_progress("verifying") as progress:
        report = Archive.open(uri).verify(recall=recall, progress=progress)
    if as_json:
        emit_json(report.to_json())
    else:
        for problem in report.problems:
            say(f"{problem.kind}: {problem.detail}")
        measured = "" if report.recall is None else f", recall@10 of the index {report.recall:.4f}"
        say(f"{uri}: {report.intact:,} of {report.records:,} records are as they were written{measured}")
    report.raise_for_problems(uri)


@app.command(no_args_is_help=True)
def repair(uri: Uri, as_json: Json = False) -> None:
    """Take out what is damaged, so that the rest can be used; adding the sources again brings back what was lost.

    `terraseek archive verify` says beforehand what that is. No data file is deleted before the next compact.

    Example: `terraseek archive repair coast`
    """
    from ..archive import repair_archive

    with show_progress("verifying") as progress:
        report = repair_archive(uri, progress=progress)
    if as_json:
        emit_json({"schema": 1, **to_mapping(report)})
        return
    say(
        f"{uri}: {report.removed_rows:,} damaged rows taken out, {len(report.without_thumbnail):,} damaged thumbnails "
        f"dropped, {len(report.went_back):,} damaged versions set aside"
    )
    for name in report.removed:
        say(f"taken out: {name}")


@app.command("export", no_args_is_help=True)
def export_records(
    uri: Uri,
    out: Annotated[Path, typer.Argument(help="A .parquet, .geojson, .csv or .json (STAC ItemCollection) file.")],
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
    as_json: Json = False,
) -> None:
    """Write records to one file. GeoParquet and STAC hold the vectors and can be imported again.

    Example: `terraseek archive export coast coast.parquet --collection sentinel-2`
    """
    from ..archive import Archive, export_archive

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
    with show_progress("exporting") as progress:
        count = export_archive(Archive.open(uri), out, where=condition, progress=progress)
    if as_json:
        emit_json({"schema": 1, "path": str(out), "records": count})
    else:
        say(f"{out}: {count:,} records")


@app.command("import", no_args_is_help=True)
def import_records(
    uri: Uri,
    path: Annotated[Path, typer.Argument(help="A GeoParquet file or STAC ItemCollection with vectors.")],
    trust: Annotated[
        bool, typer.Option("--trust", help="Take vectors although the file does not say which model made them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add records with the vectors that they bring, without encoding anything.

    Example: `terraseek archive import coast coast.parquet`
    """
    from ..archive import Archive, import_archive

    with show_progress("importing") as progress:
        count = import_archive(Archive.open(uri), path, trust=trust, progress=progress)
    if as_json:
        emit_json({"schema": 1, "records": count})
    else:
        say(f"{uri}: {count:,} records imported")
