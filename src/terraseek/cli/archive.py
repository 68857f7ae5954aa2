"""``terraseek archive``: make archives, put imagery in and take it out, see what is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..config import to_mapping
from ..errors import NotFoundError, Refused, UsageError
from . import upkeep
from .chipping import Band, Chip, Redeclare, Setting, Stride, declare, given_chipping, say_declared
from .filters import Model, Uri, say_why_nothing, takes_filter
from .model import find_model
from .output import (
    DryRun,
    Json,
    emit_json,
    parse_options,
    raise_if_refused,
    say,
    show_progress,
    show_table,
    stderr,
)
from .places import encoder_loader, open_place, open_place_with_model
from .quiet import without_lines
from .remote import AllowHost, ItemBbox, ItemDatetime, ItemWhere, MaxItems, StacCollection, make_query, make_web
from .settings import storage_options

if TYPE_CHECKING:
    from ..archive import Filter, IngestOptions, IngestReport, Source

    Sources = Iterable[str | Source | Refused]

__all__ = ["app"]

SHOWN_COUNTS = 12

app = typer.Typer(
    no_args_is_help=True,
    help="Archives: create, add, remove, status and upkeep.",
    epilog="Example: `terraseek archive status coast`",
)


@app.command(no_args_is_help=True)
def create(
    uri: Uri,
    model: Annotated[str, typer.Option(help="A model directory, or a name from `terraseek model list`.")],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make an empty archive for one model, in a folder or bucket path of its own. It keeps a copy of the model.

    Example: `terraseek archive create coast --model efficientnet-lite0`
    """
    from ..archive import create_archive

    if dry_run:
        _foresee_creation(uri, find_model(model), as_json=as_json)
        return
    archive, _ = create_archive(uri, find_model(model), storage_options=storage_options(uri))
    if as_json:
        emit_json({**archive.status(), "dry_run": False})
    else:
        say(f"{uri}: empty, for the model {archive.model.describe()}")


def _foresee_creation(uri: str, model: Path, *, as_json: bool) -> None:
    from ..archive import ModelIdentity
    from ..archive.storage import check_vacant
    from ..encoders import load_encoder

    identity = ModelIdentity.of(load_encoder(model))
    try:
        open_place(uri)
    except NotFoundError:
        check_vacant(uri)
    else:
        raise UsageError(f"there is an archive at {uri} already; add to it, or choose another place")
    if as_json:
        emit_json({"schema": 1, "dry_run": True, "uri": uri, "records": 0, "model": asdict(identity)})
    else:
        say(f"{uri} would be made, for the model {identity.describe()} (dry run, nothing written)")


@app.command(no_args_is_help=True)
def add(
    uri: Uri,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders, image files, GeoTIFFs, STAC documents (.json, each by its name); https:// addresses."
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A labelled data set in place of sources; its name, see `terraseek data list`.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="With --dataset: the folder that holds it.")] = None,
    split: Annotated[str | None, typer.Option(help="With --dataset: only this split.")] = None,
    splits: Annotated[Path | None, typer.Option(help="With --dataset: split folder or file, if elsewhere.")] = None,
    split_seed: Annotated[int, typer.Option(help="With --dataset: seeds the split where none comes with it.")] = 0,
    option: Annotated[list[str] | None, typer.Option(help="With --dataset: key=value, an option of its own.")] = None,
    model: Model = None,
    collection: Annotated[
        str | None, typer.Option(help="Of the new records; 'default', or the data set's name, if left out.")
    ] = None,
    chip: Chip = None,
    stride: Stride = None,
    band: Band = None,
    set_: Setting = None,
    redeclare: Redeclare = False,
    kind: Annotated[
        Literal["auto", "image", "scene"],
        typer.Option(help="image: each file is one record; scene: cut into chips; auto: what has a place is a scene."),
    ] = "auto",
    allow_host: AllowHost = None,
    stac_collection: StacCollection = None,
    bbox: ItemBbox = None,
    datetime: ItemDatetime = None,
    where: ItemWhere = None,
    max_items: MaxItems = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Records embedded together.")] = 256,
    refresh: Annotated[bool, typer.Option("--refresh", help="Embed what is unchanged too.")] = False,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="ray reads and embeds on a Ray cluster, and commits once.")
    ] = "local",
    ray_address: Annotated[
        str | None, typer.Option(help="With --engine ray: the cluster, auto say; one on this machine if left out.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="With --engine ray: CPUs; all if left out.")] = None,
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
    with the reason, everything else goes in, and the exit code is 5; 3 if nothing of what is named is there.

    The first add that cuts a scene declares how the scenes of the collection are read: --chip, --stride, --band and
    --set, with defaults for the rest. Later adds need none of them, and are refused where they say otherwise.

    A data set brings its labels and captions along: they are kept as given labels and captions of the records.

    Example: `terraseek archive add coast scene.tif photos/ --chip 96 --stride 62`

    Example: `terraseek archive add coast scene.tif --collection fine --chip 64 --redeclare`

    Example: `terraseek archive add coast --dataset ucmerced-ml --root UCMerced --split test`

    Example: `terraseek archive add coast https://stac.example.org/v1 --allow-host stac.example.org
    --stac-collection s2 --bbox 7,46,8,47 --datetime 2024-06 --band red --band green --band blue`
    """
    from ..archive import DEFAULT_COLLECTION, IngestOptions

    if engine != "ray" and (ray_address is not None or workers is not None):
        raise UsageError("--ray-address and --workers go with --engine ray")
    options = IngestOptions(
        chip=given_chipping(chip, stride, band, set_),
        redeclare=redeclare,
        collection=(dataset or DEFAULT_COLLECTION) if collection is None else collection,
        kind=kind,
        batch_size=batch_size,
        refresh=refresh,
        predict_labels=min_score if predict_labels else None,
        web=make_web(allow_host),
        query=make_query(
            sources or (), collections=stac_collection, bbox=bbox, datetime=datetime, where=where, max_items=max_items
        ),
    )
    of_dataset: dict[str, Any] = {"root": root, "split": split, "splits": splits, "option": option}
    found: Sources
    if dataset is None:
        found = _named_sources(sources, of_dataset)
    else:
        found = _dataset_sources(dataset, sources, seed=split_seed, **of_dataset)
    with show_progress("adding") as progress:
        if engine == "ray":
            report = _add_on_ray(uri, model, found, options, workers, ray_address, dry_run=dry_run, progress=progress)
        else:
            report = _add_here(uri, model, found, options, dry_run=dry_run, progress=progress)
    _show_ingest(report, options.collection, dry_run=dry_run, as_json=as_json)
    if sources and all(map(_is_missing, sources)):
        raise NotFoundError(f"nothing is at {sources[0]}{_and_others(sources)}, so nothing was added")
    raise_if_refused(report.refused, _done(report, dry_run=dry_run))


def _named_sources(sources: list[str] | None, of_dataset: Mapping[str, object]) -> list[str]:
    if not sources:
        raise UsageError("say what to add: files, folders, addresses, or --dataset NAME --root DIR")
    if any(of_dataset.values()):
        raise UsageError("--root, --split, --splits and --option go with --dataset")
    return sources


def _dataset_sources(
    name: str,
    sources: list[str] | None,
    *,
    root: Path | None,
    split: str | None,
    splits: Path | None,
    option: list[str] | None,
    seed: int,
) -> Iterable[Source | Refused]:
    from ..archive import dataset_sources
    from ..data import load_dataset

    if sources or root is None:
        raise UsageError("--dataset needs --root, the folder that holds it, and takes no other sources")
    loaded = load_dataset(name, root, splits=splits, seed=seed, **parse_options(option or ()))
    return dataset_sources(loaded, split)


def _add_here(uri: str, model: str | None, found: Sources, options: IngestOptions, **more: Any) -> IngestReport:
    from ..archive import ingest

    archive, encoder = open_place_with_model(uri, model)
    return ingest(archive, encoder, found, options, **more)


def _add_on_ray(
    uri: str,
    model: str | None,
    found: Sources,
    options: IngestOptions,
    workers: int | None,
    address: str | None,
    **more: Any,
) -> IngestReport:
    from ..archive import ingest_on_ray

    # Ray Data makes its actors so, and Ray warns of it each time.
    with without_lines("has constructor arguments in the object store and max_restarts > 0"):
        return ingest_on_ray(
            open_place(uri),
            encoder_loader(uri, model),
            found,
            options,
            workers=workers,
            address=address,
            storage_options=storage_options(uri),
            **more,
        )


def _is_missing(source: str) -> bool:
    """Whether nothing of that name is on this disk; what the web or the system refuses is no such thing."""
    from ..geo import is_address

    if is_address(source):
        return False
    try:
        Path(source).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # no permission, a name that no file can have: adding it says so
        return False
    return False


def _and_others(names: Sequence[str]) -> str:
    others = len(names) - 1
    return f" and {others:,} other{'s' * (others != 1)}" if others else ""


def _done(report: IngestReport, *, dry_run: bool) -> str:
    counts = f"{report.added:,} added, {report.updated:,} updated, {report.removed:,} removed"
    if report.empty:
        counts += f", {report.empty:,} scene{'s' * (report.empty != 1)} without data"
    return f"{counts}, {report.unchanged:,} sources unchanged" + (" (dry run, nothing written)" if dry_run else "")


def _show_ingest(report: IngestReport, collection: str, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        emit_json({"schema": 1, "dry_run": dry_run, **to_mapping(report)})
    else:
        say(_done(report, dry_run=dry_run))
        if report.declared is not None:
            say_declared(collection, report.declared)
    if report == type(report)():
        say("nothing was found to add: in folders, images and scenes are known by their suffix", to=stderr)


@app.command(no_args_is_help=True)
@takes_filter
def remove(
    uri: Uri,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of records; or say by the options which.")] = None,
    *,
    condition: Filter,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Take records out, by id or by filter. `archive compact` then removes their bytes.

    Exit code 3 if none of the ids is there, 5 if some are not; those that are there are removed all the same.

    Example: `terraseek archive remove coast --collection test-flight --dry-run`
    """
    from ..archive import Filter

    if ids:
        condition = replace(condition, ids=tuple(ids))
    if condition.is_empty:
        raise UsageError("say which records: ids, or options such as --collection (see --help)")
    archive = open_place(uri)
    there = set(archive.ids(Filter(ids=tuple(ids)))) if ids else set()
    missing = [name for name in dict.fromkeys(ids or ()) if name not in there]
    removed = archive.count(condition) if dry_run else archive.remove(condition)
    done = f"{removed:,} record{'s' * (removed != 1)} " + ("would be removed (dry run)" if dry_run else "removed")
    if as_json:
        emit_json({"schema": 1, "dry_run": dry_run, "removed": removed, "missing": missing})
    elif there or not ids:
        say(done)
    if not removed and not ids:
        say_why_nothing(archive, condition)
    if missing and not there:
        raise NotFoundError(f"{uri} has no record {missing[0]!r:.100}{_and_others(missing)}; nothing was removed")
    raise_if_refused([Refused(source=name, reason="no such record") for name in missing], done)


@app.command(no_args_is_help=True)
def status(uri: Uri, as_json: Json = False) -> None:
    """Say what an archive holds: records, collections and how they are declared, labels, extent, model, size.

    Example: `terraseek archive status coast --json`
    """
    from ..archive import describe_chipping

    archive = open_place(uri)
    found = archive.status()
    if as_json:
        emit_json(found)
        return
    model = found["model"]
    declared = [f"{name}: {describe_chipping(chip)}" for name, chip in sorted(archive.declarations().items())]
    rows = [
        ("records", f"{found['records']:,} from {found['sources']:,} sources"),
        ("collections", _counts(found["collections"])),
        *(("" if at else "declared", text) for at, text in enumerate(declared)),
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
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:SHOWN_COUNTS]]
    left_out = len(counts) - len(shown)
    return ", ".join(shown + [f"and {left_out:,} more (see archive facets)"] * bool(left_out)) or "none"


@app.command(no_args_is_help=True)
@takes_filter
def facets(uri: Uri, *, condition: Filter, as_json: Json = False) -> None:
    """Count how many of the records that pass have each label, are in each collection and were taken in each year.

    Example: `terraseek archive facets coast --bbox=-75.7,37.6,-75.5,37.8`
    """
    archive = open_place(uri)
    counts = archive.facets(condition)
    if as_json:
        emit_json({"schema": 1, "matched": archive.count(condition), **counts})
        return
    kinds = {"labels": "label", "predicted": "predicted label", "collections": "collection", "years": "year"}
    rows = [(kind, name, count) for group, kind in kinds.items() for name, count in counts[group].items()]
    show_table("", ("kind", "name", "records"), rows)
    matched = archive.count(condition)
    say(f"{matched:,} record{'s pass' if matched != 1 else ' passes'}", to=stderr)
    if not matched:
        say_why_nothing(archive, condition)


@app.command(no_args_is_help=True)
@takes_filter
def duplicates(
    uri: Uri,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="The cosine from which two records show the same thing.")
    ] = 0.98,
    *,
    condition: Filter,
    as_json: Json = False,
) -> None:
    """Find groups of records that show the same thing, the largest group first. Nothing is changed.

    Every pair of the records that pass is compared: the time grows with the square of their number.

    Example: `terraseek archive duplicates coast --threshold 0.99`
    """
    from ..search import near_duplicates

    with show_progress("comparing") as progress:
        groups = near_duplicates(open_place(uri), threshold, condition, progress=progress)
    if as_json:
        emit_json({"schema": 1, "threshold": threshold, "groups": [to_mapping(group) for group in groups]})
        return
    rows = [(at, f"{group.score:.4f}", name) for at, group in enumerate(groups, start=1) for name in group.ids]
    show_table("", ("group", "at least", "id"), rows)
    say(f"{len(groups):,} groups, {len(rows):,} records in them", to=stderr)


for command in (declare, upkeep.compact, upkeep.index, upkeep.verify, upkeep.repair):
    app.command(no_args_is_help=True)(command)
app.command("export", no_args_is_help=True)(upkeep.export_records)
app.command("import", no_args_is_help=True)(upkeep.import_records)
