"""EfficientNet-Lite0 and 2 under timm's parameter names; weights under lukemelas' names are renamed.

Tan and Le, 2019, EfficientNet, https://arxiv.org/abs/1905.11946; the Lite variants, without squeeze-and-excitation and
with ReLU6 in place of swish, are described at https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
Padding and BatchNorm epsilon are TensorFlow's: of timm's two families of weights this fits `tf_efficientnet_lite*`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from math import ceil
from typing import ClassVar, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from .backbone import BACKBONES, Backbone, global_mean, init_convolutions

__all__ = ["EfficientNetLite"]


class _Stage(NamedTuple):
    kernel: int
    stride: int
    expansion: int
    channels: int
    depth: int


_STAGES = (
    _Stage(3, 1, 1, 16, 1),
    _Stage(3, 2, 6, 24, 2),
    _Stage(5, 2, 6, 40, 2),
    _Stage(3, 2, 6, 80, 3),
    _Stage(5, 1, 6, 112, 3),
    _Stage(5, 2, 6, 192, 4),
    _Stage(3, 1, 6, 320, 1),
)
_STEM, _HEAD = 32, 1280  # Lite variants scale neither


class _SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's padding: ceil(size / stride) outputs, the odd pixel at the end."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for axis in (1, 0):  # F.pad counts from the last axis
            size, kernel, stride = x.shape[2 + axis], self.kernel_size[axis], self.stride[axis]
            total = max((ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads) if any(pads) else x)


def _convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if stride == 1:  # then TensorFlow's padding is symmetric
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return _SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class _DepthwiseSeparable(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = _convolution(inputs, inputs, kernel, stride, groups=inputs)
        self.bn1 = _norm(inputs)
        self.conv_pw = _convolution(inputs, outputs)
        self.bn2 = _norm(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        kept = x
        x = F.relu6(self.bn1(self.conv_dw(x)))
        x = self.bn2(self.conv_pw(x))
        return x + kept if self.residual else x


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.conv_pw = _convolution(inputs, width)
        self.bn1 = _norm(width)
        self.conv_dw = _convolution(width, width, kernel, stride, groups=width)
        self.bn2 = _norm(width)
        self.conv_pwl = _convolution(width, outputs)
        self.bn3 = _norm(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        kept = x
        x = F.relu6(self.bn1(self.conv_pw(x)))
        x = F.relu6(self.bn2(self.conv_dw(x)))
        x = self.bn3(self.conv_pwl(x))
        return x + kept if self.residual else x


def _scaled(channels: int, width: float) -> int:
    """Nearest multiple of 8, but never less than 90 % of the exact number."""
    exact = channels * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


class EfficientNetLite(Backbone):
    """An EfficientNet-Lite without its classifier; 1,280 pooled features.

    Args:
        width: factor on the channels of all stages.
        depth: factor on the number of blocks of all stages but the first and last.
        bands: number of bands of the input.
    """

    mean: ClassVar = (127.0, 127.0, 127.0)
    std: ClassVar = (128.0, 128.0, 128.0)
    stem: ClassVar = "conv_stem.weight"
    stages: ClassVar = (("conv_stem", "bn1"), *((f"blocks.{number}",) for number in range(len(_STAGES))))
    level_stages: ClassVar = (3, 4, 6, 8)  # the last at strides 4, 8, 16 and 32

    def __init__(self, width: float, depth: float, bands: int = 3) -> None:
        super().__init__()
        self.bands = bands
        self.conv_stem = _convolution(bands, _STEM, 3, 2)
        self.bn1 = _norm(_STEM)
        stages, channels, inputs = [], [], _STEM
        for number, stage in enumerate(_STAGES):
            outputs = _scaled(stage.channels, width)
            ends = number in (0, len(_STAGES) - 1)
            blocks: list[nn.Module] = []
            for index in range(stage.depth if ends else ceil(stage.depth * depth)):
                stride = stage.stride if index == 0 else 1
                blocks.append(
                    _DepthwiseSeparable(inputs, outputs, stage.kernel, stride)
                    if stage.expansion == 1
                    else _InvertedResidual(inputs, outputs, stage.kernel, stride, stage.expansion)
                )
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
            channels.append(outputs)
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _convolution(inputs, _HEAD)
        self.bn2 = _norm(_HEAD)
        first, second, third, last = (channels[stage - 2] for stage in self.level_stages)
        self.level_channels = (first, second, third, last)
        self.dim = _HEAD
        init_convolutions(self)

    def run_stage(self, number: int, x_NCHW: Tensor) -> Tensor:
        """The first convolution, then one group of blocks after another."""
        if number == 1:
            return F.relu6(self.bn1(self.conv_stem(x_NCHW)))
        output: Tensor = self.blocks[number - 2](x_NCHW)
        return output

    def pool(self, last_NCHW: Tensor) -> Tensor:
        """The 1 x 1 convolution to 1,280 channels, then the mean over all positions."""
        return global_mean(F.relu6(self.bn2(self.conv_head(last_NCHW))))

    @staticmethod
    def canonical_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The names of timm are this class's own; those of lukemelas (`_blocks.5._expand_conv.weight`) are renamed."""
        kept = {name: tensor for name, tensor in state.items() if not name.startswith(("_fc.", "classifier."))}
        if "_conv_stem.weight" not in kept:
            return kept
        places = _places(kept)
        return {_from_lukemelas(name, places): tensor for name, tensor in kept.items()}


_TRUNK = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def _places(state: Mapping[str, Tensor]) -> dict[int, tuple[int, int]]:
    """Where each consecutively numbered block stands: (stage, index in the stage).

    A stage is told by its kernel and number of outputs: the two that no neighbouring stages share.
    """
    places: dict[int, tuple[int, int]] = {}
    stage, index, before = -1, 0, None
    number = 0
    while (project := state.get(f"_blocks.{number}._project_conv.weight")) is not None:
        kind = (project.shape[0], state[f"_blocks.{number}._depthwise_conv.weight"].shape[-1])
        stage, index = (stage, index + 1) if kind == before else (stage + 1, 0)
        places[number], before = (stage, index), kind
        number += 1
    return places


def _from_lukemelas(name: str, places: Mapping[int, tuple[int, int]]) -> str:
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if block is None:
        layer, _, rest = name.partition(".")
        return f"{_TRUNK.get(layer, layer)}.{rest}"
    number, layer, rest = int(block[1]), block[2], block[3]
    if number not in places:
        return name
    stage, index = places[number]
    renamed = (_SEPARABLE if stage == 0 else _EXPANDED).get(layer, layer)
    return f"blocks.{stage}.{index}.{renamed}.{rest}"


BACKBONES.register("efficientnet-lite0")(partial(EfficientNetLite, 1.0, 1.0))
BACKBONES.register("efficientnet-lite2")(partial(EfficientNetLite, 1.1, 1.2))
