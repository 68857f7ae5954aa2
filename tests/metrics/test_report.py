"""Reports: written, read back, compared; the page is complete, self-contained and safe."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from terraseek.errors import CorruptError, ImageError, MissingExtraError, NotFoundError, UsageError
from terraseek.metrics import (
    EmbeddingSet,
    Evaluation,
    Provenance,
    compare_reports,
    evaluate_retrieval,
    read_report,
    report_json,
    write_report,
)

NAMES = ["airplane", "bare-soil", "<b>sand</b> & sea", "dock"]
ORIGIN = Provenance(
    dataset="toy", split="test in train", split_hash="abc", model="<script>x</script>", seed=3, notes={"epochs": "2"}
)


def evaluation(noise: float = 1.0, queries: int = 24, seed: int = 0, empty: str = "zero") -> Evaluation:
    rng = np.random.default_rng(7)
    directions = rng.standard_normal((4, 6))

    def make(prefix: str, size: int) -> EmbeddingSet:
        labels = (rng.random((size, 4)) < [0.6, 0.4, 0.2, 0.0]).astype(np.uint8)
        drawn = np.random.default_rng([seed, size]).standard_normal((size, 6))
        return EmbeddingSet(labels @ directions + noise * drawn, labels, tuple(f"{prefix}{i}" for i in range(size)))

    query, gallery = make("q", queries), make("g", 60)
    return evaluate_retrieval(query, gallery, label_names=NAMES, bootstrap=50, empty=empty)  # type: ignore[arg-type]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    found = evaluation()
    path = write_report(tmp_path / "deep" / "report", found, ORIGIN, html=False)
    for given in (path, path.parent, str(path.parent)):
        report = read_report(given)
        assert report.values == found.values
        assert report.query_ids == found.query_ids
        for result in found.results:
            values = report.per_query(str(result.measure))
            mean = np.nanmean(np.nanmean(values, axis=0)) if values.ndim == 2 else values.mean()
            assert mean == pytest.approx(result.value)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["schema"] == 1
    assert content["provenance"]["split_hash"] == "abc"
    assert content["counts"]["skipped_labels"] == ["dock"]
    assert content["labels"][3]["ap"] is None
    assert content["measures"]["macro-AP"]["labels"] == NAMES[:3]
    assert content["measures"]["mAP"]["definition"].startswith("mean over queries")
    assert set(content["versions"]) == {"terraseek", "numpy", "python"}
    assert {p.name for p in path.parent.iterdir()} == {"report.json", "queries.parquet"}


def test_the_same_evaluation_writes_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a", "b"):
        write_report(tmp_path / name, evaluation(), ORIGIN)
    for file in ("report.json", "report.html"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses.extend(value or "" for name, value in attrs if name in ("src", "href", "xlink:href"))


def test_page_is_self_contained_escaped_and_complete(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = evaluation()

    def thumbnail(name: str) -> np.ndarray:
        if name == "g3":
            raise ImageError("g3: truncated")
        return np.full((40, 50, 3), int(name[1:]) * 4, dtype=np.uint8)

    write_report(tmp_path, found, ORIGIN, thumbnail=thumbnail, describe=lambda name: f"<i>{name}</i>")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert "script" not in page.tags
    assert page.tags.count("svg") == 3
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in page.addresses)
    assert page.tags.count("img") > 40
    assert "&lt;script&gt;x&lt;/script&gt;" in text
    assert "<i>" not in re.sub(r"<i style", "", text)
    assert "<b>sand</b>" not in text
    for result in found.results:
        assert str(result.measure) in text
        value = f"{100 * result.value:.1f}" if result.measure.bounded else f"{result.value:.2f}"
        assert f'<td class="value">{value}</td>' in text
    assert "Worst queries" in text
    assert "In no mean over labels, for want of queries or gallery items: dock" in text
    plain = tmp_path / "plain"
    write_report(plain, found)
    assert "Worst queries" not in (plain / "report.html").read_text(encoding="utf-8")


def test_a_page_needs_its_extra_and_numbers_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"terraseek\[train\]"):
        write_report(tmp_path, evaluation())
    assert not (tmp_path / "report.json").exists()
    assert write_report(tmp_path, evaluation(), html=False).is_file()


def test_odd_evaluations_can_be_reported(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    alone = EmbeddingSet(np.ones((1, 2)), np.zeros((1, 2), dtype=np.uint8), ("a",))
    found = evaluate_retrieval(alone, alone, ["P@1", "macro-AP"], bootstrap=0, label_names=["x", "y"])
    content = read_report(write_report(tmp_path, found, thumbnail=lambda name: np.zeros((8, 8, 3), np.uint8))).content
    assert content["measures"]["P@1"]["low"] is None
    assert content["counts"]["skipped_labels"] == ["x", "y"]
    assert report_json(found)["provenance"]["seed"] is None


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


def test_seeds_are_averaged_per_query(tmp_path: Path) -> None:
    for seed in range(3):
        write_report(tmp_path / f"a{seed}", evaluation(noise=2.0, seed=seed), ORIGIN, html=False)
        write_report(tmp_path / f"b{seed}", evaluation(noise=0.5, seed=seed), ORIGIN, html=False)
    a, b = ([tmp_path / f"{run}{seed}" for seed in range(3)] for run in "ab")
    [first, *_] = compare_reports(a, b, resamples=100)
    assert first.a == pytest.approx(np.mean([read_report(path).values[first.measure] for path in a]))
    assert first.b == pytest.approx(np.mean([read_report(path).values[first.measure] for path in b]))


def test_skipped_queries_stay_skipped(tmp_path: Path) -> None:
    found = evaluation(empty="skip")
    report = read_report(write_report(tmp_path, found, html=False))
    assert np.isnan(report.per_query("mAP")).sum() == found.queries_without_relevant > 0
    [result, *_] = compare_reports(tmp_path, tmp_path, resamples=50)
    assert result.a == pytest.approx(found["mAP"])


def test_what_cannot_be_compared_or_read_is_named(tmp_path: Path) -> None:
    good = write_report(tmp_path / "good", evaluation(), ORIGIN, html=False)
    write_report(tmp_path / "fewer", evaluation(queries=12), ORIGIN, html=False)
    write_report(tmp_path / "other", evaluation(), Provenance(split_hash="zzz"), html=False)
    with pytest.raises(UsageError, match="24 and 12, 12 in common"):
        compare_reports(good, tmp_path / "fewer")
    with pytest.raises(UsageError, match="different galleries"):
        compare_reports(good, tmp_path / "other")
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
