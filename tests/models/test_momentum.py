from __future__ import annotations

import pytest
import torch
from torch import nn

from terraseek.errors import UsageError
from terraseek.models import MomentumEncoder, NetworkConfig, build_embedder, embedder_config


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def step(query: nn.Module) -> None:
    """Something like a training step: parameters and statistics move."""
    with torch.no_grad():
        for parameter in query.parameters():
            parameter.add_(torch.randn_like(parameter))
        query.train()(torch.randn(16, 3))


def alike(one: nn.Module, other: nn.Module) -> set[str]:
    """Names of the parameters that have the same values in both."""
    theirs = dict(other.named_parameters())
    return {name for name, parameter in one.named_parameters() if torch.equal(parameter, theirs[name])}


def test_follows_as_an_average_of_the_past() -> None:
    query = network()
    key = MomentumEncoder(query, momentum=0.9)
    expected = {name: parameter.clone() for name, parameter in query.named_parameters()}
    for _ in range(5):
        step(query)
        key.update(query)
        expected = {name: 0.9 * expected[name] + 0.1 * p.detach() for name, p in query.named_parameters()}
    for name, parameter in key.encoder.named_parameters():
        torch.testing.assert_close(parameter, expected[name])
    for name, buffer in key.encoder.named_buffers():
        torch.testing.assert_close(buffer, dict(query.named_buffers())[name])


def test_order_of_registration_plays_no_part() -> None:
    class Pair(nn.Module):
        def __init__(self, turned: bool) -> None:
            super().__init__()
            for name in ("b", "a") if turned else ("a", "b"):
                setattr(self, name, nn.Linear(2, 2))

    query, key = Pair(turned=False), MomentumEncoder(Pair(turned=True), momentum=0.0)
    key.update(query)
    for name, parameter in key.encoder.named_parameters():
        torch.testing.assert_close(parameter, dict(query.named_parameters())[name])


def test_takes_no_gradient_and_is_not_the_query() -> None:
    query = network()
    key = MomentumEncoder(query)
    assert not any(parameter.requires_grad for parameter in key.parameters())
    assert all(parameter.requires_grad for parameter in query.parameters())
    assert not key(torch.randn(4, 3)).requires_grad
    before = {name: parameter.clone() for name, parameter in key.named_parameters()}
    step(query)
    assert all(torch.equal(before[name], parameter) for name, parameter in key.named_parameters())


def test_another_network_is_named() -> None:
    with pytest.raises(UsageError, match=r"differ in 4 parameters, '0\.bias' among them"):
        MomentumEncoder(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))).update(nn.Sequential())
    with pytest.raises(UsageError, match=r"differ in 1 parameters, 'bias' among them"):
        MomentumEncoder(nn.Linear(1, 1), variant="published", drawn=nn.Linear(1, 1, bias=False))
    with pytest.raises(UsageError, match="'published' needs `drawn`"):
        MomentumEncoder(nn.Linear(1, 1), variant="published")
    with pytest.raises(UsageError, match="the default takes none"):
        MomentumEncoder(nn.Linear(1, 1), drawn=nn.Linear(1, 1))
    with pytest.raises(UsageError, match="momentum is 1"):
        MomentumEncoder(nn.Linear(1, 1), momentum=1.0)


def test_state_comes_back() -> None:
    query = network()
    key = MomentumEncoder(query, momentum=0.5)
    step(query)
    key.update(query)
    again = MomentumEncoder(network(1), momentum=0.5)
    again.load_state_dict(key.state_dict())
    torch.testing.assert_close(dict(again.named_parameters()), dict(key.named_parameters()))


def test_published_update_leaves_most_of_the_image_encoder_behind() -> None:
    """Defect 1 of the published code: unequal lists are zipped, the aggregation heads stay random."""
    config = embedder_config(
        "resnet-18",
        input_size=32,
        dim=16,
        network=NetworkConfig(aggregator="mean", aggregator_dim=16, head="none"),
    )
    torch.manual_seed(0)
    query, other, moved = (build_embedder(config) for _ in range(3))
    keys = {
        "default": MomentumEncoder(query, momentum=0.0),
        "published": MomentumEncoder(query, momentum=0.0, variant="published", drawn=other),
    }
    # Batch normalisation starts alike in all, so only what is drawn at random tells.
    drawn = set(alike(query, query)) - set(alike(query, other))
    aggregator = {name for name in drawn if name.startswith("aggregator")}
    assert aggregator
    for network in (query, moved):
        if network is moved:
            for key in keys.values():
                key.update(moved)
        assert drawn <= alike(keys["default"].encoder, network)
        followed = drawn & alike(keys["published"].encoder, network)
        assert followed == drawn & set(list(dict(query.named_parameters()))[:38])
        assert aggregator <= alike(keys["published"].encoder, other)


def test_published_key_encoder_is_noisy_and_ours_is_not() -> None:
    """Defect 6 of the published code: dropout and batch statistics are active in the key encoder."""
    images = torch.randn(8, 3)
    published = MomentumEncoder(network(), variant="published", drawn=network(1))
    for key, steady in ((published.train(), False), (MomentumEncoder(network()).train(), True)):
        assert torch.equal(key(images), key(images)) == steady
        assert torch.allclose(key(images)[:4], key(images[:4])) == steady
