"""Ingest on a Ray cluster: workers read, embed and stage; the archive gets all of it in one commit.

What is read, what the records are and what is refused is the same as in `ingest`. Sources go to workers in units: a
scene by itself, images together. A worker that dies is replaced and its unit done again; when the whole run dies, the
next one finds the finished units staged beside the archive (`staging.py`) and does the others.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import ConfigError, ImageError, NotFoundError, Refused, TerraseekError, UsageError, require
from ..typing import Encoder
from .archive import Archive
from .embedding import Embedder
from .ingest import IngestOptions, Sources, batches_of
from .ingest_run import IngestReport, has_chips
from .lease import writer_lease
from .pieces import Piece
from .prefetch import prefetch
from .reading import Finished, Reading, Sieve, Task, refusal
from .schema import check_vectors, latest_of_each, records_schema, records_table
from .sources import Source
from .staging import Staging, UnitReport
from .storage import local_directory

__all__ = ["ingest_on_ray"]

logger = logging.getLogger(__name__)

UNIT_IMAGES = 256


def ingest_on_ray(
    archive: Archive,
    load_encoder: Callable[[], Encoder],
    sources: Sources,
    options: IngestOptions | None = None,
    *,
    workers: int | None = None,
    address: str | None = None,
    storage_options: dict[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    dry_run: bool = False,
) -> IngestReport:
    """As `ingest`, with the reading and embedding done by the workers of a Ray cluster. Needs the extra `cluster`.

    Args:
        archive: where every worker can write: on object storage, or in a folder that all machines share.
        load_encoder: called once by each worker, and here; must work on the workers' machines.
        sources: as for `ingest`; their files are opened on the workers' machines.
        options: as for `ingest`.
        workers: of one CPU each; as many as the cluster has room for if it is not given.
        address: of the cluster; by default the one that Ray's environment names, else one on this machine.
        storage_options: of the archive, handed to the workers.
        progress: told (units done, units in all).
        dry_run: as for `ingest`; no cluster is used.

    Raises:
        BusyError: another ingest on Ray is at work on this archive.
        ModelMismatchError, ConfigError, UsageError: as `ingest`.
        TerraseekError: a worker failed for another reason than a source.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be at least 1, not {workers}")
    options = options or IngestOptions()
    run, _ = options.begin(archive, load_encoder(), dry_run=dry_run)
    run.plan(_absolute(source) for source in options.find(sources, run.reading.chip.bands))
    if dry_run:
        return run.foresee()
    if not run.tasks:
        return run.report()
    directory = local_directory(archive.uri)
    uri = archive.uri if directory is None else str(directory.resolve())
    units = _units(run.tasks, run.reading)
    stager = _Stager(uri, storage_options, load_encoder, run.reading, options)
    staging = Staging(uri, storage_options)
    with writer_lease(staging.connection, uri):
        reports = _work(stager, units, workers, address, progress)
        run.refuse(item for report in reports for item in report.refused)
        schema = records_schema(archive.dim, archive.manifest.to_metadata())
        filled = [unit.name for unit, report in zip(units, reports, strict=True) if report.rows]
        finished = [end for report in reports for end in report.finished]
        run.commit_rows(staging.rows(filled, schema), finished, cut=any(report.cut for report in reports))
        staging.clear()
    return run.report()


@dataclass(frozen=True)
class _Unit:
    """Tasks that one worker does at a stretch; the name is that of nothing else."""

    name: str
    tasks: tuple[Task, ...]


def _units(tasks: Sequence[Task], reading: Reading) -> list[_Unit]:
    groups: list[list[Task]] = []
    images: list[Task] = []
    for task in tasks:
        if task.source.is_image:
            if not images or len(images) == UNIT_IMAGES:
                images = []
                groups.append(images)
            images.append(task)
        else:
            groups.append([task])
    return [_Unit(_name(group, reading), tuple(group)) for group in groups]


def _name(tasks: Sequence[Task], reading: Reading) -> str:
    # The state of a source covers its files, its chips and its model's labels.
    parts = [(task.source.href, task.state, sorted(task.there.items())) for task in tasks]
    text = json.dumps([reading.collection, reading.refresh, parts], default=str)
    return f"unit-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _absolute(source: Source | Refused) -> Source | Refused:
    """Workers have working folders of their own."""
    if isinstance(source, Refused):
        return source
    files = {band: file.absolute() if isinstance(file, Path) else file for band, file in source.files.items()}
    return replace(source, files=files)


class _Stager:
    """What a worker needs to turn units into staged rows; made here, completed where it works."""

    def __init__(
        self,
        uri: str,
        storage_options: dict[str, str] | None,
        load_encoder: Callable[[], Encoder],
        reading: Reading,
        options: IngestOptions,
    ) -> None:
        self._uri = uri
        self._storage_options = storage_options
        self._load_encoder = load_encoder
        self._reading = reading
        self._options = options
        self._opened: tuple[Staging, Archive, Embedder] | None = None

    def _open(self) -> tuple[Staging, Archive, Embedder]:
        if self._opened is None:
            archive = Archive.open(self._uri, storage_options=self._storage_options)
            encoder = self._load_encoder()
            archive.check_model(encoder)
            embed = Embedder(encoder, self._options.predict_labels)
            self._opened = Staging(self._uri, self._storage_options), archive, embed
        return self._opened

    def stage(self, unit: _Unit) -> UnitReport:
        """Read and embed a unit, unless that was done already."""
        staging, archive, embed = self._open()
        if (known := staging.report(unit.name)) is not None:
            return known
        schema = records_schema(archive.dim, archive.manifest.to_metadata())
        finished: list[Finished] = []
        refused: list[Refused] = []
        rows, cut = 0, False
        sieve = Sieve(unit.tasks, archive.dim)

        def written() -> Iterator[pa.RecordBatch]:
            nonlocal rows, cut
            with closing(prefetch(batches_of(self._read(unit, refused), self._options.batch_size))) as batches:
                for batch in batches:
                    records, vectors_ND = sieve(*embed(batch.pieces)) if batch.pieces else ((), None)
                    finished.extend(map(sieve.end, batch.finished))
                    if records and vectors_ND is not None:
                        unit_ND = check_vectors([record.id for record in records], vectors_ND, archive.dim)
                        last = latest_of_each(records)
                        table = records_table([records[at] for at in last], unit_ND[last], schema)
                        rows += len(table)
                        cut = cut or has_chips(records)
                        yield from table.to_batches()

        made = written()
        first = next(made, None)
        if first is not None:
            staging.write(unit.name, schema, chain([first], made))
        report = UnitReport(rows=rows, cut=cut, finished=tuple(finished), refused=tuple(refused))
        staging.finish(unit.name, report)
        return report

    def _read(self, unit: _Unit, refused: list[Refused]) -> Iterator[Piece | Finished]:
        for task in unit.tasks:
            try:
                yield from self._reading.read(task)
            except (ImageError, NotFoundError, UsageError) as error:
                refused.append(refusal(task.source, error))


class _Worker:
    """An actor of Ray Data: the encoder is loaded once, units come one by one."""

    def __init__(self, stager: _Stager) -> None:
        self._stager = stager

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        reports = [self._stager.stage(pickle.loads(unit)) for unit in batch["unit"]]
        return {"number": list(batch["number"]), "report": [report.to_text() for report in reports]}


def _work(
    stager: _Stager,
    units: Sequence[_Unit],
    workers: int | None,
    address: str | None,
    progress: Callable[[int, int], None] | None,
) -> list[UnitReport]:
    """The reports of all units, in their order."""
    require("ray", "cluster")
    data = require("ray.data", "cluster")
    reports: dict[int, UnitReport] = {}
    rows = [{"number": number, "unit": pickle.dumps(unit)} for number, unit in enumerate(units)]
    with _cluster(address):
        many = min(workers or len(units), len(units))
        pool = data.ActorPoolStrategy(min_size=min(many, workers or 1), max_size=many)
        with warnings.catch_warnings():
            # The two options below have no other way in yet, whatever Ray says of its `ray_remote_args`.
            warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
            staged = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                _Worker,
                fn_constructor_args=(stager,),
                batch_size=1,
                batch_format="numpy",
                compute=pool,
                num_cpus=1,
                max_restarts=-1,
                max_task_retries=3,
            )
        for row in staged.iter_rows():
            reports[int(row["number"])] = UnitReport.from_text(row["report"])
            if progress:
                progress(len(reports), len(units))
    return [reports[number] for number in range(len(units))]


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """A connection to Ray; one that was there before is used and left as it is."""
    ray = require("ray", "cluster")
    begun = not ray.is_initialized()
    try:
        with _quiet_data():
            if begun:
                _connect(ray, address)
            yield
    except ray.exceptions.RayError as error:
        raise _translated(error) from error
    except ConnectionError as error:
        raise TerraseekError(f"no Ray cluster at {address or 'this machine'}: {_first_line(error)}") from None
    finally:
        if begun and ray.is_initialized():
            ray.shutdown()


@contextmanager
def _quiet_data() -> Iterator[None]:
    """Ray Data without its lines about each plan and its progress; afterwards as talkative as before."""
    context = require("ray.data", "cluster").DataContext.get_current()
    told = logging.getLogger("ray.data")
    before = told.level, context.enable_progress_bars
    told.setLevel(logging.ERROR)
    context.enable_progress_bars = False
    try:
        yield
    finally:
        told.setLevel(before[0])
        context.enable_progress_bars = before[1]


def _connect(ray: Any, address: str | None) -> None:
    try:
        with warnings.catch_warnings():
            # Ray forks its own programs, which start anew and know nothing of Lance.
            warnings.filterwarnings("ignore", message="lancedb fork support", category=RuntimeWarning)
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ray.exceptions.RayError):
        raise
    except Exception as error:  # of this very class where a machine is too busy to start one in time
        raise TerraseekError(f"no Ray cluster could be started here: {_first_line(error)}; try again") from error


def _translated(error: BaseException) -> TerraseekError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TerraseekError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return TerraseekError(
        f"a worker of the cluster failed: {_first_line(error)}; what it had done is kept, run it again"
    )


_RAISED = re.compile(r"(?!ray\.)[\w.]*(?:Error|Exception): ")


def _first_line(error: BaseException) -> str:
    """What a worker raised, which Ray hands on as text among advice of its own; else the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if _RAISED.match(line)]
    if raised:
        return raised[0][:240]
    return (lines[-1] if lines else type(error).__name__)[:240]
