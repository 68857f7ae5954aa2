from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from terraseek.models import ResNet, build_backbone

# Parameters of torchvision's models, their 1000-class layer included.
PUBLISHED = {"resnet-18": 11_689_512, "resnet-34": 21_797_672, "resnet-50": 25_557_032}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
    classifier = (backbone.dim + 1) * 1000
    assert sum(p.numel() for p in backbone.parameters()) + classifier == PUBLISHED[name]


def test_names_are_torchvisions() -> None:
    with torch.device("meta"):
        state = build_backbone("resnet-50").state_dict()
    assert len(state) == 320 - 2  # torchvision's resnet50 has 320 entries, fc.weight and fc.bias among them
    for name, shape in {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_var": (64,),
        "layer1.0.conv3.weight": (256, 64, 1, 1),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer2.3.bn2.num_batches_tracked": (),
        "layer3.0.downsample.1.running_mean": (1024,),
        "layer3.5.conv2.weight": (256, 256, 3, 3),
        "layer4.2.conv1.weight": (512, 2048, 1, 1),
    }.items():
        assert state[name].shape == shape
    assert len(build_backbone("resnet-18").state_dict()) == 122 - 2


def by_hand(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """ResNet-18 from its weights' names alone, in the words of the paper."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scale = state[f"{name}.weight"] / (var + 1e-5).sqrt()
        return (x - mean[:, None, None]) * scale[:, None, None] + state[f"{name}.bias"][:, None, None]

    x = norm(F.conv2d(x, state["conv1.weight"], stride=2, padding=3), "bn1").clamp(min=0)
    x = F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-torch.inf), 3, 2)
    for group in (1, 2, 3, 4):
        for block in (0, 1):
            at = f"layer{group}.{block}"
            stride = 2 if group > 1 and block == 0 else 1
            shortcut = x
            if f"{at}.downsample.0.weight" in state:
                shortcut = norm(F.conv2d(x, state[f"{at}.downsample.0.weight"], stride=stride), f"{at}.downsample.1")
            x = norm(F.conv2d(x, state[f"{at}.conv1.weight"], stride=stride, padding=1), f"{at}.bn1").clamp(min=0)
            x = norm(F.conv2d(x, state[f"{at}.conv2.weight"], padding=1), f"{at}.bn2")
            x = (x + shortcut).clamp(min=0)
    return x.flatten(2).mean(-1)


def test_forward_equals_the_network_by_hand() -> None:
    torch.manual_seed(0)
    backbone = build_backbone("resnet-18")
    images = torch.randn(2, 3, 70, 64)
    with torch.no_grad():
        backbone.train()(torch.randn(8, 3, 64, 64) * 3 + 1)  # moves the running statistics away from 0 and 1
        backbone.eval()
        torch.testing.assert_close(backbone(images), by_hand(backbone.state_dict(), images), rtol=1e-4, atol=1e-4)


def test_classifiers_are_left_out() -> None:
    state = {"conv1.weight": torch.zeros(1), "fc.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}
    assert set(ResNet.canonical_names(state)) == {"conv1.weight"}
