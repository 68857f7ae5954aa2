"""The hierarchical aggregator: one vector from the feature maps of all scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError
from .backbone import global_mean
from .pooling import GPO

__all__ = ["HierarchicalAggregator"]


class HierarchicalAggregator(nn.Module):
    """Feature maps at strides 4, 8, 16 and 32 to one vector, (N, D).

    Three vectors of D dimensions, from the last level, from the two low ones (strides 4 and 8) and from the two high
    ones (16 and 32), pass through a shared MLP; these three and its three outputs are pooled by a `GPO` over the six.

    After the hierarchical aggregator of KAMCL (2023, https://doi.org/10.1109/TGRS.2023.3332317), with which
    `pooling="channels"` agrees in form; the default differs in how a map becomes a vector.

    Args:
        level_channels: channels of the four levels.
        dim: number of dimensions D.
        pooling: "mean" averages each level over all places, at any input size, and maps the channels to D. "pooled"
            does likewise, but takes for the vector of the last level what the backbone itself pools: with an
            EfficientNet, the 1,280 features that its weights were trained to tell classes by; with a ResNet, the same
            mean. "channels" brings the coarser level of each pair to the finer one's size, pools the CHANNELS of every
            place by a GPO and maps the places to D: it sorts all channels at all places, and is tied to one input size.
        input_size: side of the network's input in pixels, needed by "channels" alone.
        features: number of the backbone's pooled features, needed by "pooled" alone.

    Raises:
        ConfigError: "channels" without `input_size`, or "pooled" without `features`.

    Examples:
        >>> levels = [torch.zeros(2, c, s, s) for c, s in ((8, 16), (16, 8), (32, 4), (64, 2))]
        >>> HierarchicalAggregator((8, 16, 32, 64), dim=12)(levels).shape
        torch.Size([2, 12])
    """

    def __init__(
        self,
        level_channels: tuple[int, int, int, int],
        dim: int = 512,
        pooling: Literal["mean", "pooled", "channels"] = "mean",
        input_size: int | None = None,
        features: int | None = None,
    ) -> None:
        super().__init__()
        first, second, third, last = level_channels
        self.dim, self.pooling = dim, pooling
        self._low_channels, self._high_channels = first + second, third + last
        inputs = last
        if pooling == "pooled":
            if features is None:
                raise ConfigError("pooling 'pooled' maps the backbone's own features to dimensions: it needs features")
            inputs = features
        self.final = nn.Linear(inputs, dim)
        if pooling == "channels":
            if input_size is None:
                raise ConfigError("pooling 'channels' maps places to dimensions: it needs input_size, in pixels")
            self.low_pool, self.high_pool = GPO(), GPO()
            self.low = nn.Linear((-(-input_size // 4)) ** 2, dim)
            self.high = nn.Linear((-(-input_size // 16)) ** 2, dim)
        else:
            self.low = nn.Linear(first + second, dim)
            self.high = nn.Linear(third + last, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.pool = GPO()

    def forward(self, levels: Sequence[Tensor], features_NF: Tensor | None = None) -> Tensor:
        """Pool the four levels of `Backbone.levels` into (N, D).

        Args:
            levels: the feature maps.
            features_NF: what `Backbone.pool` makes of the last of them, for "pooled".
        """
        first, second, third, last = levels
        if self.pooling == "channels":
            low = self.low(self._pool_channels(self.low_pool, first, second))
            high = self.high(self._pool_channels(self.high_pool, third, last))
        else:
            # Enlarging a map by a whole factor leaves its mean alone: no need to bring the two to one size.
            low = self.low(torch.cat((global_mean(first), global_mean(second)), dim=1))
            high = self.high(torch.cat((global_mean(third), global_mean(last)), dim=1))
        final = self.final(global_mean(last) if features_NF is None else features_NF)
        vectors_N3D = torch.stack((final, low, high), dim=1)
        pooled: Tensor = self.pool(torch.cat((vectors_N3D, self.mlp(vectors_N3D)), dim=1))
        return pooled

    def prepare_export(self) -> None:
        """Freeze the pooling weights; called on a copy that is exported and thrown away."""
        self.pool.freeze(6)
        if self.pooling == "channels":
            self.low_pool.freeze(self._low_channels)
            self.high_pool.freeze(self._high_channels)

    @staticmethod
    def _pool_channels(pool: nn.Module, fine: Tensor, coarse: Tensor) -> Tensor:
        """One value per place, (N, places of the finer map)."""
        enlarged = F.interpolate(coarse, size=fine.shape[2:], mode="nearest")
        pooled: Tensor = pool(torch.cat((fine, enlarged), dim=1).flatten(2))
        return pooled
