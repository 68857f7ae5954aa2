"""``terraseek evaluate`` and ``terraseek compare``: numbers with their definitions, and whether two models differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError, require
from .model import find_model
from .output import Json, emit_json, parse_options, raise_if_refused, say, show_progress, show_table

if TYPE_CHECKING:
    from ..data import ImageDataset
    from ..encoders import OnnxEncoder
    from ..errors import Refused
    from ..metrics import Comparison, Evaluation, ImageTextEvaluation, Provenance

__all__ = ["By", "compare", "evaluate"]


class By(StrEnum):
    """What decides whether an answer is right."""

    labels = "labels"
    captions = "captions"


def evaluate(
    model: Annotated[str, typer.Argument(help="A model directory, or a name from `terraseek model list`.")],
    dataset: Annotated[str, typer.Option(help="A data set's name (see `terraseek data list`).")],
    root: Annotated[Path, typer.Option(help="The folder that holds it.")],
    splits: Annotated[Path | None, typer.Option(help="Split folder or file, if not beside the images.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="key=value, an option of this data set alone.")] = None,
    split: Annotated[str, typer.Option(help="The split whose images are the queries.")] = "test",
    gallery: Annotated[str | None, typer.Option(help="The split that is searched, by labels; else train.")] = None,
    measure: Annotated[list[str] | None, typer.Option(help="Such as 'nDCG@100(jaccard)'; may be repeated.")] = None,
    split_seed: Annotated[int, typer.Option(help="Of the split, where none comes with the data.")] = 0,
    other_split: Annotated[
        bool, typer.Option("--other-split", help="Judge also a model that may have been trained on the queries.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    by: Annotated[
        By | None, typer.Option(help="What is right; captions, where the data set has some and the model reads text.")
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Also write report.json and report.html.")] = None,
    as_json: Json = False,
) -> None:
    """Judge a model on a data set, each value beside what chance and an oracle would get.

    By labels: the images of --split search among those of --gallery. By captions: the captions of --split search among
    its images, and its images among its captions. Refused are a model that was trained on another split of the same
    data set, whose queries may have been training images, and one whose training images on another data set are among
    the queries.

    Example: `terraseek evaluate runs/ucmerced-macl/model --dataset ucmerced-ml --root /data/UCMerced --report report`
    """
    require("torch", "train")
    from ..data import load_dataset
    from ..encoders import load_encoder
    from ..metrics import ImageTextEvaluation, Provenance, report_json

    data = load_dataset(dataset, root, splits=splits, seed=split_seed, **parse_options(option or ()))
    encoder = load_encoder(find_model(model))
    captioned = encoder.has_text and any(sample.captions for sample in data.samples)
    found: Evaluation | ImageTextEvaluation
    if by is By.captions or (by is None and captioned):
        if measure or gallery:
            raise UsageError(
                "--measure and --gallery are for labels (--by labels): on captions, recalls at 1, 5 and 10 are "
                "measured within one split"
            )
        found, refused = _by_captions(encoder, data, split, seed=seed, other_split=other_split)
    else:
        found, refused = _by_labels(encoder, data, split, gallery, measure, seed=seed, other_split=other_split)
    trained_with = encoder.config.training.get("seed")
    provenance = Provenance(
        dataset=data.name,
        split=split if isinstance(found, ImageTextEvaluation) else f"{split} in {gallery or 'train'}",
        split_hash=data.split_hash,
        model=str(model),
        fingerprint=encoder.fingerprint,
        seed=trained_with if isinstance(trained_with, int) else None,
        notes={"images left out": ", ".join(map(str, refused))} if refused else {},
    )
    if report is not None:
        _write(report, found, provenance, data)
    if as_json:
        emit_json(report_json(found, provenance))
    elif isinstance(found, ImageTextEvaluation):
        _show_captions(found, provenance)
    else:
        _show(found, provenance, data)
    if report is not None and not as_json:
        say(f"look at {report / 'report.html'}")
    judged = len(found.image_ids if isinstance(found, ImageTextEvaluation) else found.query_ids)
    raise_if_refused(refused, f"{judged:,} images were judged")


def _by_captions(
    encoder: OnnxEncoder, data: ImageDataset, split: str, *, seed: int, other_split: bool
) -> tuple[ImageTextEvaluation, Sequence[Refused]]:
    from ..training import evaluate_captions

    with show_progress("embedding") as progress:
        return evaluate_captions(encoder, data, split=split, seed=seed, other_split=other_split, progress=progress)


def _by_labels(
    encoder: OnnxEncoder,
    data: ImageDataset,
    split: str,
    gallery: str | None,
    measures: Sequence[str] | None,
    *,
    seed: int,
    other_split: bool,
) -> tuple[Evaluation, Sequence[Refused]]:
    from ..metrics import DEFAULT_MEASURES
    from ..training import evaluate_model

    with show_progress("embedding") as progress:
        return evaluate_model(
            encoder,
            data,
            query_split=split,
            gallery_split=gallery or "train",
            measures=tuple(measures) if measures else DEFAULT_MEASURES,
            seed=seed,
            other_split=other_split,
            progress=progress,
        )


def _write(folder: Path, found: Evaluation | ImageTextEvaluation, provenance: Provenance, data: ImageDataset) -> None:
    from ..metrics import write_report

    samples = {sample.id: index for index, sample in enumerate(data.samples)}
    write_report(
        folder,
        found,
        provenance,
        thumbnail=lambda name: data.read(samples[name]),
        describe=lambda name: ", ".join(data.samples[samples[name]].labels),
    )


def _show(found: Evaluation, provenance: Provenance, data: ImageDataset) -> None:
    say(
        f"{data.name}, {len(found.query_ids):,} queries {provenance.split} ({found.gallery_size:,} images), "
        f"split {data.split_hash[:12]}, model {provenance.fingerprint[:12]}"
    )
    rows = [
        (str(r.measure), _cell(r.value, 4), _between(r.low, r.high, 4), _cell(r.floor, 4), _cell(r.ceiling, 4))
        for r in found.results
    ]
    show_table("", ("measure", "value", "95 % interval", "chance", "oracle"), rows)
    if found.queries_without_relevant:
        say(f"{found.queries_without_relevant:,} queries have nothing relevant in the gallery and count as 0")
    if found.skipped_labels:
        say(f"left out of means over labels, having no query or no item: {', '.join(found.skipped_labels)}")


def _cell(value: float, digits: int, form: str = "") -> str:
    return "–" if math.isnan(value) else f"{value:{form}.{digits}f}"


def _between(low: float | None, high: float | None, digits: int, form: str = "") -> str:
    if low is None or high is None or math.isnan(low):
        return "too few queries"
    return f"{_cell(low, digits, form)} .. {_cell(high, digits, form)}"


def _show_captions(found: ImageTextEvaluation, provenance: Provenance) -> None:
    say(
        f"{provenance.dataset}, {len(found.image_ids):,} images and {len(found.texts):,} captions of "
        f"{provenance.split}, split {provenance.split_hash[:12]}, model {provenance.fingerprint[:12]}"
    )

    rows = [
        (r.name, _cell(r.value, 2), _between(r.low, r.high, 2), *(_cell(v, 2) for v in (r.floor, r.matcher, r.oracle)))
        for r in found.results
    ]
    show_table("", ("measure", "value", "95 % interval", "chance", "matcher", "oracle"), rows)
    repeated = int(found.repeated_T.sum())
    if repeated:
        say(
            f"{repeated:,} captions read like a caption of another image: (equivalent) counts both as right, and "
            "matcher is what knowing every caption by heart reaches without it"
        )


def compare(
    first: Annotated[
        Path | None, typer.Argument(metavar="A", help="A report folder or report.json, or a folder of several seeds.")
    ] = None,
    second: Annotated[
        Path | None, typer.Argument(metavar="B", help="The same for the other side, of the same queries and gallery.")
    ] = None,
    a: Annotated[list[Path] | None, typer.Option("--a", help="In place of A: one seed's report; repeat.")] = None,
    b: Annotated[list[Path] | None, typer.Option("--b", help="In place of B: one seed's report; repeat.")] = None,
    seed: Annotated[int, typer.Option(help="Of the resampling.")] = 0,
    as_json: Json = False,
) -> None:
    """Say by how much B differs from A, query by query, with intervals and p-values (Holm-corrected).

    Either side may be several runs that differ in their seed: their values are averaged query by query, and the spread
    over seeds is shown beside the mean.

    Example: `terraseek compare report-a report-b --json`

    Example: `terraseek compare --a supcon-0 --a supcon-1 --a supcon-2 --b macl-0 --b macl-1 --b macl-2`
    """
    from ..metrics import compare_reports

    sides = _side("A", first, a), _side("B", second, b)
    found = compare_reports(*sides, seed=seed)
    if as_json:
        names = {key: ", ".join(map(str, side)) for key, side in zip("ab", sides, strict=True)}
        lists = {f"{key}_reports": list(map(str, side)) for key, side in zip("ab", sides, strict=True)}
        emit_json({"schema": 1, **names, **lists, "measures": [entry.to_json() for entry in found]})
        return
    rows = [
        (
            entry.measure,
            _spread(entry.a, entry.a_std),
            _spread(entry.b, entry.b_std),
            _cell(entry.difference, 4, "+"),
            _between(entry.low, entry.high, 4, "+"),
            _cell(entry.p_holm, 4),
        )
        for entry in found
    ]
    if max(map(len, sides)) > 1:
        say(f"{len(sides[0])} and {len(sides[1])} seeds: ± is the deviation over seeds, the interval is over queries")
    show_table("", ("measure", "A", "B", "B - A", "95 % interval", "p (Holm)"), rows)
    _say_what_is_not_known(found)


def _say_what_is_not_known(found: Sequence[Comparison]) -> None:
    """What an interval does not show, or why there is none."""
    from ..metrics import fewest_queries

    if any(entry.low is None for entry in found):
        say(
            f"too few queries: of fewer than {fewest_queries(0.95)} that count, or where half of the labels have a "
            "single query, no interval says how other queries would do"
        )
    for entry in found:
        if entry.lone_labels and entry.low is not None:
            alone = f"{entry.lone_labels:,} label{'s' * (entry.lone_labels != 1)}"
            say(f"{entry.measure}: the interval does not know by how much the single query of {alone} might vary")


def _side(name: str, whole: Path | None, single: Sequence[Path] | None) -> list[Path]:
    """The reports of one side of a comparison, given as one path or one by one."""
    from ..metrics import find_reports

    if (whole is None) == (not single):
        raise UsageError(
            f"give side {name} either as a path or by --{name.lower()}, not {'both' if whole else 'neither'}"
        )
    return find_reports(whole) if whole else list(single or ())


def _spread(value: float, std: float | None) -> str:
    return _cell(value, 4) if std is None else f"{_cell(value, 4)} ± {_cell(std, 4)}"
