"""MLRSNet: 109,161 images of 256 px in 46 scenes, with 60 labels in one table per scene.

Qi et al., 2020, "MLRSNet: A Multi-label High Spatial Resolution Remote Sensing Dataset for Semantic Scene
Understanding".
"""

from __future__ import annotations

from pathlib import Path

from ..errors import DatasetError, Refused
from ..images import printable
from .catalog import DATASETS, DatasetSpec, Origin
from .dataset import ImageDataset
from .folders import assemble, first_folder, index_images, resolve_splits
from .tables import LabelRow, LabelTable, read_label_table

__all__ = ["LABELS_60", "MAX_LABELS", "MLRSNET", "load_mlrsnet"]

MLRSNET = Origin(
    title="MLRSNet",
    home="https://github.com/cugbrs/MLRSNet",
    terms="CC BY 4.0, cite the paper",
    layout="Images/<scene>/*.jpg and Labels/<scene>.csv",
)
MAX_LABELS = 13
"""No image has more labels by the paper; rows that do (most of intersection.csv and parkway.csv) are corrupt."""

LABELS_60: tuple[str, ...] = (
    "airplane",
    "airport",
    "bare soil",
    "baseball diamond",
    "basketball court",
    "beach",
    "bridge",
    "buildings",
    "cars",
    "chaparral",
    "cloud",
    "containers",
    "crosswalk",
    "dense residential area",
    "desert",
    "dock",
    "factory",
    "field",
    "football field",
    "forest",
    "freeway",
    "golf course",
    "grass",
    "greenhouse",
    "gully",
    "habor",
    "intersection",
    "island",
    "lake",
    "mobile home",
    "mountain",
    "overpass",
    "park",
    "parking lot",
    "parkway",
    "pavement",
    "railway",
    "railway station",
    "river",
    "road",
    "roundabout",
    "runway",
    "sand",
    "sea",
    "ships",
    "snow",
    "snowberg",
    "sparse residential area",
    "stadium",
    "swimming pool",
    "tanks",
    "tennis court",
    "terrace",
    "track",
    "trail",
    "transmission tower",
    "trees",
    "water",
    "wetland",
    "wind turbine",
)
"""As distributed, "habor" included: names are keys, and other people's results use them."""


def load_mlrsnet(root: Path, *, splits: Path | None, seed: int) -> ImageDataset:
    """MLRSNet with 60 labels; ids are ``<scene>/<stem>``. The distribution has no splits.

    Columns are mapped by header, whose order differs between scenes. Rows with more than 13 labels are skipped and
    listed.
    """
    folder = first_folder(root, ("Images", "images", "MLRSNet/Images"))
    labels = folder and first_folder(folder.parent, ("Labels", "labels"))
    if folder is None or labels is None:
        raise MLRSNET.missing(root, "folders Images and Labels")
    paths = sorted(labels.glob("*.csv"))
    if not paths:
        raise MLRSNET.missing(root, "tables in Labels")
    images = index_images(folder)
    if not images:
        raise MLRSNET.missing(root, "images")
    return assemble(
        name="mlrsnet",
        root=folder.parent,
        table=_join(labels, paths),
        images=images,
        label_names=LABELS_60,
        assignment=resolve_splits(folder.parent, splits, ("mlrsnet",), images),
        seed=seed,
    )


def _join(folder: Path, paths: list[Path]) -> LabelTable:
    rows: dict[str, LabelRow] = {}
    problems: list[Refused] = []
    unlabelled: set[str] = set()
    for path in paths:
        table = read_label_table(path, LABELS_60)
        others = rows.keys() | unlabelled
        if twice := sorted(table.unlabelled & others):
            raise DatasetError(f"{path}: {twice[0]!r} is in the table of another scene too")
        problems += table.problems
        unlabelled |= table.unlabelled
        for key, row in table.rows.items():
            if key in others:
                raise DatasetError(f"{path}:{row.line}: {key!r} is in the table of another scene too")
            if len(row.labels) > MAX_LABELS:
                reason = f"{key!r} has {len(row.labels)} labels, more than {MAX_LABELS}: a corrupt row"
                problems.append(Refused(source=f"{printable(path)}:{row.line}", reason=reason))
                unlabelled.add(key)
            else:
                rows[key] = row
    return LabelTable(path=folder, rows=rows, problems=tuple(problems), unlabelled=frozenset(unlabelled))


DATASETS.register("mlrsnet")(DatasetSpec(origin=MLRSNET, load=load_mlrsnet))
