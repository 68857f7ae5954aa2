"""``terraseek evaluate`` and ``terraseek compare``: numbers with their definitions, and whether two models differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import require
from .model import find_model
from .output import Json, emit_json, parse_options, raise_if_refused, say, show_progress, show_table

if TYPE_CHECKING:
    from ..data import ImageDataset
    from ..metrics import Evaluation, Provenance

__all__ = ["compare", "evaluate"]


def evaluate(
    model: Annotated[str, typer.Argument(help="A model directory, or a name from `terraseek model list`.")],
    dataset: Annotated[str, typer.Option(help="A data set's name (see `terraseek data list`).")],
    root: Annotated[Path, typer.Option(help="The folder that holds it.")],
    splits: Annotated[Path | None, typer.Option(help="Split folder or file, if not beside the images.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="key=value, an option of this data set alone.")] = None,
    split: Annotated[str, typer.Option(help="The split whose images are the queries.")] = "test",
    gallery: Annotated[str, typer.Option(help="The split that is searched.")] = "train",
    measure: Annotated[list[str] | None, typer.Option(help="Such as 'nDCG@100(jaccard)'; may be repeated.")] = None,
    split_seed: Annotated[int, typer.Option(help="Of the split, where none comes with the data.")] = 0,
    other_split: Annotated[
        bool, typer.Option("--other-split", help="Judge a model that was trained under another split all the same.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Also write report.json and report.html.")] = None,
    as_json: Json = False,
) -> None:
    """Judge a model on a labelled data set, each value beside what chance and an oracle would get.

    A model that was trained on another split of the same data set is refused: queries may have been training images.

    Example: `terraseek evaluate runs/ucmerced-macl/model --dataset ucmerced-ml --root /data/UCMerced --report report`
    """
    require("torch", "train")
    from ..data import load_dataset
    from ..encoders import load_encoder
    from ..metrics import DEFAULT_MEASURES, Provenance, report_json, write_report
    from ..training import evaluate_model

    data = load_dataset(dataset, root, splits=splits, seed=split_seed, **parse_options(option or ()))
    encoder = load_encoder(find_model(model))
    with show_progress("embedding") as progress:
        found, refused = evaluate_model(
            encoder,
            data,
            query_split=split,
            gallery_split=gallery,
            measures=tuple(measure) if measure else DEFAULT_MEASURES,
            seed=seed,
            other_split=other_split,
            progress=progress,
        )
    trained_with = encoder.config.training.get("seed")
    provenance = Provenance(
        dataset=data.name,
        split=f"{split} in {gallery}",
        split_hash=data.split_hash,
        model=str(model),
        fingerprint=encoder.fingerprint,
        seed=trained_with if isinstance(trained_with, int) else None,
        notes={"images left out": ", ".join(map(str, refused))} if refused else {},
    )
    if report is not None:
        samples = {sample.id: index for index, sample in enumerate(data.samples)}
        write_report(
            report,
            found,
            provenance,
            thumbnail=lambda name: data.read(samples[name]),
            describe=lambda name: ", ".join(data.samples[samples[name]].labels),
        )
    if as_json:
        emit_json(report_json(found, provenance))
    else:
        _show(found, provenance, data, report)
    raise_if_refused(refused, f"{len(found.query_ids):,} queries and {found.gallery_size:,} images were judged")


def _show(found: Evaluation, provenance: Provenance, data: ImageDataset, report: Path | None) -> None:
    say(
        f"{data.name}, {len(found.query_ids):,} queries {provenance.split} ({found.gallery_size:,} images), "
        f"split {data.split_hash[:12]}, model {provenance.fingerprint[:12]}"
    )
    rows = [
        (str(r.measure), f"{r.value:.4f}", f"{r.low:.4f} .. {r.high:.4f}", f"{r.floor:.4f}", f"{r.ceiling:.4f}")
        for r in found.results
    ]
    show_table("", ("measure", "value", "95 % interval", "chance", "oracle"), rows)
    if found.queries_without_relevant:
        say(f"{found.queries_without_relevant:,} queries have nothing relevant in the gallery and count as 0")
    if found.skipped_labels:
        say(f"left out of means over labels, having no query or no item: {', '.join(found.skipped_labels)}")
    if report is not None:
        say(f"look at {report / 'report.html'}")


def compare(
    first: Annotated[Path, typer.Argument(metavar="REPORT_A", help="A report folder or report.json.")],
    second: Annotated[Path, typer.Argument(metavar="REPORT_B", help="Another, of the same queries and gallery.")],
    seed: Annotated[int, typer.Option(help="Of the resampling.")] = 0,
    as_json: Json = False,
) -> None:
    """Say by how much B differs from A, query by query, with intervals and p-values (Holm-corrected).

    Example: `terraseek compare report-a report-b --json`
    """
    from ..metrics import compare_reports

    found = compare_reports(first, second, seed=seed)
    if as_json:
        emit_json({"schema": 1, "a": str(first), "b": str(second), "measures": [entry.to_json() for entry in found]})
        return
    rows = [
        (
            entry.measure,
            f"{entry.a:.4f}",
            f"{entry.b:.4f}",
            f"{entry.difference:+.4f}",
            f"{entry.low:+.4f} .. {entry.high:+.4f}",
            f"{entry.p_holm:.4f}",
        )
        for entry in found
    ]
    show_table("", ("measure", "A", "B", "B - A", "95 % interval", "p (Holm)"), rows)
