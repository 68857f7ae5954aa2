"""The report of an evaluation by labels: its numbers, its table of queries and its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..typing import ImageArray
from . import _plots as plots
from ._page import number, picture, render_page, row
from .label_measures import LabelAP
from .measures import HEADLINE_MEASURES
from .results import Evaluation

__all__ = ["LABEL_COLUMN", "label_content", "label_page", "label_tables"]

LABEL_COLUMN = "AP of label "
"""What the names of a query table's columns with the AP for one label begin with."""
_SHEET_QUERIES = 6
_SHEET_HITS = 9
_PREFERRED = "nDCG@100(jaccard)"


def label_content(evaluation: Evaluation) -> dict[str, Any]:
    """Measures, labels, counts and curves for report.json."""
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
    return {
        "task": "labels",
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


def label_tables(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """File name -> column -> values; nan stands for what does not exist."""
    columns: dict[str, Any] = {"id": list(evaluation.query_ids), "relevant": evaluation.relevant_Q}
    columns.update(evaluation.per_query)
    columns.update(
        {LABEL_COLUMN + label.name: evaluation.label_ap_QC[:, c] for c, label in enumerate(evaluation.labels)}
    )
    return {"queries.parquet": columns}


def label_page(
    content: Mapping[str, Any],
    evaluation: Evaluation,
    thumbnail: Callable[[str], ImageArray] | None,
    describe: Callable[[str], str] | None,
) -> str:
    """The page as text."""
    rows = [row(name, entry, "share" if entry["share"] else "count") for name, entry in content["measures"].items()]
    headline = [entry for entry in rows if entry["name"] in {str(measure) for measure in HEADLINE_MEASURES}]
    figures = {
        "label_figure": plots.label_figure(content["labels"]),
        "curve_figure": plots.precision_recall_figure(content["precision_recall"]),
        "similarity_figure": plots.similarity_figure(content["similarities"]),
    }
    return render_page(
        "label_report.html.j2",
        content,
        figures,
        rows=rows,
        headline=headline or rows[:5],
        labels=sorted(content["labels"], key=lambda label: (label["ap"] is None, -(label["ap"] or 0))),
        sheets=_sheets(evaluation, thumbnail, describe) if thumbnail else [],
        sheet_measure=_sheet_measure(evaluation),
    )


def _sheet_measure(evaluation: Evaluation) -> str:
    names = list(evaluation.per_query)
    return _PREFERRED if _PREFERRED in names else names[0] if names else ""


def _sheets(
    evaluation: Evaluation, thumbnail: Callable[[str], ImageArray], describe: Callable[[str], str] | None
) -> list[dict[str, Any]]:
    name = _sheet_measure(evaluation)
    if not name:
        return []
    values = evaluation.per_query[name]
    measure = next(r.measure for r in evaluation.results if str(r.measure) == name)
    # Queries for which nothing is relevant would fill the sheet of the worst and show nothing.
    rows = np.flatnonzero(evaluation.relevant_Q > 0)
    worst_first = values[rows] if measure.higher_is_better else -values[rows]
    order = rows[np.argsort(worst_first, kind="stable")].tolist()

    def shown(image: str, agreement: float | None = None) -> dict[str, Any]:
        text = describe(image) if describe else image
        return {"id": image, "data": picture(thumbnail, image), "text": text, "agreement": agreement}

    def line(query: int) -> dict[str, Any]:
        items = evaluation.nearest_QK[query, :_SHEET_HITS].tolist()
        agreements = evaluation.nearest_agreement_QK[query, :_SHEET_HITS].tolist()
        return {
            "query": shown(evaluation.query_ids[query]),
            "value": number(float(values[query]), "share" if measure.bounded else "count"),
            "hits": [
                shown(evaluation.gallery_ids[item], agreement)
                for item, agreement in zip(items, agreements, strict=True)
                if item >= 0
            ],
        }

    return [
        {"title": "Worst queries", "lines": [line(query) for query in _varied(evaluation, order)]},
        {"title": "Best queries", "lines": [line(query) for query in _varied(evaluation, order[::-1])]},
    ]


def _varied(evaluation: Evaluation, order: list[int]) -> list[int]:
    """The first queries with different label sets: six alike would say what one says."""
    chosen: dict[bytes, int] = {}
    for query in order:
        chosen.setdefault((~np.isnan(evaluation.label_ap_QC[query])).tobytes(), query)
        if len(chosen) == _SHEET_QUERIES:
            break
    return list(chosen.values())
