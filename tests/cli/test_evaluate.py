from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from terraseek.data import load_dataset, synthesize
from terraseek.training import evaluate_captions, evaluate_model
from terraseek.training.seen_images import hash_ids

from .conftest import Run


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    synthesize(root, images=40, seed=5, size=64)
    return root


def test_reports_equal_the_python_call(run: Run, make_model: Callable[..., Path], scenes: Path, tmp_path: Path) -> None:
    model = make_model()
    command = ("evaluate", model, "--dataset", "ucmerced-ml", "--root", scenes)
    told = run(*command, "--report", tmp_path / "a", "--json").json
    found, _ = evaluate_model(model, load_dataset("ucmerced-ml", scenes), bootstrap=0)
    for name, value in found.values.items():
        assert told["measures"][name]["value"] == pytest.approx(value, nan_ok=True)
    assert json.loads((tmp_path / "a" / "report.json").read_text())["measures"] == told["measures"]
    assert "<html" in (tmp_path / "a" / "report.html").read_text()
    assert "nDCG@100(jaccard)" in run(*command).out


def test_a_chosen_measure_and_a_mistaken_one(run: Run, make_model: Callable[..., Path], scenes: Path) -> None:
    command = ("evaluate", make_model(), "--dataset", "ucmerced-ml", "--root", scenes)
    assert list(run(*command, "--measure", "P@5", "--json").json["measures"]) == ["P@5"]
    wrong = run(*command, "--measure", "nDGC@5")
    assert wrong.code == 2
    assert "nDCG" in wrong.err


def test_compare_a_report_with_itself(run: Run, make_model: Callable[..., Path], scenes: Path, tmp_path: Path) -> None:
    command = ("evaluate", make_model(), "--dataset", "ucmerced-ml", "--root", scenes, "--measure", "mAP")
    run(*command, "--report", tmp_path / "a")
    run(*command, "--split", "val", "--report", tmp_path / "b")
    same = run("compare", tmp_path / "a", tmp_path / "a", "--json").json["measures"][0]
    assert (same["difference"], same["significant"]) == (0, False)
    other = run("compare", tmp_path / "a", tmp_path / "b")
    assert other.code == 2
    assert "differ in split" in other.err
    assert run("compare", tmp_path / "a", tmp_path / "nowhere").code == 3


def test_captions_are_judged_where_both_sides_have_text(
    run: Run, make_model: Callable[..., Path], scenes: Path, tmp_path: Path
) -> None:
    model = make_model(text=True)
    command = ("evaluate", model, "--dataset", "ucm-captions", "--root", scenes)
    told = run(*command, "--report", tmp_path / "report", "--json").json
    found, _ = evaluate_captions(model, load_dataset("ucm-captions", scenes), bootstrap=0)
    assert told["measures"]["mR"]["value"] == pytest.approx(found["mR"])
    assert told["provenance"]["split"] == "test"
    assert "<html" in (tmp_path / "report" / "report.html").read_text()
    shown = run(*command).out
    assert "t2i_R@10" in shown
    assert "matcher" in shown
    by_labels = run(*command, "--by", "labels", "--measure", "P@5", "--json").json
    assert list(by_labels["measures"]) == ["P@5"]
    assert run(*command, "--measure", "P@5").code == 2
    plain = run("evaluate", make_model("plain"), "--dataset", "ucm-captions", "--root", scenes, "--by", "captions")
    assert plain.code == 2
    assert "has no text side" in plain.err


def test_queries_that_the_model_was_trained_on_are_refused(
    run: Run, make_model: Callable[..., Path], scenes: Path
) -> None:
    training = {"dataset": "elsewhere", "image_hashes": hash_ids(load_dataset("ucmerced-ml", scenes).ids[:30])}
    command = ("evaluate", make_model(training=training), "--dataset", "ucmerced-ml", "--root", scenes)
    refused = run(*command)
    assert refused.code == 2
    assert "the model was trained on as elsewhere" in refused.err
    assert "--other-split" in refused.err
    assert run(*command, "--other-split", "--measure", "P@1").code == 0
