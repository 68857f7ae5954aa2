"""Recipes: those that come with the project load, and every mistake names its key."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from terraseek.config import from_mapping, to_toml
from terraseek.data import DATASETS
from terraseek.errors import ConfigError, NotFoundError
from terraseek.losses import LOSSES, LabelStatistics, MACLConfig, build_cross_modal_loss, build_loss
from terraseek.metrics import parse_measure
from terraseek.models import BACKBONES, TEXT_ENCODERS, TextNetworkConfig
from terraseek.training import DataConfig, LossConfig, Recipe, SamplerConfig, load_recipe, resolve_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*-macl.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_of_the_project_name_things_that_exist(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem, "the run folder is named after the recipe"
    assert recipe.data.name in DATASETS
    assert recipe.data.root is None, "a recipe fits any machine"
    assert recipe.model.backbone in BACKBONES
    assert recipe.loss.name in LOSSES
    build_loss(recipe.loss.name, LabelStatistics.from_labels([[1, 0], [1, 1]]), recipe.model.dim, **recipe.loss.options)
    assert [str(parse_measure(name)) for name in recipe.trainer.select] == list(recipe.trainer.select)


@pytest.mark.parametrize("name", ["rsicd10k-kamcl", "rsicd10k-search", "ucm-joint"])
def test_recipes_for_captions_name_things_that_exist(name: str) -> None:
    path = RECIPES[0].with_name(f"{name}.toml")
    recipe = load_recipe(path)
    assert (recipe.name, recipe.data.root) == (path.stem, None)
    assert recipe.data.name in DATASETS
    assert recipe.text is not None
    assert recipe.text.encoder in TEXT_ENCODERS
    from_mapping(TextNetworkConfig, recipe.text.network)
    for term in (recipe.objectives.contrast, recipe.objectives.triplet):
        build_cross_modal_loss(term.loss, **term.options)
    assert recipe.loss.name in LOSSES
    assert (recipe.objectives.labels.weight > 0) == (name == "ucm-joint")


@pytest.mark.parametrize("name", ["ucmerced-macl", "ml-aid-macl"])
def test_recipes_with_published_figures_pin_every_choice_of_the_loss(name: str) -> None:
    recipe = next(load_recipe(path) for path in RECIPES if path.stem == name)
    assert recipe.loss.options.keys() == {field.name for field in dataclasses.fields(MACLConfig)}


def test_there_are_recipes() -> None:
    assert {path.stem for path in RECIPES} >= {"ucmerced-macl", "ml-aid-macl", "synthetic-macl"}


def test_resolved_recipe_reads_back_equal(tmp_path: Path) -> None:
    recipe = load_recipe(RECIPES[0], ["data.root=/data/images", "optimizer.lr=3e-4", "loss.options={gamma=2.0}"])
    assert recipe.data.root == Path("/data/images")
    assert recipe.optimizer.lr == 3e-4
    assert recipe.loss.options == {"gamma": 2.0}
    (tmp_path / "recipe.toml").write_text(to_toml(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "recipe.toml") == recipe


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sampler.batchsize=64", r"sampler\.'?batchsize.*did you mean 'batch_size'"),
        ("trainr.epochs=3", r"trainr.*did you mean 'trainer'"),
        ("sampler.kind=balanced", r"'sampler\.kind' is 'balanced', allowed are 'shuffle'"),
        ("trainer.epochs=many", r"'trainer\.epochs' must be int"),
        ("trainer.epochs=0", r"epochs is 0, it must be at least 1"),
        ("optimizer.lr=0", r"lr is 0\.0, it must be above 0"),
        ("optimizer.warmup=1.0", r"warmup is 1\.0"),
        ("augmentation.min_area=0", r"min_area is 0\.0"),
        ("augmentation.saturation=1", r"saturation is 1\.0"),
        ("augmentation.views=3", r"views' is 3, allowed are 1, 2"),
        ("model.dropout=1.0", r"dropout is 1\.0"),
        ("sampler.batch_size=1", r"batch_size is 1, a contrastive batch has at least 2"),
        ("trainer.devices=3", r"batch_size 128 does not divide by trainer\.devices 3"),
        ("text.per_image=0", r"per_image is 0, it must be at least 1"),
        ("text.query_bank=-1", r"query_bank is -1, it must be at least 0"),
        ("text.max_tokens=1", r"max_tokens is 1, it must be at least 2"),
        ("objectives.contrast.weight=0", r"contrast, triplet and labels all have weight 0"),
        ("objectives.contrast.first_epoch=1", r"no objective counts in epoch 0"),
        ("objectives.labels.options={gamma=1}", r"labels\.options have no effect.*loss\.options"),
        ("objectives.alignment.options={gama=1}", r"alignment\.options has no 'gama': did you mean 'gamma'"),
        ("objectives.alignment.options={gamma='x'}", r"alignment\.options\.gamma must be a number, not 'x'"),
        ("objectives.contrast.momentum=1", r"momentum is 1\.0, it must lie in \[0, 1\)"),
        ("objectives.alignment.first_epoch=-1", r"first_epoch is -1"),
        ("objectives.triplet.weight=-1", r"weight is -1\.0"),
        ("concepts.size=0", r"size is 0"),
        ("loss.queue=-1", r"queue is -1"),
        ("seed=-1", r"seed is -1"),
    ],
)
def test_mistakes_name_the_key_and_what_is_allowed(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_recipe(RECIPES[0], [override])
    assert "\n" not in str(caught.value)


def test_a_training_on_captions_counts_every_objective_that_it_has() -> None:
    captions = RECIPES[0].parent / "rsicd10k-kamcl.toml"
    with pytest.raises(ConfigError, match=r"objectives\.alignment\.first_epoch is 10, but there are 2 epochs"):
        load_recipe(captions, ["trainer.epochs=2"])
    load_recipe(captions, ["trainer.epochs=2", "objectives.alignment.weight=0"])
    with pytest.raises(ConfigError, match=r"loss\.queue is for label sets alone"):
        load_recipe(captions, ["loss.queue=64"])


def test_word_vectors_come_from_one_place() -> None:
    captions = RECIPES[0].parent / "rsicd10k-kamcl.toml"
    with pytest.raises(ConfigError, match=r"text\.word_vectors is 'minilm-l6', but text\.pretrained brings"):
        load_recipe(captions, ["text.pretrained=true"])
    load_recipe(captions, ["text.pretrained=true", "text.word_vectors=random"])


def test_label_aware_needs_a_batch_that_holds_it() -> None:
    with pytest.raises(ConfigError, match=r"labels \* per_label is 40, more than the batch_size of 32"):
        SamplerConfig(kind="label-aware", batch_size=32, labels=10, per_label=4)


def test_missing_file_and_missing_key(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no recipe at"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(ConfigError, match="missing key 'data'"):
        load_recipe(tmp_path / "empty.toml")
    assert Recipe(data=DataConfig(name="table")).loss.name == "macl"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss.name=malc"], r"'malc'.*macl"),
        (["loss.options={temperature='x'}"], r"temperature is 'x', it must be like its default, 0\.1"),
        (["loss.options={gama=1.0}"], r"no option 'gama'.*gamma"),
        (["trainer.select=['nDGC@5']"], r"nDCG"),
        (
            ["trainer.select=['mAP', 'Hamming@100']"],
            r"trainer\.select: of Hamming@100 the lower is the better.*leave it",
        ),
        (["text.per_image=2", "objectives.contrast.loss=info-nse"], r"info-nce"),
        (["text.per_image=2", "objectives.contrast.options={temperature=true}"], r"temperature is True"),
    ],
)
def test_names_and_types_of_losses_are_checked_before_any_image_is_read(overrides: list[str], message: str) -> None:
    path = RECIPES[0].with_name("ucmerced-macl.toml")
    with pytest.raises(ConfigError, match=message):
        resolve_recipe(load_recipe(path, overrides))


def test_resolving_writes_defaults_out_and_changes_nothing_else() -> None:
    recipe = Recipe(data=DataConfig(name="table"), loss=LossConfig(options={"weighted": True}))
    resolved = resolve_recipe(recipe)
    assert resolved.loss.options["eta"] == 1.0
    assert set(resolved.loss.options) == set(MACLConfig.__dataclass_fields__)
    assert dataclasses.replace(resolved, loss=recipe.loss) == recipe
    assert resolve_recipe(resolved) == resolved
