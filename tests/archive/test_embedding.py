"""Labels that the model predicts while it embeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terraseek.archive import Archive, Filter, IngestOptions, IngestReport, ingest
from terraseek.archive.sources import Source
from terraseek.errors import UsageError


class ColourEncoder:
    """Sees how red and how blue an image is."""

    dim, fingerprint, concepts = 3, "colours", ("blue", "red")

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        means = np.stack([image.mean(axis=(0, 1)) for image in images]) + 1
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)

    def encode_images_and_concepts(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        scores = np.stack([image.mean(axis=(0, 1))[[2, 0]] / 255 for image in images])
        return self.encode_images(images), scores.astype(np.float32)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        raise NotImplementedError


class PlainEncoder(ColourEncoder):
    concepts = ()


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    colours = {"sea": (0, 0, 204), "roof": (255, 0, 51), "road": (40, 40, 10)}
    for name, colour in colours.items():
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
    return [Source.of_file(tmp_path / f"{name}.png", id=name, labels=("given",)) for name in colours]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.create(tmp_path / "a", ColourEncoder())


def test_predicted_labels_are_kept_from_a_score_upwards_apart_from_given_ones(archive, sources) -> None:
    ingest(archive, ColourEncoder(), sources, IngestOptions(predict_labels=0.2))
    found = {record.id: dict(record.predicted) for record in archive.get(["sea", "roof", "road"])}
    assert found == {"sea": {"blue": 0.8}, "roof": {"blue": 0.2, "red": 1.0}, "road": {}}
    assert {record.labels for record in archive.get(["sea", "roof", "road"])} == {("given",)}
    assert archive.ids(Filter(predicted_any=("blue",))) == ("sea",)
    assert archive.ids(Filter(predicted_any=("blue",), min_score=0.1)) == ("roof", "sea")
    assert archive.facets(Filter(min_score=0))["predicted"] == {"blue": 2, "red": 1}
    assert archive.status()["predicted"] == {"blue": 1, "red": 1}


def test_asking_for_labels_later_embeds_again_and_asking_twice_does_not(archive, sources) -> None:
    assert ingest(archive, ColourEncoder(), sources) == IngestReport(added=3)
    assert ingest(archive, ColourEncoder(), sources, IngestOptions(predict_labels=0.2)) == IngestReport(updated=3)
    assert ingest(archive, ColourEncoder(), sources, IngestOptions(predict_labels=0.2)) == IngestReport(unchanged=3)


def test_a_model_that_predicts_nothing_is_said_before_anything_is_read(archive, sources) -> None:
    with pytest.raises(UsageError, match="predicts no labels"):
        ingest(archive, PlainEncoder(), sources, IngestOptions(predict_labels=0.2))
    with pytest.raises(UsageError, match="not from 2"):
        ingest(archive, ColourEncoder(), sources, IngestOptions(predict_labels=2))
    assert len(archive) == 0
