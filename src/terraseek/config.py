"""TOML files and frozen dataclasses, one into the other, with errors that name the nearest known key.

Each component owns a frozen, keyword-only dataclass; a recipe is a tree of them. Precedence is
defaults < file < `--set section.key=value`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .errors import ConfigError, NotFoundError
from .registry import nearest

__all__ = ["apply_overrides", "from_mapping", "load_config", "parse_override", "to_mapping", "to_toml"]

C = TypeVar("C")


def load_config(kind: type[C], path: str | Path, overrides: Sequence[str] = ()) -> C:
    """Read a TOML file into `kind`, then apply overrides of the form ``section.key=value``.

    Raises:
        NotFoundError: there is no such file.
        ConfigError: the file is not TOML, a key is unknown, or a value has the wrong type; the message names the
            file, the key and the nearest known one.
    """
    path = Path(path)
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"no recipe at {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    apply_overrides(tree, overrides)
    try:
        return from_mapping(kind, tree)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def apply_overrides(tree: dict[str, Any], overrides: Sequence[str]) -> None:
    """Put overrides of the form ``section.key=value`` into a tree.

    Raises:
        ConfigError: one has another form, or takes a value for a section.
    """
    for text in overrides:
        keys, value = parse_override(text)
        node = tree
        for key in keys[:-1]:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise ConfigError(f"--set {text}: {key!r} is a value, not a section")
        node[keys[-1]] = value


def parse_override(text: str) -> tuple[list[str], Any]:
    """Split ``a.b=value``; the value is read as TOML where it is TOML, else as a string.

    >>> parse_override("optimizer.lr=1e-3"), parse_override("data.root=/data/ucm")
    ((['optimizer', 'lr'], 0.001), (['data', 'root'], '/data/ucm'))
    """
    key, separator, raw = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set takes section.key=value, not {text!r}")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw
    return key.strip().split("."), value


def from_mapping(kind: type[C], tree: Mapping[str, Any], where: str = "") -> C:
    """Build the dataclass `kind` from a mapping, checking every key and type.

    Raises:
        ConfigError: an unknown or missing key or a value of the wrong type; `where` prefixes the key.
    """
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}  # type: ignore[arg-type]
    for key in tree:
        if key not in fields:
            raise ConfigError(f"unknown key {where + key!r}: {nearest(key, list(fields))}")
    values = {key: _convert(hints[key], value, where + key) for key, value in tree.items()}
    missing = [
        where + name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"missing key {', '.join(map(repr, missing))}")
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where.rstrip('.')}: {error}" if where else str(error)) from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where!r} is a section, not {value!r}")
        return from_mapping(hint, value, f"{where}.")
    if origin in (typing.Union, types.UnionType):
        for choice in arguments:
            if choice is type(None):
                if value is None:
                    return None
                continue
            try:
                return _convert(choice, value, where)
            except ConfigError:
                if sum(c is not type(None) for c in arguments) == 1:
                    raise
    elif origin is typing.Literal:
        if value in arguments:
            return value
        allowed = ", ".join(map(repr, arguments))
        raise ConfigError(f"{where!r} is {value!r}, allowed are {allowed}")
    elif origin is tuple and isinstance(value, (list, tuple)):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        if len(arguments) == len(value):
            return tuple(
                _convert(a, item, f"{where}[{i}]") for i, (a, item) in enumerate(zip(arguments, value, strict=True))
            )
    elif origin in (dict, Mapping) or hint is dict:
        if isinstance(value, Mapping):
            return dict(value)
    elif hint is Any:
        return value
    elif hint is Path and isinstance(value, (str, Path)):
        return Path(value).expanduser()
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    name = getattr(hint, "__name__", None) if origin is None else None
    raise ConfigError(f"{where!r} must be {name or str(hint)}, not {value!r}")


def to_mapping(config: Any) -> dict[str, Any]:
    """The dataclass as plain dicts, lists, strings and numbers (fields that are None are left out)."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return to_mapping(value)
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items() if item is not None}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    pairs = ((field.name, getattr(config, field.name)) for field in dataclasses.fields(config))
    return {name: plain(value) for name, value in pairs if value is not None}


def to_toml(config: Any) -> str:
    """The dataclass as TOML that `load_config` reads back to an equal one."""
    lines: list[str] = []

    def quoted(value: Any) -> str:
        # JSON's escapes are TOML's, but TOML forbids the bare DEL character as well.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

    def name(key: str) -> str:
        return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else quoted(key)

    def scalar(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{quoted(k)} = {scalar(v)}" for k, v in value.items()) + " }"
        if isinstance(value, list):
            return "[" + ", ".join(map(scalar, value)) + "]"
        # TOML has no NaN/Infinity spelling of JSON; its own are nan and inf, as repr writes them.
        return repr(value) if isinstance(value, float) else quoted(value)

    def section(tree: Mapping[str, Any], prefix: str) -> None:
        nested = {key: value for key, value in tree.items() if isinstance(value, dict)}
        lines.extend(f"{name(key)} = {scalar(value)}" for key, value in tree.items() if key not in nested)
        for key, value in nested.items():
            lines.extend(["", f"[{prefix}{name(key)}]"])
            section(value, f"{prefix}{name(key)}.")

    section(to_mapping(config), "")
    return "\n".join(lines).strip() + "\n"
