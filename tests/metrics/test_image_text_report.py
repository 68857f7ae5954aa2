"""Reports of image-text retrieval: written, read back, compared; the page shows what was found."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from terraseek.errors import ImageError, UsageError
from terraseek.metrics import (
    ImageTextEvaluation,
    Provenance,
    compare_reports,
    evaluate_image_text,
    read_report,
    write_report,
)

ORIGIN = Provenance(dataset="toy", split="test", split_hash="abc", model="<b>model</b>", seed=1)
CAPTIONS = (3, 1, 2, 2, 5, 1, 1, 4)


def evaluation(noise: float = 0.5, texts: bool = True, seed: int = 0) -> ImageTextEvaluation:
    owner = np.repeat(np.arange(len(CAPTIONS)), CAPTIONS)
    words = [f"<i>scene</i> {image // 2}" if n % 2 else f"view {n}" for n, image in enumerate(owner.tolist())]
    images = np.random.default_rng(4).standard_normal((len(CAPTIONS), 6))
    vectors = images[owner] + noise * np.random.default_rng([seed, 1]).standard_normal((len(owner), 6))
    ids = [f"g{image}" for image in range(len(CAPTIONS))]
    return evaluate_image_text(images, vectors, owner, words if texts else None, image_ids=ids, bootstrap=40)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    found = evaluation()
    path = write_report(tmp_path, found, ORIGIN, html=False)
    assert {file.name for file in tmp_path.iterdir()} == {"report.json", "queries.parquet", "captions.parquet"}
    report = read_report(path)
    assert report.values == found.values
    assert report.query_ids == found.image_ids
    for name in report.paired_measures:
        assert report.per_query(name).mean() == pytest.approx(found[name]), name
    assert set(found.values) - set(report.paired_measures) == {name for name in found.values if "median_rank" in name}
    with pytest.raises(UsageError, match="has no i2t_median_rank"):
        report.per_query("i2t_median_rank")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["task"] == "image-text"
    assert content["counts"]["captions_per_image"] == [1, 5]
    assert content["counts"]["repeated_captions"] == int(found.repeated_T.sum()) > 0
    number = content["measures"]["t2i_R@5"]
    assert number["low"] <= number["value"] <= number["high"]
    assert number["floor"] == pytest.approx(100 * 5 / 8)
    assert number["matcher"] <= number["ceiling"] <= 100
    assert content["measures"]["i2t_median_rank"]["matcher"] is None
    captions = pq.read_table(tmp_path / "captions.parquet").to_pydict()
    assert captions["image"] == [f"g{image}" for image in found.owner_T.tolist()]
    assert captions["t2i_rank"] == found.exact["t2i"].first_rank_Q.tolist()


def test_runs_are_compared_image_by_image(tmp_path: Path) -> None:
    good, bad = evaluation(noise=0.1), evaluation(noise=3.0)
    write_report(tmp_path / "a", bad, ORIGIN, html=False)
    write_report(tmp_path / "b", good, ORIGIN, html=False)
    results = {c.measure: c for c in compare_reports(tmp_path / "a", tmp_path / "b", resamples=200)}
    for name in ("mR", "t2i_R@1", "mR(equivalent)"):
        assert results[name].a == pytest.approx(bad[name])
        assert results[name].difference == pytest.approx(good[name] - bad[name])
        assert results[name].low > 0
        assert results[name].queries == len(CAPTIONS)


def test_the_page_shows_numbers_and_both_sheets(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = evaluation()

    def thumbnail(name: str) -> np.ndarray:
        if name == "g3":
            raise ImageError("g3: truncated")
        return np.full((40, 50, 3), int(name[1:]) * 20, dtype=np.uint8)

    write_report(tmp_path, found, ORIGIN, thumbnail=thumbnail)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for number in found.results:
        assert number.name in text
        assert f'<td class="value">{number.value:.1f}</td>' in text
    assert "<b>model" not in text
    assert "&lt;i&gt;scene&lt;/i&gt; 1" in text
    assert "<i>scene" not in text
    assert len(re.findall("Captions to images", text)) == len(re.findall("Images to captions", text)) == 2
    assert text.count("mark-own") > 6
    assert text.count("mark-alike") > 3
    assert 'class="empty"' in text
    assert "1 to 5 per image" in text


def test_without_texts_or_pictures_there_are_fewer_sheets(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a", "b"):
        write_report(tmp_path / name, evaluation(texts=False), ORIGIN)
    text = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "Captions to images" not in text
    assert "Images to captions" not in text
    for file in ("report.json", "report.html"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
