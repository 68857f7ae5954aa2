from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from terraseek.data import check_dataset, load_dataset
from terraseek.data.caption_files import read_precomp
from terraseek.data.captions import vocabulary
from terraseek.texts import matcher_ceiling


def test_vocabulary_counts_words() -> None:
    assert vocabulary(["Sea, sea and sand", "sand"]) == {"sand": 2, "sea": 2, "and": 1}
    assert list(vocabulary(["b a b"], least=2)) == ["b"]


def test_statistics_find_repeats_within_and_across_splits(tmp_path: Path) -> None:
    rows = [("a", "train", "A port.|some boats"), ("b", "train", "a port|cranes"), ("c", "test", "cranes|a fence")]
    for name, _, _ in rows:
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    lines = [f"{name}.png,{split},{captions}" for name, split, captions in rows]
    (tmp_path / "t.csv").write_text("path,split,captions\n" + "\n".join(lines) + "\n")
    details = check_dataset("table", tmp_path / "t.csv").details
    assert details["captions_per_split"] == {"train": 4, "test": 2}
    assert details["distinct"] == 4
    assert details["repeated"] == {"train": 2, "test": 0}
    assert details["cross_split_repeats"] == {"test": 1}
    assert details["exact_id_ceiling"]["matcher"]["mR"] == 100.0


@pytest.mark.data
@pytest.mark.parametrize(("name", "ceiling"), [("rsicd", 95.9), ("rsitmd", 99.9)])
def test_the_published_ceilings_come_out(terraseek_data: Path, name: str, ceiling: float) -> None:
    entries, _ = read_precomp(terraseek_data / name)
    test = [entry.captions for entry in entries if entry.split == "test"]
    assert len(test) == {"rsicd": 1093, "rsitmd": 452}[name]
    assert round(matcher_ceiling(test)["mR"], 1) == ceiling


@pytest.mark.data
def test_ucm_captions_have_labels_too(terraseek_data: Path) -> None:
    report = check_dataset("ucm-captions", terraseek_data)
    assert report.splits == {"train": 1680, "val": 210, "test": 210}
    assert report.captions == 10_500
    assert not report.problems
    assert round(report.details["exact_id_ceiling"]["matcher"]["mR"], 1) == 70.4
    labelled = load_dataset("ucmerced-ml", terraseek_data)
    captioned = load_dataset("ucm-captions", terraseek_data / "ucm")
    assert captioned.ids == labelled.ids
    assert (captioned.labels_NC == labelled.labels_NC).all()


@pytest.mark.data
def test_rsicd_10k_is_the_documented_view(terraseek_data: Path) -> None:
    report = check_dataset("rsicd-10k", terraseek_data)
    assert report.splits["train"] + report.splits["val"] == 8973
    assert report.splits["test"] == 1027
    assert report.details["also_in_ml_aid"]["test"] == 821
    assert not report.problems
    dataset = load_dataset("rsicd-10k", terraseek_data)
    assert dataset.read(0).shape == (131, 131, 3)
    shared = set(dataset.ids) & set(load_dataset("ml-aid", terraseek_data).ids)
    assert len(shared) == 3000
