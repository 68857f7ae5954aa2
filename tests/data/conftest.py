"""Miniatures of the data sets in their real layouts, made on the spot."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terraseek.data import LABELS_17

Maker = Callable[[Path], Path]
MINIATURES: dict[str, Maker] = {}


def miniature_of(name: str) -> Callable[[Maker], Maker]:
    def enter(maker: Maker) -> Maker:
        MINIATURES[name] = maker
        return maker

    return enter


@pytest.fixture
def miniature(tmp_path: Path) -> Callable[[str], Path]:
    """Makes the miniature of a data set and returns its root."""

    def make(name: str) -> Path:
        root = tmp_path / name
        root.mkdir()
        return MINIATURES[name](root)

    return make


@pytest.fixture(scope="session")
def miniature_names() -> set[str]:
    return set(MINIATURES)


def noise(path: Path, seed: int, size: int = 24) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size, size, 3), dtype=np.uint8)).save(path)


def label_rows(keys: list[str], seed: int = 0) -> list[list[str]]:
    """A row of 0 and 1 for each key, every label somewhere and at least one label each."""
    rng = np.random.default_rng(seed)
    rows = []
    for i, key in enumerate(keys):
        flags = rng.random(len(LABELS_17)) < 0.2
        flags[i % len(LABELS_17)] = True
        rows.append([key, *(str(int(flag)) for flag in flags)])
    return rows


def write_table(path: Path, header: list[str], rows: list[list[str]], delimiter: str = "\t") -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])


@miniature_of("ucmerced-ml")
def ucmerced(root: Path) -> Path:
    keys = [f"{scene}{i:02d}" for scene in ("beach", "harbor", "tenniscourt") for i in range(20)]
    for seed, key in enumerate(keys):
        noise(root / "UCMerced_LandUse" / "Images" / key[:-2] / f"{key}.tif", seed)
    write_table(root / "LandUse_Multilabeled.txt", ["IMAGE\\LABEL", *LABELS_17], label_rows(keys))
    return root


@miniature_of("ml-aid")
def mlaid(root: Path) -> Path:
    keys = [f"{scene}_{i}" for scene in ("airport", "port") for i in range(1, 26)]
    for seed, key in enumerate(keys):
        scene = key.split("_")[0]
        folder = "images_test" if int(key.split("_")[1]) % 5 == 0 else "images_tr"
        noise(root / folder / scene.capitalize() / f"{key}.jpg", seed)
    spelled = ["bare soil" if name == "bare-soil" else name for name in LABELS_17]
    write_table(root / "multilabel.csv", ["IMAGE\\LABEL", *spelled], label_rows(keys), delimiter=",")
    return root


@miniature_of("table")
def table(root: Path) -> Path:
    rows = []
    for i in range(30):
        noise(root / "img" / f"{i:02d}.png", i)
        rows.append([f"img/{i:02d}.png", "sea|sand" if i % 2 else "field; trees", f"caption {i}|another, longer one"])
    write_table(root / "samples.csv", ["path", "labels", "captions"], rows, delimiter=",")
    return root
