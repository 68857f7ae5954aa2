from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from terraseek.errors import ConfigError
from terraseek.models import BACKBONES, HierarchicalAggregator, build_backbone

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


@pytest.mark.parametrize("name", BACKBONES.names)
@pytest.mark.parametrize("size", [64, 75])
@pytest.mark.parametrize("pooling", ["mean", "channels"])
def test_any_backbone_and_input_size(name: str, size: int, pooling: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
        module = HierarchicalAggregator(backbone.level_channels, 16, pooling, size)  # type: ignore[arg-type]
        maps = [
            torch.zeros(2, channels, -(-size // stride), -(-size // stride))
            for channels, stride in zip(backbone.level_channels, (4, 8, 16, 32), strict=True)
        ]
    module.to_empty(device="cpu")
    assert module([torch.zeros_like(level, device="cpu") for level in maps]).shape == (2, 16)


def test_every_parameter_learns() -> None:
    for pooling in ("mean", "channels"):
        module = HierarchicalAggregator(CHANNELS, 6, pooling, 64)  # type: ignore[arg-type]
        module(levels()).square().sum().backward()
        assert all(parameter.grad is not None for parameter in module.parameters())


def test_channels_need_a_size() -> None:
    with pytest.raises(ConfigError, match="needs input_size"):
        HierarchicalAggregator(CHANNELS, 6, "channels")
