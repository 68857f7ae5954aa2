"""DLRSD: dense labels for the images of UC Merced, as masks and as a label table.

Shao, Yang and Zhou, 2018, "Performance Evaluation of Single-Label and Multi-Label Remote Sensing Image Retrieval
Using a Dense Labeling Dataset".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError
from .catalog import DATASETS, LABELS_17, DatasetSpec, Origin
from .dataset import ImageDataset
from .folders import assemble, first_folder, image_key, index_images, resolve_splits
from .masks import mask_agreement, mask_table
from .tables import LabelTable, read_label_table

__all__ = ["DLRSD", "inspect_dlrsd", "load_dlrsd"]

DLRSD = Origin(
    title="DLRSD",
    home="https://sites.google.com/view/zhouwx/dataset",
    terms="research use, cite the paper; the images are UC Merced's",
    layout="Images/<scene>/*.tif, Labels/<scene>/*.png (palette masks, ids 1..17) and multilabels.csv",
)
_PNG = frozenset({".png"})


def load_dlrsd(
    root: Path,
    *,
    splits: Path | None,
    seed: int,
    labels: Literal["csv", "masks"] = "csv",
    min_pixels: int = 1,
) -> ImageDataset:
    """DLRSD with 17 labels; ids are ``<scene>/<scene>NN``, equal to UC Merced's, and so are split files.

    Args:
        root: the data set's folder.
        splits: split folder or file; of a folder the files named ``dlrsd*`` or, where there are none,
            ``ucmerced*``.
        seed: seeds the split where there are no files.
        labels: take them from ``multilabels.csv`` or off the masks.
        min_pixels: from how many pixels on a mask has a label.
    """
    if labels not in ("csv", "masks"):
        raise ConfigError(f"labels is {labels!r}, allowed are 'csv' and 'masks'")
    folder = first_folder(root, ("Images", "DLRSD/Images", "dlrsd/Images"))
    images = index_images(folder) if folder else {}
    if folder is None or not images:
        raise DLRSD.missing(root, "images")
    home = folder.parent
    table = _csv(home) if labels == "csv" else _masks(home, min_pixels)
    assignment = resolve_splits(home, splits, ("dlrsd", "ucmerced"), images)
    return assemble(
        name="dlrsd", root=home, table=table, images=images, label_names=LABELS_17, assignment=assignment, seed=seed
    )


def inspect_dlrsd(dataset: ImageDataset, *, min_pixels: int = 1, **_: Any) -> dict[str, Any]:
    """The agreement of csv and mask labels, for `check_dataset`; empty if one of them is not there."""
    folder, path = dataset.root / "Labels", dataset.root / "multilabels.csv"
    if not folder.is_dir() or not path.is_file():
        return {}
    table = {image_key(key): row.labels for key, row in _csv(dataset.root).rows.items()}
    masks = index_images(folder, suffixes=_PNG)
    return {"mask_agreement": mask_agreement(dataset, masks, table, min_pixels)}


def _csv(home: Path) -> LabelTable:
    path = home / "multilabels.csv"
    if not path.is_file():
        raise DLRSD.missing(home, "multilabels.csv")
    return read_label_table(path, LABELS_17)


def _masks(home: Path, min_pixels: int) -> LabelTable:
    folder = home / "Labels"
    masks = index_images(folder, suffixes=_PNG) if folder.is_dir() else {}
    if not masks:
        raise DLRSD.missing(home, "masks in Labels")
    return mask_table(folder, masks, LABELS_17, min_pixels)


DATASETS.register("dlrsd")(DatasetSpec(origin=DLRSD, load=load_dlrsd, inspect=inspect_dlrsd))
