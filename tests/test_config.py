"""Recipes: files, overrides and dataclasses, round trips, and errors that name the key."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.config import from_mapping, load_config, parse_override, to_mapping, to_toml
from terraseek.errors import ConfigError, NotFoundError


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: int | None = None

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ConfigError(f"lr is {self.lr}, it must be above 0")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    name: str
    seed: int = 0
    mixed: bool = True
    root: Path | None = None
    resize: Literal["squash", "crop"] = "squash"
    bands: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    optimizer: Optimizer = field(default_factory=Optimizer)


def write(path: Path, text: str) -> Path:
    file = path / "recipe.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_file_over_defaults_and_override_over_file(tmp_path: Path) -> None:
    file = write(tmp_path, 'name = "a"\nseed = 3\nroot = "x/y"\n[optimizer]\nlr = 1\n')
    recipe = load_config(Recipe, file, ["optimizer.lr=0.5", "optimizer.warmup=10", "name=b c", 'bands=["red", "nir"]'])
    assert recipe == Recipe(
        name="b c", seed=3, root=Path("x/y"), bands=("red", "nir"), optimizer=Optimizer(lr=0.5, warmup=10)
    )
    assert isinstance(load_config(Recipe, file).optimizer.lr, float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('nmae = "a"', "unknown key 'nmae': did you mean 'name'"),
        ('name = "a"\n[optimiser]\nlr = 1.0', "unknown key 'optimiser': did you mean 'optimizer'"),
        ('name = "a"\n[optimizer]\nlrr = 1.0', "unknown key 'optimizer.lrr': did you mean 'lr'"),
        ('name = "a"\n[optimizer]\nlr = "fast"', "'optimizer.lr' must be float, not 'fast'"),
        ('name = "a"\n[optimizer]\nlr = -1.0', "optimizer: lr is -1.0"),
        ('name = "a"\n[optimizer]\nbetas = [0.9]', "'optimizer.betas' must be"),
        ('name = "a"\noptimizer = 3', "'optimizer' is a section, not 3"),
        ('name = "a"\nseed = true', "'seed' must be int, not True"),
        ('name = "a"\nseed = 1.5', "'seed' must be int, not 1.5"),
        ('name = "a"\nmixed = 1', "'mixed' must be bool, not 1"),
        ('name = "a"\nresize = "pad"', "'resize' is 'pad', allowed are 'squash', 'crop'"),
        ('name = "a"\nbands = ["red", 3]', r"'bands\[1\]' must be str, not 3"),
        ("seed = 1", "missing key 'name'"),
        ("name = ", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(Recipe, file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no recipe"):
        load_config(Recipe, tmp_path / "nothing.toml")
    (tmp_path / "bytes.toml").write_bytes(b"name = '\xff\xfe'")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config(Recipe, tmp_path / "bytes.toml")


@pytest.mark.parametrize("text", ["seed", "=3", " =3"])
def test_overrides_without_a_key(text: str) -> None:
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        parse_override(text)


def test_an_override_below_a_value(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'name' is a value, not a section"):
        load_config(Recipe, write(tmp_path, 'name = "a"'), ["name.first=x"])


def test_override_values() -> None:
    for text, value in [("a=1", 1), ("a=true", True), ("a='x'", "x"), ("a=x=y", "x=y"), ("a=[1, 2]", [1, 2])]:
        assert parse_override(text) == (["a"], value)


# TOML files have no lone surrogates; everything else may occur in a string.
texts = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.floats(allow_nan=False)
optimizers = st.builds(
    Optimizer,
    lr=st.floats(min_value=1e-12, allow_nan=False),
    betas=st.tuples(numbers, numbers),
    warmup=st.none() | st.integers(-(2**62), 2**62),
)
scalars = st.booleans() | st.integers(-(2**62), 2**62) | numbers | texts
options = st.dictionaries(texts, scalars | st.lists(scalars, max_size=3), max_size=3)
recipes = st.builds(
    Recipe,
    name=texts,
    seed=st.integers(-(2**62), 2**62),
    mixed=st.booleans(),
    root=st.none() | st.sampled_from([Path("a b/c"), Path("/x"), Path()]),
    resize=st.sampled_from(["squash", "crop"]),
    bands=st.lists(texts, max_size=4).map(tuple),
    options=options,
    optimizer=optimizers,
)


@given(recipe=recipes)
def test_mapping_round_trip(recipe: Recipe) -> None:
    assert from_mapping(Recipe, to_mapping(recipe)) == recipe


def test_values_that_toml_does_not_have_are_left_out() -> None:
    recipe = Recipe(name="a", options={"nothing": None, "some": 1, "a b": {"c.d": "\x7f"}})
    assert to_mapping(recipe)["options"] == {"some": 1, "a b": {"c.d": "\x7f"}}
    assert '[options."a b"]' in to_toml(recipe)


@settings(max_examples=60, deadline=None)
@given(recipe=recipes)
def test_toml_round_trip(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "round-trip.toml"
    file.write_text(to_toml(recipe), encoding="utf-8", newline="")
    assert load_config(Recipe, file) == recipe
