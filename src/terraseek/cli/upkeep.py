"""The upkeep of archives, and their exchange with other tools: compact, index, verify, repair, export, import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..config import to_mapping
from ..errors import UsageError
from .filters import Uri, say_why_nothing, takes_filter
from .output import DryRun, Json, emit_json, say, show_progress
from .places import open_place
from .settings import storage_options

if TYPE_CHECKING:
    from ..archive import Filter

__all__ = ["compact", "export_records", "import_records", "index", "repair", "verify"]

NOTHING = "(dry run, nothing written)"


def compact(uri: Uri, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Remove the bytes of everything that was deleted or replaced.

    Example: `terraseek archive compact coast`
    """
    archive = open_place(uri)
    if dry_run:
        size = archive.status()["bytes"]
        if as_json:
            emit_json({"schema": 1, "dry_run": True, "bytes_before": size})
        else:
            say(f"{uri} would be compacted{'' if size is None else f': {size / 1e6:.1f} MB now'} {NOTHING}")
        return
    result = archive.compact()
    if as_json:
        emit_json({"schema": 1, "dry_run": False, **to_mapping(result)})
    else:
        before, after = result.bytes_before, result.bytes_after
        sizes = "" if before is None or after is None else f": {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now"
        say(f"{uri} compacted{sizes}")


def index(uri: Uri, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Build the index on disk that `search --mode ann` uses, for archives that outgrow memory.

    Example: `terraseek archive index coast`
    """
    from ..archive.ann import check_indexable

    archive = open_place(uri)
    if dry_run:
        check_indexable(len(archive))
    else:
        archive.build_index()
    records = len(archive)
    if as_json:
        emit_json({"schema": 1, "dry_run": dry_run, "records": records, "index": archive.status()["index"]})
    elif dry_run:
        say(f"{uri}: {records:,} records would be indexed {NOTHING}")
    else:
        say(f"{uri}: {records:,} records indexed; measure its recall with: terraseek archive verify {uri} --recall")


def verify(
    uri: Uri,
    recall: Annotated[bool, typer.Option("--recall", help="Also compare the index with exact search.")] = False,
    as_json: Json = False,
) -> None:
    """Read everything and compare it with its checksums. Exit code 4 when something is not as it was written.

    Example: `terraseek archive verify coast --recall`
    """
    with show_progress("verifying") as progress:
        report = open_place(uri).verify(recall=recall, progress=progress)
    if as_json:
        emit_json(report.to_json())
    else:
        for problem in report.problems:
            say(f"{problem.kind}: {problem.detail}")
        measured = "" if report.recall is None else f", recall@10 of the index {report.recall:.4f}"
        say(f"{uri}: {report.intact:,} of {report.records:,} records are as they were written{measured}")
    report.raise_for_problems(uri)


def repair(uri: Uri, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Take out what is damaged, so that the rest can be used; adding the sources again brings back what was lost.

    `terraseek archive verify` says beforehand what that is. No data file is deleted before the next compact.

    Example: `terraseek archive repair coast`
    """
    from ..archive import repair_archive

    if dry_run:
        with show_progress("verifying") as progress:
            found = open_place(uri).verify(progress=progress)
        if as_json:
            emit_json({**found.to_json(), "dry_run": True})
            return
        for problem in found.problems:
            say(f"{problem.kind}: {problem.detail}")
        count = len(found.problems)
        say(f"{uri}: {count:,} problem{'s' * (count != 1)} would be taken out {NOTHING}")
        return
    with show_progress("verifying") as progress:
        report = repair_archive(uri, storage_options=storage_options(uri), progress=progress)
    if as_json:
        emit_json({"schema": 1, "dry_run": False, **to_mapping(report)})
        return
    say(
        f"{uri}: {report.removed_rows:,} damaged rows taken out, {len(report.without_thumbnail):,} damaged thumbnails "
        f"dropped, {len(report.went_back):,} damaged versions set aside"
    )
    for name in report.removed:
        say(f"taken out: {name}")
    for detail in report.declarations:
        say(f"taken out: {detail}; declare it again with: terraseek archive declare {uri}")


@takes_filter
def export_records(
    uri: Uri,
    out: Annotated[Path, typer.Argument(help="A .parquet, .geojson, .csv or .json (STAC ItemCollection) file.")],
    *,
    condition: Filter,
    kind: Annotated[
        Literal["geoparquet", "stac", "geojson", "csv"] | None,
        typer.Option("--format", help="What to write; without it the ending of the name says so."),
    ] = None,
    stac: Annotated[bool, typer.Option("--stac", help="Write a STAC ItemCollection: --format stac.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Write records to one file. GeoParquet and STAC hold the vectors and can be imported again.

    Example: `terraseek archive export coast coast.parquet --collection sentinel-2`

    Example: `terraseek archive export coast items.json --stac`
    """
    from ..archive import export_archive

    if stac and kind not in (None, "stac"):
        raise UsageError(f"--stac and --format {kind} are two formats; choose one")
    chosen = "stac" if stac else kind
    with show_progress("exporting") as progress:
        archive = open_place(uri)
        count = export_archive(archive, out, chosen, where=condition, dry_run=dry_run, progress=progress)
    if as_json:
        emit_json({"schema": 1, "dry_run": dry_run, "path": str(out), "records": count})
    else:
        say(f"{out}: {count:,} records" + (f" would be written {NOTHING}" if dry_run else ""))
    if not count:
        say_why_nothing(archive, condition)


def import_records(
    uri: Uri,
    path: Annotated[Path, typer.Argument(help="A GeoParquet file or STAC ItemCollection with vectors.")],
    trust: Annotated[
        bool, typer.Option("--trust", help="Take vectors although the file does not say which model made them.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Add records with the vectors that they bring, without encoding anything.

    Example: `terraseek archive import coast coast.parquet`
    """
    from ..archive import import_archive

    with show_progress("importing") as progress:
        count = import_archive(open_place(uri), path, trust=trust, dry_run=dry_run, progress=progress)
    if as_json:
        emit_json({"schema": 1, "dry_run": dry_run, "records": count})
    else:
        say(f"{uri}: {count:,} records " + (f"would be imported {NOTHING}" if dry_run else "imported"))
