"""Miniatures of the data sets in their real layouts, made on the spot."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from PIL import Image
from rasterio import Affine

from terraseek.data import LABELS_17, synthesize
from terraseek.data.bigearthnet import BANDS, LABELS_19
from terraseek.data.mlrsnet import LABELS_60

Maker = Callable[[Path], None]
MINIATURES: dict[str, Maker] = {}


def miniature_of(name: str) -> Callable[[Maker], Maker]:
    def enter(maker: Maker) -> Maker:
        MINIATURES[name] = maker
        return maker

    return enter


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes each miniature once a session."""
    folder = tmp_path_factory.mktemp("miniatures")

    def make(name: str) -> Path:
        root = folder / name
        if not root.exists():
            root.mkdir()
            MINIATURES[name](root)
        return root

    return make


@pytest.fixture
def miniature(originals: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Copies the miniature of a data set, for one test to spoil, and returns its root."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(originals(name), tmp_path / name))

    return copy


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
def ucmerced(root: Path) -> None:
    keys = [f"{scene}{i:02d}" for scene in ("beach", "harbor", "tenniscourt") for i in range(20)]
    for seed, key in enumerate(keys):
        noise(root / "UCMerced_LandUse" / "Images" / key[:-2] / f"{key}.tif", seed)
    write_table(root / "LandUse_Multilabeled.txt", ["IMAGE\\LABEL", *LABELS_17], label_rows(keys))


@miniature_of("ml-aid")
def mlaid(root: Path) -> None:
    keys = [f"{scene}_{i}" for scene in ("airport", "port") for i in range(1, 26)]
    for seed, key in enumerate(keys):
        scene = key.split("_")[0]
        folder = "images_test" if int(key.split("_")[1]) % 5 == 0 else "images_tr"
        noise(root / folder / scene.capitalize() / f"{key}.jpg", seed)
    spelled = ["bare soil" if name == "bare-soil" else name for name in LABELS_17]
    write_table(root / "multilabel.csv", ["IMAGE\\LABEL", *spelled], label_rows(keys), delimiter=",")


@miniature_of("table")
def table(root: Path) -> None:
    rows = []
    for i in range(30):
        noise(root / "img" / f"{i:02d}.png", i)
        rows.append([f"img/{i:02d}.png", "sea|sand" if i % 2 else "field; trees", f"caption {i}|another, longer one"])
    write_table(root / "samples.csv", ["path", "labels", "captions"], rows, delimiter=",")


def write_mask(path: Path, ids: np.ndarray) -> None:
    """A palette mask whose colours, turned into grey, would give other numbers than its ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(ids.astype(np.uint8))
    mask.putpalette([0, 0, 0] + [value for i in range(1, 18) for value in (255 - 13 * i, 7 * i, 31 * i % 256)])
    mask.save(path)


@miniature_of("dlrsd")
def dlrsd(root: Path) -> None:
    synthesize(root, images=40, seed=4, size=32, layout="dlrsd")


@miniature_of("whdld")
def whdld(root: Path) -> None:
    rng = np.random.default_rng(0)
    book = openpyxl.Workbook()
    columns = ["vegetation", "Bare Soil", "building", "water", "pavement", "road"]  # not the order of the ids
    names = ["building", "road", "pavement", "vegetation", "Bare Soil", "water"]
    book.active.append(["image", *columns])
    for i in range(1, 31):
        noise(root / "Images" / f"wh{i:04d}.jpg", i)
        ids = rng.choice([i % 6 + 1, (i + 1) % 6 + 1], (16, 16))
        write_mask(root / "ImagesPNG" / f"wh{i:04d}.png", ids)
        present = {names[k - 1] for k in np.unique(ids)}
        book.active.append([f"wh{i:04d}", *(int(column in present) for column in columns)])
    book.save(root / "labels.xlsx")


@miniature_of("mlrsnet")
def mlrsnet(root: Path) -> None:
    rng = np.random.default_rng(0)
    (root / "Labels").mkdir()
    for scene in ("airplane", "bridge", "wetland"):
        columns = list(rng.permutation(LABELS_60))  # every scene has its own order
        rows = []
        for i in range(1, 16):
            name = f"{scene}_{i:05d}.jpg"
            noise(root / "Images" / scene / name, i)
            present = {scene, *rng.choice(LABELS_60, 3)}
            rows.append([name, *(str(int(column in present)) for column in columns)])
        write_table(root / "Labels" / f"{scene}.csv", ["image", *columns], rows, delimiter=",")


@miniature_of("bigearthnet")
def bigearthnet(root: Path) -> None:
    tile = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
    rows = []
    for i in range(8):
        patch = f"{tile}_26_{i:02d}"
        for k, band in enumerate(BANDS):
            edge = {"B01": 20, "B09": 20}.get(band, 120 if band in ("B02", "B03", "B04", "B08") else 60)
            path = root / "BigEarthNet-S2" / tile / patch / f"{patch}_{band}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            profile = {"driver": "GTiff", "width": edge, "height": edge, "count": 1, "dtype": "uint16"}
            with rasterio.open(
                path, "w", **profile, crs="EPSG:32633", transform=Affine(1200 / edge, 0, 3e5, 0, -1200 / edge, 5e6)
            ) as sink:
                sink.write(np.full((1, edge, edge), 1000 * k + i, np.uint16))
        rows.append(
            {
                "patch_id": patch,
                "labels": [LABELS_19[i], LABELS_19[18 - i]],
                "split": ("train", "train", "validation", "test")[i % 4],
                "country": "Austria",
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), root / "metadata.parquet")


def sentences(number: int) -> list[str]:
    return [f"caption {i} of image {number} ." for i in range(5)]


def karpathy(path: Path, files: list[str]) -> None:
    entries = [
        {
            "filename": file,
            "imgid": i,
            "split": ("train", "train", "val", "test")[i % 4],
            "sentences": [{"raw": text, "tokens": text.split()} for text in sentences(i)],
        }
        for i, file in enumerate(files)
    ]
    path.write_text(json.dumps({"dataset": "mini", "images": entries}))


def precomp(folder: Path, files: list[str]) -> None:
    """As the published files: train names each image once, test names it for each caption."""
    folder.mkdir(exist_ok=True)
    numbered = list(enumerate(files))
    train, test = [pair for pair in numbered if pair[0] % 4 != 3], [pair for pair in numbered if pair[0] % 4 == 3]
    for split, pairs in (("train", train), ("test", test)):
        lines = [text for number, _ in pairs for text in sentences(number)]
        names = [file for _, file in pairs for _ in range(5 if split == "test" else 1)]
        (folder / f"{split}_caps.txt").write_text("\n".join(lines) + "\n")
        (folder / f"{split}_filename.txt").write_text("\n".join(names) + "\n")


@miniature_of("rsicd")
def rsicd(root: Path) -> None:
    files = [f"airport_{i}.jpg" for i in range(12)] + [f"{i:05d}.jpg" for i in range(8)]
    for seed, file in enumerate(files):
        noise(root / "RSICD_images" / file, seed)
    karpathy(root / "dataset_rsicd.json", files)


@miniature_of("rsitmd")
def rsitmd(root: Path) -> None:
    files = [f"boat_{i}.tif" for i in range(20)]
    for seed, file in enumerate(files):
        noise(root / "images" / file, seed)
    precomp(root, files)


@miniature_of("sydney-captions")
def sydney(root: Path) -> None:
    files = [f"{i}.tif" for i in range(1, 13)]
    for seed, file in enumerate(files):
        noise(root / "imgs" / file, seed)
    karpathy(root / "dataset.json", files)


@miniature_of("ucm-captions")
def ucm_captions(root: Path) -> None:
    sydney(root)


@miniature_of("nwpu-captions")
def nwpu(root: Path) -> None:
    tree: dict[str, list[dict[str, object]]] = {}
    for scene in ("airplane", "bridge"):
        for i in range(1, 9):
            file = f"{scene}_{i:03d}.jpg"
            noise(root / "NWPU_images" / scene / file, i)
            texts = sentences(i)
            numbered = {"raw" if k == 0 else f"raw_{k}": text for k, text in enumerate(texts)}
            tree.setdefault(scene, []).append({"filename": file, "split": ("train", "val", "test")[i % 3], **numbered})
    (root / "dataset_nwpu.json").write_text(json.dumps(tree))


@miniature_of("rsicd-10k")
def rsicd_10k(root: Path) -> None:
    shared = [f"airport_{i}.jpg" for i in range(12)]
    for seed, file in enumerate([*shared, "airport_99.jpg"]):
        noise(root / "aid" / "images" / "Airport" / file, seed, size=40)
    precomp(root / "rsicd", [*shared, "00001.jpg", "00002.jpg"])
