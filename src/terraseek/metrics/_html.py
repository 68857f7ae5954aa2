"""The HTML report: one file, no scripts, figures and pictures inside."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import numpy as np

from ..errors import ImageError, require
from ..images import thumbnail as encode
from ..typing import ImageArray
from . import _plots as plots
from .evaluation import Evaluation
from .measures import HEADLINE_MEASURES

__all__ = ["render"]

_SHEET_QUERIES = 6
_SHEET_HITS = 9
_PREFERRED = "nDCG@100(jaccard)"


def render(
    content: Mapping[str, Any],
    evaluation: Evaluation,
    thumbnail: Callable[[str], ImageArray] | None,
    describe: Callable[[str], str] | None,
) -> str:
    """The page as text. Everything that came from outside is escaped by the template."""
    jinja2 = require("jinja2", "train")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=_number, plain=_plain)
    template = environment.from_string(files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8"))
    markup = require("markupsafe", "train").Markup
    rows = [_row(name, entry) for name, entry in content["measures"].items()]
    headline = [row for row in rows if row["name"] in {str(measure) for measure in HEADLINE_MEASURES}]
    labels = sorted(content["labels"], key=lambda label: (label["ap"] is None, -(label["ap"] or 0)))
    return str(
        template.render(
            content=content,
            rows=rows,
            headline=headline or rows[:5],
            labels=labels,
            label_figure=markup(plots.label_figure(content["labels"])),
            curve_figure=markup(plots.precision_recall_figure(content["precision_recall"])),
            similarity_figure=markup(plots.similarity_figure(content["similarities"])),
            sheets=_sheets(evaluation, thumbnail, describe) if thumbnail else [],
            sheet_measure=_sheet_measure(evaluation),
        )
    )


def _row(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    span = entry["ceiling"] - entry["floor"]

    def place(value: float | None) -> float:
        """How far between floor (0) and oracle (100) a value stands."""
        return 0.0 if not span or value is None else min(100.0, max(0.0, 100 * (value - entry["floor"]) / span))

    low, high = sorted((place(entry["low"]), place(entry["high"])))
    return {"name": name, **entry, "place": place(entry["value"]), "place_low": low, "place_width": high - low}


def _number(value: float | None, share: bool = True) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:.1f}" if share else f"{value:.2f}"


def _plain(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


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
    better = next(r.measure.higher_is_better for r in evaluation.results if str(r.measure) == name)
    # Queries for which nothing is relevant would fill the sheet of the worst and show nothing.
    rows = np.flatnonzero(evaluation.relevant_Q > 0)
    order = rows[np.argsort(values[rows] if better else -values[rows], kind="stable")].tolist()
    share = next(r.measure.bounded for r in evaluation.results if str(r.measure) == name)

    def picture(image: str, agreement: float | None = None) -> dict[str, Any]:
        try:
            data = base64.b64encode(encode(thumbnail(image), 112)).decode()
        except ImageError:
            data = ""  # the frame stays, empty: the report is about the ranking
        return {"id": image, "data": data, "text": describe(image) if describe else image, "agreement": agreement}

    def lines(chosen: list[int]) -> list[dict[str, Any]]:
        return [
            {
                "query": picture(evaluation.query_ids[row]),
                "value": _number(float(values[row]), share),
                "hits": [
                    picture(evaluation.gallery_ids[item], float(agreement))
                    for item, agreement in zip(
                        evaluation.nearest_QK[row, :_SHEET_HITS].tolist(),
                        evaluation.nearest_agreement_QK[row, :_SHEET_HITS].tolist(),
                        strict=True,
                    )
                    if item >= 0
                ],
            }
            for row in chosen
        ]

    return [
        {"title": "Worst queries", "lines": lines(_varied(evaluation, order))},
        {"title": "Best queries", "lines": lines(_varied(evaluation, order[::-1]))},
    ]


def _varied(evaluation: Evaluation, order: list[int]) -> list[int]:
    """The first queries with different label sets: six alike would say what one says."""
    chosen: dict[bytes, int] = {}
    for row in order:
        chosen.setdefault((~np.isnan(evaluation.label_ap_QC[row])).tobytes(), row)
        if len(chosen) == _SHEET_QUERIES:
            break
    return list(chosen.values())
