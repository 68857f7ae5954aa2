"""Taking imagery into an archive: incrementally, past bad files, and so that being killed costs one batch.

The order of commits makes it so. A batch of records and vectors is one commit of the archive. When the last batch of a
source is in, the archive notes that this source, in this state, is complete; the next ingest passes over it without
opening a file. Killed before that note, the next ingest finds by their ids the records that are there in this state
and embeds only the others.

Records that a changed source no longer has go last: first the new ones are committed, then the old ones are removed,
then the note is made. Killed in between, the archive holds more than it should, never less, and the next ingest of the
source removes the rest.

Reading and encoding overlap: one thread decodes the next batch and one commits the last while the caller's thread runs
the encoder.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import ConfigError, ImageError, NotFoundError, Refused, TerraseekError, UsageError
from ..geo import ChipConfig, Window
from ..images import printable
from ..typing import Encoder, FloatArray
from .archive import Archive
from .embedding import Embedder
from .pieces import Piece, count_pieces, read_pieces, reason_of
from .prefetch import prefetch
from .record import DEFAULT_COLLECTION, Record
from .sources import Source, find_sources, record_id

__all__ = ["IngestReport", "ingest"]

logger = logging.getLogger(__name__)

# Pixels of one batch; up to four are alive: being read, waiting, being encoded, and one region of a scene.
_BATCH_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        added: new records.
        updated: records that were there and were made anew, their source having changed.
        removed: records of changed sources whose window is no longer cut.
        unchanged: sources passed over, being complete in the state they are in.
        refused: sources, or windows of them, that could not be read, and why.
    """

    added: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    refused: tuple[Refused, ...] = ()


def ingest(
    archive: Archive,
    encoder: Encoder,
    sources: Iterable[str | Path | Source | Refused] | str | Path,
    *,
    chip: ChipConfig | None = None,
    collection: str = DEFAULT_COLLECTION,
    kind: Literal["auto", "image", "scene"] = "auto",
    batch_size: int = 256,
    refresh: bool = False,
    predict_labels: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    dry_run: bool = False,
) -> IngestReport:
    """Bring every image and every chip of every scene of `sources` into the archive.

    Args:
        archive: made by the same model as `encoder`.
        encoder: makes the vectors.
        sources: files, folders, STAC documents, `Source` objects; see `find_sources` and `dataset_sources`.
        chip: how scenes are cut and scaled.
        collection: of the new records. A source may be in several collections, cut differently in each.
        kind: what files are taken for, see `Source`.
        batch_size: records per commit at most; fewer where chips are large.
        refresh: embed also what is unchanged.
        predict_labels: also keep the labels that the model predicts with this score or more, see `Record.predicted`;
            sources that went in without, or with another score, count as changed.
        progress: told (records done, records expected); nodata makes the second an upper bound.
        dry_run: look at everything, embed and write nothing; `added` and `updated` then say how many records
            (at most, nodata not being known) new and changed sources have.

    Returns:
        What was done. A source that is refused leaves what the archive holds of it as it was; so does a window that
        cannot be read any more, its former record stays and the reason says so.

    Raises:
        ModelMismatchError: `encoder` is not the model that made the archive.
        ConfigError: `batch_size` is not positive.
        UsageError: `predict_labels` with a model that predicts none.

    Note:
        Records that were removed from the archive stay removed while their source is unchanged, unless none of the
        source's records is left.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
    archive.check_model(encoder)
    chip = chip or ChipConfig()
    paths = [sources] if isinstance(sources, (str, Path)) else list(sources)
    embed = Embedder(encoder, predict_labels)
    run = _Run(archive, chip, collection, embed.state, refresh=refresh)
    run.plan(find_sources(paths, bands=chip.bands, kind=kind))
    if dry_run:
        return run.foresee()
    expected = run.expected() if progress else 0
    done = 0
    with closing(prefetch(_batches(run.read(), batch_size))) as batches, ThreadPoolExecutor(1) as committer:
        pending: Future[None] | None = None
        for batch in batches:
            records, vectors_ND = embed(batch.pieces) if batch.pieces else ([], None)
            if pending is not None:
                pending.result()
            pending = committer.submit(run.commit, records, vectors_ND, batch.finished)
            done += len(records)
            if progress:
                progress(done, max(done, expected))
        if pending is not None:
            pending.result()
    if progress:
        progress(done, done)
    return run.report()


@dataclass(frozen=True)
class _Finished:
    """The end of a source: what is to be noted of it, and which of its former records are to go."""

    href: str
    note: dict[str, Any]
    stale: tuple[str, ...] = ()


@dataclass
class _Batch:
    pieces: list[Piece] = field(default_factory=list)
    finished: list[_Finished] = field(default_factory=list)
    bytes: int = 0

    def take(self, item: Piece | _Finished) -> None:
        if isinstance(item, _Finished):
            self.finished.append(item)
        else:
            self.pieces.append(item)
            self.bytes += item.pixels_HWB.nbytes


def _batches(items: Iterator[Piece | _Finished], batch_size: int) -> Iterator[_Batch]:
    batch = _Batch()
    for item in items:
        batch.take(item)
        if len(batch.pieces) >= batch_size or batch.bytes >= _BATCH_BYTES or len(batch.finished) >= 4 * batch_size:
            yield batch
            batch = _Batch()
    if batch.pieces or batch.finished:
        yield batch


class _Run:
    """One ingest: what it has to do, and the tally of what it did."""

    def __init__(self, archive: Archive, chip: ChipConfig, collection: str, embedding: str, *, refresh: bool) -> None:
        self._archive = archive
        self._chip = chip
        self._collection = collection
        self._embedding = embedding
        self._refresh = refresh
        self._notes = _read_notes(archive)
        self._pending: list[tuple[Source, str]] = []
        self._there: dict[str, dict[str, str | None]] = {}
        self._tally: Counter[str] = Counter()
        self._refused: list[Refused] = []

    def plan(self, found: Iterable[Source | Refused]) -> None:
        """Sort sources into refused, unchanged and pending."""
        present = _sources_present(self._archive, self._collection)
        seen: set[str] = set()
        for source in found:
            if isinstance(source, Refused):
                self._refused.append(source)
                continue
            if source.href in seen:
                continue
            seen.add(source.href)
            try:
                state = source.state(self._chip) + self._embedding
            except (ImageError, NotFoundError) as error:
                self._refuse(source, error)
                continue
            note = self._notes.get(source.href, {}).get(self._collection, {})
            complete = note.get("state") == state and (source.href in present or not note.get("records"))
            if complete and not self._refresh:
                self._tally["unchanged"] += 1
                if note.get("refused"):
                    self._refused.append(Refused(source=printable(source.href), reason=note["refused"]))
            else:
                self._pending.append((source, state))
        self._refuse_taken_ids()
        again = [source.href for source, _ in self._pending if source.href in present]
        self._there = _records_of(self._archive, self._collection, again)

    def _refuse_taken_ids(self) -> None:
        """Two data sets may call different images the same: neither may replace the other's record."""
        brought = {source.id for source, _ in self._pending if source.kind == "image" and source.id is not None}
        owners = _owners_of(self._archive, brought)
        kept = []
        for source, state in self._pending:
            if source.kind == "image" and source.id is not None:
                collection, href = owners.setdefault(source.id, (self._collection, source.href))
                # The same image at a new place takes its record along; its old place is then empty.
                moved = collection == self._collection and (href == source.href or not _is_there(href))
                if not moved:
                    where = f"{printable(href)} in the collection {printable(collection)!r}"
                    self._refuse(source, UsageError(f"its id {source.id!r:.100} is that of {where}"))
                    continue
            kept.append((source, state))
        self._pending = kept

    def expected(self) -> int:
        """How many records the pending sources have at most."""
        # Opening a file on the web takes as long as reading some of it: those are counted as they come.
        return sum(count for _, count in self._counts(lambda source: isinstance(source.path, Path)))

    def foresee(self) -> IngestReport:
        """The report of a run that would now be made, as far as headers tell."""
        for source, count in self._counts(refuse=True):
            known = min(count, len(self._there.get(source.href, {})))
            self._tally.update(updated=known, added=count - known)
        return self.report()

    def read(self) -> Iterator[Piece | _Finished]:
        """All pieces of all pending sources, and after the last of each its end. Runs in the reading thread."""
        for source, state in self._pending:
            try:
                yield from self._read_source(source, state)
            except (ImageError, NotFoundError, UsageError) as error:
                self._refuse(source, error)

    def commit(self, records: Sequence[Record], vectors_ND: FloatArray | None, finished: Sequence[_Finished]) -> None:
        """Write one batch, then what it completes. Runs in the committing thread."""
        complete = {}
        for end in finished:
            notes = {**self._notes.get(end.href, {}), self._collection: end.note}
            complete[end.href] = json.dumps(notes, sort_keys=True)
        none_ND = np.empty((0, self._archive.dim), dtype=np.float32)
        stale = [identity for end in finished for identity in end.stale]
        # Only what leaves nothing to remove may be noted together with its records.
        noted_now = None if stale else complete
        result = self._archive.add(records, none_ND if vectors_ND is None else vectors_ND, complete=noted_now)
        self._tally.update(added=result.added, updated=result.updated)
        if stale:
            self._tally["removed"] += self._archive.remove(stale)
            self._archive.add([], none_ND, complete=complete)

    def report(self) -> IngestReport:
        """The tally."""
        return IngestReport(
            **{name: self._tally[name] for name in ("added", "updated", "removed", "unchanged")},
            refused=tuple(self._refused),
        )

    def _counts(
        self, which: Callable[[Source], bool] = lambda _: True, *, refuse: bool = False
    ) -> Iterator[tuple[Source, int]]:
        for source, _ in self._pending:
            if not which(source):
                continue
            try:
                yield source, count_pieces(source, self._chip)
            except (ImageError, NotFoundError, UsageError) as error:
                if refuse:
                    self._refuse(source, error)

    def _read_source(self, source: Source, state: str) -> Iterator[Piece | _Finished]:
        # What is there already: records of this very state are what an interrupted run had done.
        there = self._there.get(source.href, {})
        done = set() if self._refresh else {identity for identity, known in there.items() if known == state}
        torn: list[tuple[Window, ImageError]] = []
        made: set[str] = set()
        for piece in read_pieces(
            source,
            self._chip,
            self._collection,
            state,
            wanted=(lambda identity: identity not in done) if done else None,
            on_torn=lambda window, error: torn.append((window, error)),
        ):
            made.add(piece.record.id)
            yield piece
        if torn and not made and not done:
            raise torn[0][1]
        # A window that could be read once and cannot now says nothing against the record it gave.
        spared = there.keys() & self._ids_of(source, [window for window, _ in torn])
        kept = len(spared - made - done)
        reason = _describe_torn(source, torn, kept)
        if reason:
            self._refused.append(Refused(source=printable(source.href), reason=reason))
        note = {"state": state, "records": len(made | done)} | ({"refused": reason} if reason else {})
        yield _Finished(source.href, note, tuple(sorted(there.keys() - made - done - spared)))

    def _ids_of(self, source: Source, windows: Sequence[Window]) -> set[str]:
        scales = self._chip.scales
        return {record_id(source, self._collection, scale, window) for window in windows for scale in scales}

    def _refuse(self, source: Source, error: TerraseekError) -> None:
        refused = Refused(source=printable(source.href), reason=reason_of(error, printable(source.path)))
        logger.info("refused %s", refused)
        self._refused.append(refused)


def _describe_torn(source: Source, torn: list[tuple[Window, ImageError]], kept: int) -> str | None:
    if not torn:
        return None
    window, error = torn[0]
    what = "1 window" if len(torn) == 1 else f"{len(torn)} windows"
    where = f"the first at column {window.column}, row {window.row}"
    former = f"; {kept} former record{'s' * (kept > 1)} of these kept" if kept else ""
    return f"{what} unreadable, {where}: {reason_of(error, printable(source.path))}{former}"


def _read_notes(archive: Archive) -> dict[str, dict[str, dict[str, Any]]]:
    """What was noted of each source, by collection."""
    notes: dict[str, dict[str, dict[str, Any]]] = {}
    for href, text in archive.source_states().items():
        try:
            note = json.loads(text)
        except ValueError:
            continue  # noted by somebody who adds records without this module: such a source is read again
        if isinstance(note, dict) and all(isinstance(value, dict) for value in note.values()):
            notes[href] = note
    return notes


def _sources_present(archive: Archive, collection: str) -> set[str]:
    columns = archive.snapshot().columns(["source", "collection"])
    return set(columns["source"].filter(pc.equal(columns["collection"], collection)).unique().to_pylist())


def _owners_of(archive: Archive, ids: Collection[str]) -> dict[str, tuple[str, str]]:
    """Collection and source of the records with these ids, as far as there are any."""
    if not ids:
        return {}
    columns = archive.snapshot().columns(["id", "collection", "source"])
    mask = pc.is_in(columns["id"], value_set=pa.array(sorted(ids), pa.string()))
    names, collections, sources = (columns[name].filter(mask).to_pylist() for name in ("id", "collection", "source"))
    return dict(zip(names, zip(collections, sources, strict=True), strict=True))


def _is_there(href: str) -> bool:
    try:
        return Path(href).exists()
    except (OSError, ValueError):
        return False


def _records_of(archive: Archive, collection: str, hrefs: Sequence[str]) -> dict[str, dict[str, str | None]]:
    """For each source the ids of its records, each with the state of the source that it was made in."""
    if not hrefs:
        return {}
    columns = archive.snapshot().columns(["id", "source", "collection", "properties"])
    of_these = pc.is_in(columns["source"], value_set=pa.array(hrefs, pa.string()))
    mask = pc.and_(of_these, pc.equal(columns["collection"], collection))
    ids, sources, properties = (columns[name].filter(mask).to_pylist() for name in ("id", "source", "properties"))
    there: dict[str, dict[str, str | None]] = {}
    for identity, href, text in zip(ids, sources, properties, strict=True):
        there.setdefault(href, {})[identity] = json.loads(text).get("source_state")
    return there
