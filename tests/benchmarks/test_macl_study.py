"""The parts of `benchmarks/macl.py` that decide which runs are the same and what the tables say."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from terraseek.data import load_dataset, synthesize
from terraseek.losses import resolve_options

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # a script finds its neighbours this way

import _finetune
import _probe
import features as frozen
from _plots import plot_fronts, plot_labels
from _settings import ABLATION, COMPETITORS, MACL
from _study import (
    COLUMNS,
    MEAN,
    Competitor,
    MissingError,
    Row,
    Setting,
    Store,
    key_of,
    summary,
    table,
    tune,
    verdict,
    write_tables,
)
from _study import interval as interval_of


def outcome(value: float) -> dict[str, Any]:
    return {"scores": dict.fromkeys(COLUMNS, value), "labels": [value, None]}


def features(seed: int = 0) -> _probe.Features:
    generator = torch.Generator().manual_seed(seed)

    def part(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = (torch.rand(count, 3, generator=generator) < torch.tensor([0.2, 0.4, 0.7])).to(torch.uint8)
        return torch.randn(count, 8, generator=generator) + labels.float().repeat(1, 3)[:, :8], labels

    return _probe.Features("toy", {"train": part(80), "val": part(20), "test": part(20)}, ("a", "b", "c"), "ab", "cd")


def quick(setting: Setting) -> Setting:
    return Setting(setting.name, setting.loss, setting.options, {"epochs": 2, "batch": 32, "least": 8, "dim": 4})


def test_defaults_written_out_are_the_same_run() -> None:
    data = features()
    bare = _probe.config_of(data, Setting("x", "mul-supcon"), 0, "val")
    spelt = _probe.config_of(data, Setting("y", "mul-supcon", {"temperature": 0.1, "over": "labels"}), 0, "val")
    assert key_of(bare) == key_of(spelt)
    for other in (
        _probe.config_of(data, Setting("x", "mul-supcon", {"temperature": 0.2}), 0, "val"),
        _probe.config_of(data, Setting("x", "mul-supcon"), 1, "val"),
        _probe.config_of(data, Setting("x", "mul-supcon"), 0, "test"),
        _probe.config_of(data, Setting("x", "mul-supcon", queue=8), 0, "val"),
        _probe.config_of(data, Setting("x", "mul-supcon", schedule={"lr": 0.1}), 0, "val"),
        _probe.config_of(data, Setting("x", "mul-supcon", sampler={"kind": "label-aware"}), 0, "val"),
    ):
        assert key_of(other) != key_of(bare)


def test_an_option_younger_than_kept_runs_is_left_out_where_it_changes_nothing() -> None:
    data = features()

    def config(**options: Any) -> dict[str, Any]:
        return _probe.config_of(data, quick(Setting("x", "macl", options)), 0, "val")

    before, after = config(fading_by="jaccard"), config(fading_by="rarity")
    assert "fading_by" not in before["options"]
    assert after["options"]["fading_by"] == "rarity"
    assert _probe.train_and_score(data, before) != _probe.train_and_score(data, after)


def test_weighted_is_written_out_as_eta() -> None:
    assert resolve_options("macl", {"weighted": True})["eta"] == 1.0
    assert resolve_options("macl", {"weighted": True, "eta": 0.3})["eta"] == 0.3
    assert "num_labels" not in resolve_options("bce", {})


def test_every_row_of_the_study_can_be_built() -> None:
    data = features()
    rows = [*MACL, *ABLATION, *(rival.at(rival.grid[0]) for rival in COMPETITORS)]
    assert len({key_of(_probe.config_of(data, row, 0, "val")) for row in rows}) == len(rows) - 2  # default, eta 1 twice
    assert all(len(rival.grid) == 6 for rival in COMPETITORS)


def test_a_run_is_kept_and_not_repeated(tmp_path: Path) -> None:
    data, store = features(), Store(tmp_path / "runs.json")
    first = _probe.finish(store, data, quick(MACL[0]), 0, "val")
    assert math.isclose(first["scores"][MEAN], np.mean([first["scores"][c] for c in COLUMNS[:4]]), abs_tol=1e-3)
    (kept,) = json.loads(store.path.read_text()).values()
    assert kept["scores"] == first["scores"]
    assert kept["config"]["options"]["gamma"] == resolve_options("macl", {})["gamma"]
    reader = Store(store.path, kept_only=True)
    assert _probe.finish(reader, data, quick(MACL[0]), 0, "val")["scores"] == first["scores"]
    with pytest.raises(MissingError):
        _probe.finish(reader, data, quick(MACL[0]), 1, "val")


@pytest.mark.parametrize("setting", [Setting("bce", "bce"), Setting("q", "macl", queue=40), Setting("f", "frozen")])
def test_runs_repeat(setting: Setting) -> None:
    config = _probe.config_of(features(), quick(setting), 3, "test")
    assert _probe.train_and_score(features(), config) == _probe.train_and_score(features(), config)


@pytest.mark.parametrize("sampler", [{}, {"kind": "repeat-factor", "threshold": 0.5}, {"kind": "label-aware"}])
def test_samplers_get_as_many_steps(sampler: dict[str, Any]) -> None:
    labels = features().parts["train"][1]
    schedule = {"epochs": 3, "batch": 32, "least": 8}
    drawn = list(_probe.batches(labels, schedule, sampler, seed=0))
    assert len(drawn) == 9
    assert {len(batch) for batch in drawn} <= {32, 16}


def test_tuning_refines_around_the_best_and_says_when_it_is_at_the_end() -> None:
    rival = Competitor(Setting("x", "any-supcon"), "temperature", (0.1, 0.2, 0.4, 0.8))
    tried: list[float] = []

    def worth(setting: Setting, best: float) -> float:
        tried.append(setting.options["temperature"])
        return -abs(math.log(setting.options["temperature"] / best))

    inner = tune(rival, lambda s: worth(s, 0.3))
    assert inner.setting.options["temperature"] == 0.28
    assert not inner.at_end
    assert len(tried) == 6
    outer = tune(rival, lambda s: worth(s, 5.0))
    assert outer.setting.options["temperature"] == 1.6
    assert outer.at_end


def test_lr_is_tuned_in_the_schedule() -> None:
    assert Competitor(Setting("bce", "bce"), "lr", (0.1,)).at(0.1).schedule == {"lr": 0.1}


def test_interval_is_that_of_a_paired_t_test() -> None:
    from scipy import stats

    difference = np.array([0.3, 0.1, 0.5, 0.2, 0.4])
    low, high = stats.t.interval(0.95, 4, difference.mean(), stats.sem(difference))
    assert interval_of(difference) == f"{difference.mean():+.2f} ({low:+.2f} to {high:+.2f})"
    assert interval_of(np.array([1.0])) == "+1.00", "one seed has no interval"
    assert interval_of(np.zeros(3)) == ""


def test_table_pairs_by_seed_and_verdict_takes_the_best_of_each_measure() -> None:
    ours = Row("MACL", {0: outcome(90.0), 1: outcome(91.0), 2: outcome(99.0)})
    rival = Row("b", {1: outcome(90.5), 0: outcome(89.0)})
    frozen = Row("frozen features", {0: outcome(50.0)})
    lines = table([ours, rival, frozen], "MACL").splitlines()
    assert lines[3].endswith("| +0.75 (-2.43 to +3.93) | 2 |")
    assert lines[4].endswith("| 1 |")
    assert lines[4].startswith("| frozen features | 50.0 |")
    weaker = Row("c", {0: {"scores": {**dict.fromkeys(COLUMNS, 1.0), "mAP": 99.5}}})
    found = verdict([ours, rival, weaker], "MACL", ["b", "c"], 0.5).splitlines()
    assert found[2].startswith("| mAP | c | 99.5 |")
    assert found[3].startswith("| nDCG@100(jaccard) | b | 89.8 ± 1.1 |")
    assert "no finished runs" in table([rival], "MACL")
    assert "no measure behind by more than 1.5: NOT reached" in found[-1]  # mAP of c
    assert "rarest labels not behind: reached" in found[-1]
    assert "mean ahead by 0.5: NOT reached" in found[-1]  # the interval holds zero
    assert "no finished runs" in verdict([ours], "MACL", ["b"], 0.5)


def test_tables_go_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- tables: begin -->\nold\n<!-- tables: end -->\nbelow\n")
    for _ in range(2):
        write_tables(page, "| new |")
    expected = "above\n<!-- tables: begin -->\n\n| new |\n\n<!-- tables: end -->\nbelow\n"
    assert page.read_text() == expected
    write_tables(tmp_path / "bare.md", "| new |")
    assert (tmp_path / "bare.md").read_text() == "| new |\n"


def test_summary_keeps_what_cannot_be_measured_as_null() -> None:
    kept = summary(dict.fromkeys(COLUMNS[:5], 1.23456), [0.5, math.nan])
    assert kept["labels"] == [0.5, None]
    assert kept["scores"][MEAN] == 1.2346


def test_figures_are_drawn(tmp_path: Path) -> None:
    rows = [Row("MACL", {0: {"scores": dict.fromkeys(COLUMNS, 80.0), "labels": [1.0, None, 3.0]}})]
    rows.append(Row("b (temperature 1)", {0: {"scores": dict.fromkeys(COLUMNS, 70.0), "labels": [1.0, 2.0, 3.0]}}))
    plot_fronts({"toy": rows}, ["MACL"], tmp_path / "front.png")
    plot_labels({"toy": (features(), rows)}, tmp_path / "labels.png")
    assert all(image.stat().st_size > 5000 for image in tmp_path.iterdir())


def test_fine_tuning_is_keyed_by_what_it_computes(tmp_path: Path) -> None:
    synthesize(tmp_path / "a", 12, seed=0, size=32)
    images = _finetune.Images(tmp_path / "a", load_dataset("ucmerced-ml", tmp_path / "a"))
    recipe = _finetune.recipe_of(images, Setting("x", "any-supcon"), 0, 12)
    config = _finetune.config_of(images, recipe)
    assert str(tmp_path) not in json.dumps(config)
    assert config["recipe"]["loss"]["options"]["temperature"] == 0.1
    longer = _finetune.config_of(images, _finetune.recipe_of(images, Setting("x", "any-supcon"), 0, 13))
    assert key_of(longer) != key_of(config)


@pytest.mark.slow
def test_fine_tuning_runs_and_is_kept(tmp_path: Path) -> None:
    synthesize(tmp_path / "a", 260, seed=0, size=64)
    images = _finetune.Images(tmp_path / "a", load_dataset("ucmerced-ml", tmp_path / "a"))
    store = Store(tmp_path / "runs.json")
    first = _finetune.finish(store, images, MACL[0], 0, epochs=1, runs=tmp_path / "runs")
    assert 0 < first["scores"][MEAN] <= 100
    again = _finetune.finish(Store(store.path, kept_only=True), images, MACL[0], 0, epochs=1, runs=tmp_path / "none")
    assert again["scores"] == first["scores"]


@pytest.mark.data
@pytest.mark.parametrize(("name", "folder", "size"), [("ucmerced-ml", "ucm", 192), ("ml-aid", "aid", 160)])
def test_features_made_anew_are_those_of_the_kept_runs(terraseek_data: Path, name: str, folder: str, size: int) -> None:
    dataset = load_dataset(name, terraseek_data / folder)
    few = dataset.take(range(0, len(dataset), len(dataset) // 6))
    with np.load(terraseek_data / "features" / f"{name}.npz") as kept:
        rows = [kept["names"].tolist().index(f"{sample.id}.jpg") for sample in few.samples]
        expected, labels = kept["features"][rows].astype(np.float32), kept["labels"][rows]
    found = frozen.frozen_features(few, size)
    assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)
    assert np.array_equal(labels, few.labels_NC)
