"""Reading one source after another: what is made of each, what is lost on the way, and how its end is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import ImageError, Refused, TerraseekError, UsageError
from ..geo import ChipConfig, Window
from ..images import printable
from ..typing import FloatArray
from .pieces import Piece, read_pieces, reason_of
from .record import Record
from .schema import vector_faults
from .sources import Source, record_id

__all__ = ["Finished", "Reading", "Sieve", "Task", "refusal"]


@dataclass(frozen=True)
class Task:
    """A source to read: the `state` it is in, and the records `there` of it, each with the state it was made in."""

    source: Source
    state: str
    there: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """The end of a source: what is to be noted of it, which of its former records are to go, what was refused.

    It is `unchanged` where all its records were there and none had to be made or removed. `guessed` names the bands
    that were taken where nobody said which, of a scene with more.
    """

    href: str
    note: dict[str, Any]
    stale: tuple[str, ...] = ()
    refused: str | None = None
    unchanged: bool = False
    guessed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """How sources are read: cut how, into which collection, whether again where nothing has changed.

    `bands` is how many the model takes, None where that is not known.
    """

    chip: ChipConfig
    collection: str
    refresh: bool = False
    bands: int | None = None

    def read(self, task: Task) -> Iterator[Piece | Finished]:
        """The pieces that are to be made of a source, and after the last one its end.

        Raises:
            ImageError: the source cannot be read at all.
            NotFoundError: a file is not there.
            UsageError: a declared band is not there, or the model takes another number of bands.
        """
        source, there = task.source, task.there
        # What is there already: records of this very state are what an interrupted run had done.
        done = set() if self.refresh else {identity for identity, known in there.items() if known == task.state}
        torn: list[tuple[Window, ImageError]] = []
        made: set[str] = set()
        guessed: tuple[str, ...] = ()
        for piece in read_pieces(
            source,
            self.chip,
            self.collection,
            task.state,
            wanted=(lambda identity: identity not in done) if done else None,
            on_torn=lambda window, error: torn.append((window, error)),
        ):
            self._check_bands(piece)
            made.add(piece.record.id)
            guessed = piece.guessed
            yield piece
        if torn and not made and not done:
            raise torn[0][1]
        # A window that could be read once and cannot now says nothing against the record it gave.
        spared = there.keys() & self._ids_of(source, [window for window, _ in torn])
        kept = len(spared - made - done)
        reason = _describe_torn(source, torn, kept)
        note = {"state": task.state, "records": len(made | done)} | ({"refused": reason} if reason else {})
        stale = tuple(sorted(there.keys() - made - done - spared))
        unchanged = bool(done) and not (made or stale)
        yield Finished(source.href, note, stale, reason, unchanged, guessed)

    def _check_bands(self, piece: Piece) -> None:
        bands = piece.pixels_HWB.shape[2]
        if self.bands not in (None, bands):
            raise UsageError(
                f"it gives {bands} bands, the model takes {self.bands}: name them in the model's order with --band "
                "(bands of scenes), or use a model of such images"
            )

    def _ids_of(self, source: Source, windows: Sequence[Window]) -> set[str]:
        scales = self.chip.scales
        return {record_id(source, self.collection, scale, window) for window in windows for scale in scales}


@dataclass
class _LeftOut:
    """What a source lost to its vectors: how many pieces, how many of them with a former record, the first and why."""

    first: Record
    reason: str
    count: int = 0
    kept: int = 0


class Sieve:
    """Keeps back the records whose vectors no archive can hold, and says so at the end of their source.

    A value such as an undeclared nodata of -3.4e38 makes one: that is no reason to lose what lies beside it.

    Args:
        tasks: what is being read.
        dim: number of dimensions D of the archive's vectors.
    """

    def __init__(self, tasks: Iterable[Task], dim: int) -> None:
        self._there = {task.source.href: task.there for task in tasks}
        self._dim = dim
        self._left_out: dict[str, _LeftOut] = {}

    def __call__(self, records: Sequence[Record], vectors_ND: FloatArray) -> tuple[Sequence[Record], FloatArray]:
        """The records with vectors that can be kept, and those vectors.

        Raises:
            UsageError: the vectors are not of the shape (N, D).
        """
        faults = vector_faults(vectors_ND, len(records), self._dim)
        if not faults:
            return records, vectors_ND
        for row, reason in faults.items():
            record = records[row]
            lost = self._left_out.setdefault(record.source, _LeftOut(record, reason))
            lost.count += 1
            lost.kept += record.id in self._there.get(record.source, ())
        sound = [row for row in range(len(records)) if row not in faults]
        return [records[row] for row in sound], vectors_ND[sound]

    def end(self, end: Finished) -> Finished:
        """The end of a source, with what was kept back of it."""
        lost = self._left_out.pop(end.href, None)
        if lost is None:
            return end
        reason = "; ".join(filter(None, [end.refused, _describe_left_out(lost)]))
        note = {**end.note, "records": end.note["records"] - lost.count, "refused": reason}
        return replace(end, note=note, refused=reason)


def refusal(source: Source, error: TerraseekError) -> Refused:
    """A source that could not be read, and why; its name is that of the file, whatever link led there."""
    name = printable(source.path)
    link = f" (by the link {name})" if isinstance(source.path, Path) and _is_link(source.path) else ""
    return Refused(source=printable(source.href), reason=reason_of(error, name) + link)


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # a name too long, say
        return False


def _describe_torn(source: Source, torn: list[tuple[Window, ImageError]], kept: int) -> str | None:
    if not torn:
        return None
    window, error = torn[0]
    what = f"{_windows(len(torn))} unreadable, the first {_place(window)}"
    return f"{what}: {reason_of(error, printable(source.path))}{_former(kept)}"


def _describe_left_out(lost: _LeftOut) -> str:
    if lost.first.window is None:
        return f"{lost.reason}{_former(lost.kept)}"
    what = f"{_windows(lost.count)} left out, the first {_place(Window(*lost.first.window))}"
    return f"{what}: {lost.reason}; look at its nodata and scaling{_former(lost.kept)}"


def _windows(count: int) -> str:
    return "1 window" if count == 1 else f"{count} windows"


def _place(window: Window) -> str:
    return f"at column {window.column}, row {window.row}"


def _former(kept: int) -> str:
    return f"; {kept} former record{'s' * (kept > 1)} of these kept" if kept else ""
