"""What checking and repairing an archive has to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ..errors import IntegrityError

__all__ = ["Problem", "ProblemKind", "RepairReport", "VerifyReport"]

ProblemKind: TypeAlias = Literal[
    "unreadable", "record", "vector", "thumbnail", "duplicate", "model", "kept model", "declaration", "count"
]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that is not as it was written.

    Attributes:
        kind: "unreadable" rows of a damaged file; a "record", "vector" or "thumbnail" with another checksum; a
            "duplicate" id; vectors of another "model" dimension; a "kept model" or a "declaration" of a
            collection that is not what was put there; a "count" that does not add up.
        detail: one line for a person.
        ids: of the records, where they can still be read.
        rows: internal row ids.
    """

    kind: ProblemKind
    detail: str
    ids: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What `verify_archive` found.

    Attributes:
        records: how many there are.
        intact: how many of them were read and are as written.
        problems: none in a sound archive.
        recall: of the ann index at 10, on the archive's own vectors; None if not asked for.
        notes: what could not be checked.
    """

    records: int
    intact: int
    problems: tuple[Problem, ...]
    recall: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """As JSON values, schema 1."""
        problems = [
            {"kind": p.kind, "detail": p.detail, "ids": list(p.ids), "rows": len(p.rows)} for p in self.problems
        ]
        return {
            "schema": 1,
            "ok": self.ok,
            "records": self.records,
            "intact": self.intact,
            "problems": problems,
            "recall": self.recall,
            "notes": list(self.notes),
        }

    def raise_for_problems(self, uri: str) -> None:
        """Raise what an operator must know.

        Raises:
            IntegrityError: there is a problem; the message counts them and quotes the first.
        """
        if self.problems:
            more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
            # A repair is of records; what to do about the kept model is in its own line.
            of_records = any(problem.kind != "kept model" for problem in self.problems)
            advice = f"; save what is sound with: archive repair {uri}" if of_records else ""
            raise IntegrityError(f"{uri}: {self.problems[0].detail}{more}{advice}")


@dataclass(frozen=True, kw_only=True)
class RepairReport:
    """What `repair_archive` did.

    Attributes:
        removed: ids of the records that were taken out because they were damaged, where their ids could be read.
        removed_rows: how many rows were taken out, with those whose ids could not be read.
        without_thumbnail: ids of records that lost a damaged thumbnail and nothing else.
        went_back: versions whose manifest was damaged and was set aside, newest first.
        declarations: damaged declarations of collections that were taken out, in words.
    """

    removed: tuple[str, ...] = ()
    removed_rows: int = 0
    without_thumbnail: tuple[str, ...] = ()
    went_back: tuple[str, ...] = ()
    declarations: tuple[str, ...] = ()
