"""The contract that every backbone of the registry keeps."""

from __future__ import annotations

from math import ceil
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from terraseek.errors import ConfigError, NotFoundError, UsageError
from terraseek.models import BACKBONES, Backbone, build_backbone
from terraseek.models.weights import write_weights


@pytest.fixture(scope="module", params=BACKBONES.names)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(request.param, bands=4).eval()


def images(size: int = 64, count: int = 2, bands: int = 4) -> torch.Tensor:
    return torch.randn(count, bands, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 75)])
def test_levels_have_the_promised_shapes(backbone: Backbone, height: int, width: int) -> None:
    with torch.no_grad():
        levels = backbone.levels(torch.zeros(1, 4, height, width))
    for level, channels, stride in zip(levels, backbone.level_channels, (4, 8, 16, 32), strict=True):
        assert level.shape == (1, channels, ceil(height / stride), ceil(width / stride))


def test_any_front_leads_to_the_same_levels(backbone: Backbone) -> None:
    with torch.no_grad():
        whole = backbone.levels(images())
        for stages in range(1, len(backbone.stages) + 1):
            front = backbone.front(images(), stages)
            assert front.stages == stages
            for level, expected in zip(backbone.levels(front), whole, strict=True):
                assert torch.equal(level, expected), f"{stages} stages"
            assert torch.equal(backbone(front), backbone(images()))


def test_the_frozen_stages_are_those_without_a_gap(backbone: Backbone) -> None:
    first, second, third, *_ = backbone.stages
    assert backbone.frozen_stages([]) == 0
    assert backbone.frozen_stages(first[:1]) == 0, "only a part of the first stage"
    assert backbone.frozen_stages([*first, *second]) == 2
    assert backbone.frozen_stages([*first, *third]) == 1, "the second is trained"
    every = [name for name, _ in backbone.named_children()]
    assert backbone.frozen_stages(every) == len(backbone.stages)
    assert all(backbone.get_submodule(name) for names in backbone.stages for name in names)


def test_features_are_the_pooled_last_level(backbone: Backbone) -> None:
    with torch.no_grad():
        features = backbone(images())
        assert features.shape == (2, backbone.dim)
        torch.testing.assert_close(features, backbone.pool(backbone.levels(images())[-1]))


def test_each_image_is_on_its_own_in_evaluation(backbone: Backbone) -> None:
    with torch.no_grad():
        together = backbone(images(count=3))
        alone = torch.cat([backbone(image[None]) for image in images(count=3)])
    # Convolutions sum in another order for another number of images; statistics of the batch would differ by tenths.
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=5e-5)


def test_channels_last_and_bf16(backbone: Backbone) -> None:
    with torch.no_grad():
        expected = backbone(images())
        got = backbone(images().contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            half = backbone(images())
    assert half.dtype == torch.bfloat16
    assert F.cosine_similarity(half.float(), expected).min() > 0.99


def test_gradients_reach_every_parameter(backbone: Backbone) -> None:
    backbone.zero_grad()
    # An image of one pixel at the last level would leave BatchNorm nothing to normalise with.
    backbone(images(count=2)).square().sum().backward()
    dead = [name for name, parameter in backbone.named_parameters() if parameter.grad is None]
    assert not dead
    backbone.zero_grad()


@pytest.mark.parametrize("name", BACKBONES.names)
def test_own_weights_come_back_for_any_bands(name: str, tmp_path: Path) -> None:
    saved = build_backbone(name).eval()
    path = tmp_path / "weights.safetensors"
    write_weights(saved.state_dict(), path)
    grey = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        expected = saved(grey.expand(-1, 3, -1, -1))
        loaded = build_backbone(name, path, bands=5).eval()
        assert loaded.bands == 5
        # Equal in all bands, an image gives what it gave in three.
        torch.testing.assert_close(loaded(grey.expand(-1, 5, -1, -1)), expected, rtol=1e-3, atol=1e-4)


def test_wrong_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    state = build_backbone("resnet-18").state_dict()
    write_weights(state, path)
    with pytest.raises(ConfigError, match=r"weights of resnet-34: \d+ missing: layer1\.2\.conv1\.weight"):
        build_backbone("resnet-34", path)
    del state["layer1.0.conv1.weight"]
    state["layer1.0.conv_1.weight"] = torch.zeros(64, 64, 3, 3)
    write_weights(state, path)
    with pytest.raises(ConfigError, match=r"1 missing: layer1\.0\.conv1\.weight; 1 unexpected: .*did you mean"):
        build_backbone("resnet-18", path)
    state["layer1.0.conv1.weight"] = state.pop("layer1.0.conv_1.weight")[:, :3]
    write_weights(state, path)
    with pytest.raises(ConfigError, match=r"layer1\.0\.conv1\.weight \(64, 3, 3, 3\) instead of \(64, 64, 3, 3\)"):
        build_backbone("resnet-18", path)


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'resnet-18'"):
        build_backbone("resnet18")
    with pytest.raises(ConfigError, match="bands is 0"):
        build_backbone("resnet-18", bands=0)
    with pytest.raises(ConfigError, match="no package brings ImageNet weights for 'resnet-18'"):
        build_backbone("resnet-18", pretrained=True)
    with pytest.raises(NotFoundError, match="no weights at"):
        build_backbone("resnet-18", tmp_path / "none.safetensors")
    legacy = tmp_path / "resnet18.pth"
    torch.save({}, legacy)
    with pytest.raises(UsageError, match="terraseek model convert"):
        build_backbone("resnet-18", legacy)
