"""``terraseek evaluate``: numbers with their definitions, floors and ceilings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import require
from .model import find_model
from .output import Json, parse_options, show_progress

__all__ = ["evaluate"]


def evaluate(
    model: Annotated[str, typer.Argument(help="A model directory, or a name from `terraseek model list`.")],
    dataset: Annotated[str, typer.Option(help="A data set's name (see `terraseek data list`).")],
    root: Annotated[Path, typer.Option(help="The folder that holds it.")],
    splits: Annotated[Path | None, typer.Option(help="Split folder or file, if not beside the images.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="key=value, an option of this data set alone.")] = None,
    split: Annotated[str, typer.Option(help="The split whose images are the queries.")] = "test",
    gallery: Annotated[str, typer.Option(help="The split that is searched.")] = "train",
    measure: Annotated[list[str] | None, typer.Option(help="Such as 'nDCG@100(jaccard)'; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    as_json: Json = False,
) -> None:
    """Judge a model on a labelled data set, each value beside what chance and an oracle would get.

    Example: `terraseek evaluate runs/ucmerced-macl/model --dataset ucmerced-ml --root /data/UCMerced`
    """
    require("torch", "train")
    from ..data import load_dataset
    from ..metrics import DEFAULT_MEASURES
    from ..training import evaluate_model

    data = load_dataset(dataset, root, splits=splits, **parse_options(option or ()))
    with show_progress("embedding") as progress:
        found = evaluate_model(
            find_model(model),
            data,
            query_split=split,
            gallery_split=gallery,
            measures=tuple(measure) if measure else DEFAULT_MEASURES,
            seed=seed,
            progress=progress,
        )
