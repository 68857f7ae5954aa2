from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terraseek.data import LABELS_17, check_dataset, load_dataset, synthesize
from terraseek.data.synthetic import SCENES, draw_scene
from terraseek.errors import ConfigError, UsageError


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes") / "out"
    synthesize(out, images=40, seed=5, size=48)
    return out


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_it_reads_back_through_the_loader(written: Path) -> None:
    report = check_dataset("ucmerced-ml", written, decode=True)
    assert report.images == 40
    assert not report.problems
    assert not report.notes
    assert set(report.splits) == {"train", "val", "test"}
    assert 2 <= report.cardinality <= 5
    assert load_dataset("ucmerced-ml", written).read(0).shape == (48, 48, 3)


def test_same_seed_same_files_other_seed_others(written: Path, tmp_path: Path) -> None:
    synthesize(tmp_path / "again", images=6, seed=5, size=48)
    synthesize(tmp_path / "other", images=6, seed=6, size=48)
    first, again, other = digests(written), digests(tmp_path / "again"), digests(tmp_path / "other")
    images = [name for name in again if name.endswith(".tif")]
    assert len(images) == 6
    assert all(again[name] == first[name] for name in images), "the first images do not depend on how many are made"
    assert not {again[name] for name in images} & set(other.values())


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_every_kind_of_scene_shows_its_labels(scene: object) -> None:
    rendered = draw_scene(scene, np.random.default_rng(1), 96)  # type: ignore[arg-type]
    assert rendered.image.shape == (96, 96, 3)
    assert rendered.label_map.shape == (96, 96)
    assert rendered.image.std() > 4
    counts = np.bincount(rendered.label_map.ravel(), minlength=18)
    assert set(rendered.labels()) == {name for i, name in enumerate(LABELS_17, 1) if counts[i] >= 0.0006 * 96 * 96}
    assert rendered.labels()


def test_all_17_labels_occur_with_a_long_tail() -> None:
    # The kinds' own labels times their weights: what a large draw converges to, without drawing it.
    frequency = dict.fromkeys(LABELS_17, 0.0)
    total = sum(scene.weight for scene in SCENES)
    for i, scene in enumerate(SCENES):
        for seed in range(2):
            for label in draw_scene(scene, np.random.default_rng([seed, i]), 32).labels():
                frequency[label] += scene.weight / total / 2
    assert min(frequency.values()) > 0
    assert max(frequency.values()) / min(frequency.values()) > 13


def test_the_label_map_shows_what_the_pixels_show() -> None:
    beach = next(scene for scene in SCENES if scene.name == "beach")
    rendered = draw_scene(beach, np.random.default_rng(2), 128)
    sea, sand = (rendered.label_map == LABELS_17.index(name) + 1 for name in ("sea", "sand"))
    blueness = rendered.image[..., 2].astype(int) - rendered.image[..., 0]
    assert np.median(blueness[sea]) > 20 > 0 > np.median(blueness[sand])


def test_captions_speak_of_what_is_visible(written: Path) -> None:
    tree = json.loads((written / "captions.json").read_text())
    labels = {sample.path.name: set(sample.labels) for sample in load_dataset("ucmerced-ml", written).samples}
    words = {"airplane": "airplane", "boat": "ship", "tennis court": "court", "storage tank": "tanks", "car ": "cars"}
    words |= {
        "cars": "cars",
        "mobile homes": "mobile-home",
        "blue sea": "sea",
        "farmland": "field",
        "dry shrubs": "chaparral",
    }
    assert len(tree["images"]) == 40
    for image in tree["images"]:
        texts = [sentence["raw"] for sentence in image["sentences"]]
        assert len(set(texts)) == 5
        for text in texts:
            for word, label in words.items():
                if word in text and not text.split(word)[0].endswith(("piece of ", "dry ")):
                    assert label in labels[image["filename"]], text


def test_caption_and_label_splits_agree(written: Path) -> None:
    tree = json.loads((written / "captions.json").read_text())
    split = {sample.path.name: sample.split for sample in load_dataset("ucmerced-ml", written).samples}
    assert {image["filename"]: image["split"] for image in tree["images"]} == split


def test_masks_are_written_as_palette_indices(tmp_path: Path) -> None:
    synthesize(tmp_path / "dlrsd", images=3, seed=1, size=48, layout="dlrsd")
    masks = sorted((tmp_path / "dlrsd" / "Labels").rglob("*.png"))
    assert len(masks) == 3
    for path in masks:
        with Image.open(path) as mask:
            assert mask.mode == "P"
            assert set(np.unique(np.asarray(mask))) <= set(range(1, 18))


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UsageError, match="not an empty folder"):
        synthesize(tmp_path / "full", images=1)
    with pytest.raises(ConfigError, match="at least 1"):
        synthesize(tmp_path / "out", images=0)
    with pytest.raises(ConfigError, match="unknown layout"):
        synthesize(tmp_path / "out", images=1, layout="coco")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
