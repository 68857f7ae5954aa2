from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from terraseek.metrics import write_report

from ..metrics.reports import ORIGIN, evaluation
from .conftest import Run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two seeds each of a worse and a better method."""
    for name, noise in (("worse", 2.0), ("better", 0.4)):
        for seed in range(2):
            known = replace(ORIGIN, fingerprint=f"{name}{seed}", seed=seed)
            write_report(tmp_path / name / f"{seed}", evaluation(noise=noise, seed=seed), known, html=False)
    return tmp_path


def test_seeds_one_by_one_equal_their_folder(run: Run, runs: Path) -> None:
    whole = run("compare", runs / "worse", runs / "better", "--json")
    assert whole.code == 0
    worse, better = (sorted((runs / name).iterdir()) for name in ("worse", "better"))
    single = run("compare", "--a", worse[0], "--a", worse[1], "--b", better[0], "--b", better[1], "--json")
    assert single.json["measures"] == whole.json["measures"]
    assert len(whole.json["a_reports"]) == 2
    first = whole.json["measures"][0]
    assert (first["a_seeds"], first["b_seeds"], first["significant"]) == (2, 2, True)
    assert first["a_std"] > 0
    told = run("compare", runs / "worse", runs / "better").out
    assert "2 and 2 seeds" in told
    assert f"{first['a']:.4f} ± {first['a_std']:.4f}" in told


def test_one_report_a_side_shows_no_spread(run: Run, runs: Path) -> None:
    told = run("compare", runs / "worse" / "0", runs / "better" / "0" / "report.json")
    assert told.code == 0
    assert "±" not in told.out
    mixed = run("compare", runs / "worse" / "0", "--b", runs / "better" / "0", "--json").json
    assert mixed["measures"][0]["a_std"] is None


def test_what_few_queries_cannot_tell_is_said(run: Run, tmp_path: Path) -> None:
    for name, noise in (("worse", 2.0), ("better", 0.4)):
        known = replace(ORIGIN, fingerprint=name)
        write_report(tmp_path / name, evaluation(noise=noise, queries=2), known, html=False)
        write_report(tmp_path / f"{name}-more", evaluation(noise=noise, queries=9), known, html=False)
    told = run("compare", tmp_path / "worse", tmp_path / "better")
    assert told.code == 0
    assert " .. " not in told.out
    assert "too few queries: of fewer than 6 that count, or where half of the labels have a single query" in told.out
    entries = run("compare", tmp_path / "worse", tmp_path / "better", "--json").json["measures"]
    assert all((entry["low"], entry["significant"]) == (None, False) for entry in entries)
    more = run("compare", tmp_path / "worse-more", tmp_path / "better-more").out
    assert " .. " in more
    assert "macro-AP: the interval does not know by how much the single query of 1 label might vary" in more


def test_sides_that_are_missing_or_given_twice(run: Run, runs: Path) -> None:
    lonely = run("compare", runs / "worse")
    assert lonely.code == 2
    assert "side B either as a path or by --b, not neither" in lonely.err
    twice = run("compare", runs / "worse", runs / "better", "--a", runs / "worse" / "0")
    assert twice.code == 2
    assert "not both" in twice.err
    assert run("compare", runs / "nowhere", runs / "better").code == 3
    assert (
        run("compare", "--a", runs / "worse" / "0", "--a", runs / "worse" / "0", "--b", runs / "better" / "0").code == 2
    )
