"""ResNet-18, 34 and 50 under torchvision's parameter names (which timm shares).

He et al., 2016, Deep Residual Learning for Image Recognition, https://arxiv.org/abs/1512.03385; ResNet-50 with the
stride in the 3 x 3 convolution, as torchvision and most published weights have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from .backbone import BACKBONES, Backbone, global_mean, init_convolutions

__all__ = ["ResNet"]


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class _BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + kept)


class _Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = _convolution(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _convolution(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + kept)


def _group(kind: type[_BasicBlock | _Bottleneck], inputs: int, width: int, depth: int, stride: int) -> nn.Sequential:
    first = kind(inputs, width, stride)
    return nn.Sequential(first, *(kind(width * kind.expansion, width, 1) for _ in range(depth - 1)))


class ResNet(Backbone):
    """A residual network without its classifier.

    Args:
        block: "basic" (18, 34) or "bottleneck" (50).
        depths: number of blocks at each of the four scales.
        bands: number of bands of the input.
    """

    mean: ClassVar = (123.675, 116.28, 103.53)
    std: ClassVar = (58.395, 57.12, 57.375)
    stem: ClassVar = "conv1.weight"
    stages: ClassVar = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
    level_stages: ClassVar = (2, 3, 4, 5)

    def __init__(
        self, block: Literal["basic", "bottleneck"], depths: tuple[int, int, int, int], bands: int = 3
    ) -> None:
        super().__init__()
        kind: type[_BasicBlock | _Bottleneck] = _BasicBlock if block == "basic" else _Bottleneck
        self.bands = bands
        self.conv1 = nn.Conv2d(bands, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        grown = kind.expansion
        self.layer1 = _group(kind, 64, 64, depths[0], stride=1)
        self.layer2 = _group(kind, 64 * grown, 128, depths[1], stride=2)
        self.layer3 = _group(kind, 128 * grown, 256, depths[2], stride=2)
        self.layer4 = _group(kind, 256 * grown, 512, depths[3], stride=2)
        self.level_channels = (64 * grown, 128 * grown, 256 * grown, 512 * grown)
        self.dim = 512 * grown
        init_convolutions(self)

    def run_stage(self, number: int, x_NCHW: Tensor) -> Tensor:
        """The first convolution with its pooling, then one group of blocks after another."""
        if number == 1:
            return F.max_pool2d(F.relu(self.bn1(self.conv1(x_NCHW))), 3, 2, padding=1)
        groups = (self.layer1, self.layer2, self.layer3, self.layer4)
        output: Tensor = groups[number - 2](x_NCHW)
        return output

    def pool(self, last_NCHW: Tensor) -> Tensor:
        """Mean over all positions."""
        return global_mean(last_NCHW)

    @staticmethod
    def canonical_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The names of torchvision and timm are this class's own."""
        return {name: tensor for name, tensor in state.items() if not name.startswith(("fc.", "classifier."))}


BACKBONES.register("resnet-18")(partial(ResNet, "basic", (2, 2, 2, 2)))
BACKBONES.register("resnet-34")(partial(ResNet, "basic", (3, 4, 6, 3)))
BACKBONES.register("resnet-50")(partial(ResNet, "bottleneck", (3, 4, 6, 3)))
