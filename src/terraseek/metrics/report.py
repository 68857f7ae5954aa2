"""Reports: what an evaluation found, written so that a program, a spreadsheet and a person can each read it.

    report.json      values with intervals, floors, ceilings and definitions; counts; labels; provenance
    queries.parquet  one row per query: its id, relevant items, value of each measure, AP for each of its labels
    report.html      the same to look at, in one file

Nothing in them depends on the time or the machine's paths: the same evaluation writes the same report.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CorruptError, NotFoundError, UsageError
from ..typing import FloatArray, ImageArray
from .evaluation import Evaluation
from .measures import LabelAP
from .significance import Comparison, compare_paired

__all__ = ["Provenance", "Report", "compare_reports", "read_report", "report_json", "write_report"]

SCHEMA = 1
_LABEL = "AP of label "


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the numbers of a report come from.

    Attributes:
        dataset: name of the data set.
        split: what was searched with what, as in "test in train".
        split_hash: hash of the split files or of the seeded split.
        model: name or directory name of the model.
        fingerprint: fingerprint of the model.
        seed: seed of the training.
        notes: anything else worth keeping, as text.
    """

    dataset: str = ""
    split: str = ""
    split_hash: str = ""
    model: str = ""
    fingerprint: str = ""
    seed: int | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


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
        """Measure name -> value."""
        return {name: entry["value"] for name, entry in self.content["measures"].items()}

    def per_query(self, measure: str) -> FloatArray:
        """What the paired tests compare: (Q,), or (Q, L) for a mean over labels, nan where nothing counts.

        Raises:
            UsageError: the report has no such measure.
        """
        if measure not in self.content["measures"]:
            raise UsageError(f"{self.path} has no {measure}; it has {', '.join(self.content['measures'])}")
        labels = self.content["measures"][measure].get("labels")
        if labels is not None:
            return np.stack([self.columns[_LABEL + name] for name in labels], axis=1)
        values = self.columns[measure]
        if self.content["settings"]["queries_without_relevant"] == "left out":
            values = np.where(self.columns["relevant"] > 0, values, np.nan)
        return values


def report_json(evaluation: Evaluation, provenance: Provenance | None = None) -> dict[str, Any]:
    """The content of report.json: plain JSON values, null where a number does not exist."""
    provenance = provenance or Provenance()
    names = [label.name for label in evaluation.labels]
    frequency = np.array([label.frequency for label in evaluation.labels])
    measures = {}
    for result in evaluation.results:
        measures[str(result.measure)] = {
            "value": result.value,
            "low": result.low,
            "high": result.high,
            "floor": result.floor,
            "ceiling": result.ceiling,
            "queries": result.queries,
            "higher_is_better": result.measure.higher_is_better,
            "share": result.measure.bounded,
            "definition": result.measure.definition,
        }
        if isinstance(result.measure, LabelAP):
            kept = [c for c in result.measure.labels(frequency).tolist() if names[c] not in evaluation.skipped_labels]
            measures[str(result.measure)]["labels"] = [names[c] for c in kept]
    content = {
        "schema": SCHEMA,
        "measures": measures,
        "labels": [dict(label.__dict__) for label in evaluation.labels],
        "counts": {
            "queries": len(evaluation.query_ids),
            "gallery": evaluation.gallery_size,
            "self_excluded": evaluation.self_excluded,
            "queries_without_relevant": evaluation.queries_without_relevant,
            "queries_with_ties": evaluation.tied_queries,
            "skipped_labels": list(evaluation.skipped_labels),
        },
        "settings": dict(evaluation.settings),
        "provenance": {**provenance.__dict__, "notes": dict(provenance.notes)},
        "versions": {
            "terraseek": version("terraseek"),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "precision_recall": {
            "recall": evaluation.precision_recall.recall_L.round(6).tolist(),
            "precision": evaluation.precision_recall.precision_L.round(6).tolist(),
            "floor": evaluation.precision_recall.floor,
        },
        "similarities": {
            "edges": evaluation.similarities.edges.round(6).tolist(),
            "relevant": evaluation.similarities.relevant.tolist(),
            "other": evaluation.similarities.other.tolist(),
            "queries": evaluation.similarities.queries,
        },
    }
    return _without_nan(content)  # type: ignore[no-any-return]


def write_report(
    directory: str | Path,
    evaluation: Evaluation,
    provenance: Provenance | None = None,
    *,
    thumbnail: Callable[[str], ImageArray] | None = None,
    describe: Callable[[str], str] | None = None,
    html: bool = True,
) -> Path:
    """Write report.json, queries.parquet and, with `html`, report.html into `directory`; returns report.json's path.

    Args:
        directory: made if it is not there; files of an earlier report in it are replaced.
        evaluation: what to report.
        provenance: where the numbers come from.
        thumbnail: (H, W, 3) uint8 pixels of the image with an id, for the best and worst queries; None leaves them out.
        describe: a line of text for the image with an id, say its labels.
        html: whether to write report.html, which needs ``terraseek[train]``.

    Raises:
        MissingExtraError: `html` without matplotlib and jinja2.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    content = report_json(evaluation, provenance)
    _write_queries(directory / "queries.parquet", evaluation)
    if html:
        from ._html import render

        page = render(content, evaluation, thumbnail, describe)
        (directory / "report.html").write_text(page, encoding="utf-8")
    # Last, so that a directory with a report.json has all the rest.
    path = directory / "report.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return path


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


def compare_reports(
    a: str | Path | Sequence[str | Path],
    b: str | Path | Sequence[str | Path],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Comparison]:
    """Run B against run A, measure by measure, on the queries that both were asked (see `compare_paired`).

    Args:
        a: a report, or several of one method with different seeds, whose per-query values are averaged first.
        b: the same for the other run.
        resamples: bootstrap resamples and random swaps.
        confidence: of the intervals.
        seed: of the random draws.

    Raises:
        NotFoundError: a report is not there.
        CorruptError: a report is damaged.
        UsageError: the reports are of different queries or splits, or share no measure.
    """
    first, second = _load(a), _load(b)
    reference = first[0]
    for report in (*first, *second):
        _check_comparable(reference, report)
    names = [name for name in reference.values if all(name in report.values for report in (*first, *second))]
    if not names:
        raise UsageError(f"{first[0].path} and {second[0].path} have no measure in common")
    pairs = {
        name: (_mean_per_query(first, reference, name), _mean_per_query(second, reference, name)) for name in names
    }
    return compare_paired(pairs, resamples=resamples, confidence=confidence, seed=seed)


def _load(paths: str | Path | Sequence[str | Path]) -> list[Report]:
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not given:
        raise UsageError("no report to compare")
    return [read_report(path) for path in given]


def _check_comparable(reference: Report, report: Report) -> None:
    if set(reference.query_ids) != set(report.query_ids):
        common = len(set(reference.query_ids) & set(report.query_ids))
        raise UsageError(
            f"{reference.path} and {report.path} have different queries: {len(reference.query_ids)} and "
            f"{len(report.query_ids)}, {common} in common; evaluate both on the same split"
        )
    hashes = [r.content["provenance"]["split_hash"] for r in (reference, report)]
    sizes = [r.content["counts"]["gallery"] for r in (reference, report)]
    if (all(hashes) and hashes[0] != hashes[1]) or sizes[0] != sizes[1]:
        raise UsageError(
            f"{reference.path} and {report.path} searched different galleries "
            f"({sizes[0]} and {sizes[1]} items, split hashes {hashes[0] or 'unknown'} and {hashes[1] or 'unknown'})"
        )


def _mean_per_query(reports: Sequence[Report], reference: Report, measure: str) -> FloatArray:
    aligned = []
    for report in reports:
        row_of = {name: row for row, name in enumerate(report.query_ids)}
        aligned.append(report.per_query(measure)[[row_of[name] for name in reference.query_ids]])
    return np.asarray(np.mean(aligned, axis=0))


def _write_queries(path: Path, evaluation: Evaluation) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"id": pa.array(evaluation.query_ids, pa.string())}
    columns["relevant"] = pa.array(evaluation.relevant_Q, pa.int64())
    columns.update({name: pa.array(values, pa.float64()) for name, values in evaluation.per_query.items()})
    for c, label in enumerate(evaluation.labels):
        # nan as null: a spreadsheet then averages the right rows.
        columns[_LABEL + label.name] = pa.array(evaluation.label_ap_QC[:, c], pa.float64(), from_pandas=True)
    pq.write_table(pa.table(columns), path)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
