"""``terraseek data``: list and check data sets, mine concepts from their captions, make synthetic ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import require
from .leakage import leakage
from .output import DryRun, Json, emit_json, parse_options, raise_if_refused, say, show_progress, show_table

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Data sets: list, check, leakage, download, synthesize; concepts of their captions.",
    epilog="Example: `terraseek data list`",
)


app.command(no_args_is_help=True)(leakage)


@app.command("list")
def list_datasets(as_json: Json = False) -> None:
    """List the data sets that have a loader, where they come from and on what terms.

    Example: `terraseek data list`
    """
    from ..data import DATASETS

    rows = [(name, DATASETS[name].origin) for name in DATASETS]
    if as_json:
        emit_json(
            {
                "schema": 1,
                "datasets": [
                    {"name": name, "title": origin.title, "home": origin.home, "terms": origin.terms}
                    for name, origin in rows
                ],
            }
        )
    else:
        show_table("", ("name", "title", "from"), [(name, origin.title, origin.home) for name, origin in rows])


@app.command(no_args_is_help=True)
def check(
    name: Annotated[str, typer.Argument(help="A data set's name (see `terraseek data list`).")],
    root: Annotated[Path, typer.Option(help="The folder that holds it, as distributed.")],
    splits: Annotated[Path | None, typer.Option(help="Split folder or file, if not beside the images.")] = None,
    seed: Annotated[int, typer.Option(help="Seeds the split where none comes with the data.")] = 0,
    option: Annotated[list[str] | None, typer.Option(help="key=value, an option of this data set alone.")] = None,
    decode: Annotated[bool, typer.Option("--decode", help="Also decode every image.")] = False,
    as_json: Json = False,
) -> None:
    """Count images, labels and captions, and name every problem with its file and line.

    Exit code 5 when there are problems that leave something out.

    Example: `terraseek data check ucmerced-ml --root UCMerced --decode`
    """
    from ..data import check_dataset

    with show_progress("decoding") as progress:
        report = check_dataset(
            name, root, splits=splits, seed=seed, decode=decode, progress=progress, **parse_options(option or ())
        )
    if as_json:
        emit_json(report.to_json())
    else:
        say(
            f"{report.dataset}: {report.images:,} images ({_per_split(report.splits)}), {report.captions:,} captions, "
            f"{report.cardinality:.2f} labels per image, split {report.split_hash[:12]}"
        )
        counts = report.label_counts
        if counts:
            show_table("", ("label", *report.splits), [(label, *counts[label].values()) for label in counts])
        _show_captions(report.details)
        _show_mask_agreement(report.details)
        if overlap := report.details.get("also_in_ml_aid"):
            say(f"also in ml-aid: {_per_split(overlap)}; a model tested on these must not be trained on them there")
        for note in report.notes:
            say(f"note: {note}")
    raise_if_refused(report.problems, f"{report.dataset} checked")


def _per_split(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {count:,}" for split, count in counts.items())


def _show_captions(details: Mapping[str, Any]) -> None:
    """How often captions repeat, and what that leaves of a recall that asks for the one right image or caption."""
    if "repeated" in details:
        crossing = details["cross_split_repeats"]
        rows = [
            (split, count, details["repeated"][split], crossing.get(split, ""))
            for split, count in details["captions_per_split"].items()
        ]
        show_table("", ("captions", "number", "shared with other images of the split", "also in train"), rows)
    if "exact_id_ceiling" in details:
        matcher, oracle = details["exact_id_ceiling"]["matcher"], details["exact_id_ceiling"]["oracle"]
        ceilings = [
            ("of a perfect text matcher", *(f"{value:.1f}" for value in matcher.values())),
            ("of an oracle", *(f"{value:.1f}" for value in oracle.values())),
        ]
        show_table("", ("exact-id ceiling of test, %", *matcher), ceilings)


def _show_mask_agreement(details: Mapping[str, Any]) -> None:
    """How many images have each label in label table and mask, and how many in one of them alone."""
    if (found := details.get("mask_agreement")) is None:
        return
    say(
        f"label table and masks (min_pixels={found['min_pixels']}) have equal labels for "
        f"{found['equal_label_sets']:,} of {found['images']:,} images"
    )
    rows = [(label, *counts.values()) for label, counts in found["labels"].items()]
    show_table("", ("images with label", "in both", "in the table only", "in the masks only"), rows)


@app.command(no_args_is_help=True)
def concepts(
    name: Annotated[str, typer.Argument(help="A data set with captions (see `terraseek data list`).")],
    root: Annotated[Path, typer.Option(help="The folder that holds it, as distributed.")],
    split: Annotated[str, typer.Option(help="The split whose captions are read.")] = "train",
    size: Annotated[int, typer.Option(min=1, help="How many concepts at most.")] = 512,
    mode: Annotated[
        Literal["default", "published"], typer.Option(help="published: as KAMCL's code does, for comparison.")
    ] = "default",
    show: Annotated[int, typer.Option(min=1, help="How many to print from either end.")] = 20,
    splits: Annotated[Path | None, typer.Option(help="Split folder or file, if not beside the images.")] = None,
    seed: Annotated[int, typer.Option(help="Seeds the split where none comes with the data.")] = 0,
    option: Annotated[list[str] | None, typer.Option(help="key=value, an option of this data set alone.")] = None,
    as_json: Json = False,
) -> None:
    """Mine the words of the training captions that a model with a text side learns to predict.

    Example: `terraseek data concepts ucm-captions --root UCMerced --size 100`
    """
    require("torch", "train")
    from ..data import load_dataset
    from ..training import mine_concepts

    data = load_dataset(name, root, splits=splits, seed=seed, **parse_options(option or ()))
    knowledge = mine_concepts(data, split=split, size=size, mode=mode)
    total, without = len(knowledge.ids), int((~knowledge.scores_NC.any(1)).sum())
    images_C = (knowledge.scores_NC > 0).sum(0).tolist()
    rows = list(zip(knowledge.words, images_C, knowledge.frequency_C.tolist(), strict=True))
    if as_json:
        listed = [{"word": word, "images": images, "share": share} for word, images, share in rows]
        head = {"schema": 1, "dataset": data.name, "split": split, "mode": mode, "images": total}
        emit_json({**head, "images_without": without, "concepts": listed})
        return
    say(f"{data.name}: {len(rows):,} concepts from {total:,} images, {without:,} of them without any")
    cut = len(rows) if len(rows) <= 2 * show else show
    show_table("", ("concept", "images", "share of images"), rows[:cut])
    if cut < len(rows):
        say(f"... {len(rows) - 2 * show:,} more ...")
        show_table("", ("concept", "images", "share of images"), rows[-show:])


@app.command(no_args_is_help=True)
def download(
    name: Annotated[str, typer.Argument(help="A data set's name (see `terraseek data list`).")],
    root: Annotated[Path, typer.Option(help="The folder to unpack it into.")],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Fetch a data set whose source allows it, checksums compared; for the others it says where to get them.

    Example: `terraseek data download ucmerced-ml --root UCMerced`
    """
    from ..data import DATASETS, download_dataset

    with show_progress("downloading") as progress:
        paths = download_dataset(name, root, dry_run=dry_run, progress=progress)
    if as_json:
        urls = [download.url for download in DATASETS[name].origin.downloads]
        emit_json({"schema": 1, "dry_run": dry_run, "dataset": name, "urls": urls, "paths": [str(p) for p in paths]})
        return
    for path in paths:
        say(f"{path} would be fetched (dry run, nothing written)" if dry_run else str(path))


@app.command(no_args_is_help=True)
def synthesize(
    out: Annotated[Path, typer.Argument(help="The folder to write; it must not exist or be empty.")],
    images: Annotated[int, typer.Option(min=1, help="How many scenes.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed writes the same files.")] = 0,
    size: Annotated[int, typer.Option(min=64, max=1024, help="Edge in pixels.")] = 256,
    layout: Annotated[Literal["ucmerced-ml", "dlrsd"], typer.Option(help="The data set whose layout it has.")] = (
        "ucmerced-ml"
    ),
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make aerial-like scenes with labels and captions, laid out as the real data sets are.

    The labels load as the data set that --layout names, the captions as ucm-captions, from the same folder.

    Example: `terraseek data synthesize scenes --images 500 --seed 1`
    """
    from ..data import synthesize as make

    with show_progress("drawing") as progress:
        make(out, images=images, seed=seed, size=size, layout=layout, dry_run=dry_run, progress=progress)
    if as_json:
        emit_json({"schema": 1, "dry_run": dry_run, "path": str(out), "images": images, "seed": seed, "layout": layout})
    elif dry_run:
        say(f"{images:,} scenes would be made in {out} (dry run, nothing written)")
    else:
        say(f"{images:,} scenes in {out}; look at them with: terraseek data check {layout} --root {out}")
        say(f"their captions are the data set ucm-captions: terraseek data check ucm-captions --root {out}")
