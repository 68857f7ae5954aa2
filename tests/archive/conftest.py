"""A small archive that every test here may fill and search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import shapely

from terraseek.archive import Archive, ModelIdentity, Record
from terraseek.typing import FloatArray

DIM = 8
LABELS = ("beach", "field", "forest", "town")


@pytest.fixture
def model() -> ModelIdentity:
    return ModelIdentity(fingerprint="f" * 64, dim=DIM, name="test")


@pytest.fixture
def archive(tmp_path: Path, model: ModelIdentity) -> Archive:
    return Archive.create(tmp_path / "archive", model)


def make_records(count: int, seed: int = 0, prefix: str = "r") -> tuple[list[Record], FloatArray]:
    """Records with everything set, over the whole globe, and vectors of any length."""
    rng = np.random.default_rng(seed)
    records = []
    for at in range(count):
        west, south = float(rng.uniform(-180, 179)), float(rng.uniform(-85, 84))
        records.append(
            Record(
                id=f"{prefix}{at:05d}",
                source=f"scene{at % 7}.tif",
                window=(at, 0, 64, 64),
                footprint=shapely.box(west, south, west + 1, south + 1),
                datetime=datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=at),
                labels=tuple(label for label, p in zip(LABELS, rng.random(4), strict=True) if p < 0.4),
                predicted={"beach": float(rng.random())},
                caption=f"chip {at}",
                properties={"cloud_cover": at % 100, "sensor": "msi" if at % 2 else "oli"},
                collection=f"c{at % 3}",
                thumbnail=b"picture" * (at % 3),
            )
        )
    return records, rng.standard_normal((count, DIM))


@pytest.fixture
def filled(archive: Archive) -> Archive:
    records, vectors = make_records(300)
    archive.add(records, vectors)
    return archive


@pytest.fixture
def records_of() -> Callable[..., tuple[list[Record], FloatArray]]:
    return make_records


def flip_a_bit(path: Path) -> None:
    """The lowest bit of the byte in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def brute_force(vectors: FloatArray, ids: Sequence[str], query: FloatArray) -> list[tuple[str, float]]:
    """The ranking by plain loops: cosine rounded as documented, ties by id."""
    pairs = []
    for name, row in zip(ids, np.asarray(vectors, np.float64), strict=True):
        cosine = float(row @ query / (np.linalg.norm(row) * np.linalg.norm(query)))
        pairs.append((name, cosine))
    return sorted(pairs, key=lambda pair: (-round(pair[1], 6), pair[0]))
