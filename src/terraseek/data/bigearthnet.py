"""BigEarthNet v2.0: 480,038 Sentinel-2 patches of 120 px, 12 bands, 19 land-cover labels.

Clasen et al., 2024, "reBEN: Refined BigEarthNet Dataset for Remote Sensing Image Analysis".
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from ..errors import ConfigError, DatasetError, ImageError, Refused
from ..images import printable
from ..registry import nearest
from ..typing import ImageArray
from .catalog import DATASETS, DatasetSpec, Origin
from .dataset import ImageDataset, Sample
from .folders import first_folder, resolve_splits
from .splits import split_notes

__all__ = ["BANDS", "BIGEARTHNET", "LABELS_19", "load_bigearthnet", "read_patch"]

BIGEARTHNET = Origin(
    title="BigEarthNet v2.0",
    home="https://bigearth.net",
    terms="CDLA-Permissive-1.0, cite the paper",
    layout="BigEarthNet-S2/<tile>/<patch>/<patch>_B02.tif ... and metadata.parquet",
)
BANDS: tuple[str, ...] = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
LABELS_19: tuple[str, ...] = (
    "Urban fabric",
    "Industrial or commercial units",
    "Arable land",
    "Permanent crops",
    "Pastures",
    "Complex cultivation patterns",
    "Land principally occupied by agriculture, with significant areas of natural vegetation",
    "Agro-forestry areas",
    "Broad-leaved forest",
    "Coniferous forest",
    "Mixed forest",
    "Natural grassland and sparsely vegetated areas",
    "Moors, heathland and sclerophyllous vegetation",
    "Transitional woodland, shrub",
    "Beaches, dunes, sands",
    "Inland wetlands",
    "Coastal wetlands",
    "Inland waters",
    "Marine waters",
)
_SPLITS = {"train": "train", "validation": "val", "test": "test"}
_COLUMNS = ("patch_id", "labels", "split")


def load_bigearthnet(
    root: Path, *, splits: Path | None, seed: int, bands: Sequence[str] = BANDS, size: int = 120
) -> ImageDataset:
    """BigEarthNet v2.0 with its official splits; ids are the patch names, `read` gives (size, size, B) uint16.

    Args:
        root: holds ``metadata.parquet`` and ``BigEarthNet-S2``.
        splits: a split file or folder (``bigearthnet*_train.csv``) in place of the official one.
        seed: unused, the splits are given.
        bands: which bands, in which order.
        size: pixels per side to which all bands are brought; 120 is 10 m.
    """
    bands = tuple(bands)
    for band in bands:
        if band not in BANDS:
            raise ConfigError(f"unknown band {band!r}: {nearest(band, list(BANDS))}")
    if not bands or size < 1:
        raise ConfigError(f"{len(bands)} bands of {size} pixels cannot be read")
    metadata = root / "metadata.parquet"
    if not metadata.is_file():
        raise BIGEARTHNET.missing(root, "metadata.parquet")
    folder = first_folder(root, ("BigEarthNet-S2", "."))
    assert folder is not None
    table = _read_metadata(metadata)
    # Only what the user names replaces the official split: a stray folder `splits` beside it does not.
    patches = set(table.column("patch_id").to_pylist()) if splits else set()
    given = resolve_splits(root, splits, ("bigearthnet",), patches) if splits else None
    problems: list[Refused] = []
    samples = list(_samples(metadata, table, folder, given, problems))
    if not samples:
        raise BIGEARTHNET.missing(folder, "patches")
    return ImageDataset.build(
        name="bigearthnet",
        root=root,
        samples=samples,
        label_names=LABELS_19,
        problems=problems,
        notes=[] if given is None else split_notes(given, [sample.id for sample in samples]),
        reader=functools.partial(read_patch, bands=bands, size=size),
    )


def read_patch(path: Path, bands: Sequence[str] = BANDS, size: int = 120) -> ImageArray:
    """The bands of one patch folder, (size, size, B) uint16; coarser bands are resampled bilinearly.

    Raises:
        ImageError: a band is missing or damaged; the message names the file.
    """
    pixels = np.empty((size, size, len(bands)), dtype=np.uint16)
    for i, band in enumerate(bands):
        file = path / f"{path.name}_{band}.tif"
        if not file.is_file():
            raise ImageError(f"{printable(path)}: no band {band}")
        try:
            with rasterio.open(file, driver="GTiff") as source:
                pixels[..., i] = source.read(1, out_shape=(size, size), resampling=Resampling.bilinear)
        except (RasterioError, ValueError) as error:
            raise ImageError(f"{printable(path)}: band {band} is damaged ({' '.join(str(error).split())})") from None
    return pixels


def _read_metadata(metadata: Path) -> pa.Table:
    try:
        table = pq.read_table(metadata)
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{metadata}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    if missing := [column for column in _COLUMNS if column not in table.column_names]:
        raise DatasetError(f"{metadata}: no column {', '.join(missing)}; it has {', '.join(table.column_names)}")
    return table


def _samples(
    metadata: Path, table: pa.Table, folder: Path, given: dict[str, str] | None, problems: list[Refused]
) -> Iterator[Sample]:
    seen: dict[str, int] = {}
    columns = (table.column(name).to_pylist() for name in _COLUMNS)
    for row, (patch, labels, split) in enumerate(zip(*columns, strict=True), 1):
        where = f"{metadata}:{row}"
        if not isinstance(patch, str) or not patch:
            raise DatasetError(f"{where}: patch_id is {patch!r}, it must be a name")
        if patch in seen:
            raise DatasetError(f"{where}: {patch!r} is already in row {seen[patch]}")
        seen[patch] = row
        for label in labels or ():
            if label not in LABELS_19:
                raise DatasetError(f"{where}: unknown label {label!r}: {nearest(label, LABELS_19)}")
        if given is None and split not in _SPLITS:
            raise DatasetError(f"{where}: split {split!r}, known are {', '.join(_SPLITS)}")
        # <tile> is the patch name without its row and column: S2A_MSIL2A_..._T29UPU_36_85
        path = folder / patch.rsplit("_", 2)[0] / patch
        if not path.is_dir():
            problems.append(Refused(source=f"{printable(metadata)}:{row}", reason=f"no folder of {printable(patch)}"))
        elif not labels:
            problems.append(Refused(source=f"{printable(metadata)}:{row}", reason=f"{printable(patch)} has no label"))
        else:
            held = _SPLITS[split] if given is None else given.get(patch)
            ordered = tuple(name for name in LABELS_19 if name in labels)
            yield Sample(id=patch, path=path, split=held, labels=ordered)


DATASETS.register("bigearthnet")(DatasetSpec(origin=BIGEARTHNET, load=load_bigearthnet))
