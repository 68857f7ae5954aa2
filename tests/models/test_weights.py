from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from terraseek.errors import ConfigError, CorruptError, NotFoundError, UsageError
from terraseek.models import adapt_bands, convert_weights
from terraseek.models.weights import load_named, read_pickled_weights, read_weights, write_weights


@settings(deadline=None)
@given(before=st.integers(1, 5), bands=st.integers(1, 13), seed=st.integers(0, 99))
def test_adapted_kernel_answers_alike_to_an_image_equal_in_all_bands(before: int, bands: int, seed: int) -> None:
    kernel = torch.randn(4, before, 3, 3, generator=torch.Generator().manual_seed(seed))
    adapted = adapt_bands(kernel, bands)
    assert adapted.shape == (4, bands, 3, 3)
    torch.testing.assert_close(adapted.sum(1), kernel.sum(1), rtol=1e-4, atol=1e-5)


def test_further_bands_share_the_colours_kernels() -> None:
    kernel = torch.randn(2, 3, 1, 1)
    adapted = adapt_bands(kernel, 5)
    for band, (colour, shared) in enumerate([(0, 2), (1, 2), (2, 1), (0, 2), (1, 2)]):
        torch.testing.assert_close(adapted[:, band], kernel[:, colour] / shared)
    assert adapt_bands(kernel, 3) is kernel


STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1, 2])}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": {f"module.{name}": tensor for name, tensor in STATE.items()}, "optimizer": {"state": {}}},
        {f"module.backbone.{name}": tensor for name, tensor in STATE.items()},
    ],
)
def test_convert_finds_the_tensors(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "old.pth")
    shapes = convert_weights(tmp_path / "old.pth", tmp_path / "new" / "weights.safetensors")
    assert shapes == {"a.weight": (2, 3), "a.bias": (2,)}
    back = read_weights(tmp_path / "new" / "weights.safetensors")
    assert back.keys() == STATE.keys()
    assert all(torch.equal(back[name], STATE[name]) for name in STATE)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["weights.safetensors"]


def test_convert_takes_shared_and_strided_tensors(tmp_path: Path) -> None:
    shared = torch.randn(4, 4)
    torch.save({"one": shared, "other": shared, "turned": shared.T}, tmp_path / "old.pt")
    convert_weights(tmp_path / "old.pt", tmp_path / "new.safetensors")
    torch.testing.assert_close(read_weights(tmp_path / "new.safetensors")["turned"], shared.T)


class Harmful:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)


def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"weight": torch.zeros(1), "payload": Harmful(trace)}, tmp_path / "evil.pth")
    with pytest.raises(CorruptError, match="holds more than tensors"):
        convert_weights(tmp_path / "evil.pth", tmp_path / "out.safetensors")
    assert not trace.exists()
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle at all", b"PK\x03\x04 half a zip"])
def test_damaged_legacy_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "old.pth").write_bytes(content)
    with pytest.raises(CorruptError, match=r"old\.pth"):
        read_pickled_weights(tmp_path / "old.pth")


def test_truncated_legacy_file(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptError, match="damaged"):
        read_pickled_weights(path)


def test_convert_refuses(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UsageError, match="no named tensors"):
        convert_weights(tmp_path / "list.pth", tmp_path / "out.safetensors")
    with pytest.raises(UsageError, match=r"must end in \.safetensors"):
        convert_weights(tmp_path / "list.pth", tmp_path / "out.pth")
    (tmp_path / "out.safetensors").touch()
    with pytest.raises(UsageError, match="exists already"):
        convert_weights(tmp_path / "list.pth", tmp_path / "out.safetensors")
    with pytest.raises(NotFoundError, match="no weights at"):
        convert_weights(tmp_path / "none.pth", tmp_path / "other.safetensors")


def test_damaged_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(STATE, path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CorruptError, match="not a whole safetensors file"):
        read_weights(path)


def test_old_batch_norm_without_its_counter_loads() -> None:
    module = nn.BatchNorm2d(3)
    state = {name: torch.full_like(tensor, 2) for name, tensor in module.state_dict().items() if "tracked" not in name}
    load_named(module, state, "a file", "a norm")
    assert module.running_mean is not None
    assert module.running_mean.tolist() == [2, 2, 2]
    with pytest.raises(ConfigError, match="1 missing: bias"):
        load_named(module, {name: t for name, t in state.items() if name != "bias"}, "a file", "a norm")
