"""The rows of the KAMCL study are recipes, and no two of them the same."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import ModuleType

import pytest

from terraseek.config import to_mapping
from terraseek.data import ImageDataset, load_dataset

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def kamcl(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; scripts import their neighbours by plain name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "kamcl", raising=False)
    import kamcl

    return kamcl


@pytest.mark.parametrize("dataset", ["ucm-captions", "rsicd-10k"])
def test_every_row_is_a_recipe_of_its_own(kamcl: ModuleType, dataset: str) -> None:
    rows = kamcl.rows_of(dataset)
    recipes = {}
    for row in rows:
        recipe = kamcl.recipe_of(row, dataset, train_images=1000, seed=0, size=96, epochs=10)
        tree = to_mapping(recipe)
        tree.pop("name")
        recipes[row.name] = tree
        assert recipe.data.name == dataset
        assert (recipe.trainer.epochs, recipe.model.input_size) == (10, 96)
    listed = list(recipes.values())
    assert len({row.name for row in rows}) == len(rows)
    assert all(one != other for i, one in enumerate(listed) for other in listed[:i])
    # What all rows must share for a fair comparison.
    for section in ("optimizer", "sampler", "augmentation", "trainer", "data"):
        assert all(tree[section] == listed[0][section] for tree in listed), section


@pytest.mark.data
def test_runs_are_fresh_when_concepts_or_captions_change(
    kamcl: ModuleType, terraseek_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = kamcl.Store(tmp_path / "kamcl.json")
    row = {row.name: row for row in kamcl.ROWS}["final"]

    def key(dataset: ImageDataset | None = None) -> str:
        study = kamcl.Study(store, terraseek_data, tmp_path, "ucm-captions", 96, 4)
        study.dataset = dataset or study.dataset
        return str(kamcl.key_of(study.config(row, 0)))

    known = key()
    assert key() == known
    dataset = load_dataset("ucm-captions", terraseek_data)
    samples = list(dataset.samples)
    place = next(i for i, sample in enumerate(samples) if sample.split == "test")
    samples[place] = dataclasses.replace(samples[place], captions=("Another caption .",))
    other = dataclasses.replace(dataset, samples=tuple(samples))
    assert other.split_hash == dataset.split_hash
    assert key(other) != known
    mine = kamcl.mine_concepts
    monkeypatch.setattr(kamcl, "mine_concepts", lambda dataset, **options: mine(dataset, **options | {"size": 30}))
    assert key() != known


@pytest.mark.data
def test_a_table_has_the_rows_that_are_kept(kamcl: ModuleType, terraseek_data: Path, tmp_path: Path) -> None:
    rows = {row.name: row for row in kamcl.ROWS}
    study = kamcl.Study(kamcl.Store(tmp_path / "kamcl.json"), terraseek_data, tmp_path, "ucm-captions", 96, 4)
    for seed, score in enumerate((40.0, 42.0)):
        study.store.put(study.config(rows["final"], seed), {"scores": dict.fromkeys(kamcl.COLUMNS, score)})
    for name, score in (("corrected", 39.0), ("unbanked", 39.5), ("unbanked in one step", 38.0)):
        study.store.put(study.config(rows[name], 0), {"scores": dict.fromkeys(kamcl.COLUMNS, score)})
    study.store = kamcl.Store(tmp_path / "kamcl.json", kept_only=True)
    corrected, final, unbanked, in_one_step = study.table(kamcl.ROWS).splitlines()[2:]
    assert final.startswith("| final | 41.0 |")
    assert final.endswith("| 41.0 ± 1.4 | 2 |  |  |")
    assert corrected.endswith("| 1 | final | +1.00 |")
    assert unbanked.endswith("| 1 | final | +0.50 |")
    assert in_one_step.endswith("| 1 | unbanked | +1.50 |")
    study.store = kamcl.Store(tmp_path / "none.json", kept_only=True)
    assert study.table(kamcl.ROWS) == ""


def test_schedules_follow_the_epochs(kamcl: ModuleType) -> None:
    by_name = {row.name: row for row in kamcl.ROWS}
    published = kamcl.recipe_of(by_name["published"], "rsicd-10k", train_images=1234, seed=2, size=96, epochs=8)
    assert published.seed == 2
    assert published.objectives.variant == "published"
    assert published.objectives.contrast.queue == 1234
    assert published.objectives.alignment.first_epoch == 4
    one_step = kamcl.recipe_of(by_name["unbanked in one step"], "rsicd-10k", train_images=9, seed=0, size=96, epochs=8)
    assert one_step.objectives.alignment.first_epoch == 0
