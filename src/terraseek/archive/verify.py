"""Is everything still what was written? And if not, save what is."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..errors import BusyError, CorruptError, TerraseekError
from .archive import RECORDS, Archive
from .declaration_table import DeclarationTable
from .kept_model import check_kept_model
from .notes import SOURCES
from .reports import Problem, RepairReport, VerifyReport
from .schema import RECORD_COLUMNS, checked_thumbnail, record_from_row, vector_checksums, vector_matrix
from .snapshot import Snapshot
from .storage import file_of, is_damage, local_directory, split_by_file, storage_errors, take
from .versions import ASIDE, TRIES

__all__ = ["repair_archive", "verify_archive"]

logger = logging.getLogger(__name__)

CHUNK = 2048
SMALLEST = 64
"""A chunk that cannot be read is halved down to this many rows to save its neighbours, then given up."""
RECALL_QUERIES, RECALL_K = 50, 10
Progress: TypeAlias = Callable[[int, int], None]


def verify_archive(archive: Archive, *, recall: bool = False, progress: Progress | None = None) -> VerifyReport:
    """Read every record, vector and thumbnail, declarations and kept model, and compare each with its checksum.

    Args:
        archive: stays readable and writable meanwhile; one version of it is checked. Where a compaction removes files
            of that version, it begins anew with the newest.
        recall: also compare the ann index with exact search, on vectors of the archive itself.
        progress: called with rows done and rows in all.

    Raises:
        BusyError: one version after another was compacted away before it was verified.
        TerraseekError: reading failed for a reason that may pass (no memory, no file left to open, storage that does
            not answer), which says nothing about the records.
        UsageError: `recall` without an index.
    """
    for _ in range(TRIES):
        snapshot = archive.snapshot()
        try:
            report = _verified(archive, snapshot, recall, progress)
        except CorruptError:
            if archive.is_newest(snapshot):
                raise
        else:
            problems, notes = check_kept_model(archive)
            problems += DeclarationTable(archive.uri, archive.connection).problems()
            for note in notes:
                logger.warning(note)
            return replace(report, problems=(*report.problems, *problems), notes=tuple(notes))
    raise BusyError(f"{archive.uri}: {TRIES} versions were compacted away while they were verified; try again later")


def _verified(archive: Archive, snapshot: Snapshot, recall: bool, progress: Progress | None) -> VerifyReport:
    """The report on one version.

    Raises:
        CorruptError: rows cannot be read that a newer version may have elsewhere; or, in measuring the recall, at all.
    """
    problems = list(_of_the_whole(archive, snapshot))
    seen: dict[str, int] = {}
    doubled: list[tuple[str, int]] = []
    damaged: set[int] = set()
    for start in range(0, snapshot.size, CHUNK):
        for found in _of_rows(snapshot.table, snapshot.row_ids[start : start + CHUNK], archive.uri):
            if isinstance(found, Problem):
                if found.kind == "unreadable" and not archive.is_newest(snapshot):
                    raise CorruptError(found.detail)
                problems.append(found)
                damaged.update(found.rows)
                continue
            for name, row in found:
                if name in seen:
                    doubled.append((name, min(row, seen[name])))
                seen[name] = max(row, seen.get(name, row))
        if progress:
            progress(min(start + CHUNK, snapshot.size), snapshot.size)
    problems += [
        Problem(kind="duplicate", detail=f"there are two records {name!r:.100}", ids=(name,), rows=(row,))
        for name, row in doubled
    ]
    measured = _recall(archive, snapshot) if recall else None
    intact = snapshot.size - len(damaged | {row for _, row in doubled})
    return VerifyReport(records=snapshot.size, intact=intact, problems=tuple(problems), recall=measured)


def _of_the_whole(archive: Archive, snapshot: Snapshot) -> Iterator[Problem]:
    dim = snapshot.table.schema.field("vector").type.list_size
    if dim != archive.dim:
        detail = f"vectors have {dim} dimensions, the manifest's model has {archive.dim}"
        yield Problem(kind="model", detail=detail)
    with storage_errors(archive.uri, "counting its records"):
        counted = int(snapshot.table.count_rows())
    if counted != snapshot.size:
        yield Problem(kind="count", detail=f"the manifest counts {counted} records, {snapshot.size} are there")


def _of_rows(table: Any, rows: NDArray[np.uint64], uri: str) -> Iterator[Problem | list[tuple[str, int]]]:
    """The problems of some rows, and the (id, row) pairs of those that could be read."""
    try:
        with storage_errors(uri, "verifying it"):
            names = [*RECORD_COLUMNS, "crc_record", "vector", "crc_vector", "thumbnail", "crc_thumbnail"]
            found = take(table, rows, names)
            vectors = vector_matrix(found["vector"])
            same = pc.equal(vector_checksums(vectors), found["crc_vector"].combine_chunks())
            plain = found.drop_columns(["vector"]).to_pylist()
    except (TerraseekError, UnicodeDecodeError) as error:
        if not (is_damage(error) or isinstance(error, UnicodeDecodeError)):
            raise
        for part in _parts(rows):
            yield from _of_rows(table, part, uri)
        if not _parts(rows):
            where = f"{len(rows)} rows of fragment {file_of(rows[0])}"
            yield Problem(kind="unreadable", detail=f"{where} cannot be read: {error}", rows=tuple(map(int, rows)))
        return
    intact_vectors = same.to_numpy(zero_copy_only=False)
    readable = []
    for row_id, row, intact_vector in zip(map(int, rows), plain, intact_vectors, strict=True):
        problem = _of_row(row_id, row, bool(intact_vector))
        if problem is not None:
            yield problem
        if problem is None or problem.kind == "thumbnail":
            readable.append((row["id"], row_id))
    yield readable


def _parts(rows: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
    """Smaller parts of rows that cannot be read together: by the file they are in, then by halves; none when small."""
    files = split_by_file(rows)
    if len(files) > 1:
        return files
    return np.array_split(rows, 2) if len(rows) > SMALLEST else []


def _of_row(row_id: int, row: dict[str, Any], intact_vector: bool) -> Problem | None:
    try:
        record_from_row(row)
    except CorruptError as error:
        return Problem(kind="record", detail=str(error), rows=(row_id,))  # its id may be what changed
    if not intact_vector:
        detail = f"the vector of record {row['id']!r:.100} has changed on disk"
        return Problem(kind="vector", detail=detail, ids=(row["id"],), rows=(row_id,))
    try:
        checked_thumbnail(row)
    except CorruptError as error:
        return Problem(kind="thumbnail", detail=str(error), ids=(row["id"],), rows=(row_id,))
    return None


def _recall(archive: Archive, snapshot: Snapshot) -> float:
    """Share of the exact nearest 10 that ann finds, over records drawn with a fixed seed."""
    chosen = np.random.default_rng(0).permutation(snapshot.size)[:RECALL_QUERIES]
    found = wanted = 0
    for query_D in snapshot.vectors(chosen, archive.dim):
        exact = archive.search(query_D, RECALL_K, mode="exact")
        near = archive.search(query_D, RECALL_K, mode="ann")
        # Equal scores are equally right: what counts is whether a hit is as near as the exact last one.
        found += sum(score >= exact.scores[-1] for score in near.scores)
        wanted += len(exact.scores)
    return found / wanted if wanted else 1.0


def repair_archive(
    uri: str | Path, *, storage_options: dict[str, str] | None = None, progress: Progress | None = None
) -> RepairReport:
    """Bring a damaged archive back to a sound one, keeping everything that is intact.

    A damaged manifest is set aside and the version before it counts. Damaged records are taken out, a damaged
    thumbnail is dropped, a broken index is removed (it can be built again). The sources concerned are forgotten, so
    that adding them again brings back what was lost. No data file is deleted before the next `compact`. Damaged
    declarations of collections are taken out: declare those again before the next add.

    Raises:
        NotFoundError: there is no archive.
        CorruptError: no version can be opened.
        BusyError: another writer holds the archive.
    """
    uri = str(uri)
    went_back = _go_back(uri, storage_options)
    archive = Archive.open(uri, storage_options=storage_options)
    with archive.writing():  # a compaction between looking and deleting would move the rows
        report = verify_archive(archive, progress=progress)
        doomed = sorted({row for p in report.problems if p.kind != "thumbnail" for row in p.rows})
        sources = _sources_of(archive, report) if doomed else frozenset()
        undeclared = tuple(p.detail for p in report.problems if p.kind == "declaration")
        if undeclared:
            DeclarationTable(uri, archive.connection).drop_damaged()
        if doomed:
            with storage_errors(uri, "repairing it"):
                table = archive.connection.open_table(RECORDS)
                _drop_index(table)
                table.delete(f"_rowid IN ({', '.join(map(str, doomed))})")
    if doomed:
        archive.forget_sources(sources)
    pictures = [p for p in report.problems if p.kind == "thumbnail"]
    bare = tuple(name for p in pictures for name in p.ids)
    if bare:
        archive.add(archive.get(bare, thumbnails=False), archive.vectors(bare))
    removed = tuple(name for p in report.problems if p.kind in ("record", "vector") for name in p.ids)
    return RepairReport(
        removed=removed,
        removed_rows=len(doomed),
        without_thumbnail=bare,
        went_back=went_back,
        declarations=undeclared,
    )


def _sources_of(archive: Archive, report: VerifyReport) -> frozenset[str] | None:
    """The sources of damaged records; None, for all, where one can no longer be told."""
    harmed = [p for p in report.problems if p.kind in ("unreadable", "record", "vector")]
    if any(p.kind != "vector" for p in harmed):
        return None
    ids = [name for p in harmed for name in p.ids]
    return frozenset(record.source for record in archive.get(ids, thumbnails=False))


def _drop_index(table: Any) -> None:
    for entry in table.list_indices():
        table.drop_index(entry.name)


def _go_back(uri: str, storage_options: dict[str, str] | None) -> tuple[str, ...]:
    """Set damaged versions aside, newest first, until one can be opened and tells which rows are deleted."""
    directory = local_directory(uri)
    aside = Path() if directory is None else directory / ASIDE
    moved: list[str] = []
    while True:
        try:
            Archive.open(uri, storage_options=storage_options).snapshot()
            return tuple(moved)
        except CorruptError:  # and nothing else: a foreign table, or one of a newer format, is not ours to change
            versions = None if directory is None else directory / f"{RECORDS}.lance" / "_versions"
            # Lance names manifests so that the newest sorts first.
            manifests = sorted(versions.glob("*.manifest")) if versions is not None and versions.is_dir() else []
            if directory is None or len(manifests) < 2:
                for name in moved if manifests else ():
                    shutil.move(aside / name, manifests[0].parent / name)
                raise
            aside.mkdir(exist_ok=True)
            shutil.move(manifests[0], aside / manifests[0].name)
            # The hint names the newest version; without it Lance lists the folder.
            (manifests[0].parent / "latest_version_hint.json").unlink(missing_ok=True)
            shutil.rmtree(directory / f"{SOURCES}.lance", ignore_errors=True)
            moved.append(manifests[0].name)
