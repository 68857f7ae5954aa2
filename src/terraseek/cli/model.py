"""``terraseek model``: list, describe, build and convert models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..config import to_mapping
from ..errors import CorruptError, NotFoundError, require
from .output import DryRun, Json, emit_json, say, show_table
from .settings import models_home

if TYPE_CHECKING:
    from ..models import ExportReport

__all__ = ["app", "find_model"]

app = typer.Typer(
    no_args_is_help=True, help="Models: list, info, export, orient, convert.", epilog="Example: `terraseek model list`"
)

Model = Annotated[str, typer.Argument(help="A model directory, or a name from `terraseek model list`.")]


def find_model(name: str | Path) -> Path:
    """A model directory by path, or by the name under which `terraseek model list` shows it."""
    path = Path(name).expanduser()
    kept = models_home() / str(name)
    return kept if not path.exists() and (kept / "config.json").is_file() else path


@app.command("list")
def list_kept(
    folder: Annotated[
        Path | None, typer.Argument(help="Where to look; this machine's model folder if left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the models in a folder.

    Example: `terraseek model list runs`
    """
    from ..encoders import list_models

    if folder is not None and not folder.is_dir():
        raise NotFoundError(f"no folder {folder}")
    folder = folder or models_home()
    found = list_models(folder)
    if as_json:
        rows = [
            {"name": m.name, "path": str(m.path), "fingerprint": m.fingerprint, "bytes": m.bytes, "problem": m.problem}
            for m in found
        ]
        emit_json({"schema": 1, "folder": str(folder), "models": rows})
    elif not found:
        say(f"no models in {folder}; make one with: terraseek model export efficientnet-lite0")
    else:
        show_table(
            "",
            ("name", "architecture", "input", "dim", "MB", "state"),
            [
                (
                    m.name,
                    m.config.architecture if m.config else "?",
                    m.config.input_size if m.config else "?",
                    m.config.dim if m.config else "?",
                    f"{m.bytes / 1e6:.1f}",
                    m.problem or "ok",
                )
                for m in found
            ],
        )


@app.command(no_args_is_help=True)
def info(model: Model, as_json: Json = False) -> None:
    """Say what a model is: architecture, input, labels, training and fingerprint. Exit code 4 if it is damaged.

    Example: `terraseek model info runs/ucmerced-macl/model`
    """
    from ..encoders import model_info

    found = model_info(find_model(model))
    config = to_mapping(found.config) if found.config else {}
    if as_json:
        emit_json(
            {
                "schema": 1,
                "name": found.name,
                "path": str(found.path),
                "fingerprint": found.fingerprint,
                "files": list(found.files),
                "bytes": found.bytes,
                "config": config,
                "problem": found.problem,
            }
        )
    else:
        told = config | ({"training": found.config.provenance} if found.config else {})
        rows = [("fingerprint", found.fingerprint or "?"), ("files", ", ".join(found.files)), *told.items()]
        show_table(found.name, ("", ""), rows)
    if found.problem:
        raise CorruptError(found.problem)


@app.command(no_args_is_help=True)
def export(
    name: Annotated[str, typer.Argument(help="A backbone with packaged ImageNet weights: efficientnet-lite0.")],
    out: Annotated[
        Path | None, typer.Argument(help="The model directory; in this machine's folder if left out.")
    ] = None,
    input_size: Annotated[int, typer.Option(min=32, help="Edge of the network's input in pixels.")] = 160,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make a model directory of a network with its ImageNet weights, ready to search with.

    Example: `terraseek model export efficientnet-lite0`
    """
    require("torch", "train")
    from ..models import BACKBONES, imagenet_model

    directory = out or models_home() / name
    if dry_run:
        _ = BACKBONES[name]
        _foretell(directory, name, as_json)
        return
    _tell(imagenet_model(name, directory, input_size=input_size), as_json)


@app.command(no_args_is_help=True)
def orient(
    model: Model,
    out: Annotated[Path, typer.Argument(help="The new model's directory.")],
    orientations: Annotated[
        Literal[1, 4, 8], typer.Option(help="1; 4: quarter turns; 8: their mirror images too.")
    ] = 4,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make of a model one that embeds each image as the mean over its orientations.

    Seen from above nothing has a right way up. Nothing is trained and texts stay as they are; an image costs so many
    times as much to embed.

    Example: `terraseek model orient runs/rsicd10k-kamcl/model runs/rsicd10k-kamcl/model-4 --orientations 4`
    """
    require("torch", "train")
    from ..encoders import read_model_config
    from ..models import orient_model

    source = find_model(model)
    if dry_run:
        _foretell(out, read_model_config(source).architecture, as_json)
        return
    _tell(orient_model(source, out, orientations), as_json)


@app.command(no_args_is_help=True)
def convert(
    source: Annotated[Path, typer.Argument(help="A .pt or .pth file of weights.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Turn a pickled weight file into safetensors, without running anything that is in it.

    Example: `terraseek model convert resnet18.pth resnet18.safetensors`
    """
    require("torch", "train")
    from ..models import convert_weights

    shapes = convert_weights(source, target, dry_run=dry_run)
    if as_json:
        emit_json({"schema": 1, "dry_run": dry_run, "target": str(target), "tensors": shapes})
    else:
        say(f"{target}: {len(shapes)} tensors" + (" would be written (dry run, nothing written)" if dry_run else ""))


def _foretell(directory: Path, architecture: str, as_json: bool) -> None:
    """Say what a dry run did not write."""
    if as_json:
        emit_json({"schema": 1, "dry_run": True, "directory": str(directory), "architecture": architecture})
    else:
        say(f"{directory} would be made (dry run, nothing written)")


def _tell(report: ExportReport, as_json: bool) -> None:
    """Say what was written."""
    if as_json:
        emit_json({"schema": 1, "dry_run": False, **to_mapping(report)})
    else:
        say(
            f"{report.directory}: {report.bytes / 1e6:.1f} MB, fingerprint {report.fingerprint[:12]}, "
            f"ONNX differs from torch by at most {report.max_abs_difference:.1e}"
        )
