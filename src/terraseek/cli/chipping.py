"""How scenes are read: the options that say so, and ``terraseek archive declare``, which says so beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config import apply_overrides, to_mapping
from .filters import Uri
from .output import DryRun, Json, emit_json, say
from .places import open_place

if TYPE_CHECKING:
    from ..geo import ChipConfig

__all__ = ["Band", "Chip", "Redeclare", "Setting", "Stride", "declare", "given_chipping", "say_declared"]

Chip = Annotated[
    int | None,
    typer.Option(min=16, help="Edge of a chip, in pixels of the scene; as declared if left out, or else 256."),
]
Stride = Annotated[
    int | None, typer.Option(min=1, help="From chip to chip; as declared if left out, or else the chip's edge.")
]
Band = Annotated[
    list[str] | None,
    typer.Option(help="Band name or number, once for each band, in the model's order; as declared if left out."),
]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value of the chipping, such as scaling.kind=range; as declared if left out."),
]
Redeclare = Annotated[
    bool,
    typer.Option(
        "--redeclare",
        help="Where the collection is declared otherwise, declare it anew: all its sources are embedded again as they "
        "are next added.",
    ),
]


def given_chipping(
    size: int | None, stride: int | None, bands: list[str] | None, overrides: list[str] | None
) -> dict[str, Any]:
    """What the options say of how scenes are read; what is left out is not in it."""
    given = {"size": size, "stride": stride, "bands": bands or None}
    tree: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    apply_overrides(tree, overrides or ())
    return tree


def declare(
    uri: Uri,
    collection: Annotated[str | None, typer.Option(help="Which is declared; 'default' if left out.")] = None,
    chip: Chip = None,
    stride: Stride = None,
    band: Band = None,
    set_: Setting = None,
    redeclare: Redeclare = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Declare how the scenes of a collection are read, before any is added; `archive status` shows it.

    Without this the first `archive add` that cuts a scene declares it. Either way every later add reads so.

    Example: `terraseek archive declare coast --collection s2 --chip 96 --band B04 --band B03 --band B02
    --set scaling.kind=range --set 'scaling.low=[0]' --set 'scaling.high=[3000]'`
    """
    from ..archive import DEFAULT_COLLECTION, settle_chipping

    archive, name = open_place(uri), DEFAULT_COLLECTION if collection is None else collection
    given = given_chipping(chip, stride, band, set_)
    if dry_run:
        declared = settle_chipping(name, archive.declarations().get(name), given, redeclare=redeclare)
    else:
        declared = archive.declare(name, given, redeclare=redeclare)
    if as_json:
        emit_json({"schema": 1, "dry_run": dry_run, "collection": name, "declared": to_mapping(declared)})
    else:
        say_declared(name, declared, dry_run=dry_run)


def say_declared(collection: str, chip: ChipConfig, *, dry_run: bool = False) -> None:
    """Say in one line how the scenes of a collection are read."""
    from ..archive import describe_chipping

    how = "would be declared (dry run, nothing written)" if dry_run else "is declared"
    say(f"the collection {collection!r} {how}: {describe_chipping(chip)}")
