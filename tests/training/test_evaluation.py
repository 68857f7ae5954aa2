"""Evaluation through the exported encoder: the same as by hand, and honest about images that cannot be read."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from terraseek.data import load_dataset
from terraseek.encoders import load_encoder
from terraseek.errors import ConfigError, DatasetError, UsageError
from terraseek.metrics import EmbeddingSet, evaluate_retrieval
from terraseek.models import build_embedder, embedder_config, save_model
from terraseek.training import embed_dataset, evaluate_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = embedder_config("test-tiny", input_size=16, dim=8)
    directory = tmp_path_factory.mktemp("models") / "random"
    return save_model(directory, build_embedder(config), config).directory


def test_equals_embedding_and_ranking_by_hand(model: Path, colours: Path) -> None:
    dataset = load_dataset("table", colours)
    calls: list[tuple[int, int]] = []
    measures = ["mAP", "macro-AP"]
    found, _ = evaluate_model(model, dataset, measures=measures, bootstrap=0, progress=lambda *c: calls.append(c))
    encoder = load_encoder(model)
    sets = []
    for name in ("test", "train"):
        part = dataset.subset(name)
        vectors = encoder.encode_images([part.read(i) for i in range(len(part))])
        sets.append(EmbeddingSet(vectors, part.labels_NC, part.ids))
    by_hand = evaluate_retrieval(sets[0], sets[1], measures, bootstrap=0)
    assert found.values == by_hand.values
    assert [label.name for label in found.labels] == list(dataset.label_names)
    assert calls[-1] == (56, 56)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_one_split_against_itself_leaves_each_query_out(model: Path, colours: Path) -> None:
    dataset = load_dataset("table", colours)
    found, _ = evaluate_model(
        load_encoder(model), dataset, query_split="test", gallery_split="test", measures=["P@1"], bootstrap=0
    )
    assert found.self_excluded == found.gallery_size == 16


def test_rarity_comes_from_the_training_split(model: Path, colours: Path) -> None:
    dataset = load_dataset("table", colours)
    found, _ = evaluate_model(
        model, dataset, query_split="val", gallery_split="test", measures=["macro-AP"], bootstrap=0
    )
    frequency = dataset.subset("train").labels_NC.mean(0)
    assert np.allclose([label.frequency for label in found.labels], frequency)


def test_unreadable_images_are_left_out_and_listed(model: Path, colours: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(colours, root)
    (root / "images" / "test05.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    dataset = load_dataset("table", root)
    embedded, refused = embed_dataset(load_encoder(model, batch_size=4), dataset.subset("test"))
    assert len(embedded) == 15
    assert "images/test05" not in embedded.ids
    assert ["test05.png" in item.source for item in refused] == [True]
    for path in (root / "images").glob("test*.png"):
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match="none of its 16 images can be read"):
        embed_dataset(load_encoder(model), dataset.subset("test"))


def test_asks_for_labels_and_splits_that_exist(model: Path, colours: Path, tmp_path: Path) -> None:
    dataset = load_dataset("table", colours)
    with pytest.raises(ConfigError, match="no split 'tset': did you mean 'test'"):
        evaluate_model(model, dataset, query_split="tset")
    shutil.copytree(colours, tmp_path / "plain")
    (tmp_path / "plain" / "samples.csv").write_text("path,split\nimages/test00.png,test\nimages/train00.png,train\n")
    with pytest.raises(UsageError, match="has no labels"):
        evaluate_model(model, load_dataset("table", tmp_path / "plain"))
