"""Array aliases, the Protocols that packages meet at, and the shape legend.

Arrays carry their shape as a suffix, one letter per axis:

    N batch     M keys or references     Q queries     G gallery     D embedding dimensions
    C labels    K ranks or set elements  H height      W width       B bands (channels)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["BoolArray", "ConceptEncoder", "Encoder", "FloatArray", "ImageArray", "IntArray", "LabelArray"]

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]
BoolArray: TypeAlias = NDArray[np.bool_]
LabelArray: TypeAlias = NDArray[np.uint8]
"""Multi-hot labels, (N, C), entries 0 or 1."""
ImageArray: TypeAlias = NDArray[Any]
"""One image, (H, W, B): uint8 RGB, or any band count and type that the model declares."""


@runtime_checkable
class Encoder(Protocol):
    """Turns images (and, where the model has a text side, texts) into unit vectors."""

    @property
    def dim(self) -> int:
        """Number of embedding dimensions D."""
        ...

    @property
    def fingerprint(self) -> str:
        """sha256 over the model's config and weights; two encoders with one fingerprint are interchangeable."""
        ...

    def encode_images(self, images: Sequence[ImageArray]) -> FloatArray:
        """Encode images of any size into (N, D) float32 unit rows."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Encode texts into (N, D) float32 unit rows; a model without a text side raises UsageError."""
        ...


@runtime_checkable
class ConceptEncoder(Encoder, Protocol):
    """An encoder that can also say in words what an image shows."""

    @property
    def concepts(self) -> tuple[str, ...]:
        """The words that it scores; empty for a model that was trained without."""
        ...

    def encode_images_and_concepts(self, images: Sequence[ImageArray]) -> tuple[FloatArray, FloatArray]:
        """(N, D) unit rows, and (N, C) scores in 0..1 in the order of `concepts`."""
        ...
