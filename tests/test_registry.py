"""Registries find, list and refuse by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terraseek.errors import ConfigError
from terraseek.registry import Registry, nearest


def shapes() -> Registry[type]:
    registry: Registry[type] = Registry("shape")

    @registry.register("square")
    class Square: ...

    @registry.register("disk")
    class Disk: ...

    return registry


def test_names_are_sorted_and_found() -> None:
    registry = shapes()
    assert registry.names == list(registry) == ["disk", "square"]
    assert len(registry) == 2
    assert "disk" in registry
    assert "cone" not in registry
    assert registry["disk"].__name__ == "Disk"


def test_an_unknown_name_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match="unknown shape 'dsik': did you mean 'disk'"):
        shapes()["dsik"]
    with pytest.raises(ConfigError, match="known: disk, square"):
        shapes()["zzz"]


def test_a_name_is_given_once() -> None:
    registry = shapes()
    with pytest.raises(ValueError, match="'disk' is registered twice"):
        registry.register("disk")(int)
    assert registry["disk"].__name__ == "Disk"


@given(names=st.lists(st.text(min_size=1), min_size=1, unique=True), wrong=st.text())
def test_nearest_always_lists_everything(names: list[str], wrong: str) -> None:
    hint = nearest(wrong, names)
    assert all(name in hint for name in names)
    assert "did you mean" not in hint or any(repr(name) in hint for name in names)
