"""Records along a Hilbert curve: neighbours on the globe are neighbours in the file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .view import View

__all__ = ["hilbert_distance", "hilbert_order"]


def hilbert_order(view: View, ids: tuple[str, ...]) -> list[str]:
    """The ids along a Hilbert curve over the globe, so that a reader of one region reads few pages."""
    boxes = view.snapshot.columns(["west", "south", "east", "north"])
    positions = view.snapshot.find(ids)
    there = positions >= 0
    west, south, east, north = (boxes[side].to_numpy(zero_copy_only=False)[positions] for side in boxes)
    x, y = np.where(west <= east, (west + east) / 2, west), (south + north) / 2
    placed = there & ~np.isnan(x)
    distance = np.full(len(ids), np.iinfo(np.int64).max)
    distance[placed] = hilbert_distance(x[placed], y[placed])
    return [ids[at] for at in np.argsort(distance, kind="stable") if there[at]]


def hilbert_distance(lon: NDArray[Any], lat: NDArray[Any], order: int = 16) -> NDArray[np.int64]:
    """Distance along a Hilbert curve of 2^order cells a side (the bit loop of Lam and Shapiro, 1994)."""
    side = 1 << order
    x = np.clip(((lon + 180) / 360 * side).astype(np.int64), 0, side - 1)
    y = np.clip(((lat + 90) / 180 * side).astype(np.int64), 0, side - 1)
    distance = np.zeros(len(x), np.int64)
    for level in range(order - 1, -1, -1):
        step = 1 << level
        right, upper = (x & step) > 0, (y & step) > 0
        distance += step * step * ((3 * right) ^ upper)
        flip = ~upper & right
        x, y = np.where(flip, side - 1 - x, x), np.where(flip, side - 1 - y, y)
        x, y = np.where(upper, x, y), np.where(upper, y, x)
    return distance
