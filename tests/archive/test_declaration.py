"""What an add says of how scenes are read, held against what is declared."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terraseek.archive.declaration import describe_chipping, differences, settle_chipping
from terraseek.config import apply_overrides, from_mapping, to_mapping
from terraseek.errors import ConfigError, UsageError
from terraseek.geo import ChipConfig, Scaling

RANGE = Scaling(kind="range", low=(0.0,), high=(3000.0,))
DECLARED = ChipConfig(size=96, stride=62, bands=("B04", "B03", "B02"), scaling=RANGE)


def test_nothing_declared_takes_what_is_given_and_defaults() -> None:
    assert settle_chipping("a", None) == ChipConfig()
    assert settle_chipping("a", None, {"size": 64}) == ChipConfig(size=64)
    assert settle_chipping("a", None, DECLARED) == DECLARED


@pytest.mark.parametrize(
    "given_now",
    [
        None,
        {},
        {"size": 96},
        {"bands": ["B04", "B03", "B02"], "stride": 62},
        {"scaling": {"low": [0]}},
        {"scaling": {"kind": "range", "high": [3000.0]}},
        DECLARED,
    ],
)
@pytest.mark.parametrize("redeclare", [False, True])
def test_what_agrees_or_is_left_out_is_as_declared(given_now: Any, redeclare: bool) -> None:
    assert settle_chipping("a", DECLARED, given_now, redeclare=redeclare) is DECLARED


@pytest.mark.parametrize(
    ("given_now", "there", "asked"),
    [
        ({"size": 256}, "size=96", "size=256"),  # the default, but given
        ({"stride": 96}, "stride=62", "stride=96"),
        ({"bands": []}, 'bands=["B04", "B03", "B02"]', "bands=[]"),
        ({"size": 64, "max_nodata": 1}, "size=96, max_nodata=0.5", "size=64, max_nodata=1.0"),
        (
            {"scaling": {"kind": "none"}},
            "scaling.kind=range, scaling.low=[0.0], scaling.high=[3000.0]",
            "scaling.kind=none, scaling.low=[], scaling.high=[]",
        ),
        (ChipConfig(size=96, bands=DECLARED.bands, scaling=RANGE), "stride=62", "stride=96"),
    ],
)
def test_what_differs_is_refused_with_both_values_or_declared_anew(given_now: Any, there: str, asked: str) -> None:
    with pytest.raises(UsageError) as refused:
        settle_chipping("coast", DECLARED, given_now)
    text = str(refused.value)
    assert f"the collection 'coast' is declared with {there}, not {asked}: " in text
    assert "--redeclare" in text
    assert "another --collection" in text
    assert "\n" not in text
    anew = settle_chipping("a", DECLARED, given_now, redeclare=True)
    assert [pair.split("=")[0] for pair in there.split(", ") if "=" in pair] == list(differences(DECLARED, anew))
    assert settle_chipping("a", anew, given_now) is anew


def test_another_kind_of_scaling_leaves_nothing_of_the_former() -> None:
    anew = settle_chipping("a", DECLARED, {"scaling": {"kind": "percentile"}}, redeclare=True)
    assert anew.scaling == Scaling(kind="percentile")
    assert (anew.size, anew.bands) == (96, DECLARED.bands)
    assert settle_chipping("a", DECLARED, {"scaling": {"high": [4000]}}, redeclare=True).scaling.high == (4000.0,)


def test_a_stride_that_is_the_size_is_none() -> None:
    declared = ChipConfig(size=96)
    assert settle_chipping("a", declared, {"stride": 96}) is declared
    assert settle_chipping("a", ChipConfig(size=96, stride=96), {"size": 96}).stride == 96
    assert differences(declared, ChipConfig(size=64)) == {"size": (96, 64)}
    assert differences(declared, ChipConfig(size=64, stride=96)) == {"size": (96, 64)}
    assert differences(declared, ChipConfig(size=96, stride=48)) == {"stride": (96, 48)}


@pytest.mark.parametrize("given_now", [{"chip": 3}, {"scaling": "none"}, {"scaling": {"kind": "bright"}}, {"size": 0}])
@pytest.mark.parametrize("declared", [None, DECLARED])
def test_what_cannot_be_is_named(given_now: dict[str, Any], declared: ChipConfig | None) -> None:
    with pytest.raises(ConfigError):
        settle_chipping("a", declared, given_now)


def test_whole_numbers_are_the_floats_that_will_be_read_back() -> None:
    whole = ChipConfig(max_nodata=1, scaling=Scaling(kind="range", low=(0,), high=(3000,)))
    text = repr(to_mapping(settle_chipping("a", None, whole)))
    assert "'max_nodata': 1.0" in text
    assert "'low': [0.0]" in text


bands = st.lists(st.sampled_from(["B04", "nir", "3", 'a"b']), max_size=3).map(tuple)
configs = st.builds(
    ChipConfig,
    size=st.integers(1, 512),
    stride=st.none() | st.integers(1, 512),
    edge=st.sampled_from(["shift", "pad", "drop"]),
    max_nodata=st.floats(0, 1),
    scales=st.sampled_from([(1,), (1, 2), (4,)]),
    bands=bands,
    scaling=st.sampled_from([Scaling(), Scaling(kind="none"), Scaling(percentiles=(1.0, 99.0)), RANGE]),
)


@given(configs, configs)
def test_differences_are_empty_just_where_both_read_alike(one: ChipConfig, other: ChipConfig) -> None:
    def read(chip: ChipConfig) -> dict[str, Any]:
        return {**to_mapping(chip), "stride": chip.stride or chip.size}

    assert (differences(one, other) == {}) == (read(one) == read(other))
    assert differences(one, one) == {}


@given(configs)
def test_a_description_is_what_set_takes(chip: ChipConfig) -> None:
    tree: dict[str, Any] = {}
    apply_overrides(tree, re.split(r", (?=[a-z_.]+=)", describe_chipping(chip)))
    assert from_mapping(ChipConfig, tree) == chip
