"""Reports read back and compared, query by query."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CorruptError, NotFoundError, UsageError
from ..typing import FloatArray
from ._label_report import LABEL_COLUMN
from .report import SCHEMA
from .significance import Comparison, compare_paired, summarize_seeds

__all__ = ["Report", "compare_reports", "find_reports", "read_report"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """A report that was read back.

    Attributes:
        path: its report.json.
        content: what report.json holds.
        query_ids: the queries.
        columns: the per-query columns, (Q,) each.
    """

    path: Path
    content: Mapping[str, Any]
    query_ids: tuple[str, ...]
    columns: Mapping[str, FloatArray]

    @property
    def values(self) -> dict[str, float]:
        """Measure name -> value; nan where there is none."""
        entries = self.content["measures"].items()
        return {name: float("nan") if entry["value"] is None else entry["value"] for name, entry in entries}

    @property
    def paired_measures(self) -> tuple[str, ...]:
        """The measures that are means over queries, which paired tests need; a median rank is none."""
        return tuple(name for name, entry in self.content["measures"].items() if entry.get("per_query") != [])

    def per_query(self, measure: str) -> FloatArray:
        """What the paired tests compare: (Q,), or (Q, L) for a mean over labels, nan where nothing counts.

        Raises:
            UsageError: the report has no such measure, or it is no mean over queries.
        """
        if measure not in self.paired_measures:
            raise UsageError(f"{self.path} has no {measure}; it has {', '.join(self.paired_measures)}")
        entry = self.content["measures"][measure]
        if "per_query" in entry:
            return np.asarray(np.mean([self._weighted(**part) for part in entry["per_query"]], axis=0))
        if entry.get("labels") is not None:
            found = np.array([self.columns[LABEL_COLUMN + name] for name in entry["labels"]], np.float64)
            return found.reshape(-1, len(self.query_ids)).T  # which may be of no label at all
        values = self.columns[measure]
        if self.content["settings"]["queries_without_relevant"] == "left out":
            values = np.where(self.columns["relevant"] > 0, values, np.nan)
        return values

    def _weighted(self, column: str, weight: str | None) -> FloatArray:
        """The column, scaled so that its plain mean is the mean weighted by another column."""
        values = self.columns[column]
        return values if weight is None else values * self.columns[weight] / self.columns[weight].mean()


def read_report(path: str | Path) -> Report:
    """Read a report back from its directory or its report.json.

    Raises:
        NotFoundError: there is no report.
        CorruptError: a file of it is damaged or of another schema.
    """
    import pyarrow.parquet as pq

    path = Path(path)
    path = path / "report.json" if path.is_dir() else path
    table_path = path.with_name("queries.parquet")
    if not path.is_file() or not table_path.is_file():
        missing = path if not path.is_file() else table_path
        raise NotFoundError(f"no report at {missing}; write one with: terraseek evaluate ... --report DIR")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        table = pq.read_table(table_path)
    except (ValueError, OSError) as error:  # pyarrow's errors and JSON's are ValueErrors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CorruptError(f"{path.parent}: the report cannot be read: {reason}") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else None
        raise CorruptError(f"{path} has schema {found}, this version reads {SCHEMA}")
    columns = {name: table[name].to_numpy().astype(np.float64) for name in table.column_names if name != "id"}
    return Report(path=path, content=content, query_ids=tuple(table["id"].to_pylist()), columns=columns)


def find_reports(path: str | Path) -> list[Path]:
    """The reports at a path: itself, or all in a folder of runs that differ in their seed, sorted by name.

    Raises:
        NotFoundError: there is none.
    """
    path = Path(path)
    if path.is_file() or (path / "report.json").is_file():
        return [path]
    found = sorted(path.rglob("report.json"))
    if not found:
        raise NotFoundError(f"no report in {path}; write one with: terraseek evaluate ... --report DIR")
    return found


def compare_reports(
    a: str | Path | Sequence[str | Path],
    b: str | Path | Sequence[str | Path],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Comparison]:
    """Run B against run A, measure by measure, on the queries that both were asked (see `compare_paired`).

    With several seeds, what is compared is the mean over a method's seeds, query by query. The interval and the p-value
    are then about other queries, not about other seeds; the deviation over seeds stands beside them.

    Args:
        a: a report, or several of one method with different seeds (`find_reports` collects them).
        b: the same for the other run.
        resamples: bootstrap resamples and random swaps.
        confidence: of the intervals.
        seed: of the random draws.

    Raises:
        NotFoundError: a report is not there.
        CorruptError: a report is damaged.
        UsageError: the reports are of different queries, data sets, splits or tasks, two of one side are of the same
            model, or they share no measure.
    """
    first, second = _load(a), _load(b)
    reference = first[0]
    for report in (*first, *second):
        _check_comparable(reference, report)
    shared = set.intersection(*(set(report.paired_measures) for report in (*first, *second)))
    names = [name for name in reference.paired_measures if name in shared]
    if not names:
        raise UsageError(f"{first[0].path} and {second[0].path} have no measure in common")
    pairs = {
        name: (_mean_per_query(first, reference, name), _mean_per_query(second, reference, name)) for name in names
    }
    compared = compare_paired(pairs, resamples=resamples, confidence=confidence, seed=seed)
    over_a, over_b = (
        summarize_seeds([{name: report.values[name] for name in names} for report in side]) for side in (first, second)
    )
    return [
        replace(
            entry,
            a_seeds=len(first),
            b_seeds=len(second),
            a_std=over_a[entry.measure].std if len(first) > 1 else None,
            b_std=over_b[entry.measure].std if len(second) > 1 else None,
        )
        for entry in compared
    ]


def _load(paths: str | Path | Sequence[str | Path]) -> list[Report]:
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not given:
        raise UsageError("no report to compare")
    reports = [read_report(path) for path in given]
    seen: dict[str, Path] = {}
    for report in reports:
        fingerprint = report.content["provenance"]["fingerprint"] or str(report.path.resolve())
        if fingerprint in seen:
            raise UsageError(f"{seen[fingerprint]} and {report.path} are of the same model: give each seed once")
        seen[fingerprint] = report.path
    return reports


def _check_comparable(reference: Report, report: Report) -> None:
    about = [_about(each) for each in (reference, report)]
    for name in about[0]:
        first, second = (each[name] for each in about)
        # What a report does not know cannot differ.
        if first and second and first != second:
            raise UsageError(
                f"{reference.path} and {report.path} differ in {name}: {first} and {second}; "
                "evaluate both on the same data"
            )
    if set(reference.query_ids) != set(report.query_ids):
        common = len(set(reference.query_ids) & set(report.query_ids))
        raise UsageError(
            f"{reference.path} and {report.path} have different queries: {len(reference.query_ids)} and "
            f"{len(report.query_ids)}, {common} in common; evaluate both on the same split"
        )


def _about(report: Report) -> dict[str, Any]:
    """What two reports must have in common, beside their queries."""
    content = report.content
    counts = content["counts"]
    return {
        "task": content.get("task", "labels"),
        "data set": content["provenance"]["dataset"],
        "split": content["provenance"]["split"],
        "split hash": content["provenance"]["split_hash"],
        "gallery size": counts.get("gallery", counts.get("captions")),
    }


def _mean_per_query(reports: Sequence[Report], reference: Report, measure: str) -> FloatArray:
    aligned = []
    for report in reports:
        row_of = {name: row for row, name in enumerate(report.query_ids)}
        aligned.append(report.per_query(measure)[[row_of[name] for name in reference.query_ids]])
    return np.asarray(np.mean(aligned, axis=0))
