from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.encoders import ModelConfig, TextConfig, check_weights, model_fingerprint, read_model_config, save_config
from terraseek.errors import ConfigError, CorruptError, IntegrityError, NotFoundError

MakeModel = Callable[..., Path]
BASE: dict[str, Any] = {"architecture": "resnet-18", "input_size": 64, "dim": 8, "mean": (1.0,) * 3, "std": (2.0,) * 3}

NAMES = st.lists(st.text(max_size=8), max_size=4).map(tuple)
TEXTS = st.none() | st.builds(TextConfig, architecture=st.text(max_size=5), max_tokens=st.integers(1, 512))


@settings(deadline=None, max_examples=50)
@given(
    bands=st.integers(1, 13),
    numbers=st.data(),
    labels=NAMES,
    concepts=NAMES,
    text=TEXTS,
    training=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
    resize=st.sampled_from(["squash", "shorter-crop"]),
)
def test_config_comes_back_as_it_was_saved(
    tmp_path_factory: pytest.TempPathFactory,
    bands: int,
    numbers: st.DataObject,
    labels: tuple[str, ...],
    concepts: tuple[str, ...],
    text: TextConfig | None,
    training: dict[str, Any],
    resize: Any,
) -> None:
    finite = st.floats(0.01, 1e5)
    config = ModelConfig(
        architecture="resnet-18",
        input_size=numbers.draw(st.integers(1, 1000)),
        dim=numbers.draw(st.integers(1, 4096)),
        bands=bands,
        mean=tuple(numbers.draw(st.lists(finite, min_size=bands, max_size=bands))),
        std=tuple(numbers.draw(st.lists(finite, min_size=bands, max_size=bands))),
        label_names=labels,
        concepts=concepts,
        text=text,
        training=training,
        resize=resize,
        network={"hidden": [512], "aggregator": "mean"},
    )
    directory = tmp_path_factory.mktemp("model")
    save_config(directory, config)
    assert read_model_config(directory) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": 0}, "input_size is 0"),
        ({"dim": 0}, "dim is 0"),
        ({"bands": 4}, "mean has 3 values for 4 bands"),
        ({"std": (1.0, 0.0, 1.0)}, "every value must be positive"),
        ({"mean": (1.0, float("nan"), 1.0)}, "every value must be finite"),
    ],
)
def test_impossible_values_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**(BASE | change))


def rewrite(directory: Path, **changes: Any) -> None:
    path = directory / "config.json"
    tree = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(tree))


def test_unknown_key_names_the_nearest(make_model: MakeModel) -> None:
    directory = make_model()
    rewrite(directory, labelnames=["a"])
    with pytest.raises(ConfigError, match=r"config\.json: unknown key 'labelnames': did you mean 'label_names'"):
        read_model_config(directory)


def test_newer_format_is_refused_before_its_keys(make_model: MakeModel) -> None:
    directory = make_model()
    rewrite(directory, format_version=2, something_new=1)
    with pytest.raises(IntegrityError, match=r"format_version 2, this release of terraseek reads 1"):
        read_model_config(directory)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_broken_json_is_corrupt(make_model: MakeModel, content: bytes) -> None:
    directory = make_model()
    (directory / "config.json").write_bytes(content)
    with pytest.raises(CorruptError, match=r"config\.json"):
        read_model_config(directory)


def test_missing_model_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"does not exist.*terraseek train"):
        read_model_config(tmp_path / "nothing")
    with pytest.raises(NotFoundError, match=r"has no config\.json"):
        read_model_config(tmp_path)


def test_fingerprint_follows_config_and_weights_only(make_model: MakeModel) -> None:
    one, other = make_model("one"), make_model("other")
    before = model_fingerprint(one)
    assert len(before) == 64
    assert model_fingerprint(other) == before  # the place does not matter

    (one / "image.onnx").write_bytes(b"exported again")
    assert model_fingerprint(one) == before

    rewrite(one, label_names=["land"])
    assert model_fingerprint(one) != before
    weights = other / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert model_fingerprint(other) != before


def test_fingerprint_needs_both_files(make_model: MakeModel) -> None:
    directory = make_model()
    (directory / "model.safetensors").unlink()
    with pytest.raises(NotFoundError, match=r"model\.safetensors is missing"):
        model_fingerprint(directory)


@settings(deadline=None)
@given(cut=st.integers(0, 200))
def test_any_truncation_of_the_weights_is_noticed(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    import numpy as np
    from safetensors.numpy import save

    whole = save({"a": np.zeros((3, 4), np.float32), "b": np.ones(5, np.int64)}, {"made": "here"})
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    path.write_bytes(whole)
    check_weights(path)
    path.write_bytes(whole[: min(cut, len(whole) - 1)])
    with pytest.raises(CorruptError):
        check_weights(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CorruptError):
        check_weights(path)
