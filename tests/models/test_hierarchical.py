from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from terraseek.errors import ConfigError
from terraseek.models import (
    BACKBONES,
    HierarchicalAggregator,
    ImageEmbedder,
    NetworkConfig,
    build_backbone,
    build_embedder,
    embedder_config,
)

CHANNELS = (3, 5, 7, 9)


def levels(size: int = 64, count: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(count, channels, -(-size // stride), -(-size // stride), generator=generator)
        for channels, stride in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]


def six_to_one(module: HierarchicalAggregator, low: Tensor, high: Tensor, last: Tensor) -> Tensor:
    vectors = [F.linear(last, module.final.weight, module.final.bias), low, high]
    both = vectors + [module.mlp(vector) for vector in vectors]
    return module.pool(torch.stack(both, dim=1))


def test_mean_pooling_is_that_of_the_enlarged_and_joined_maps() -> None:
    torch.manual_seed(0)
    module = HierarchicalAggregator(CHANNELS, dim=6)
    first, second, third, last = levels()

    def joined(fine: Tensor, coarse: Tensor) -> Tensor:
        return torch.cat((fine, coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)), 1).mean((2, 3))

    expected = six_to_one(
        module, module.low(joined(first, second)), module.high(joined(third, last)), last.mean((2, 3))
    )
    torch.testing.assert_close(module(levels()), expected)


def test_channel_pooling_by_places() -> None:
    torch.manual_seed(0)
    module = HierarchicalAggregator(CHANNELS, dim=6, pooling="channels", input_size=64)
    first, second, third, last = levels()

    def places(pool: torch.nn.Module, fine: Tensor, coarse: Tensor) -> Tensor:
        side = fine.shape[-1]
        columns = []
        for y in range(side):
            for x in range(side):
                channels = torch.cat((fine[:, :, y, x], coarse[:, :, y // 2, x // 2]), 1)
                columns.append(pool(channels[..., None]))
        return torch.cat(columns, 1)

    with torch.no_grad():
        low = module.low(places(module.low_pool, first, second))
        high = module.high(places(module.high_pool, third, last))
        torch.testing.assert_close(module(levels()), six_to_one(module, low, high, last.mean((2, 3))))


def test_pooled_takes_the_backbones_features_for_the_last_level() -> None:
    torch.manual_seed(0)
    module = HierarchicalAggregator(CHANNELS, dim=6, pooling="pooled", features=4)
    first, second, third, last = levels()
    means = [level.mean((2, 3)) for level in (first, second, third, last)]
    own = torch.randn(2, 4)
    expected = six_to_one(module, module.low(torch.cat(means[:2], 1)), module.high(torch.cat(means[2:], 1)), own)
    torch.testing.assert_close(module(levels(), own), expected)


def embedder(backbone: str, aggregator: Literal["mean", "pooled"]) -> ImageEmbedder:
    network = NetworkConfig(aggregator=aggregator, aggregator_dim=8, head="none")
    torch.manual_seed(0)
    return build_embedder(embedder_config(backbone, input_size=64, dim=8, network=network)).eval()


def test_a_resnets_pooled_features_are_the_mean_of_its_last_level() -> None:
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(embedder("resnet-18", "pooled")(images), embedder("resnet-18", "mean")(images))


def test_an_efficientnets_last_convolution_learns_where_its_features_are_taken() -> None:
    images = torch.randn(2, 3, 64, 64)
    pooled, mean = embedder("efficientnet-lite0", "pooled"), embedder("efficientnet-lite0", "mean")
    for module in (pooled, mean):
        module(images)[:, 0].sum().backward()
    assert pooled.backbone.get_parameter("conv_head.weight").grad is not None
    assert mean.backbone.get_parameter("conv_head.weight").grad is None


@pytest.mark.parametrize("name", BACKBONES.names)
@pytest.mark.parametrize("size", [64, 75])
@pytest.mark.parametrize("pooling", ["mean", "pooled", "channels"])
def test_any_backbone_and_input_size(name: str, size: int, pooling: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
        module = HierarchicalAggregator(
            backbone.level_channels,
            16,
            pooling,  # type: ignore[arg-type]
            size,
            backbone.dim,
        )
        maps = [
            torch.zeros(2, channels, -(-size // stride), -(-size // stride))
            for channels, stride in zip(backbone.level_channels, (4, 8, 16, 32), strict=True)
        ]
    module.to_empty(device="cpu")
    features = torch.zeros(2, backbone.dim) if pooling == "pooled" else None
    assert module([torch.zeros_like(level, device="cpu") for level in maps], features).shape == (2, 16)


def test_every_parameter_learns() -> None:
    for pooling, features in (("mean", None), ("pooled", torch.randn(2, 4)), ("channels", None)):
        module = HierarchicalAggregator(CHANNELS, 6, pooling, 64, 4)  # type: ignore[arg-type]
        module(levels(), features).square().sum().backward()
        assert all(parameter.grad is not None for parameter in module.parameters())


def test_channels_need_a_size() -> None:
    with pytest.raises(ConfigError, match="needs input_size"):
        HierarchicalAggregator(CHANNELS, 6, "channels")


def test_pooled_needs_the_number_of_features() -> None:
    with pytest.raises(ConfigError, match="needs features"):
        HierarchicalAggregator(CHANNELS, 6, "pooled")
