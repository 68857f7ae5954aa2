"""An archive of coloured patches, and an encoder that sees nothing but their mean colour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import shapely

from terraseek.archive import Archive, Record
from terraseek.errors import UsageError
from terraseek.typing import FloatArray, ImageArray

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0)}


class ColourEncoder:
    """Mean colour as a unit vector; words are the names of colours."""

    dim = 3
    fingerprint = "colours"

    def encode_images(self, images: Sequence[ImageArray]) -> FloatArray:
        means = np.stack([np.asarray(image, np.float32).reshape(-1, 3).mean(axis=0) + 1e-3 for image in images])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        if any(text not in COLOURS for text in texts):
            raise UsageError("this model knows colours only")
        rows = np.array([COLOURS[text] for text in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def patch(colour: Sequence[float], size: int = 4) -> ImageArray:
    return np.broadcast_to(np.array(colour, np.float64) * 255, (size, size, 3)).astype(np.uint8)


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def archive(tmp_path: Path, encoder: ColourEncoder) -> Archive:
    """24 patches from red to green to blue, six degrees apart along the equator from 144 W."""
    made = Archive.create(tmp_path / "colours", encoder)
    records, images = [], []
    for at in range(24):
        share = at / 23
        west = -144.0 + 12 * at
        images.append(patch((max(0, 1 - 2 * share), 1 - abs(1 - 2 * share), max(0, 2 * share - 1))))
        records.append(
            Record(
                id=f"p{at:02d}",
                source="strip.tif",
                window=(at * 4, 0, 4, 4),
                footprint=shapely.box(west, 0, west + 1, 1),
                datetime=datetime(2021, 1, 1 + at, tzinfo=UTC),
                labels=("warm",) if share < 0.5 else ("cold", "dark"),
                caption="=danger()" if at == 0 else f"patch, {at}",
                properties={"score": at, "cloud_cover": at * 4},
            )
        )
    made.add(records, encoder.encode_images(images))
    return made
