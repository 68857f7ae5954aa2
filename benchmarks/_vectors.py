"""Vectors to fill an archive with, and how much they are like real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

__all__ = ["KINDS", "clustered", "likeness", "noise"]

CENTRES = 1_000

Seed = int | tuple[int, ...]


def spectral(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """Gaussian rows whose variance falls along the axes as that of embeddings does along their principal ones."""
    return rng.standard_normal((count, dim), dtype=np.float32) * (1 + np.arange(dim, dtype=np.float32)) ** -0.5


def clustered(count: int, dim: int, seed: Seed) -> np.ndarray:
    """Unit rows around 1,000 centres, of which some have a thousand times the rows of others."""
    centres = spectral(np.random.default_rng(0), CENTRES, dim)
    share = 1 / np.arange(1, CENTRES + 1)
    rng = np.random.default_rng(seed)
    rows = centres[rng.choice(CENTRES, count, p=share / share.sum())] + np.float32(0.7) * spectral(rng, count, dim)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def noise(count: int, dim: int, seed: Seed) -> np.ndarray:
    """Unit rows in every direction alike."""
    rows = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


KINDS = {"clustered": clustered, "noise": noise}


def likeness(features: Path, dim: int) -> str:
    """What makes nearest neighbours easy or hard to find, of real features (N, F) and of as many rows of each kind.

    Medians of the cosine with the first and the tenth neighbour, and of the intrinsic dimension around a row (Levina
    and Bickel's maximum likelihood estimate over 20 neighbours, NeurIPS 2004), on which the cost of a graph walk
    depends. Features are given too in their own `dim` principal axes, which brings neighbours nearer and
    lowers the dimension.
    """
    with np.load(features) as arrays:
        rows = arrays["features"].astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    axes = np.linalg.svd(rows, full_matrices=False)[2][:dim]
    sets = {features.stem: rows, f"{features.stem} in {dim} axes": rows @ axes.T}
    sets |= {name: make(len(rows), dim, 1).astype(np.float64) for name, make in KINDS.items()}
    lines = [f"{'':32s}{'rows':>8s}{'first':>8s}{'tenth':>8s}{'intrinsic dimension':>22s}"]
    for name, each in sets.items():
        cosines = _neighbours(each / np.linalg.norm(each, axis=1, keepdims=True), 20)
        lines.append(
            f"{name:32s}{len(each):8d}{np.median(cosines[:, 0]):8.3f}{np.median(cosines[:, 9]):8.3f}"
            f"{np.median(_intrinsic_dimension(cosines)):22.1f}"
        )
    return "\n".join(lines)


def _neighbours(unit_ND: np.ndarray, count: int) -> np.ndarray:
    """The cosines of each row with its nearest others, best first."""
    cosines = unit_ND @ unit_ND.T
    np.fill_diagonal(cosines, -2)
    return -np.sort(-cosines, axis=1)[:, :count]


def _intrinsic_dimension(cosines_NK: np.ndarray) -> np.ndarray:
    distances = np.sqrt(np.maximum(2 - 2 * cosines_NK, 1e-9))
    return 1 / np.log(distances[:, -1:] / distances[:, :-1]).mean(axis=1)
