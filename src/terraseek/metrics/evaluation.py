"""Evaluate a retrieval: every query against the whole gallery, every measure from one ranking, in blocks.

Similarity is the cosine. A query whose id is in the gallery does not see itself. Each value comes with the floor of a
random ranking, the ceiling of the oracle and a bootstrap interval over queries, because alone it means nothing: a
random order of UC Merced already has an any-label mAP of 0.64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from ..typing import FloatArray
from ._expectation import ratio
from ._run import Run
from .embeddings import EmbeddingSet
from .label_measures import LabelAP, frequency_bands
from .measure import Measure, QueryMeasure
from .measures import DEFAULT_MEASURES, parse_measure
from .results import Evaluation, LabelResult, MeasureResult
from .significance import (
    Interval,
    Statistic,
    bootstrap_interval,
    check_confidence,
    enough_queries,
    label_mean,
    query_mean,
)

__all__ = ["evaluate_retrieval"]

Empty: TypeAlias = Literal["zero", "skip"]
_NO_INTERVAL = Interval(float("nan"), float("nan"))


def evaluate_retrieval(
    query: EmbeddingSet,
    gallery: EmbeddingSet,
    measures: Sequence[Measure | str] = DEFAULT_MEASURES,
    *,
    label_names: Sequence[str] | None = None,
    train_frequency: ArrayLike | None = None,
    empty: Empty = "zero",
    bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    block_size: int | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Rank the gallery for every query and measure it.

    Args:
        query: the queries.
        gallery: what is searched; queries found in it by id are left out of their own ranking.
        measures: measures, or their names as `parse_measure` reads them.
        label_names: names of the C labels; None numbers them.
        train_frequency: share (or number) of training images with each label, (C,): what bands, the rarest labels and
            "rarity-jaccard" go by. None takes the gallery's, right where the gallery is the training split.
        empty: queries without a relevant item count as 0 ("zero") or are left out of the means over queries ("skip").
        bootstrap: resamples of the intervals, 0 for none.
        confidence: of the intervals.
        seed: of the resamples and of the queries whose similarities are counted.
        block_size: queries at a time; None chooses so that a block's scores take 32 MiB.
        threads: threads that rank; None takes the machine's cores for large galleries.
        progress: called with (queries done, all queries).

    Raises:
        UsageError: dimensions or labels of the two sets differ, there is nothing to search, or an argument is off.
        ConfigError: a name is no measure.

    Memory beyond the inputs: a float32 copy of each set, a block of scores, and per query the measures' values.

    Examples:
        >>> vectors, labels = np.eye(3)[[0, 0, 1, 2]], np.eye(3, dtype=np.uint8)[[0, 0, 1, 1]]
        >>> images = EmbeddingSet(vectors, labels, ("a", "b", "c", "d"))
        >>> found = evaluate_retrieval(images, images, ["mAP", "P@1"], bootstrap=0)
        >>> round(found["mAP"], 4), round(found["P@1"], 4)  # c and d find each other among three equally far items
        (0.8056, 0.6667)
    """
    check_confidence(confidence)
    chosen = tuple(parse_measure(m) if isinstance(m, str) else m for m in measures)
    names = _check(query, gallery, label_names, empty)
    frequency = gallery.labels_NC.mean(axis=0) if train_frequency is None else np.asarray(train_frequency, dtype=float)
    if frequency.shape != (len(names),) or not (np.isfinite(frequency) & (frequency >= 0)).all():
        raise UsageError(f"train_frequency is one number >= 0 for each of {len(names)} labels, not {frequency.shape}")
    run = Run(query, gallery, [m for m in chosen if isinstance(m, QueryMeasure)], frequency, seed)
    run.rank_all(block_size, threads, progress)

    kept = (run.relevant_Q > 0) if empty == "skip" else np.ones(len(query), dtype=bool)
    skipped = ~((query.labels_NC > 0) & (run.label_floor_QC > 0)).any(axis=0)
    label_ap = np.where(skipped, np.nan, run.label_ap_QC)
    values = _values(chosen, run, kept, label_ap, frequency)
    statistics: dict[str, Statistic] = {n: label_mean(v) if v.ndim == 2 else query_mean(v) for n, v in values.items()}
    per_label = {f"label {c}": label_ap[:, c] for c in range(len(names))}
    drawn = {**statistics, **{n: query_mean(v) for n, v in per_label.items()}}
    intervals = bootstrap_interval(
        {n: drawn[n] for n, v in {**values, **per_label}.items() if enough_queries(v, confidence)},
        len(query),
        resamples=bootstrap,
        confidence=confidence,
        seed=seed,
    )
    return Evaluation(
        results=tuple(_result(m, run, kept, label_ap, frequency, statistics, intervals) for m in chosen),
        labels=_labels(names, query, gallery, frequency, label_ap, run.label_floor_QC, intervals),
        query_ids=query.ids,
        gallery_ids=gallery.ids,
        relevant_Q=run.relevant_Q,
        per_query={str(m): run.values_QM[:, i] for i, m in enumerate(run.measures)},
        label_ap_QC=label_ap,
        nearest_QK=run.nearest_QK,
        nearest_agreement_QK=run.nearest_agreement_QK,
        precision_recall=run.curve(),
        similarities=run.histogram(),
        gallery_size=len(gallery),
        self_excluded=int((run.own_Q >= 0).sum()),
        tied_queries=int(run.tied_Q.sum()),
        settings={
            "similarity": "cosine",
            "ties": "expected value over tied orders",
            "queries_without_relevant": "counted as 0" if empty == "zero" else "left out",
            "bootstrap": bootstrap,
            "confidence": confidence,
            "seed": seed,
            "frequency_from": "gallery" if train_frequency is None else "training split",
        },
    )


def _check(query: EmbeddingSet, gallery: EmbeddingSet, label_names: Sequence[str] | None, empty: str) -> list[str]:
    shapes = [(s.vectors_ND.shape[1], s.labels_NC.shape[1]) for s in (query, gallery)]
    if shapes[0] != shapes[1]:
        (dim, labels), (gallery_dim, gallery_labels) = shapes
        raise UsageError(
            f"queries have {dim} dimensions and {labels} labels, the gallery {gallery_dim} and {gallery_labels}"
        )
    if not len(query) or not len(gallery):
        raise UsageError(f"nothing to evaluate: {len(query)} queries, {len(gallery)} gallery items")
    if empty not in ("zero", "skip"):
        raise UsageError(f"queries without relevant items are taken as 'zero' or 'skip', not {empty!r}")
    names = [str(c) for c in range(shapes[0][1])] if label_names is None else list(label_names)
    if len(names) != shapes[0][1]:
        raise UsageError(f"{len(names)} label names for {shapes[0][1]} labels")
    return names


def _values(
    measures: Sequence[Measure], run: Run, kept_Q: NDArray[np.bool_], label_ap_QC: FloatArray, frequency_C: FloatArray
) -> dict[str, FloatArray]:
    """What each measure is a mean over: (Q,) values or, for means over labels, (Q, L); nan where a query counts not."""
    values: dict[str, FloatArray] = {}
    for measure in measures:
        if isinstance(measure, LabelAP):
            values[str(measure)] = label_ap_QC[:, measure.labels(frequency_C)]
        else:
            column = [str(m) for m in run.measures].index(str(measure))
            values[str(measure)] = np.where(kept_Q, run.values_QM[:, column], np.nan)
    return values


def _result(
    measure: Measure,
    run: Run,
    kept_Q: NDArray[np.bool_],
    label_ap_QC: FloatArray,
    frequency_C: FloatArray,
    statistics: Mapping[str, Statistic],
    intervals: Mapping[str, Interval],
) -> MeasureResult:
    name = str(measure)
    whole = np.ones((1, len(kept_Q)))
    value = float(statistics[name](whole)[0])
    if isinstance(measure, LabelAP):
        label_ap = label_ap_QC[:, measure.labels(frequency_C)]
        label_floor = run.label_floor_QC[:, measure.labels(frequency_C)]
        counted = ~np.isnan(label_ap)
        floor = float(label_mean(np.where(counted, label_floor, np.nan))(whole)[0])
        ceiling = float(label_mean(np.where(counted, label_floor > 0, np.nan))(whole)[0])
        queries = int(counted.any(axis=1).sum())
    else:
        column = [str(m) for m in run.measures].index(name)
        queries = int(kept_Q.sum())
        floor = ratio(float(run.floor_QM[kept_Q, column].sum()), queries)
        ceiling = ratio(float(run.ceiling_QM[kept_Q, column].sum()), queries)
    interval = intervals.get(name, _NO_INTERVAL)
    return MeasureResult(
        measure=measure,
        value=value,
        low=interval.low,
        high=interval.high,
        floor=floor,
        ceiling=ceiling,
        queries=queries,
    )


def _labels(
    names: Sequence[str],
    query: EmbeddingSet,
    gallery: EmbeddingSet,
    frequency_C: FloatArray,
    label_ap_QC: FloatArray,
    label_floor_QC: FloatArray,
    intervals: Mapping[str, Interval],
) -> tuple[LabelResult, ...]:
    bands = frequency_bands(frequency_C)
    results = []
    for c, name in enumerate(names):
        has = ~np.isnan(label_ap_QC[:, c])
        interval = intervals.get(f"label {c}", _NO_INTERVAL)
        results.append(
            LabelResult(
                name=name,
                frequency=float(frequency_C[c]),
                band=bands[c],
                queries=int(query.labels_NC[:, c].sum()),
                gallery=int(gallery.labels_NC[:, c].sum()),
                ap=float(label_ap_QC[has, c].mean()) if has.any() else float("nan"),
                low=interval.low,
                high=interval.high,
                floor=float(label_floor_QC[has, c].mean()) if has.any() else float("nan"),
            )
        )
    return tuple(results)
