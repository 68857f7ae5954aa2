"""Evaluation through the exported encoder: the same as by hand, and honest about images that cannot be read."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.encoders.conftest import make_model

from terraseek.data import ImageDataset, load_dataset, synthesize
from terraseek.encoders import load_encoder
from terraseek.errors import ConfigError, DatasetError, UsageError
from terraseek.metrics import EmbeddingSet, evaluate_retrieval
from terraseek.models import build_embedder, embedder_config, save_model
from terraseek.training import embed_dataset, evaluate_captions, evaluate_model
from terraseek.training.seen_images import hash_ids, seen_ids
from terraseek.typing import FloatArray

__all__ = ["make_model"]


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


def test_rarity_may_come_from_several_splits_and_never_from_a_mistyped_one(model: Path, colours: Path) -> None:
    dataset = load_dataset("table", colours)

    def frequencies(of: ImageDataset, train_split: str, gallery: str = "test") -> list[float]:
        found, _ = evaluate_model(
            model,
            of,
            query_split="val",
            gallery_split=gallery,
            train_split=train_split,
            measures=["P@1"],
            bootstrap=0,
        )
        return [label.frequency for label in found.labels]

    both = dataset.subset("train+val").labels_NC.mean(0)
    assert frequencies(dataset, "train+val") == pytest.approx(both.tolist())
    with pytest.raises(ConfigError, match="no split 'trian': did you mean 'train'"):
        frequencies(dataset, "trian")
    without = dataset.take([i for i, sample in enumerate(dataset.samples) if sample.split != "train"])
    gallery = dataset.subset("test").labels_NC.mean(0)
    assert frequencies(without, "train") == pytest.approx(gallery.tolist()), "there is nothing else to go by"


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


MakeModel = Callable[..., Path]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that are two data sets: ``ucmerced-ml``, and with captions and splits of their own ``ucm-captions``."""
    root = tmp_path_factory.mktemp("scenes")
    synthesize(root, images=60, seed=5, size=32)
    shutil.rmtree(root / "splits")  # the captions keep theirs, the labels get a draw
    return root


def trained_on(dataset: ImageDataset, **changes: str) -> dict[str, str]:
    """What the config of a model says of its training."""
    hashes = hash_ids(dataset.subset("train").ids)
    return {"dataset": dataset.name, "split_hash": dataset.split_hash, "image_hashes": hashes, **changes}


def shared(trained: ImageDataset, judged: ImageDataset) -> list[str]:
    """Training images of one data set that are test images of the other."""
    known = set(trained.subset("train").ids)
    return [name for name in judged.subset("test").ids if name in known]


def judge(by: str, model: Path, dataset: ImageDataset, split: str = "test", *, other_split: bool = False) -> None:
    if by == "captions":
        evaluate_captions(model, dataset, split=split, bootstrap=0, other_split=other_split)
    else:
        evaluate_model(model, dataset, query_split=split, measures=["P@1"], bootstrap=0, other_split=other_split)


@pytest.mark.parametrize(("by", "name"), [("labels", "ucmerced-ml"), ("captions", "ucm-captions")])
def test_a_model_of_another_split_is_refused(make_model: MakeModel, scenes: Path, by: str, name: str) -> None:
    dataset = load_dataset(name, scenes)
    other = make_model("other", text=True, training=trained_on(dataset, split_hash="f" * 64))
    with pytest.raises(
        UsageError, match=rf"on another split of {name} \(f{{12}}, this one is {dataset.split_hash[:12]}"
    ):
        judge(by, other, dataset)
    judge(by, other, dataset, other_split=True)
    same = make_model("same", text=True, training=trained_on(dataset))
    judge(by, same, dataset)
    judge(by, same, dataset, "train")  # asked for by name, the training images are no leak


@pytest.mark.parametrize(("by", "name"), [("labels", "ucmerced-ml"), ("captions", "ucm-captions")])
def test_a_model_trained_on_several_splits_is_refused_for_one_of_them(
    make_model: MakeModel, scenes: Path, by: str, name: str
) -> None:
    dataset = load_dataset(name, scenes)
    hashes = hash_ids(dataset.subset("train+val").ids)
    model = make_model(text=True, training=trained_on(dataset, split="train+val", image_hashes=hashes))
    size = len(dataset.subset("val"))
    with pytest.raises(UsageError, match=f"{size} of the {size} queries from {name} have the ids of images"):
        judge(by, model, dataset, "val")
    judge(by, model, dataset)
    judge(by, model, dataset, "train+val")


@pytest.mark.parametrize(
    ("by", "first", "second"), [("labels", "ucm-captions", "ucmerced-ml"), ("captions", "ucmerced-ml", "ucm-captions")]
)
def test_a_model_trained_on_queries_under_another_name_is_refused(
    make_model: MakeModel, scenes: Path, by: str, first: str, second: str
) -> None:
    trained, judged = load_dataset(first, scenes), load_dataset(second, scenes)
    seen, queries = shared(trained, judged), judged.subset("test").ids
    assert 0 < len(seen) < len(queries), "the miniatures share some training and test images, not all"
    model = make_model(text=True, training=trained_on(trained))
    with pytest.raises(UsageError) as refusal:
        judge(by, model, judged)
    text = str(refusal.value)
    assert f"{len(seen)} of the {len(queries)} queries from {second}" in text
    assert f"trained on as {first}, {seen[0]!r} for one" in text
    judge(by, model, judged, other_split=True)

    others = hash_ids(set(trained.subset("train").ids) - set(seen))
    judge(by, make_model("apart", text=True, training=trained_on(trained, image_hashes=others)), judged)
    old = {"dataset": first, "split_hash": trained.split_hash}
    judge(by, make_model("without hashes", text=True, training=old), judged)


@pytest.mark.data
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("ucm-captions", "ucmerced-ml", (372, 420)), ("rsicd-10k", "ml-aid", (544, 600))],
)
def test_real_data_sets_that_share_images_are_told(
    make_model: MakeModel, terraseek_data: Path, first: str, second: str, expected: tuple[int, int]
) -> None:
    trained, judged = load_dataset(first, terraseek_data), load_dataset(second, terraseek_data)
    with pytest.raises(UsageError, match=rf"^{expected[0]} of the {expected[1]} queries from {second} have the ids"):
        evaluate_model(make_model(training=trained_on(trained)), judged)


def test_hashes_find_exactly_the_ids_that_they_were_made_of() -> None:
    ids = [f"scene{i % 7}/scene{i}" for i in range(5000)]
    hashes = hash_ids(ids[::2])
    assert seen_ids(hashes, ids) == ids[::2]
    assert seen_ids("", ids) == []
    assert hash_ids(reversed(ids)) == hash_ids(ids), "equal trainings have equal configs"
    assert len(hashes) == 8 * 2500
    assert seen_ids(hash_ids(["caf\u00e9\udcff"]), ["caf\u00e9\udcff"]), "names that are no UTF-8 are ids as well"


def test_captions_are_judged_with_each_image_and_each_text_encoded_once(
    make_model: MakeModel, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset("ucm-captions", scenes)
    encoder = load_encoder(make_model(text=True), batch_size=5)
    read: list[Path] = []
    images: list[int] = []
    texts: list[str] = []
    encode_images, encode_texts = encoder.encode_images, encoder.encode_texts
    monkeypatch.setattr(encoder, "encode_images", lambda batch: images.append(len(batch)) or encode_images(batch))
    monkeypatch.setattr(encoder, "encode_texts", lambda batch: texts.extend(batch) or encode_texts(batch))
    reader = dataset.reader
    noted = dataclasses.replace(dataset, reader=lambda path: read.append(path) or reader(path))
    found, _ = evaluate_captions(encoder, noted, bootstrap=0)
    held = dataset.subset("test")
    assert read == [sample.path for sample in held.samples]
    assert sum(images) == len(held)
    captions = [text for sample in held.samples for text in sample.captions]
    assert list(found.texts) == captions
    assert sorted(texts) == sorted(set(captions))
    assert len(texts) < len(captions), "the miniature repeats captions"


def test_equal_captions_tie(make_model: MakeModel, scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with an encoder whose last bits depend on what else is in the batch, as that of a real network does."""
    dataset = load_dataset("ucm-captions", scenes)
    held = dataset.subset("test")
    samples = [dataclasses.replace(s, captions=("a beach",) if s.split == "test" else ()) for s in dataset.samples]
    same = dataclasses.replace(dataset, samples=tuple(samples))
    encoder = load_encoder(make_model(text=True))
    encode_texts = encoder.encode_texts

    def uneven(batch: list[str]) -> FloatArray:
        noise = np.random.default_rng(0).normal(0, 1e-6, (len(batch), encoder.dim))
        return (encode_texts(batch) + noise).astype(np.float32)

    monkeypatch.setattr(encoder, "encode_texts", uneven)
    found, _ = evaluate_captions(encoder, same, bootstrap=0)
    # In expectation over tied orders: an image's own caption comes first as often as any other's.
    np.testing.assert_allclose(found.exact["i2t"].hits[1], 1 / len(held))
