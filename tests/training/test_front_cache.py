"""Training on what the frozen front of a backbone made of some views of every image."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch

from terraseek.data import load_dataset
from terraseek.encoders import load_encoder
from terraseek.errors import ConfigError, IntegrityError
from terraseek.models import Front, load_image_text_model
from terraseek.training import AugmentationConfig, Recipe, resolve_recipe, train
from terraseek.training.augmentation import augment
from terraseek.training.front import FrontLayout, FrontSplit
from terraseek.training.front_cache import keep_fronts
from terraseek.training.label_plan import label_plan
from terraseek.training.plan import Plan

VIEWS = 3


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    return kept(tiny_recipe)


def kept(recipe: Recipe, **model: Any) -> Recipe:
    return dataclasses.replace(
        recipe,
        model=dataclasses.replace(recipe.model, **{"freeze": ("stem_conv", "bn"), **model}),
        augmentation=dataclasses.replace(recipe.augmentation, kept_views=VIEWS),
    )


def plan_of(recipe: Recipe, cache: Path) -> Plan:
    torch.manual_seed(recipe.seed)
    return label_plan(resolve_recipe(recipe), load_dataset("table", recipe.data.root or ""), cache)


def fronts_in(folder: Path) -> set[tuple[str, int]]:
    return {(path.name, path.stat().st_mtime_ns) for path in folder.glob("*-front-*.f16")}


def test_a_front_comes_back_from_its_row() -> None:
    maps = tuple(torch.randn(2, *shape).half().float() for shape in ((3, 1, 1), (2, 4, 5)))
    layout = FrontLayout(2, ((3, 1, 1), (2, 4, 5)))
    rows = layout.pack(Front(2, maps))
    assert rows.shape == (2, layout.size)
    back = layout.unpack(rows)
    assert all(torch.equal(a, b) for a, b in zip(back.maps, maps, strict=True))
    with pytest.raises(IntegrityError, match="kept_views to 0"):
        layout.pack(Front(2, tuple(1e6 * each for each in maps)))


@pytest.mark.parametrize("aggregator", ["none", "mean", "pooled", "channels"])
def test_kept_views_embed_as_their_images_do(tiny_recipe: Recipe, tmp_path: Path, aggregator: str) -> None:
    resnet = {"backbone": "resnet-18", "freeze": ("conv1", "bn1", "layer1")}  # an aggregator needs true strides
    more = {} if aggregator == "none" else {**resnet, "aggregator": aggregator, "aggregator_dim": 12}
    recipe = kept(tiny_recipe, **more)
    plan, plain = plan_of(recipe, tmp_path), plan_of(tiny_recipe, tmp_path)
    network, split = plan.task.image_side.eval(), plan.data.train
    assert isinstance(split, FrontSplit)
    assert split.names == plain.data.train.names
    for view in range(VIEWS):
        batch = split[[view * len(split) + row for row in range(len(split))]]
        assert batch.ids_N.tolist() == list(range(len(split)))
        assert torch.equal(batch.labels_NC, plain.data.train[range(len(split))].labels_NC)
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence((view, 0)).generate_state(1)[0]))
        pixels = plain.data.train[range(len(split))].images
        images = (augment(pixels, 16, recipe.augmentation, generator) - plan.task.mean) / plan.task.std
        with torch.no_grad():
            expected, found = network(images), network(plan.task.training_images(batch, generator))
        torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)  # half precision
    queries = range(len(plan.data.queries))
    with torch.no_grad():
        expected = network(plan.task.plain(plain.data.queries[queries].images))
        found = network(plan.task.validation_images(plan.data.queries[queries]))
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)


def test_kept_fronts_are_found_by_other_seeds_but_not_by_other_weights(recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "pixels"
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, cache=folder))
    torch.manual_seed(1)
    plan_of(recipe, folder)
    first = fronts_in(folder)
    assert len(first) == 3
    assert not list(folder.glob("*.partial"))
    other = dataclasses.replace(recipe, augmentation=dataclasses.replace(recipe.augmentation, min_area=0.5))
    plan_of(other, folder)
    assert len(fronts_in(folder) - first) == 1, "validation sees no augmentation"
    plan_of(dataclasses.replace(recipe, sampler=dataclasses.replace(recipe.sampler, batch_size=8)), folder)
    assert len(fronts_in(folder)) == 4
    plan_of(dataclasses.replace(recipe, seed=4), folder)  # random weights follow from the seed
    assert len(fronts_in(folder)) == 7


def test_trainings_that_begin_together_run_the_front_once(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_of(dataclasses.replace(recipe, augmentation=AugmentationConfig()), tmp_path)  # decodes the pixels
    packed, meet, pack = [], Barrier(2), FrontLayout.pack

    def counted(layout: FrontLayout, front: Front) -> torch.Tensor:
        packed.append(len(front.maps[0]))
        time.sleep(0.05)  # long enough for the other to come and find nothing yet
        return pack(layout, front)

    monkeypatch.setattr(FrontLayout, "pack", counted)

    def begin(plan: Plan) -> list[bytes]:
        meet.wait()
        data = keep_fronts(plan.task, plan.data, resolve_recipe(recipe), tmp_path)
        assert isinstance(data.train, FrontSplit)
        assert isinstance(data.queries, FrontSplit)
        return [data.train.fronts.tobytes(), data.queries.fronts.tobytes()]

    plain = dataclasses.replace(recipe, augmentation=AugmentationConfig())
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(begin, [plan_of(plain, tmp_path) for _ in range(2)])
    assert one == two
    assert sum(packed) == VIEWS * 40 + 40 + 16
    assert len(fronts_in(tmp_path)) == 3
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_training_on_kept_views_learns(recipe: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, trainer=dataclasses.replace(recipe.trainer, epochs=6, validate_every=3))
    run = train(recipe, tmp_path / "whole")
    losses = [row["train/loss"] for row in run.epochs]
    assert losses[-1] < losses[0]
    # The exported network reads pixels, the trained one read fronts: they agree.
    best = next(row for row in run.epochs if row["epoch"] == run.best_epoch)
    assert run.validation["mAP"] == pytest.approx(best["val/mAP"], abs=2e-3)


def test_a_training_on_kept_views_resumes_bit_for_bit(recipe: Recipe, tmp_path: Path) -> None:
    def stop(row: Mapping[str, float]) -> None:
        if row["epoch"] == 1:
            raise KeyboardInterrupt

    whole = train(recipe, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "parts", on_epoch=stop)
    parts = train(recipe, tmp_path / "parts", resume=True)
    assert parts.export.fingerprint == whole.export.fingerprint


def test_captions_train_on_kept_views(caption_recipe: Recipe, tmp_path: Path) -> None:
    recipe = kept(caption_recipe, aggregator="mean", aggregator_dim=12)
    recipe = dataclasses.replace(recipe, trainer=dataclasses.replace(recipe.trainer, epochs=3))
    run = train(recipe, tmp_path / "run")
    best = next(row for row in run.epochs if row["epoch"] == run.best_epoch)
    assert run.validation["mR"] == pytest.approx(best["val/mR"], abs=3)


def test_a_query_bank_is_made_of_images_and_not_of_their_kept_views(caption_recipe: Recipe, tmp_path: Path) -> None:
    recipe = kept(caption_recipe, aggregator="mean", aggregator_dim=12)
    assert recipe.text is not None
    recipe = dataclasses.replace(recipe, text=dataclasses.replace(recipe.text, query_bank=20))
    run = train(recipe, tmp_path / "run")
    bank = load_image_text_model(run.model)[0].image.query_bank
    assert bank is not None
    dataset = load_dataset("table", recipe.data.root or "").subset("train")
    held_back = load_encoder(run.model).encode_images([dataset.read(i) for i in range(len(dataset))])[:, -1]
    # The level is the mean over these very images.
    assert abs(held_back.mean()) < held_back.std() / 2


def test_what_cannot_be_kept_is_refused(tiny_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'let model.freeze begin with "stem_conv", "bn"'):
        plan_of(unfrozen(tiny_recipe), tmp_path)
    with pytest.raises(ConfigError, match="kept_views goes with views = 1"):
        AugmentationConfig(kept_views=2, views=2)
    with pytest.raises(ConfigError, match="kept_views is -1"):
        AugmentationConfig(kept_views=-1)


def unfrozen(recipe: Recipe) -> Recipe:
    return dataclasses.replace(kept(recipe), model=recipe.model)
