from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from terraseek.data import load_dataset, synthesize, write_splits
from terraseek.errors import ConfigError, DatasetError
from terraseek.images import read_image

Make = Callable[[str], Path]


def edit(path: Path, change: Callable[[Any], object]) -> None:
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


@pytest.mark.parametrize("name", ["rsicd", "rsitmd", "nwpu-captions", "ucm-captions", "sydney-captions", "rsicd-10k"])
def test_five_captions_each_and_three_splits(name: str, miniature: Make) -> None:
    dataset = load_dataset(name, miniature(name))
    assert set(dataset.splits) == {"train", "val", "test"}
    assert {len(sample.captions) for sample in dataset.samples} == {5}
    assert len({sample.captions for sample in dataset.samples if sample.path.suffix != ".jpg"}) in (0, len(dataset))


def test_both_layouts_say_the_same(miniature: Make) -> None:
    root = miniature("rsitmd")
    expected = {sample.id: sample.captions for sample in load_dataset("rsitmd", root).samples}
    entries = []
    for i, (name, captions) in enumerate(sorted(expected.items(), key=lambda item: int(item[0].split("_")[1]))):
        split = ("train", "train", "val", "test")[i % 4]
        entries.append({"filename": f"{name}.tif", "split": split, "sentences": [{"raw": text} for text in captions]})
    (root / "dataset_RSITMD.json").write_text(json.dumps({"images": entries}))
    dataset = load_dataset("rsitmd", root)
    assert {sample.id: sample.captions for sample in dataset.samples} == expected
    assert dataset.splits == {"train": 10, "val": 5, "test": 5}


def test_val_is_drawn_where_the_layout_has_none(miniature: Make) -> None:
    root = miniature("rsitmd")
    first, other = load_dataset("rsitmd", root), load_dataset("rsitmd", root, seed=1)
    assert first.splits == {"train": 13, "val": 2, "test": 5}
    assert first.split_hash != other.split_hash
    assert first.subset("test").ids == other.subset("test").ids
    assert load_dataset("rsitmd", root, val=0.4).splits["val"] == 6
    assert "val" not in load_dataset("rsitmd", root, val=0.0).splits
    with pytest.raises(ConfigError, match="val is 1"):
        load_dataset("rsitmd", root, val=1.0)


def test_rsicd_10k_keeps_what_aid_has_and_shows_its_centre(miniature: Make) -> None:
    root = miniature("rsicd-10k")
    dataset = load_dataset("rsicd-10k", root)
    assert len(dataset) == 12
    assert dataset.ids[0] == "Airport/airport_0"
    assert dataset.notes[0] == "2 images of RSICD are not AID images and not in this view"
    assert dataset.read(0).shape == (35, 35, 3)
    np.testing.assert_array_equal(dataset.read(0), read_image(dataset.samples[0].path)[2:37, 2:37])


def test_a_split_file_wins(miniature: Make) -> None:
    root = miniature("rsicd")
    ids = load_dataset("rsicd", root).ids
    write_splits(root / "mine.tsv", {name: "test" if i < 3 else "train" for i, name in enumerate(ids)})
    assert load_dataset("rsicd", root, splits=root / "mine.tsv").splits == {"train": 17, "test": 3}


def test_the_synthetic_layout_has_labels_and_captions(tmp_path: Path) -> None:
    synthesize(tmp_path / "syn", images=12, seed=2, size=32)
    labelled, captioned = (load_dataset(name, tmp_path / "syn") for name in ("ucmerced-ml", "ucm-captions"))
    assert captioned.ids == labelled.ids
    assert captioned.split_hash == labelled.split_hash
    np.testing.assert_array_equal(captioned.labels_NC, labelled.labels_NC)


def numbered_scenes(root: Path) -> list[str]:
    """UC Merced's folders beside captions that number the images."""
    synthesize(root, images=8, seed=3, size=32)
    ids = list(load_dataset("ucmerced-ml", root).ids)
    order = {name.split("/")[1]: str(i) for i, name in enumerate(sorted(ids, key=lambda name: name.split("/")[1]), 1)}

    def renumber(tree: Any) -> None:
        for entry in tree["images"]:
            key = entry["filename"].removesuffix(".tif")
            entry["filename"] = f"{order[key]}.tif"
            entry["sentences"] = [{"raw": f"about {key}"}]

    edit(root / "captions.json", renumber)
    return ids


def test_numbered_captions_find_their_scene_image(tmp_path: Path) -> None:
    root = tmp_path / "syn"
    ids = numbered_scenes(root)
    dataset = load_dataset("ucm-captions", root)
    assert list(dataset.ids) == ids
    for sample in dataset.samples:
        assert sample.captions == (f"about {sample.path.stem}",)
    dataset.samples[2].path.unlink()
    with pytest.raises(DatasetError, match="captions number 8 images and 7 are here"):
        load_dataset("ucm-captions", root)


def write_index(root: Path, ids: list[str]) -> list[str]:
    rows = [f"{name}.tif,{number}.tif" for number, name in enumerate(sorted(ids, key=lambda name: name[-2:]), 1)]
    (root / "index.csv").write_text("\n".join(["image,caption_filename", *rows]) + "\n")
    return rows


def test_an_index_says_which_image_a_number_is(tmp_path: Path) -> None:
    root = tmp_path / "syn"
    rows = write_index(root, numbered_scenes(root))
    captions = {entry["filename"]: entry for entry in json.loads((root / "captions.json").read_text())["images"]}
    dataset = load_dataset("ucm-captions", root)
    assert len(dataset) == len(rows)
    for image, number in (row.split(",") for row in rows):
        sample = next(sample for sample in dataset.samples if f"{sample.id}.tif" == image)
        assert sample.captions == (captions[number]["sentences"][0]["raw"],)


INDEX_WRONG: dict[str, tuple[Callable[[list[str]], object], str]] = {
    "empty": (lambda lines: lines.clear(), ":1: empty, expected the columns image and caption_filename"),
    "short row": (lambda lines: lines.insert(2, "beach00"), ":3: 1 columns, the header has 2"),
    "number twice": (lambda lines: lines.append("x/new.tif,3.tif"), ":10: caption_filename '3' is already on line 4"),
    "image twice": (
        lambda lines: lines.append(lines[3].split(",")[0] + ",99.tif"),
        r":10: image '\w+' is already on line 4",
    ),
    "no number": (lambda lines: lines.append("x/new.tif,"), ":10: no caption_filename"),
}


@pytest.mark.parametrize("case", INDEX_WRONG)
def test_a_wrong_index_is_refused_with_its_line(tmp_path: Path, case: str) -> None:
    root = tmp_path / "syn"
    write_index(root, numbered_scenes(root))
    change, message = INDEX_WRONG[case]
    lines = (root / "index.csv").read_text().splitlines()
    change(lines)
    (root / "index.csv").write_text("\n".join(lines))
    with pytest.raises(DatasetError, match=rf"index\.csv{message}"):
        load_dataset("ucm-captions", root)


def test_captions_without_image_and_images_without_captions_are_listed(miniature: Make) -> None:
    root = miniature("rsicd")
    (root / "RSICD_images" / "airport_3.jpg").rename(root / "RSICD_images" / "stray.jpg")
    dataset = load_dataset("rsicd", root)
    assert len(dataset) == 19
    assert [str(problem) for problem in dataset.problems] == [
        f"{root / 'dataset_rsicd.json'}: images[3]: 'airport_3.jpg' has no image file",
        f"{root / 'RSICD_images' / 'stray.jpg'}: no captions",
    ]


def test_empty_captions_are_dropped_and_listed(miniature: Make) -> None:
    root = miniature("rsicd")

    def spoil(tree: Any) -> None:
        tree["images"][0]["sentences"][2]["raw"] = "  "
        tree["images"][1]["sentences"] = [{"raw": ""}]
        tree["images"].append(tree["images"][2])

    edit(root / "dataset_rsicd.json", spoil)
    dataset = load_dataset("rsicd", root)
    assert {s.id: len(s.captions) for s in dataset.samples}["airport_0"] == 4
    assert [problem.reason for problem in dataset.problems] == [
        "caption 2 of 'airport_0.jpg' is empty",
        "caption 0 of 'airport_1.jpg' is empty",
        "'airport_1.jpg' has no caption",
        f"'airport_2.jpg' repeats {root / 'dataset_rsicd.json'}: images[2]",
        "no captions",
    ]


WRONG: dict[str, tuple[Callable[[Any], object], str]] = {
    "no file name": (lambda tree: tree["images"][4].pop("filename"), r"images\[4\]: no 'filename'"),
    "unknown split": (
        lambda tree: tree["images"][4].update(split="dev2"),
        r"images\[4\]: split 'dev2', known are train",
    ),
    "no sentences": (lambda tree: tree["images"][4].pop("sentences"), r"images\[4\]: no 'sentences'"),
    "no text": (lambda tree: tree["images"][4]["sentences"].append({}), r"images\[4\]: sentence 5 has no text"),
    "two splits": (
        lambda tree: tree["images"].append({**tree["images"][0], "split": "test"}),
        r"images\[20\]: 'airport_0.jpg' is in test and, at .*images\[0\], in train",
    ),
    "no list": (lambda tree: tree.pop("images"), "no list 'images'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refused_with_file_and_entry(miniature: Make, case: str) -> None:
    root = miniature("rsicd")
    change, message = WRONG[case]
    edit(root / "dataset_rsicd.json", change)
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset("rsicd", root)
    assert str(caught.value).startswith(str(root / "dataset_rsicd.json"))


def test_text_that_is_none_is_refused(miniature: Make) -> None:
    root = miniature("rsicd")
    path = root / "dataset_rsicd.json"
    path.write_bytes(b'{"images":\n ["\xff"]}')
    with pytest.raises(DatasetError, match=r"dataset_rsicd\.json:2: not UTF-8 text"):
        load_dataset("rsicd", root)
    path.write_text('{"images":\n [')
    with pytest.raises(DatasetError, match=r"dataset_rsicd\.json:2: not JSON"):
        load_dataset("rsicd", root)


def test_precomp_files_must_fit_together(miniature: Make) -> None:
    root = miniature("rsitmd")
    caps, names = root / "test_caps.txt", root / "test_filename.txt"
    whole = caps.read_bytes()
    caps.write_text("only one\n")
    with pytest.raises(DatasetError, match=r"test_caps\.txt: 1 captions do not fit the 25 lines"):
        load_dataset("rsitmd", root)
    caps.write_bytes(whole.replace(b"caption 1 of image 3 .", b" ", 1))
    problems = load_dataset("rsitmd", root).problems
    assert [str(problem) for problem in problems] == [f"{caps}:2: a caption of 'boat_3.tif' is empty"]
    caps.write_bytes(whole + b"\xff")
    with pytest.raises(DatasetError, match=r"test_caps\.txt:26: not UTF-8"):
        load_dataset("rsitmd", root)
    caps.write_bytes(whole)
    names.write_text(names.read_text().replace("boat_3.tif", "boat_0.tif"))
    with pytest.raises(
        DatasetError, match=r"test_caps\.txt:1: 'boat_0\.tif' is in test and, at .*train_caps\.txt:1, in train"
    ):
        load_dataset("rsitmd", root)
