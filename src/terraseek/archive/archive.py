"""The archive: records and the vectors of one model, durable in a Lance table, searched in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from ..config import to_mapping
from ..errors import CorruptError, NotFoundError, UsageError
from ..geo import ChipConfig
from ..typing import Encoder, FloatArray
from .ann import build_index, index_status
from .changes import AddResult, CompactResult, RowSource, append_or_merge, merge, remove_rows
from .compaction import compact_table
from .declaration import Chipping
from .declaration_table import DeclarationTable
from .filters import Filter
from .lease import writer_lease
from .lock import writer_lock
from .manifest import Manifest, ModelIdentity
from .notes import SourceNotes
from .ranking import Mode, Ranking
from .record import Record
from .reports import VerifyReport
from .schema import check_vectors, latest_of_each, records_schema, records_table
from .snapshot import Snapshot
from .status import bytes_of, summary
from .storage import check_place, check_vacant, connect, local_directory, open_table, storage_errors
from .versions import TRIES, Versions
from .view import View

__all__ = ["AddResult", "Archive", "CompactResult", "RowSource"]

RECORDS = "records"
T = TypeVar("T")


class Archive:
    """A set of records with vectors of one model. Many readers, one writer at a time.

    Attributes:
        uri: where it is.
        manifest: its format and model.
        connection: the LanceDB connection underneath.

    Every change is one commit: a reader, or a crash, sees the archive before it or after it. An open archive follows
    what other processes write: each call looks at the newest version. Reading is safe from several threads.

    Examples:
        >>> import tempfile, numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     archive = Archive.create(f"{folder}/a", ModelIdentity(fingerprint="demo", dim=2))
        ...     _ = archive.add([Record(id="north", source="n"), Record(id="east", source="e")], np.eye(2))
        ...     archive.search(np.array([0.9, 0.1]), k=1).ids
        ('north',)
    """

    def __init__(self, uri: str, manifest: Manifest, connection: Any, table: Any) -> None:
        self.uri = uri
        self.manifest = manifest
        self._directory = local_directory(uri)
        self.connection = connection
        self._versions = Versions(uri, connection, RECORDS, table)
        self._notes = SourceNotes(uri, connection)
        self._declarations = DeclarationTable(uri, connection)

    # -- making and opening ---------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        uri: str | Path,
        model: Encoder | ModelIdentity,
        *,
        exist_ok: bool = False,
        storage_options: dict[str, str] | None = None,
    ) -> Archive:
        """Make an empty archive for the vectors of `model`.

        Args:
            uri: a folder, or s3://, gs://, az:// (then `storage_options` as LanceDB takes them).
            model: an encoder, or the identity of one.
            exist_ok: open the archive if it is there already and of this model.
            storage_options: credentials and endpoint of an object store.

        Raises:
            UsageError: there is an archive already, no archive can be there, or it is a folder of other files.
            ModelMismatchError: with `exist_ok`, there is one of another model.
        """
        check_place(uri)
        uri, directory = str(uri), local_directory(uri)
        try:
            archive = cls.open(uri, model if exist_ok else None, storage_options=storage_options)
        except NotFoundError:
            pass
        else:
            if not exist_ok:
                raise UsageError(f"there is an archive at {uri} already; add to it, or choose another place")
            return archive
        check_vacant(uri)
        manifest = Manifest(model=ModelIdentity.of(model))
        with storage_errors(uri, "making it"):
            if directory is not None:
                directory.mkdir(parents=True, exist_ok=True)
            with writer_lock(directory):
                connection = connect(uri, storage_options)
                SourceNotes(uri, connection).make()
                # Last: it is this table that makes the folder an archive.
                schema = records_schema(manifest.model.dim, manifest.to_metadata())
                connection.create_table(RECORDS, schema=schema, exist_ok=True)
        return cls.open(uri, model, storage_options=storage_options)

    @classmethod
    def open(
        cls,
        uri: str | Path,
        model: Encoder | ModelIdentity | None = None,
        *,
        storage_options: dict[str, str] | None = None,
    ) -> Archive:
        """Open an archive; with `model`, make sure that it made the archive's vectors.

        Raises:
            NotFoundError: there is none.
            UsageError: no archive can be there: the scheme is not known, or it is a file.
            ModelMismatchError: it is of another model.
            IntegrityError: it is no terraseek archive, of an unknown format, or damaged.
        """
        check_place(uri)
        uri, directory = str(uri), local_directory(uri)
        if directory is not None and not directory.is_dir():
            raise NotFoundError(f"no archive at {uri}; make one with: terraseek archive create {uri} --model MODEL")
        with storage_errors(uri, "opening it"):
            connection = connect(uri, storage_options)
            table = open_table(connection, RECORDS, uri)
            archive = cls(uri, Manifest.from_metadata(table.schema.metadata, uri), connection, table)
        if model is not None:
            archive.check_model(model)
        return archive

    @property
    def model(self) -> ModelIdentity:
        """The model whose vectors the archive holds."""
        return self.manifest.model

    @property
    def dim(self) -> int:
        """Number of dimensions D of its vectors."""
        return self.manifest.model.dim

    def check_model(self, model: Encoder | ModelIdentity) -> None:
        """Refuse a model that did not make this archive.

        Raises:
            ModelMismatchError: its fingerprint or its number of dimensions differs.
        """
        self.manifest.model.check(model, self.uri)

    # -- reading --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The newest version, pinned: it stays as it is whatever is written meanwhile."""
        return self._versions.snapshot()

    def is_newest(self, snapshot: Snapshot) -> bool:
        """Whether nothing was committed since; else a compaction may have removed files of the snapshot's version."""
        return self._versions.is_newest(snapshot)

    def view(self) -> View:
        """The newest version, for several questions that must agree; see `read`."""
        return View(self.uri, self.snapshot(), self.dim)

    def read(self, question: Callable[[View], T]) -> T:
        """The answer of one version to a question, be it made of many.

        Where a compaction removes the files of that version meanwhile, the newest one is asked instead: `TRIES`
        versions at most, for damage looks the same beside a writer that is never still.

        Raises:
            CorruptError: a file is missing or altered, and not because of a newer version; or in each of `TRIES`.
        """
        for _ in range(TRIES - 1):
            view = self.view()
            try:
                return question(view)
            except CorruptError:
                if self.is_newest(view.snapshot):
                    raise
        return question(self.view())

    def __len__(self) -> int:
        with self._versions.guard, storage_errors(self.uri, "counting its records"):
            self._versions.newest()
            return int(self._versions.table.count_rows())

    def count(self, where: Filter) -> int:
        """How many records pass a filter."""
        return self.read(lambda view: view.count(where))

    def ids(self, where: Filter | None = None) -> tuple[str, ...]:
        """The ids of the records that pass, sorted."""
        return self.read(lambda view: view.ids(where))

    def get(self, ids: Sequence[str], *, thumbnails: bool = True) -> tuple[Record, ...]:
        """The records with these ids, in this order, see `View.get`."""
        return self.read(lambda view: view.get(ids, thumbnails=thumbnails))

    def vectors(self, ids: Sequence[str]) -> FloatArray:
        """The unit vectors of the records with these ids, (N, D) float32, see `View.vectors`."""
        return self.read(lambda view: view.vectors(ids))

    def search(
        self, vector_D: FloatArray, k: int = 10, where: Filter | None = None, *, mode: Mode = "exact"
    ) -> Ranking:
        """The `k` records nearest to a vector among those that pass the filter, see `View.search`."""
        return self.read(lambda view: view.search(vector_D, k, where, mode=mode))

    def facets(self, where: Filter | None = None) -> dict[str, dict[str, int]]:
        """How many records that pass have each label, are in each collection and of each year, see `View.facets`."""
        return self.read(lambda view: view.facets(where))

    def hints(self, where: Filter) -> list[str]:
        """What may be wrong with a filter that keeps nothing, see `View.hints`."""
        return self.read(lambda view: view.hints(where))

    def status(self) -> dict[str, Any]:
        """What the archive holds, as JSON values (schema 1)."""
        with storage_errors(self.uri, "reading its status"):
            return {
                "schema": 1,
                "uri": self.uri,
                "format": self.manifest.format,
                **self.read(summary),
                "declarations": {name: to_mapping(chip) for name, chip in sorted(self.declarations().items())},
                "model": asdict(self.model),
                "index": index_status(self._versions.table),
                "bytes": bytes_of(self._directory),
            }

    def verify(self, *, recall: bool = False, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
        """Compare everything with its checksum, see `terraseek.archive.verify_archive`."""
        from .verify import verify_archive

        return verify_archive(self, recall=recall, progress=progress)

    # -- writing --------------------------------------------------------------------------------------------------

    def writing(self, wait: float = 10.0) -> AbstractContextManager[None]:
        """The turn of one writer: a lock on the folder, on object storage a lease. Every change is made inside one.

        Raises:
            BusyError: another writer holds the archive for longer than `wait` seconds.
        """
        if self._directory is None:
            return writer_lease(self.connection, self.uri, wait)
        return writer_lock(self._directory, wait)

    def add(
        self,
        records: Sequence[Record],
        vectors_ND: FloatArray,
        *,
        complete: Mapping[str, str] | None = None,
        declare: Mapping[str, ChipConfig] | None = None,
        wait: float = 10.0,
    ) -> AddResult:
        """Put records in, in one commit; a record whose id is there already replaces it.

        Args:
            records: of two with one id the later counts.
            vectors_ND: a row for each, of any length but zero; unit rows are kept.
            complete: sources that are in completely with this batch, each with a text that changes when the source
                does (see `source_states`). Noted after the records are committed: a crash between the two makes the
                source look incomplete, so that it is read again, which changes nothing.
            declare: how the chips among the records were cut, by collection. Declared before they are committed, and
                in the same turn: whoever declares a collection anew beside this is followed by no chip of before.
            wait: seconds to wait for another writer.

        Raises:
            UsageError: as many vectors as records are needed, of D dimensions, finite and not zero; or a collection is
                declared otherwise.
            BusyError: another writer holds the archive.
        """
        unit_ND = check_vectors([record.id for record in records], vectors_ND, self.dim)
        last = latest_of_each(records)
        schema = records_schema(self.dim, self.manifest.to_metadata())
        batch = records_table([records[at] for at in last], unit_ND[last], schema)
        result = AddResult(added=0, updated=0)
        with self.writing(wait), self._versions.guard, storage_errors(self.uri, "adding records"):
            self._declarations.declare_all(declare or {})
            if len(batch):
                self._versions.newest()
                result = merge(self._versions.table, batch)
            if complete:
                self._notes.write(complete, self.snapshot().source_counts(list(complete)))
        return result

    def add_rows(
        self, rows: RowSource, *, declare: Mapping[str, ChipConfig] | None = None, wait: float = 10.0
    ) -> AddResult:
        """Put rows in, in one commit whatever their number; as `add`, for records in the form of the table.

        Args:
            rows: no two with one id. They are read batch by batch, and not kept.
            declare: as for `add`.
            wait: seconds to wait for another writer.

        Raises:
            UsageError: a collection is declared otherwise.
            BusyError: another writer holds the archive.
        """
        with self.writing(wait), self._versions.guard, storage_errors(self.uri, "adding records"):
            self._declarations.declare_all(declare or {})
            snapshot = self.snapshot()  # first: it may open the table anew
            return append_or_merge(self._versions.table, snapshot, rows)

    def remove(self, ids: Sequence[str] | Filter, *, wait: float = 10.0) -> int:
        """Take records out, in one commit; their bytes go with the next `compact`.

        Args:
            ids: record ids, those that are not there being left aside; or a filter that all to be removed pass.
            wait: seconds to wait for another writer.

        Returns:
            How many were removed.
        """
        where = ids if isinstance(ids, Filter) else Filter(ids=tuple(ids))
        with self.writing(wait), self._versions.guard, storage_errors(self.uri, "removing records"):
            snapshot = self.snapshot()  # first: it may open the table anew
            return remove_rows(self._versions.table, snapshot, where)

    def compact(self, *, wait: float = 10.0) -> CompactResult:
        """Rewrite what deletes and updates left scattered, and remove the bytes of everything that is gone.

        Readers that still use an older version move on to the newest with their next call.
        """
        with self.writing(wait), self._versions.guard, storage_errors(self.uri, "compacting it"):
            before = bytes_of(self._directory)
            self._versions.newest()
            compact_table(self._versions.table, RECORDS, "id", self.uri)
            self._notes.compact(self._present())
            self._declarations.compact()
            return CompactResult(bytes_before=before, bytes_after=bytes_of(self._directory))

    def build_index(self, *, wait: float = 10.0) -> None:
        """Build, or rebuild, the index on disk that `search(mode="ann")` uses; a cache that may be dropped.

        Raises:
            UsageError: there are too few records to be worth one.
        """
        with self.writing(wait), self._versions.guard, storage_errors(self.uri, "building the index"):
            self._versions.newest()
            build_index(self._versions.table)

    # -- collections ----------------------------------------------------------------------------------------------

    def declarations(self) -> dict[str, ChipConfig]:
        """How the scenes of each collection are read, as declared by `declare` or by the first ingest that cut one.

        Raises:
            IntegrityError: a declaration that is damaged, or of a newer version.
        """
        return self._declarations.read()

    def declare(
        self, collection: str, chip: Chipping = None, *, redeclare: bool = False, wait: float = 10.0
    ) -> ChipConfig:
        """Declare how the scenes of a collection are read, in one commit; see `terraseek.archive.settle_chipping`.

        What is declared holds until it is declared anew, whatever records are removed. Declared anew, its scenes are
        embedded again as they are next added; until then their records stay as they are.

        Raises:
            UsageError: it is declared otherwise and `redeclare` is off, or no collection can have this name.
            BusyError: another writer holds the archive.
        """
        with self.writing(wait), self._versions.guard:
            # First: a source half embedded anew must not pass for complete where the former settings come back.
            return self._declarations.declare(
                collection, chip, redeclare=redeclare, before_anew=lambda: self._notes.forget(self._present(collection))
            )

    # -- sources --------------------------------------------------------------------------------------------------

    def source_states(self) -> dict[str, str]:
        """The sources that are in completely, each with the state noted by `add(complete=...)`.

        A source whose records have all been removed is not among them; one that gave no records (all nodata) is.
        """
        with self._versions.guard:
            return self._notes.read(self._present())

    def forget_sources(self, sources: frozenset[str] | None) -> None:
        """Note these sources (None: all) as incomplete, so that they are read again when next added."""
        with self.writing(), self._versions.guard:
            self._notes.forget(sources)

    def _present(self, collection: str | None = None) -> frozenset[str]:
        return self.read(lambda view: view.sources(collection))
