"""One ingest from within: which sources have to be read, what is committed of each, and what is noted of it."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import ImageError, NotFoundError, Refused, TerraseekError, UsageError
from ..geo import ChipConfig
from ..images import printable
from ..typing import FloatArray
from .archive import AddResult, Archive, RowSource
from .declaration import describe_chipping
from .pieces import Piece, count_pieces
from .reading import Finished, Reading, Sieve, Task, refusal
from .record import SOURCE_STATE, Record
from .sources import Source
from .storage import quote, storage_errors

__all__ = ["IngestReport", "IngestRun", "has_chips"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        added: new records.
        updated: records that were there and were made anew, their source having changed.
        removed: records of changed sources whose window is no longer cut.
        unchanged: sources passed over, being complete in the state they are in, and those found to be.
        empty: scenes that were read and have no data anywhere, or less of it than `ChipConfig` asks of a chip.
        refused: sources, or windows of them, that could not be read, and why.
        declared: how the scenes of the collection are read from now on, where this ingest declared it.
    """

    added: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    empty: int = 0
    refused: tuple[Refused, ...] = ()
    declared: ChipConfig | None = None


class IngestRun:
    """One ingest: what it has to do, and the tally of what it did.

    Args:
        archive: to write to.
        reading: how its sources are read.
        embedding: belongs to the state of every source.
        declared: how the scenes of the collection were declared to be read; None if they were not.
        anew: they are declared anew for this ingest.

    Attributes:
        reading: as given.
        tasks: the sources that `plan` found to be new or changed.
    """

    def __init__(
        self,
        archive: Archive,
        reading: Reading,
        embedding: str,
        *,
        declared: ChipConfig | None = None,
        anew: bool = False,
    ) -> None:
        self.reading = reading
        self.tasks: tuple[Task, ...] = ()
        self._archive = archive
        self._embedding = embedding
        self._undeclared = declared is None
        self._newly_declared = reading.chip if anew else None
        self._notes = _read_notes(archive)
        self._sieve = Sieve((), archive.dim)
        self._tally: Counter[str] = Counter()
        self._refused: list[Refused] = []
        self._told_guess = False

    def plan(self, found: Iterable[Source | Refused]) -> None:
        """Sort sources into refused, unchanged and pending."""
        collection = self.reading.collection
        present = self._archive.snapshot().sources(collection)
        seen: set[str] = set()
        pending: list[tuple[Source, str]] = []
        for source in found:
            if isinstance(source, Refused):
                self._refused.append(source)
                continue
            if source.href in seen:
                continue
            seen.add(source.href)
            try:
                state = source.state(self.reading.chip) + self._embedding
            except (ImageError, NotFoundError) as error:
                self._refuse(source, error)
                continue
            note = self._notes.get(source.href, {}).get(collection, {})
            complete = note.get("state") == state and (source.href in present or not note.get("records"))
            if complete and not self.reading.refresh:
                self._tally["unchanged"] += 1
                if note.get("refused"):
                    self._refused.append(Refused(source=printable(source.href), reason=note["refused"]))
            else:
                pending.append((source, state))
        pending = self._without_taken_ids(pending)
        again = [source.href for source, _ in pending if source.href in present]
        there = _records_of(self._archive, collection, again)
        self.tasks = tuple(Task(source, state, there.get(source.href, {})) for source, state in pending)
        self._warn_of_undeclared_chips()
        self._sieve = Sieve(self.tasks, self._archive.dim)

    def _warn_of_undeclared_chips(self) -> None:
        if not self._undeclared or all(task.source.is_image for task in self.tasks):
            return
        if count := _count_chips(self._archive, self.reading.collection):
            logger.warning(
                "%s: the collection %r holds %s chips, imported or of an older release, and no declaration of how they "
                "were cut: this add cuts with %s, and embeds again what was cut otherwise",
                self._archive.uri,
                printable(self.reading.collection),
                f"{count:,}",
                describe_chipping(self.reading.chip),
            )

    def _without_taken_ids(self, pending: Sequence[tuple[Source, str]]) -> list[tuple[Source, str]]:
        """Two data sets may call different images the same: neither may replace the other's record."""
        here = self.reading.collection
        brought = {source.id for source, _ in pending if source.kind == "image" and source.id is not None}
        owners = _owners_of(self._archive, brought)
        kept = []
        for source, state in pending:
            if source.kind == "image" and source.id is not None:
                collection, href = owners.setdefault(source.id, (here, source.href))
                # The same image at a new place takes its record along; its old place is then empty.
                moved = collection == here and (href == source.href or not _is_there(href))
                if not moved:
                    where = f"{printable(href)} in the collection {printable(collection)!r}"
                    self._refuse(source, UsageError(f"its id {source.id!r:.100} is that of {where}"))
                    continue
            kept.append((source, state))
        return kept

    def expected(self) -> int:
        """How many records the pending sources have at most."""
        # Opening a file on the web takes as long as reading some of it: those are counted as they come.
        return sum(count for _, count in self._counts(lambda source: isinstance(source.path, Path)))

    def foresee(self) -> IngestReport:
        """The report of a run that would now be made, as far as headers tell."""
        for task, count in self._counts(refuse=True):
            known = min(count, len(task.there))
            self._tally.update(updated=known, added=count - known)
        return self.report()

    def read(self) -> Iterator[Piece | Finished]:
        """All pieces of all tasks, and after the last of each source its end. Runs in the reading thread."""
        for task in self.tasks:
            try:
                yield from self.reading.read(task)
            except (ImageError, NotFoundError, UsageError) as error:
                self._refuse(task.source, error)

    def refuse(self, refused: Iterable[Refused]) -> None:
        """Take down what was refused."""
        for item in refused:
            logger.info("refused %s", item)
            self._refused.append(item)

    def commit(self, records: Sequence[Record], vectors_ND: FloatArray | None, finished: Sequence[Finished]) -> None:
        """Write one batch, then what it completes. Runs in the committing thread."""
        vectors_ND = _no_vectors(self._archive) if vectors_ND is None else vectors_ND
        records, vectors_ND = self._sieve(records, vectors_ND)
        finished = [self._sieve.end(end) for end in finished]
        cut = has_chips(records)
        # Only what leaves nothing to remove may be noted together with its records.
        stale = any(end.stale for end in finished)
        complete = None if stale else self._noted(finished)
        result = self._archive.add(records, vectors_ND, complete=complete, declare=self._cut_by(cut))
        self._take_down(result, finished, cut=cut)
        if stale:
            self._finish(finished)

    def commit_rows(self, rows: RowSource, finished: Sequence[Finished], *, cut: bool) -> None:
        """Write rows made elsewhere in one commit, then what they complete; `cut` is whether chips are among them."""
        result = self._archive.add_rows(rows, declare=self._cut_by(cut))
        self._take_down(result, finished, cut=cut)
        self._finish(finished)

    def _cut_by(self, cut: bool) -> dict[str, ChipConfig]:
        # With every commit: somebody may have declared the collection, or declared it anew, since the one before.
        return {self.reading.collection: self.reading.chip} if cut else {}

    def _take_down(self, result: AddResult, finished: Sequence[Finished], *, cut: bool) -> None:
        self._tally.update(
            added=result.added,
            updated=result.updated,
            unchanged=sum(end.unchanged for end in finished),
            empty=sum(not end.note["records"] and not end.refused for end in finished),
        )
        if cut and self._undeclared:
            self._newly_declared, self._undeclared = self.reading.chip, False
        self.refuse(Refused(source=printable(end.href), reason=end.refused) for end in finished if end.refused)
        self._warn_of_guess(finished)

    def _warn_of_guess(self, finished: Sequence[Finished]) -> None:
        end = next((end for end in finished if end.guessed), None)
        if end is None or self._told_guess:
            return
        self._told_guess = True  # once for all scenes: a collection is read in one way
        logger.warning(
            "%s has more than three bands and does not say which are red, green and blue: the first three are taken "
            "(%s). The collection %r is declared with bands=[], which does so for each such scene; name bands with "
            "--band, once for each, and --redeclare",
            printable(end.href),
            printable(", ".join(end.guessed)),
            printable(self.reading.collection),
        )

    def _finish(self, finished: Sequence[Finished]) -> None:
        stale = [identity for end in finished for identity in end.stale]
        if stale:
            self._tally["removed"] += self._archive.remove(stale)
        self._archive.add([], _no_vectors(self._archive), complete=self._noted(finished))

    def _noted(self, finished: Sequence[Finished]) -> dict[str, str]:
        collection = self.reading.collection
        return {
            end.href: json.dumps({**self._notes.get(end.href, {}), collection: end.note}, sort_keys=True)
            for end in finished
        }

    def report(self) -> IngestReport:
        """The tally."""
        return IngestReport(
            **{name: self._tally[name] for name in ("added", "updated", "removed", "unchanged", "empty")},
            refused=tuple(self._refused),
            declared=self._newly_declared,
        )

    def _counts(
        self, which: Callable[[Source], bool] = lambda _: True, *, refuse: bool = False
    ) -> Iterator[tuple[Task, int]]:
        for task in self.tasks:
            if not which(task.source):
                continue
            try:
                yield task, count_pieces(task.source, self.reading.chip)
            except (ImageError, NotFoundError, UsageError) as error:
                if refuse:
                    self._refuse(task.source, error)

    def _refuse(self, source: Source, error: TerraseekError) -> None:
        self.refuse([refusal(source, error)])


def has_chips(records: Iterable[Record]) -> bool:
    """Whether chips of scenes are among some records."""
    return any(record.window is not None for record in records)


def _no_vectors(archive: Archive) -> FloatArray:
    return np.empty((0, archive.dim), dtype=np.float32)


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


def _count_chips(archive: Archive, collection: str) -> int:
    """How many records of a collection are windows of their source."""
    chips = f"`window` IS NOT NULL AND collection = {quote(collection)}"
    with storage_errors(archive.uri, "counting its chips"):
        # By the table: in memory the windows of millions of records would stay.
        return int(archive.read(lambda view: view.snapshot.table.count_rows(chips)))


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
        there.setdefault(href, {})[identity] = json.loads(text).get(SOURCE_STATE)
    return there
