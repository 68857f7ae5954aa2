"""The report of an image-text evaluation: its numbers, its tables of images and captions, and its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..texts import normalise_caption
from ..typing import FloatArray, ImageArray, IntArray
from . import _plots as plots
from ._page import picture, render_page, row
from ._recall import EQUIVALENT
from .image_text import ImageTextEvaluation

__all__ = ["image_text_content", "image_text_page", "image_text_tables"]

_SHEET_QUERIES = 6


def image_text_content(evaluation: ImageTextEvaluation) -> dict[str, Any]:
    """Measures, counts and curves for report.json.

    A measure's "per_query" names the columns of queries.parquet whose mean it is, weighted by the column "captions"
    where that stands beside them: so reports can be compared query by query.
    """
    notions = (("", evaluation.exact), (EQUIVALENT, evaluation.equivalent))
    recalls = {
        suffix: {f"{way}_R@{k}{suffix}": way for way, result in found.items() for k in result.recall}
        for suffix, found in notions
    }
    measures: dict[str, dict[str, Any]] = {}
    for result in evaluation.results:
        entry = {key: value for key, value in result.__dict__.items() if key not in ("name", "oracle")}
        own = recalls[EQUIVALENT if result.name.endswith(EQUIVALENT) else ""]
        columns = own if result.name.startswith("mR") else {result.name: own.get(result.name)}
        entry["ceiling"] = result.oracle
        entry["unit"] = "rank" if not result.higher_is_better else "percent"
        entry["per_query"] = [
            {"column": name, "weight": "captions" if way == "t2i" else None} for name, way in columns.items() if way
        ]
        measures[result.name] = entry
    captions_I = _captions(evaluation)
    return {
        "task": "image-text",
        "measures": measures,
        "counts": {
            "images": len(evaluation.image_ids),
            "captions": len(evaluation.owner_T),
            "captions_per_image": [int(captions_I.min()), int(captions_I.max())],
            "repeated_captions": int(evaluation.repeated_T.sum()),
        },
        "settings": dict(evaluation.settings),
        "recall_curves": {
            way: {
                "exact": evaluation.exact[way].curve_K.round(4).tolist(),
                "equivalent": evaluation.equivalent[way].curve_K.round(4).tolist(),
                "floor": [
                    round(evaluation.exact[way].recall_at_random(k), 4)
                    for k in range(1, len(evaluation.exact[way].curve_K) + 1)
                ],
            }
            for way in evaluation.exact
        },
    }


def _captions(evaluation: ImageTextEvaluation) -> IntArray:
    """Number of captions of each image, (I,)."""
    return np.bincount(evaluation.owner_T, minlength=len(evaluation.image_ids))


def image_text_tables(evaluation: ImageTextEvaluation) -> dict[str, dict[str, Any]]:
    """File name -> column -> values: a row per image, and a row per caption."""
    owner, captions_I = evaluation.owner_T, _captions(evaluation)

    def by_image(values_T: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(owner, values_T, minlength=len(captions_I)) / captions_I)

    images: dict[str, Any] = {"id": list(evaluation.image_ids), "captions": captions_I}
    captions: dict[str, Any] = {"image": [evaluation.image_ids[row] for row in owner.tolist()]}
    if evaluation.texts:
        captions["text"] = list(evaluation.texts)
    captions["repeated"] = evaluation.repeated_T
    for suffix, found in (("", evaluation.exact), (EQUIVALENT, evaluation.equivalent)):
        for k, hits in found["i2t"].hits.items():
            images[f"i2t_R@{k}{suffix}"] = 100.0 * np.asarray(hits)
        for k, hits in found["t2i"].hits.items():
            images[f"t2i_R@{k}{suffix}"] = by_image(100.0 * np.asarray(hits))
        images["i2t_rank" + suffix] = found["i2t"].first_rank_Q
        captions["t2i_rank" + suffix] = found["t2i"].first_rank_Q
    return {"queries.parquet": images, "captions.parquet": captions}


def image_text_page(
    content: Mapping[str, Any], evaluation: ImageTextEvaluation, thumbnail: Callable[[str], ImageArray] | None
) -> str:
    """The page as text."""
    rows = [row(name, entry, entry["unit"]) for name, entry in content["measures"].items()]
    first = {f"{way}_R@{k}" for way, result in evaluation.exact.items() for k in list(result.recall)[:1]}
    return render_page(
        "image_text_report.html.j2",
        content,
        {"recall_figure": plots.recall_figure(content["recall_curves"])},
        rows=rows,
        headline=[entry for entry in rows if entry["name"] in {"mR", "mR" + EQUIVALENT, *first}],
        caption_sheets=_sheets(evaluation, "t2i", lambda query: _caption_line(evaluation, query, thumbnail))
        if thumbnail
        else [],
        image_sheets=_sheets(evaluation, "i2t", lambda query: _image_line(evaluation, query, thumbnail))
        if evaluation.texts
        else [],
    )


def _sheets(evaluation: ImageTextEvaluation, way: str, line: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """A random sample of the queries, which shows what to expect, and those whose first right answer came last."""
    ranks = evaluation.equivalent[way].first_rank_Q
    rng = np.random.default_rng(int(evaluation.settings["seed"]))
    sample = np.sort(rng.permutation(len(ranks))[:_SHEET_QUERIES]).tolist()
    last: dict[str, int] = {}
    for query in np.argsort(-ranks, kind="stable").tolist():
        # Captions that read the same rank the same images: one of them says it all.
        last.setdefault(evaluation.texts[query] if way == "t2i" and evaluation.texts else str(query), query)
        if len(last) == _SHEET_QUERIES:
            break
    return [
        {"title": "a random sample", "lines": [line(query) for query in sample]},
        {"title": "furthest off", "lines": [line(query) for query in last.values()]},
    ]


def _caption_line(
    evaluation: ImageTextEvaluation, caption: int, thumbnail: Callable[[str], ImageArray] | None
) -> dict[str, Any]:
    owner, alike = int(evaluation.owner_T[caption]), _images_with_text(evaluation, caption)
    return {
        "text": evaluation.texts[caption] if evaluation.texts else f"caption {caption}",
        "rank": f"{evaluation.exact['t2i'].first_rank_Q[caption]:,.0f}",
        "hits": [
            {
                "id": evaluation.image_ids[item],
                "data": picture(thumbnail, evaluation.image_ids[item]),
                "mark": "own" if item == owner else "alike" if item in alike else "other",
            }
            for item in evaluation.nearest["t2i"][caption].tolist()
            if item >= 0
        ],
    }


def _images_with_text(evaluation: ImageTextEvaluation, caption: int) -> set[int]:
    if not evaluation.texts:
        return {int(evaluation.owner_T[caption])}
    wanted = normalise_caption(evaluation.texts[caption])
    same = (normalise_caption(text) == wanted for text in evaluation.texts)
    return {owner for owner, equal in zip(evaluation.owner_T.tolist(), same, strict=True) if equal}


def _image_line(
    evaluation: ImageTextEvaluation, image: int, thumbnail: Callable[[str], ImageArray] | None
) -> dict[str, Any]:
    own = [evaluation.texts[caption] for caption in np.flatnonzero(evaluation.owner_T == image).tolist()]
    read = {normalise_caption(text) for text in own}

    def mark(caption: int) -> str:
        if evaluation.owner_T[caption] == image:
            return "own"
        return "alike" if normalise_caption(evaluation.texts[caption]) in read else "other"

    found = [caption for caption in evaluation.nearest["i2t"][image, : _SHEET_QUERIES + 2].tolist() if caption >= 0]
    return {
        "id": evaluation.image_ids[image],
        "data": picture(thumbnail, evaluation.image_ids[image]),
        "rank": f"{evaluation.exact['i2t'].first_rank_Q[image]:,.0f}",
        "hits": [{"text": evaluation.texts[caption], "mark": mark(caption)} for caption in found],
        "own": own,
    }
