"""UC Merced Land Use with the multi-label annotation: 2,100 aerial images of 256 px, 21 scenes, 17 labels.

Images: Yang and Newsam, 2010, "Bag-Of-Visual-Words and Spatial Extensions for Land-Use Classification". Labels:
Chaudhuri et al., 2018, "Multilabel Remote Sensing Image Retrieval Using a Semisupervised Graph-Theoretic Method".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ..errors import DatasetError, require
from .catalog import DATASETS, LABELS_17, DatasetSpec, Download, Origin
from .dataset import ImageDataset
from .folders import assemble, first_folder, image_key, index_images, resolve_splits
from .tables import LabelTable, label_table, read_label_table

__all__ = ["UCMERCED", "find_labels", "load_ucmerced"]

UCMERCED = Origin(
    title="UC Merced multi-label",
    home="http://weegee.vision.ucmerced.edu/datasets/landuse.html, labels from https://bigearth.eu/datasets",
    terms="USGS National Map imagery, public domain; cite the papers",
    layout="UCMerced_LandUse/Images/<scene>/<scene>NN.tif beside LandUse_Multilabeled.txt",
    downloads=(
        Download(
            url="http://weegee.vision.ucmerced.edu/datasets/UCMerced_LandUse.zip",
            md5="5b7ec56793786b6dc8a908e8854ac0e4",
            folder="UCMerced_LandUse",
        ),
    ),
)
_IMAGES = ("UCMerced_LandUse/Images", "Images", "images", "ucm/images")
_TABLES = ("LandUse_Multilabeled.txt", "LandUse_Multilabeled.xlsx", "LandUse_multilabels.mat", "index.csv")
_CAPTION_COLUMNS = ("caption_filename", "caption_split")


def load_ucmerced(root: Path, *, splits: Path | None, seed: int) -> ImageDataset:
    """UC Merced with its 17 labels; ids are ``<scene>/<scene>NN``. The distribution has no splits."""
    folder = first_folder(root, _IMAGES)
    if folder is None:
        raise UCMERCED.missing(root, "images")
    images = index_images(folder)
    if not images:
        raise UCMERCED.missing(folder, "images")
    home = root / "ucm" if folder == root / "ucm/images" else root
    table = find_labels(home, images)
    if table is None:
        raise UCMERCED.missing(root, f"label table ({', '.join(_TABLES[:3])})")
    return assemble(
        name="ucmerced-ml",
        root=home,
        table=table,
        images=images,
        label_names=LABELS_17,
        assignment=resolve_splits(home, splits, ("ucmerced",), images),
        seed=seed,
    )


def find_labels(home: Path, images: Mapping[str, Path]) -> LabelTable | None:
    """The label table in `home` or in its folder ``multilabels``, in whichever of its forms; None without one."""
    bases = (home, home / "multilabels", home / "UCMerced_LandUse")
    path = next((base / file for file in _TABLES for base in bases if (base / file).is_file()), None)
    if path is None:
        return None
    return _mat_table(path, images) if path.suffix == ".mat" else _table(path)


def _table(path: Path) -> LabelTable:
    return read_label_table(path, LABELS_17, ignore=_CAPTION_COLUMNS)


def _mat_table(path: Path, images: Mapping[str, Path]) -> LabelTable:
    """The MATLAB form: a (17, 2100) matrix whose columns follow the images sorted by name, and no names."""
    scipy_io = require("scipy.io", "train")
    try:
        matrix = scipy_io.loadmat(path)["labels"]
    except Exception as error:  # a damaged .mat raises nearly anything
        raise DatasetError(f"{path}: no readable matrix 'labels' ({type(error).__name__})") from None
    names = sorted(map(image_key, images))
    if matrix.shape != (len(LABELS_17), len(names)):
        wanted = (len(LABELS_17), len(names))
        raise DatasetError(f"{path}: the matrix is {matrix.shape}, for the images that are here it must be {wanted}")
    if len(wrong := np.argwhere((matrix != 0) & (matrix != 1))):
        row, column = wrong[0]
        raise DatasetError(
            f"{path}:{row + 1}: column {column + 1} is {matrix[row, column]}, only 0 and 1 are understood"
        )

    def rows() -> Iterator[tuple[int, list[str]]]:
        yield 0, ["image", *LABELS_17]
        for column, name in enumerate(names):
            yield column + 1, [name, *(str(int(value)) for value in matrix[:, column])]

    return label_table(path, rows(), LABELS_17)


DATASETS.register("ucmerced-ml")(DatasetSpec(origin=UCMERCED, load=load_ucmerced))
