"""WHDLD: 4,940 images of Wuhan, 256 px at 2 m, with masks of six classes and a label table.

Shao, Zhou, Deng, Zhang and Cheng, 2020, "Multilabel Remote Sensing Image Retrieval Based on Fully Convolutional
Network".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError, DatasetError
from .catalog import DATASETS, DatasetSpec, Origin
from .dataset import ImageDataset
from .folders import assemble, first_folder, image_key, index_images, resolve_splits
from .masks import mask_agreement, mask_table
from .tables import LabelTable, read_label_table

__all__ = ["LABELS_6", "WHDLD", "inspect_whdld", "load_whdld"]

LABELS_6: tuple[str, ...] = ("building", "road", "pavement", "vegetation", "bare-soil", "water")
"""In the order of the mask ids 1..6; the columns of the label table come in another order."""

WHDLD = Origin(
    title="WHDLD",
    home="https://sites.google.com/view/zhouwx/dataset",
    terms="research use, cite the paper",
    layout="Images/whNNNN.jpg, ImagesPNG/whNNNN.png (masks, ids 1..6) and the label table as .xlsx or .csv",
)
_PNG = frozenset({".png"})


def load_whdld(
    root: Path,
    *,
    splits: Path | None,
    seed: int,
    labels: Literal["table", "masks"] = "table",
    min_pixels: int = 1,
) -> ImageDataset:
    """WHDLD with 6 labels; ids are the file stems. The distribution has no splits.

    Args:
        root: the data set's folder.
        splits: split folder or file (``whdld*_train.csv`` and so on).
        seed: seeds the split where there are no files.
        labels: take them from the table or off the masks.
        min_pixels: from how many pixels on a mask has a label.
    """
    if labels not in ("table", "masks"):
        raise ConfigError(f"labels is {labels!r}, allowed are 'table' and 'masks'")
    folder = first_folder(root, ("Images", "WHDLD/Images", "whdld/Images"))
    images = index_images(folder) if folder else {}
    if folder is None or not images:
        raise WHDLD.missing(root, "images")
    home = folder.parent
    if labels == "table":
        path = _table_path(home)
        if path is None:
            raise WHDLD.missing(home, "label table")
        table = read_label_table(path, LABELS_6)
    else:
        table = _masks(home, min_pixels)
    assignment = resolve_splits(home, splits, ("whdld",), images)
    return assemble(
        name="whdld",
        root=home,
        table=table,
        images=images,
        label_names=LABELS_6,
        assignment=assignment,
        seed=seed,
        identify=lambda path: path.stem,
    )


def inspect_whdld(dataset: ImageDataset, *, min_pixels: int = 1, **_: Any) -> dict[str, Any]:
    """The agreement of table and mask labels, for `check_dataset`; empty if one of them is not there."""
    folder, path = dataset.root / "ImagesPNG", _table_path(dataset.root)
    if path is None or not folder.is_dir():
        return {}
    table = {image_key(key): row.labels for key, row in read_label_table(path, LABELS_6).rows.items()}
    masks = index_images(folder, suffixes=_PNG)
    return {"mask_agreement": mask_agreement(dataset, masks, table, min_pixels)}


def _table_path(home: Path) -> Path | None:
    found = sorted(path for path in home.iterdir() if path.suffix.lower() in (".xlsx", ".csv", ".txt"))
    if len(found) > 1:
        raise DatasetError(f"{home}: more than one label table: {', '.join(path.name for path in found)}; keep one")
    return found[0] if found else None


def _masks(home: Path, min_pixels: int) -> LabelTable:
    folder = home / "ImagesPNG"
    masks = index_images(folder, suffixes=_PNG) if folder.is_dir() else {}
    if not masks:
        raise WHDLD.missing(home, "masks in ImagesPNG")
    return mask_table(folder, masks, LABELS_6, min_pixels)


DATASETS.register("whdld")(DatasetSpec(origin=WHDLD, load=load_whdld, inspect=inspect_whdld))
