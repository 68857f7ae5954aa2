"""``terraseek train``: a recipe in, a run with its model out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from ..errors import require
from .output import DryRun, Json, emit_json, say, show_progress, show_table, stderr
from .settings import pixel_cache_home

__all__ = ["train"]


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe file, such as recipes/ucmerced-macl.toml.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, in place of the file's.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME if left out.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train a model by a recipe; the run folder keeps the recipe, curves, checkpoints and the model.

    Interrupted, it goes on with --resume where the last epoch ended, to the same result.

    Example: `terraseek train recipes/ucmerced-macl.toml --set data.root=/data/UCMerced`
    """
    require("torch", "train")
    require("lightning", "train")
    from ..training import load_recipe, preview
    from ..training import train as run_training

    resolved = load_recipe(recipe, set_ or ())
    folder = out or Path("runs") / resolved.name
    if dry_run:
        found = preview(resolved)
        if as_json:
            emit_json({"schema": 1, "dry_run": True, "run": str(folder), **found})
        else:
            show_table("", ("", ""), [(name.replace("_", " "), str(value)) for name, value in found.items()])
            say(f"{resolved.name} would be trained into {folder} (dry run, nothing written)")
        return
    with show_progress(f"training {resolved.name}") as progress:

        def tell(row: Mapping[str, float]) -> None:
            values = ", ".join(f"{name} {value:.4g}" for name, value in row.items())
            say(values, to=stderr)

        run = run_training(resolved, folder, resume=resume, cache=pixel_cache_home(), progress=progress, on_epoch=tell)
    if as_json:
        emit_json(
            {
                "schema": 1,
                "run": str(run.directory),
                "model": str(run.model),
                "best_epoch": run.best_epoch,
                "unlearnt": list(run.unlearnt),
                "seconds": run.seconds,
                "validation": dict(run.validation),
                "onnx_max_abs_difference": run.export.max_abs_difference,
            }
        )
        return
    if run.validation:
        show_table("validation", ("measure", "value"), list(run.validation.items()))
    which = "best" if run.validation else "last"
    say(
        f"{run.model}: {which} of {len(run.epochs)} epochs was {run.best_epoch}, {run.seconds / 60:.1f} min\n"
        f"judge it with: terraseek evaluate {run.model} --dataset {resolved.data.name} --root {resolved.data.root}"
    )
