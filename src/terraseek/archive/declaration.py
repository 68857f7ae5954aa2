"""How the scenes of a collection are read, declared once: what an add asks for is held against it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from ..config import from_mapping, to_mapping
from ..errors import UsageError
from ..geo import ChipConfig
from ..images import printable
from .record import check_collection

__all__ = ["Chipping", "describe_chipping", "differences", "settle_chipping"]

Chipping: TypeAlias = ChipConfig | Mapping[str, Any] | None
"""What somebody says of how scenes are read: all of it, some settings (as in a recipe: `{"size": 96, "scaling":
{"kind": "none"}}`), or nothing."""


def settle_chipping(
    collection: str, declared: ChipConfig | None, given: Chipping = None, *, redeclare: bool = False
) -> ChipConfig:
    """How the scenes of a collection are to be read: as `given`, as `declared` where nothing is, else by the defaults.

    Args:
        collection: its name.
        declared: what holds for it; None where nothing does yet.
        given: held against it; what a mapping leaves out is as declared.
        redeclare: let what is given replace what is declared.

    Raises:
        UsageError: they differ and `redeclare` is off, or no collection can have this name.
        ConfigError: an unknown setting, or a value that cannot be.

    Examples:
        >>> settle_chipping("s2", ChipConfig(size=96, edge="pad"), {"size": 96}).edge
        'pad'
        >>> settle_chipping("s2", ChipConfig(size=96), {"size": 64})
        Traceback (most recent call last):
        terraseek.errors.UsageError: the collection 's2' is declared with size=96, not size=64: ...
    """
    check_collection(collection)
    wanted = _completed(given, declared)
    if declared is None:
        return wanted
    differing = differences(declared, wanted)
    if not differing:
        return declared
    if redeclare:
        return wanted
    there, asked = (", ".join(_spelt(name, pair[at]) for name, pair in differing.items()) for at in (0, 1))
    raise UsageError(
        f"the collection {printable(collection)!r} is declared with {there}, not {asked}: leave this out, take another "
        "--collection, or declare it anew with --redeclare, which embeds its sources again as they are next added"
    )


def differences(declared: ChipConfig, wanted: ChipConfig) -> dict[str, tuple[Any, Any]]:
    """The settings in which two ways of reading differ, by name, with both values.

    >>> differences(ChipConfig(size=96), ChipConfig(size=96, stride=96))
    {}
    """
    before, after = (_flat(replace(chip, stride=chip.stride or chip.size)) for chip in (declared, wanted))
    if declared.stride is None and wanted.stride is None:  # it follows the size, which says it all
        del before["stride"], after["stride"]
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def describe_chipping(chip: ChipConfig) -> str:
    """All settings in one line, as `--set` takes them.

    >>> describe_chipping(ChipConfig(bands=("B04", "B03", "B02")))
    'size=256, edge=shift, max_nodata=0.5, scales=[1], bands=["B04", "B03", "B02"], scaling.kind=auto, ...'
    """
    return ", ".join(_spelt(name, value) for name, value in _flat(chip).items())


def _completed(given: Chipping, declared: ChipConfig | None) -> ChipConfig:
    if isinstance(given, ChipConfig):
        # As what is read back will be: the states of sources tell 0 from 0.0.
        return from_mapping(ChipConfig, to_mapping(given))
    return from_mapping(ChipConfig, _merged({} if declared is None else to_mapping(declared), given or {}))


def _merged(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `base` with those given in their place; another kind of scaling leaves nothing of the former."""
    scaling, before = given.get("scaling"), base.get("scaling", {})
    if isinstance(scaling, Mapping) and scaling.get("kind", before.get("kind")) == before.get("kind"):
        given = {**given, "scaling": {**before, **scaling}}
    return {**base, **given}


def _flat(chip: ChipConfig) -> dict[str, Any]:
    tree = to_mapping(chip)
    scaling = tree.pop("scaling")
    return tree | {f"scaling.{name}": value for name, value in scaling.items()}


def _spelt(name: str, value: object) -> str:
    return f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
