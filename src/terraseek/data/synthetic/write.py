"""Writing synthetic scenes to disk in the layouts that the real data sets are distributed in."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from PIL import Image

from ...errors import ConfigError, UsageError
from ...typing import LabelArray
from ..catalog import LABELS_17
from ..dataset import multi_hot
from ..splits import draw_splits
from .canvas import Rendered
from .captions import describe_scene
from .scenes import Scene, draw_scene, scene_for

__all__ = ["LAYOUTS", "Layout", "synthesize"]

Layout: TypeAlias = Literal["ucmerced-ml", "dlrsd"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

# DLRSD's palette is not known by heart anywhere; readers must go by index. Any 17 distinct colours will do.
_PALETTE = [0, 0, 0] + [value for i in range(1, 18) for value in (i * 53 % 256, i * 97 % 256, i * 151 % 256)]


@dataclass(frozen=True)
class _Item:
    scene: Scene
    name: str
    labels: tuple[str, ...]
    captions: tuple[str, ...]


def synthesize(
    out: str | Path,
    images: int,
    seed: int = 0,
    size: int = 256,
    layout: Layout = "ucmerced-ml",
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Paint aerial-like scenes with 17 long-tailed labels and five captions each, and write them as a data set.

    Both layouts get ``captions.json`` (Karpathy) and ``splits/`` (60/20/20, stratified):

    - ``ucmerced-ml``: ``UCMerced_LandUse/Images/<scene>/<scene>NN.tif`` and ``LandUse_Multilabeled.txt``
    - ``dlrsd``: ``Images/<scene>/<scene>NN.tif``, ``Labels/<scene>/<scene>NN.png`` masks and ``multilabels.csv``

    The first images are the same however many are made.

    Args:
        out: folder to write; created, and refused if there is anything in it.
        images: number of scenes.
        seed: same seed, same files.
        size: edge in pixels.
        layout: which distribution to imitate.
        dry_run: check everything and write nothing.
        progress: called with (done, total).

    Raises:
        ConfigError: a number out of range or an unknown layout.
        UsageError: `out` is not empty.
    """
    out = Path(out)
    if images < 1 or not 32 <= size <= 2048:
        raise ConfigError(f"cannot make {images} images of {size} pixels: at least 1, of 32 to 2048 pixels")
    if layout not in LAYOUTS:
        raise ConfigError(f"unknown layout {layout!r}; known: {', '.join(LAYOUTS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not an empty folder; name one that does not exist yet")
    if dry_run:
        return
    items = []
    for scene, name, rendered, captions in _scenes(images, seed, size):
        _write_image(out, layout, scene.name, name, rendered)
        items.append(_Item(scene, name, rendered.labels(), captions))
        if progress:
            progress(len(items), images)
    labels_NC = multi_hot([item.labels for item in items], LABELS_17)
    splits = draw_splits(labels_NC, seed=seed)
    _write_labels(out, layout, items, labels_NC)
    _write_splits(out, layout, items, labels_NC, splits)
    _write_captions(out, items, splits)


def _scenes(images: int, seed: int, size: int) -> Iterator[tuple[Scene, str, Rendered, tuple[str, ...]]]:
    numbers: Counter[str] = Counter()
    for index in range(images):
        rng = np.random.default_rng([seed, index])
        scene = scene_for(rng)
        rendered = draw_scene(scene, rng, size)
        while not rendered.labels():  # a sliver of every object: too little of anything to be named
            rendered = draw_scene(scene, rng, size)
        name = f"{scene.name}{numbers[scene.name]:02d}"
        numbers[scene.name] += 1
        yield scene, name, rendered, describe_scene(rendered, scene.phrase, rng)


def _write_image(out: Path, layout: Layout, scene: str, name: str, rendered: Rendered) -> None:
    base = out / "UCMerced_LandUse" if layout == "ucmerced-ml" else out
    folder = base / "Images" / scene
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rendered.image).save(folder / f"{name}.tif")
    if layout == "dlrsd":
        folder = base / "Labels" / scene
        folder.mkdir(parents=True, exist_ok=True)
        # Every pixel of a DLRSD mask has a class; what nobody painted a label on counts as pavement.
        ids = np.where(rendered.label_map == 0, LABELS_17.index("pavement") + 1, rendered.label_map)
        mask = Image.fromarray(ids.astype(np.uint8))
        mask.putpalette(_PALETTE)
        mask.save(folder / f"{name}.png")


def _write_labels(out: Path, layout: Layout, items: list[_Item], labels_NC: LabelArray) -> None:
    if layout == "ucmerced-ml":
        rows = [["IMAGE\\LABEL", *LABELS_17]]
        rows += [[item.name, *map(str, row)] for item, row in zip(items, labels_NC.tolist(), strict=True)]
        _write_rows(out / "LandUse_Multilabeled.txt", rows)
    else:
        spelled = {"bare-soil": "baresoil", "mobile-home": "mobilehome"}
        rows = [["image", *(spelled.get(name, name) for name in LABELS_17)]]
        rows += [
            [item.name, *("1" if flag else "" for flag in row)]
            for item, row in zip(items, labels_NC.tolist(), strict=True)
        ]
        _write_rows(out / "multilabels.csv", rows, ",")


def _write_splits(out: Path, layout: Layout, items: list[_Item], labels_NC: LabelArray, splits: list[str]) -> None:
    folder = out / "splits"
    folder.mkdir()
    prefix = "ucmerced" if layout == "ucmerced-ml" else "dlrsd"
    for split in ("train", "val", "test"):
        rows = [["IMAGE\\LABEL", *LABELS_17]]
        for item, row, held in zip(items, labels_NC.tolist(), splits, strict=True):
            if held == split:
                rows.append([item.name, *map(str, row)])
        _write_rows(folder / f"{prefix}multilabel_{split}.csv", rows)


def _write_captions(out: Path, items: list[_Item], splits: list[str]) -> None:
    tree = []
    for number, (item, split) in enumerate(zip(items, splits, strict=True)):
        sentences = [
            {"tokens": text.split()[:-1], "raw": text, "imgid": number, "sentid": 5 * number + i}
            for i, text in enumerate(item.captions)
        ]
        tree.append(
            {
                "filename": f"{item.name}.tif",
                "imgid": number,
                "split": split,
                "sentids": [sentence["sentid"] for sentence in sentences],
                "sentences": sentences,
            }
        )
    text = json.dumps({"dataset": "synthetic", "images": tree}, indent=1)
    (out / "captions.json").write_text(text + "\n", encoding="utf-8")


def _write_rows(path: Path, rows: list[list[str]], delimiter: str = "\t") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)
