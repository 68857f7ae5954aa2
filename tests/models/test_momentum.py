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
    """Defect 1 of the published code: unequal lists are zipped, the aggregation heads stay as they were drawn."""
    config = embedder_config(
        "resnet-18",
        input_size=32,
        dim=16,
        network=NetworkConfig(aggregator="mean", aggregator_dim=16, head="none"),
    )
    torch.manual_seed(0)
    query = build_embedder(config)
    followers = {}
    for variant in ("published", "default"):
        key = MomentumEncoder(query, momentum=0.0, variant=variant)  # type: ignore[arg-type]
        moved = build_embedder(config)
        key.update(moved)
        theirs = dict(moved.named_parameters())
        followers[variant] = {name for name, p in key.encoder.named_parameters() if torch.equal(p, theirs[name])}
        # Batch normalisation starts alike in both, so only what was drawn at random tells.
    drawn = {name for name, p in query.named_parameters() if not torch.equal(p, theirs[name])}
    aggregator = {name for name in drawn if name.startswith("aggregator")}
    assert aggregator
    assert drawn <= followers["default"]
    assert not aggregator & followers["published"]


def test_published_key_encoder_is_noisy_and_ours_is_not() -> None:
    """Defect 6 of the published code: dropout and batch statistics are active in the key encoder."""
    images = torch.randn(8, 3)
    for variant, steady in (("published", False), ("default", True)):
        key = MomentumEncoder(network(), variant=variant).train()  # type: ignore[arg-type]
        assert torch.equal(key(images), key(images)) == steady
        assert torch.allclose(key(images)[:4], key(images[:4])) == steady
