from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from terraseek.data import LABELS_17

from .conftest import Run


def test_list_names_origin_and_terms(run: Run) -> None:
    listed = {entry["name"]: entry for entry in run("data", "list", "--json").json["datasets"]}
    assert {"ucmerced-ml", "ml-aid", "dlrsd", "table"} <= listed.keys()
    assert all(entry["terms"] for entry in listed.values())
    assert "ucmerced-ml" in run("data", "list").out


def test_synthesized_scenes_pass_the_check(run: Run, tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    assert run("data", "synthesize", scenes, "--images", 12, "--seed", 3, "--size", 64).code == 0
    report = run("data", "check", "ucmerced-ml", "--root", scenes, "--decode", "--json").json
    assert report["images"] == 12
    assert report["problems"] == []
    assert "12 images" in run("data", "check", "ucmerced-ml", "--root", scenes).out
    next(scenes.rglob("*.tif")).write_bytes(b"")
    damaged = run("data", "check", "ucmerced-ml", "--root", scenes, "--decode", "--json")
    assert damaged.code == 5
    assert len(damaged.json["problems"]) == 1


def test_caption_sets_show_their_repeats_and_both_ceilings(run: Run, tmp_path: Path) -> None:
    captions = {"a": ("test", "A port.|some boats"), "b": ("test", "a port|cranes"), "c": ("train", "cranes|a fence")}
    for name in captions:
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    rows = [f"{name}.png,{split},{texts}" for name, (split, texts) in captions.items()]
    (tmp_path / "t.csv").write_text("path,split,captions\n" + "\n".join(rows) + "\n")
    told = run("data", "check", "table", "--root", tmp_path / "t.csv").out
    assert re.search(r"test +4 +2 +1", told)
    assert re.search(r"perfect text matcher +66\.7 +100\.0 +100\.0 +75\.0", told)
    assert re.search(r"oracle +100\.0 +100\.0 +100\.0 +75\.0", told)


def test_what_masks_and_label_table_say_of_each_label_is_shown(run: Run, tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    assert run("data", "synthesize", scenes, "--images", 24, "--size", 64, "--layout", "dlrsd").code == 0
    check = ("data", "check", "dlrsd", "--root", scenes, "--option", "min_pixels=300")
    found = run(*check, "--json").json["details"]["mask_agreement"]
    told = run(*check).out
    assert found["equal_label_sets"] < found["images"] == 24, "some label covers fewer than 300 pixels"
    assert f"(min_pixels=300) have equal labels for {found['equal_label_sets']} of 24 images" in told
    for label, counts in found["labels"].items():
        numbers = " +".join(str(counts[kind]) for kind in ("both", "table_only", "masks_only"))
        assert re.search(rf"^{label} +{numbers} *$", told, re.M), label


def test_images_shared_with_ml_aid_are_told_per_split(run: Run, tmp_path: Path) -> None:
    rsicd, images = tmp_path / "rsicd", tmp_path / "aid" / "images" / "Port"
    rsicd.mkdir()
    images.mkdir(parents=True)
    files = {"train": ["port_1", "port_2", "port_3"], "val": ["port_4"], "test": ["port_5", "port_6", "port_7"]}
    for split, names in files.items():
        (rsicd / f"{split}_caps.txt").write_text("".join(f"a port called {name}\n" for name in names))
        (rsicd / f"{split}_filename.txt").write_text("".join(f"{name}.jpg\n" for name in names))
        for name in names:
            Image.new("RGB", (8, 8)).save(images / f"{name}.jpg")
    assert "ml-aid" not in run("data", "check", "rsicd-10k", "--root", tmp_path).out
    rows = [f"{name}{',1' * len(LABELS_17)}" for name in ("port_2", "port_5", "port_7")]
    (tmp_path / "aid" / "multilabel.csv").write_text("\n".join([f"image,{','.join(LABELS_17)}", *rows]))
    lines = run("data", "check", "rsicd-10k", "--root", tmp_path).out.splitlines()
    assert [line.split(";")[0] for line in lines if "ml-aid" in line] == ["also in ml-aid: train 1, val 0, test 2"]


def test_concepts_are_the_words_of_the_training_captions(run: Run, tmp_path: Path) -> None:
    captions = ["the sea|a sea with sand|sand and ships", "the sea|the sea", "ships|some ships", "a port|a port", "x"]
    rows = [f"{i}.png,{'test' if i == 4 else 'train'},{text}" for i, text in enumerate(captions)]
    (tmp_path / "samples.csv").write_text("\n".join(["path,split,captions", *rows]), encoding="utf-8")
    for i in range(len(rows)):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    found = run("data", "concepts", "table", "--root", tmp_path, "--json").json
    assert (found["split"], found["mode"], found["images"], found["images_without"]) == ("train", "default", 4, 2)
    assert found["concepts"] == [{"word": "sea", "images": 2, "share": 0.5}]
    text = run("data", "concepts", "table", "--root", tmp_path).out
    assert "1 concepts from 4 images, 2 of them without any" in text
    assert "0.5000" in text
    published = run("data", "concepts", "table", "--root", tmp_path, "--mode", "published")
    assert (published.code, "became a concept" in published.err) == (1, True)
    assert run("data", "concepts", "table", "--root", tmp_path, "--split", "tain").code == 2


def test_concepts_are_printed_from_either_end(run: Run, tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    assert run("data", "synthesize", scenes, "--images", 24, "--size", 64).code == 0
    listed = run("data", "concepts", "ucm-captions", "--root", scenes, "--size", 9, "--json").json["concepts"]
    assert len(listed) == 9
    assert [entry["images"] for entry in listed] == sorted((entry["images"] for entry in listed), reverse=True)
    lines = run("data", "concepts", "ucm-captions", "--root", scenes, "--size", 9, "--show", 2).out.splitlines()
    shown = [line.split()[0] for line in lines if line.split()[0] in {entry["word"] for entry in listed}]
    assert shown == [listed[at]["word"] for at in (0, 1, 7, 8)]
    assert any("5 more" in line for line in lines)


def test_missing_files_say_where_to_get_them(run: Run, tmp_path: Path) -> None:
    result = run("data", "check", "whdld", "--root", tmp_path)
    assert result.code == 3
    assert "https://" in result.err
    assert "research use" in result.err


def test_download_of_what_has_none(run: Run, tmp_path: Path) -> None:
    result = run("data", "download", "whdld", "--root", tmp_path)
    assert result.code == 2
    assert "get it from" in result.err


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "folder", "images", "splits"),
    [
        ("ucmerced-ml", "ucm", 2100, {"train": 1285, "val": 395, "test": 420}),
        ("ml-aid", "aid", 3000, {"train": 1917, "val": 483, "test": 600}),
    ],
)
def test_real_data(run: Run, terraseek_data: Path, name: str, folder: str, images: int, splits: dict[str, int]) -> None:
    report = run("data", "check", name, "--root", terraseek_data / folder, "--json").json
    assert (report["images"], report["labels"], report["splits"]) == (images, 17, splits)
