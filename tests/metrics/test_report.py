"""Reports: written, read back; the page is complete, self-contained and safe."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from terraseek.errors import ImageError, MissingExtraError
from terraseek.metrics import EmbeddingSet, evaluate_retrieval, read_report, report_json, write_report

from .reports import NAMES, ORIGIN, evaluation


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
    assert "– – –" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert content["counts"]["skipped_labels"] == ["x", "y"]
    macro = content["measures"]["macro-AP"]
    assert (macro["value"], macro["floor"], macro["ceiling"], macro["labels"]) == (None, None, None, [])
    assert '<td class="value">–</td>' in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert report_json(found)["provenance"]["seed"] is None
