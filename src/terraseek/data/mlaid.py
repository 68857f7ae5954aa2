"""ML-AID: 3,000 images of AID, 30 scenes, with the 17 labels of UC Merced.

Images: Xia et al., 2017, "AID: A Benchmark Data Set for Performance Evaluation of Aerial Scene Classification".
Labels: Hua et al., 2020, "Relation Network for Multilabel Aerial Image Classification".
"""

from __future__ import annotations

from pathlib import Path

from ..errors import DatasetError
from ..images import printable
from .catalog import DATASETS, LABELS_17, DatasetSpec, Origin
from .dataset import ImageDataset, multi_hot
from .folders import assemble, first_folder, image_key, index_images, resolve_splits
from .splits import draw_splits
from .tables import LabelTable, read_label_table

__all__ = ["MLAID", "load_mlaid"]

MLAID = Origin(
    title="ML-AID",
    home="https://github.com/Hua-YS/AID-Multilabel-Dataset",
    terms="research use, cite the papers",
    layout="images_tr/<scene>/*.jpg, images_test/<scene>/*.jpg and multilabel.csv",
)
_TABLES = ("multilabel.csv", "ml_aid_index.csv")


def load_mlaid(root: Path, *, splits: Path | None, seed: int) -> ImageDataset:
    """ML-AID; ids are ``<scene>/<scene>_N``.

    Without split files the distributed 2,400/600 is kept: `images_test` is test, and a fifth of `images_tr`, drawn
    from `seed` and stratified by label, is val.
    """
    home = root / "aid" if (root / "aid").is_dir() else root
    path = find_table(home)
    if path is None:
        raise MLAID.missing(root, "multilabel.csv")
    table = read_table(path)
    train, test = home / "images_tr", home / "images_test"
    official = train.is_dir() or test.is_dir()
    if official:
        images, tested = _distributed(train, test)
    elif (folder := first_folder(home, ("images", "Images", "AID"))) is not None:
        images = index_images(folder)
    else:
        raise MLAID.missing(root, "images")
    if not images:
        raise MLAID.missing(root, "images")
    assignment = resolve_splits(home, splits, ("aidmultilabel", "ml-aid", "mlaid"), images)
    notes = []
    if assignment is None and official:
        assignment = _carve(table, images, tested, seed)
        notes.append(f"test as distributed; val is a fifth of images_tr, drawn from seed {seed}")
    return assemble(
        name="ml-aid",
        root=home,
        table=table,
        images=images,
        label_names=LABELS_17,
        assignment=assignment,
        seed=seed,
        all_labelled=official,
        notes=notes,
    )


def find_table(home: Path) -> Path | None:
    """The label table in `home`, if there is one."""
    return next((home / name for name in _TABLES if (home / name).is_file()), None)


def read_table(path: Path) -> LabelTable:
    """Read ML-AID's label table."""
    return read_label_table(path, LABELS_17, ignore=("aitlas_split", "split"))


def _distributed(train: Path, test: Path) -> tuple[dict[str, Path], set[str]]:
    for folder in (train, test):
        if not folder.is_dir():
            raise MLAID.missing(folder.parent, f"folder {folder.name}")
    in_train, in_test = index_images(train), index_images(test)
    if both := sorted(in_train.keys() & in_test.keys()):
        raise DatasetError(f"{printable(train.parent)}: {both[0]!r} is in images_tr and in images_test")
    return in_train | in_test, set(in_test)


def _carve(table: LabelTable, images: dict[str, Path], tested: set[str], seed: int) -> dict[str, str]:
    rows = {image_key(key): row.labels for key, row in table.rows.items()}
    keys = [key for key in rows if key in images and key not in tested]
    labels_NC = multi_hot([rows[key] for key in keys], LABELS_17)
    drawn = draw_splits(labels_NC, seed=seed, fractions={"train": 0.8, "val": 0.2})
    return dict.fromkeys(tested, "test") | dict(zip(keys, drawn, strict=True))


DATASETS.register("ml-aid")(DatasetSpec(origin=MLAID, load=load_mlaid))
