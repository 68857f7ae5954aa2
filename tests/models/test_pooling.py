from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from terraseek.errors import UsageError
from terraseek.models import GPO, masked_mean, position_codes


def make(seed: int = 0) -> GPO:
    torch.manual_seed(seed)
    return GPO(8, 8)


def by_loop(pool: GPO, features: Tensor, lengths: list[int]) -> Tensor:
    """Each set by itself, each dimension by itself."""
    rows = []
    for vectors, length in zip(features, lengths, strict=True):
        states, _ = pool.gru(position_codes(length, 8)[None])
        score = pool.linear((states[0, :, :8] + states[0, :, 8:]) / 2)[:, 0]
        weight = torch.softmax(score / 0.1, 0)
        rows.append(torch.stack([weight @ vectors[:length, d].sort(descending=True).values for d in range(3)]))
    return torch.stack(rows)


@pytest.mark.data
@pytest.mark.parametrize("case", range(4))
def test_golden_values(case: int, terraseek_data: Path) -> None:
    stored = np.load(terraseek_data / "golden_gpo.npz")
    golden = {key: torch.from_numpy(stored[key]) for key in stored.files if key.startswith(f"{case}/")}
    state = {key.removeprefix(f"{case}/state/"): value for key, value in golden.items() if "/state/" in key}
    pool = GPO(state["gru.weight_ih_l0"].shape[1], state["gru.weight_hh_l0"].shape[1])
    pool.load_state_dict(state)
    features, lengths = golden[f"{case}/features"], golden[f"{case}/lengths"]
    torch.testing.assert_close(pool(features, lengths), golden[f"{case}/pooled"], rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(pool(features, lengths), golden[f"{case}/pooled"], rtol=1e-5, atol=1e-6)
        weights = pool.weights(lengths, features.shape[1])
    torch.testing.assert_close(weights, golden[f"{case}/weights"][..., 0], rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_every_way_of_computing_gives_the_same(seed: int, lengths: list[int]) -> None:
    pool = make(seed)
    features = torch.randn(len(lengths), 6, 3)
    sizes = torch.tensor(lengths)
    expected = by_loop(pool, features, lengths)
    torch.testing.assert_close(pool(features, sizes), expected)
    with torch.no_grad():
        torch.testing.assert_close(pool(features, sizes), expected)  # fills the cache
        torch.testing.assert_close(pool(features, sizes), expected)  # uses it
    pool.freeze(6)
    torch.testing.assert_close(pool(features, sizes), expected)


def test_gradients_equal_the_loops() -> None:
    lengths = [4, 2, 4, 1]
    grads = []
    for compute in (lambda p, x: p(x, torch.tensor(lengths)), lambda p, x: by_loop(p, x, lengths)):
        pool = make()
        features = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
        compute(pool, features).square().sum().backward()
        grads.append([features.grad, *(parameter.grad for parameter in pool.parameters())])
    for fast, slow in zip(*grads, strict=True):
        torch.testing.assert_close(fast, slow)


def test_padding_plays_no_part() -> None:
    pool = make()
    features, lengths = torch.randn(3, 4, 3), torch.tensor([4, 2, 1])
    spoiled = features.clone()
    spoiled[1, 2:] = 1e30
    spoiled[2, 1:] = torch.nan
    longer = torch.cat([spoiled, torch.full((3, 5, 3), 7.0)], dim=1)
    torch.testing.assert_close(pool(longer, lengths), pool(features, lengths))


def test_order_within_a_set_plays_no_part() -> None:
    pool, features = make(), torch.randn(2, 5, 3)
    torch.testing.assert_close(pool(features.flip(1)), pool(features))
    torch.testing.assert_close(pool(features), pool(features, torch.tensor([5, 5])))


def test_kept_weights_follow_the_parameters() -> None:
    pool, features = make().eval(), torch.randn(2, 5, 3)
    with torch.no_grad():
        before = pool(features)
        pool.linear.weight.mul_(-1)  # as a momentum update does, in evaluation mode
        after = pool(features)
        assert not torch.allclose(before, after)
        torch.testing.assert_close(after, by_loop(pool, features, [5, 5]))
        pool.load_state_dict(make(7).state_dict())
        torch.testing.assert_close(pool(features), by_loop(make(7), features, [5, 5]))
        assert pool.double()(features.double()).dtype == torch.float64


def test_weights_are_computed_once_per_size(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, features = make(), torch.randn(3, 5, 3)
    computed: list[list[int]] = []
    compute = GPO._compute
    monkeypatch.setattr(GPO, "_compute", lambda self, sizes, most: computed.append(sizes) or compute(self, sizes, most))
    with torch.no_grad():
        for lengths in ([5, 3, 3], [3, 3, 5], [5, 5, 5]):
            pool(features, torch.tensor(lengths))
        pool(features)
    assert computed == [[3], [5]]


def test_half_precision() -> None:
    pool, features = make(), torch.randn(2, 5, 3)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        got = pool(features.bfloat16(), torch.tensor([5, 2]))
    torch.testing.assert_close(got.float(), pool(features, torch.tensor([5, 2])).detach(), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("lengths", [[0, 2], [3, 6]])
def test_impossible_lengths(lengths: list[int]) -> None:
    with pytest.raises(UsageError, match=r"they must lie in 1\.\.5"):
        make()(torch.zeros(2, 5, 3), torch.tensor(lengths))
    with pytest.raises(UsageError, match="d_pe is 7"):
        GPO(7, 8)


def test_masked_mean() -> None:
    features = torch.tensor([[[1.0], [3.0], [50.0]], [[4.0], [5.0], [6.0]]])
    assert masked_mean(features, torch.tensor([[1, 1, 0], [0, 0, 0]])).tolist() == [[2.0], [0.0]]


def test_what_is_exported_sorts_as_all_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(3, 9, 5, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([9, 4, 1])
    pool = GPO()
    pooled, gradients = {}, {}
    for exported in (True, False):  # torch's sort and numpy's
        monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda exported=exported: exported)
        inputs = features.clone().requires_grad_()
        both = pool(inputs), pool(inputs, lengths)
        (both[0].square().sum() + both[1].square().sum()).backward()
        pooled[exported], gradients[exported] = torch.stack(both), inputs.grad
        with torch.no_grad():
            torch.testing.assert_close(pool(features), both[0])
    torch.testing.assert_close(pooled[True], pooled[False])
    torch.testing.assert_close(gradients[True], gradients[False])


def test_not_a_number_is_not_hidden_behind_padding() -> None:
    """numpy sorts NaN last, where padding stands."""
    features = torch.randn(2, 6, 3)
    features[1, 0, 2] = torch.nan
    pooled = GPO()(features, torch.tensor([6, 3]))
    assert pooled.isnan().nonzero().tolist() == [[1, 2]]
