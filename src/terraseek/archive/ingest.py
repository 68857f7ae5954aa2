"""Taking imagery into an archive: incrementally, past bad files, and so that being killed costs a minute's work.

The order of commits makes it so. Records and vectors of some batches are one commit of the archive. When the last of a
source is in, the archive notes that this source, in this state, is complete; the next ingest passes over it without
opening a file. Killed before that note, the next ingest finds by their ids the records that are there in this state
and embeds only the others.

Records that a changed source no longer has go last: first the new ones are committed, then the old ones are removed,
then the note is made. Killed in between, the archive holds more than it should, never less, and the next ingest of the
source removes the rest.

How scenes are cut is declared for each collection, before the first chips that are cut so (see `declaration.py`).

Each commit leaves a file of rows that every later commit lists and looks through: few large ones cost less than many
small ones, those of a million records in batches of 256 some hundreds of megabytes of lists. So batches are gathered,
until they are thousands of records, or many bytes, or a minute old.

Reading and encoding overlap: one thread decodes ahead and one commits what was gathered while the caller's thread runs
the encoder. Batches come to it in parts, so that it need not wait for a whole one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from ..errors import ConfigError, Refused
from ..geo import StacQuery, Web
from ..typing import Encoder, FloatArray
from .archive import Archive
from .declaration import Chipping, settle_chipping
from .embedding import Embedder
from .ingest_run import IngestReport, IngestRun
from .pieces import Piece
from .prefetch import prefetch
from .reading import Finished, Reading
from .record import DEFAULT_COLLECTION, Record
from .sources import Source, find_sources

__all__ = ["IngestOptions", "IngestReport", "ingest"]

Sources: TypeAlias = Iterable[str | Path | Source | Refused] | str | Path

# Pixels of one batch; as many at most wait to be encoded.
_BATCH_BYTES = 64 << 20
_PARTS_PER_BATCH = 4
_SMALLEST_PART = 32
# Vectors and thumbnails of one commit; as many at most wait for the one before to end.
_COMMIT_BYTES = 64 << 20
_COMMIT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class IngestOptions:
    """What is made of sources, on one machine or on many.

    Attributes:
        chip: how scenes are cut and scaled: a whole `ChipConfig`, a mapping of some of its settings, or None. What is
            not given is as the collection is declared. The first ingest that cuts a scene into it declares it, with the
            defaults for what is not given.
        redeclare: where `chip` differs from what is declared, declare the collection anew before anything is read. All
            its scenes are then embedded again as they are next added.
        collection: of the new records. A source may be in several collections, cut differently in each.
        kind: what files are taken for, see `Source`.
        batch_size: records embedded together at most, fewer where chips are large.
        commit_size: locally, records that batches are gathered up to before they are committed; fewer after a minute,
            or where thumbnails and vectors are large.
        refresh: embed also what is unchanged.
        predict_labels: also keep the labels that the model predicts with this score or more, see `Record.predicted`;
            sources that went in without, or with another score, count as changed.
        web: the hosts that sources may be read from; by default none.
        query: what a STAC API among the sources is asked for.
    """

    chip: Chipping = None
    redeclare: bool = False
    collection: str = DEFAULT_COLLECTION
    kind: Literal["auto", "image", "scene"] = "auto"
    batch_size: int = 256
    commit_size: int = 4096
    refresh: bool = False
    predict_labels: float | None = None
    web: Web = field(default_factory=Web)
    query: StacQuery | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "commit_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")

    def begin(self, archive: Archive, encoder: Encoder, *, dry_run: bool = False) -> tuple[IngestRun, Embedder]:
        """The ingest of these options into an archive, with nothing planned yet, and what embeds for it.

        With `redeclare` the collection is declared anew by this; a dry run declares nothing.

        Raises:
            ModelMismatchError: `encoder` is not the model that made the archive.
            UsageError: `predict_labels` with a model that predicts none, more or fewer bands than the model takes, or
                settings that differ from those declared.
        """
        archive.check_model(encoder)
        embed = Embedder(encoder, self.predict_labels)
        declared = archive.declarations().get(self.collection)
        chip = settle_chipping(self.collection, declared, self.chip, redeclare=self.redeclare)
        embed.check_bands(chip.bands)
        anew = not dry_run and declared not in (None, chip)
        if anew:  # before the run looks at what is noted of sources
            archive.declare(self.collection, chip, redeclare=True)
        reading = Reading(chip, self.collection, self.refresh, embed.bands)
        return IngestRun(archive, reading, embed.state, declared=declared, anew=anew), embed

    def find(self, sources: Sources, bands: Sequence[str]) -> Iterator[Source | Refused]:
        """What `sources` name, see `find_sources`."""
        paths = [sources] if isinstance(sources, (str, Path)) else list(sources)
        return find_sources(paths, bands=bands, kind=self.kind, web=self.web, query=self.query)


def ingest(
    archive: Archive,
    encoder: Encoder,
    sources: Sources,
    options: IngestOptions | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    dry_run: bool = False,
) -> IngestReport:
    """Bring every image and every chip of every scene of `sources` into the archive.

    Args:
        archive: made by the same model as `encoder`.
        encoder: makes the vectors.
        sources: files, folders, STAC documents, `Source` objects; see `find_sources` and `dataset_sources`.
        options: what is made of them.
        progress: told (records done, records expected); nodata makes the second an upper bound.
        dry_run: look at everything, embed and write nothing; `added` and `updated` then say how many records
            (at most, nodata not being known) new and changed sources have.

    Returns:
        What was done. A source that is refused leaves what the archive holds of it as it was; so does a window that
        cannot be read any more, its former record stays and the reason says so.

    Raises:
        ModelMismatchError: `encoder` is not the model that made the archive.
        UsageError: `predict_labels` with a model that predicts none, more or fewer bands than the model takes, or
            settings that differ from those declared for the collection, without `redeclare`.

    Note:
        Records that were removed from the archive stay removed while their source is unchanged, unless none of the
        source's records is left.
    """
    options = options or IngestOptions()
    run, embed = options.begin(archive, encoder, dry_run=dry_run)
    run.plan(options.find(sources, run.reading.chip.bands))
    if dry_run:
        return run.foresee()
    expected = run.expected() if progress else 0
    done = 0
    with closing(_embed_and_commit(run, embed, options)) as steps:
        for done in steps:
            if progress:
                progress(done, max(done, expected))
    if progress:
        progress(done, done)
    return run.report()


def _embed_and_commit(run: IngestRun, embed: Embedder, options: IngestOptions) -> Generator[int]:
    """Do what is planned; after each part of a batch, how many records there are so far."""
    parts = prefetch(parts_of(run.read(), options.batch_size), depth=_PARTS_PER_BATCH)
    done = 0
    with closing(parts), ThreadPoolExecutor(1) as committer:
        pending: Future[None] | None = None
        gathered = _Gathered(options.commit_size)
        for part in parts:
            if part.pieces:
                records, vectors_ND = embed(part.pieces)
                gathered.add(records, vectors_ND)
                done += len(records)
            gathered.finished += part.finished
            if part.whole and gathered.is_enough():
                if pending is not None:
                    pending.result()
                pending = committer.submit(gathered.commit, run)
                gathered = _Gathered(options.commit_size)
            yield done
        if pending is not None:
            pending.result()
        gathered.commit(run)


class _Gathered:
    """Records with vectors and the ends of sources among them, on their way into one commit."""

    def __init__(self, commit_size: int) -> None:
        self.finished: list[Finished] = []
        self._records: list[Record] = []
        self._vectors: list[FloatArray] = []
        self._bytes = 0
        self._commit_size = commit_size
        self._begun = time.monotonic()

    def add(self, records: Sequence[Record], vectors_ND: FloatArray) -> None:
        self._records += records
        self._vectors.append(vectors_ND)
        self._bytes += vectors_ND.nbytes + sum(len(record.thumbnail or b"") for record in records)

    def is_enough(self) -> bool:
        return (
            len(self._records) >= self._commit_size
            or len(self.finished) >= 4 * self._commit_size
            or self._bytes >= _COMMIT_BYTES
            or time.monotonic() - self._begun >= _COMMIT_SECONDS
        )

    def commit(self, run: IngestRun) -> None:
        if self._records or self.finished:
            run.commit(self._records, np.concatenate(self._vectors) if self._vectors else None, self.finished)


@dataclass
class Batch:
    """What is embedded together, or a part of it: pieces, and the ends of sources among them.

    `whole` is whether the batch ends here.
    """

    pieces: list[Piece] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    whole: bool = True


def batches_of(items: Iterator[Piece | Finished], batch_size: int) -> Iterator[Batch]:
    """Pieces in batches of at most `batch_size`, and of so many pixels that memory stays bounded."""
    pieces: list[Piece] = []
    for part in parts_of(items, batch_size):
        pieces += part.pieces
        if part.whole:
            yield Batch(pieces, part.finished)
            pieces = []


def parts_of(items: Iterator[Piece | Finished], batch_size: int) -> Iterator[Batch]:
    """The batches of `batches_of` in parts; the last of each has the ends of sources, and may have no pieces."""
    pieces: list[Piece] = []
    finished: list[Finished] = []
    count = size = part_size = 0
    enough = max(batch_size // _PARTS_PER_BATCH, _SMALLEST_PART)
    for item in items:
        if isinstance(item, Finished):
            finished.append(item)
        else:
            pieces.append(item)
            count += 1
            part_size += item.pixels_HWB.nbytes
        if count >= batch_size or size + part_size >= _BATCH_BYTES or len(finished) >= 4 * batch_size:
            yield Batch(pieces, finished)
            pieces, finished, count, size, part_size = [], [], 0, 0, 0
        elif len(pieces) >= enough or part_size * _PARTS_PER_BATCH >= _BATCH_BYTES:
            yield Batch(pieces, whole=False)
            pieces, size, part_size = [], size + part_size, 0
    if count or finished:
        yield Batch(pieces, finished)
