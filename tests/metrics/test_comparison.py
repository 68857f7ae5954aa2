"""Reports compared: which run is better, over several seeds, and what cannot be compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from terraseek.errors import CorruptError, NotFoundError, UsageError
from terraseek.metrics import (
    EmbeddingSet,
    compare_reports,
    evaluate_retrieval,
    find_reports,
    read_report,
    write_report,
)

from .reports import ORIGIN, evaluation


def test_the_better_run_wins(tmp_path: Path) -> None:
    write_report(tmp_path / "a", evaluation(noise=2.0, queries=80), ORIGIN, html=False)
    write_report(tmp_path / "b", evaluation(noise=0.3, queries=80), ORIGIN, html=False)
    results = {c.measure: c for c in compare_reports(tmp_path / "a", tmp_path / "b", resamples=300)}
    a, b = read_report(tmp_path / "a").values, read_report(tmp_path / "b").values
    for name in ("mAP", "nDCG@100(jaccard)", "macro-AP"):
        assert results[name].a == pytest.approx(a[name])
        assert results[name].b == pytest.approx(b[name])
        assert results[name].significant
        assert results[name].low > 0
        assert results[name].queries == 80
    assert set(results) == set(a)
    back = {c.measure: c for c in compare_reports(tmp_path / "b", tmp_path / "a", resamples=300)}
    assert back["mAP"].difference == -results["mAP"].difference
    same = compare_reports(tmp_path / "a", tmp_path / "a", resamples=100)
    assert all(c.difference == 0 and c.p_value == 1 and not c.significant for c in same)


def test_seeds_are_averaged_per_query_and_their_spread_is_told(tmp_path: Path) -> None:
    for seed in range(3):
        write_report(tmp_path / "a" / f"{seed}", evaluation(noise=2.0, seed=seed), ORIGIN, html=False)
        write_report(tmp_path / "b" / f"{seed}" / "report", evaluation(noise=0.5, seed=seed), ORIGIN, html=False)
    a, b = find_reports(tmp_path / "a"), find_reports(tmp_path / "b")
    assert [path.parent.name for path in a] == ["0", "1", "2"]
    [first, *_] = compare_reports(a, b, resamples=100)
    values = [read_report(path).values[first.measure] for path in a]
    assert first.a == pytest.approx(np.mean(values))
    assert first.a_std == pytest.approx(np.std(values, ddof=1))
    assert first.b == pytest.approx(np.mean([read_report(path).values[first.measure] for path in b]))
    assert (first.a_seeds, first.b_seeds) == (3, 3)
    [alone, *_] = compare_reports(a[0], b, resamples=100)
    assert (alone.a_seeds, alone.a_std, alone.b_seeds) == (1, None, 3)
    assert alone.to_json()["a_std"] is None
    per_query = [np.mean([read_report(p).per_query(first.measure) for p in side], axis=0) for side in (a, b)]
    assert first.difference == pytest.approx(float(np.mean(per_query[1] - per_query[0])))


def test_what_neither_run_has_a_value_of_is_no_difference(tmp_path: Path) -> None:
    """Two labels leave none for the middle third."""
    rng = np.random.default_rng(0)
    labels = rng.random((30, 2)) < 0.5
    for name in ("a0", "a1", "b"):
        images = EmbeddingSet(rng.standard_normal((30, 4)), labels, tuple(f"{i}" for i in range(30)))
        write_report(tmp_path / name, evaluate_retrieval(images, images, ["mAP", "medium-AP"], bootstrap=0), html=False)
    assert np.isnan(read_report(tmp_path / "b").values["medium-AP"])
    found = compare_reports([tmp_path / "a0", tmp_path / "a1"], tmp_path / "b", resamples=50)
    mean, medium = (entry.to_json() for entry in found)
    assert (medium["a"], medium["b"], medium["difference"], medium["low"], medium["a_std"]) == (None,) * 5
    assert (medium["p_value"], medium["p_holm"], medium["significant"]) == (None, None, False)
    assert mean["a"] is not None
    assert mean["p_holm"] == mean["p_value"], "one test is no several"


def test_one_model_twice_is_no_second_seed(tmp_path: Path) -> None:
    known = replace(ORIGIN, fingerprint="f00")
    for name in ("a", "b"):
        write_report(tmp_path / name, evaluation(), known, html=False)
    with pytest.raises(UsageError, match="are of the same model: give each seed once"):
        compare_reports([tmp_path / "a", tmp_path / "b"], tmp_path / "a")
    with pytest.raises(UsageError, match="the same model"):
        compare_reports([tmp_path / "a", tmp_path / "a"], tmp_path / "b")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"dataset": "ml-aid"}, "differ in data set: toy and ml-aid"),
        ({"split": "test in test"}, "differ in split: test in train and test in test"),
        ({"split_hash": "zzz"}, "differ in split hash: abc and zzz"),
    ],
)
def test_reports_on_other_data_are_refused(tmp_path: Path, other: dict[str, str], message: str) -> None:
    write_report(tmp_path / "a", evaluation(), ORIGIN, html=False)
    write_report(tmp_path / "b", evaluation(), replace(ORIGIN, **other), html=False)
    with pytest.raises(UsageError, match=message):
        compare_reports(tmp_path / "a", tmp_path / "b")
    # What one of them does not know is no difference.
    write_report(tmp_path / "b", evaluation(), replace(ORIGIN, **dict.fromkeys(other, "")), html=False)
    assert compare_reports(tmp_path / "a", tmp_path / "b", resamples=20)


def test_skipped_queries_stay_skipped(tmp_path: Path) -> None:
    found = evaluation(empty="skip")
    report = read_report(write_report(tmp_path, found, html=False))
    assert np.isnan(report.per_query("mAP")).sum() == found.queries_without_relevant > 0
    [result, *_] = compare_reports(tmp_path, tmp_path, resamples=50)
    assert result.a == pytest.approx(found["mAP"])


def test_what_cannot_be_compared_or_read_is_named(tmp_path: Path) -> None:
    good = write_report(tmp_path / "good", evaluation(), ORIGIN, html=False)
    write_report(tmp_path / "fewer", evaluation(queries=12), ORIGIN, html=False)
    write_report(tmp_path / "smaller", evaluation(gallery=50), ORIGIN, html=False)
    with pytest.raises(UsageError, match="24 and 12, 12 in common"):
        compare_reports(good, tmp_path / "fewer")
    with pytest.raises(UsageError, match="differ in gallery size: 60 and 50"):
        compare_reports(good, tmp_path / "smaller")
    with pytest.raises(NotFoundError, match="no report in"):
        find_reports(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no report to compare"):
        compare_reports([], good)
    with pytest.raises(UsageError, match=r"has no P@77; it has mAP"):
        read_report(good).per_query("P@77")
    with pytest.raises(NotFoundError, match="terraseek evaluate"):
        read_report(tmp_path / "nowhere")
    for name, damage in {"report.json": b"{", "queries.parquet": b"PAR1 and nothing more"}.items():
        bad = write_report(tmp_path / f"bad-{name}", evaluation(), html=False)
        bad.with_name(name).write_bytes(damage)
        with pytest.raises(CorruptError, match="cannot be read"):
            read_report(bad)
    good.write_text('{"schema": 9}')
    with pytest.raises(CorruptError, match="schema 9, this version reads 1"):
        read_report(good)
