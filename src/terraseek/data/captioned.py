"""The captioned data sets: RSICD, RSITMD, NWPU-Captions, UCM-Captions, Sydney-Captions, and the view RSICD-10k.

RSICD: Lu et al., 2017, "Exploring Models and Data for Remote Sensing Image Caption Generation". RSITMD: Yuan et al.,
2022, "Exploring a Fine-Grained Multiscale Method for Cross-Modal Remote Sensing Image Retrieval". NWPU-Captions: Cheng
et al., 2022, "NWPU-Captions Dataset and MLCA-Net". UCM- and Sydney-Captions: Qu et al., 2016, "Deep semantic
understanding of high resolution remote sensing image".

Skipped and listed, beside what `terraseek.data.caption_files` skips: captions whose image is not there, and images
without captions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DatasetError, Refused
from ..images import printable, read_image
from ..typing import ImageArray
from .caption_files import CaptionedFile, find_precomp, read_karpathy, read_precomp
from .captions import caption_statistics
from .catalog import DATASETS, LABELS_17, DatasetSpec, Origin
from .dataset import ImageDataset, Sample
from .folders import first_folder, image_key, index_images, resolve_splits, scene_id
from .mlaid import find_table, read_table
from .splits import split_notes
from .tables import text_rows
from .ucmerced import find_labels
from .validation_images import draw_validation, find_own_validation

__all__ = [
    "NWPU_CAPTIONS",
    "RSICD",
    "RSITMD",
    "SYDNEY_CAPTIONS",
    "UCM_CAPTIONS",
    "load_captioned",
    "load_rsicd_10k",
    "load_ucm_captions",
    "read_centre",
]

RSICD = Origin(
    title="RSICD",
    home="https://github.com/201528014227051/RSICD_optimal",
    terms="research use, cite the paper",
    layout="dataset_rsicd.json (or the *_precomp text files) beside RSICD_images/*.jpg",
)
RSITMD = Origin(
    title="RSITMD",
    home="https://github.com/xiaoyuan1996/AMFMN",
    terms="research use, cite the paper",
    layout="dataset_RSITMD.json (or the *_precomp text files) beside images/*.tif",
)
NWPU_CAPTIONS = Origin(
    title="NWPU-Captions",
    home="https://github.com/HaiyanHuang98/NWPU-Captions",
    terms="research use, cite the paper",
    layout="dataset_nwpu.json beside NWPU_images/<scene>/*.jpg",
)
UCM_CAPTIONS = Origin(
    title="UCM-Captions",
    home="https://github.com/201528014227051/RSICD_optimal",
    terms="research use, cite the paper; the images are UC Merced's",
    layout="dataset.json beside imgs/N.tif or beside UCMerced_LandUse/Images/<scene>/*.tif",
)
SYDNEY_CAPTIONS = Origin(
    title="Sydney-Captions",
    home="https://github.com/201528014227051/RSICD_optimal",
    terms="research use, cite the paper",
    layout="dataset.json beside imgs/N.tif",
)
RSICD_10K = Origin(
    title="RSICD-10k (the images of RSICD that are AID images)",
    home="https://github.com/201528014227051/RSICD_optimal (captions), https://captain-whu.github.io/AID (images)",
    terms="research use, cite both papers",
    layout="rsicd/ with the captions of RSICD beside aid/images/<scene>/*.jpg",
)
_IMAGE_FOLDERS = ("imgs", "images", "Images", "RSICD_images", "NWPU_images", "UCMerced_LandUse/Images")
_CAPTION_FILES = ("dataset.json", "captions.json")
_CENTRE = 0.875  # of AID's side: what RSICD shows of the same place
_RSICD_TRAIN, _RSICD_VAL = 8_734, 1_094  # as distributed; the *_precomp files have the two as one


def load_captioned(
    root: Path,
    *,
    splits: Path | None,
    seed: int,
    val: float | str = 0.1,
    name: str,
    origin: Origin,
    folder_name: str,
    files: Sequence[str] = (),
    identify: Callable[[Path], str] = lambda path: path.stem,
) -> ImageDataset:
    """A captioned data set in either layout; ids are file stems.

    Args:
        root: holds captions and images, or a folder `folder_name` that does.
        splits: a split folder (``<name>*_train.csv``) or file in place of the distributed split.
        seed: seeds the draw of val where the layout has none.
        val: share of train that becomes val where the layout has none; for RSICD also "own", its own validation split,
            which the ``*_precomp`` files have behind train.
        name: the registered name.
        origin: named where files are missing.
        folder_name: what the data set's folder may be called inside `root`.
        files: further names of the caption JSON file, tried first.
        identify: turns an image path into a sample id.
    """
    home = root / folder_name if (root / folder_name).is_dir() else root
    entries, problems = _read_captions(home, (*files, *_CAPTION_FILES), origin)
    if val == "own" and origin is RSICD:
        entries = find_own_validation(entries, _RSICD_TRAIN, _RSICD_VAL)
    folder = first_folder(home, _IMAGE_FOLDERS)
    images = index_images(folder) if folder else {}
    if folder is None or not images:
        raise origin.missing(home, "images")
    return _join(
        name=name,
        root=home,
        entries=entries,
        images=images,
        problems=problems,
        splits=splits,
        seed=seed,
        val=val,
        identify=identify,
    )


def load_ucm_captions(root: Path, *, splits: Path | None, seed: int, val: float | str = 0.1) -> ImageDataset:
    """UCM-Captions: 2,100 images with five captions each and, where a label table is at hand, the 17 labels as well.

    Where the images lie in scene folders, ids are those of ``ucmerced-ml``, and image N.tif of the captions is the one
    that ``index.csv`` says or, without that file, the N-th of all images sorted by name. Splits are the captions' own
    (1,680/210/210) unless `splits` is given: label splits and caption splits differ.

    Args:
        root: holds captions and images, or a folder ``ucm`` that does.
        splits: a split folder (``ucmerced*_train.csv``) or file in place of the captions' own.
        seed: seeds the draw of val where the layout has none.
        val: share of train that becomes val where the layout has none.
    """
    home = root / "ucm" if (root / "ucm").is_dir() else root
    entries, problems = _read_captions(home, ("dataset_ucm.json", "dataset_ucmd.json", *_CAPTION_FILES), UCM_CAPTIONS)
    folder = first_folder(home, _IMAGE_FOLDERS)
    images = index_images(folder) if folder else {}
    if folder is None or not images:
        raise UCM_CAPTIONS.missing(home, "images")
    scenes = any(path.parent != folder for path in images.values())
    if scenes and all(image_key(entry.filename).isdigit() for entry in entries):
        images = _numbered(home, images, len(entries))
    table = find_labels(home, index_images(folder)) if scenes else None
    labels = {image_key(key): row.labels for key, row in table.rows.items()} if table else {}
    return _join(
        name="ucm-captions",
        root=home,
        entries=entries,
        images=images,
        problems=problems,
        splits=splits,
        seed=seed,
        val=val,
        identify=scene_id if scenes else lambda path: path.stem,
        labels=labels,
        prefixes=("ucmerced",),
    )


def _numbered(home: Path, images: Mapping[str, Path], expected: int) -> dict[str, Path]:
    index = home / "index.csv"
    if index.is_file():
        numbers = _read_index(index)
        if numbers is not None:
            return {number: images[key] for number, key in numbers.items() if key in images}
    if len(images) != expected:
        # With one image missing, every later number would silently get its neighbour's captions.
        raise DatasetError(
            f"{printable(home)}: the captions number {expected} images and {len(images)} are here: numbers cannot be "
            "matched; restore the missing images or add index.csv with the columns image and caption_filename"
        )
    return {str(number): images[key] for number, key in enumerate(sorted(images), 1)}


def _read_index(path: Path) -> dict[str, str] | None:
    """Number -> image key from the columns `caption_filename` and `image`; None where the table has not both."""
    rows = text_rows(path)
    first, header = next(rows, (1, []))
    if not header:
        raise DatasetError(f"{path}:{first}: empty, expected the columns image and caption_filename")
    if "image" not in header or "caption_filename" not in header:
        return None
    columns = (header.index("caption_filename"), header.index("image"))
    seen: dict[tuple[int, str], int] = {}
    found: dict[str, str] = {}
    for line, cells in rows:
        if len(cells) != len(header):
            raise DatasetError(f"{path}:{line}: {len(cells)} columns, the header has {len(header)}")
        number, image = keys = [image_key(cells[column]) for column in columns]
        for column, key in zip(columns, keys, strict=True):
            if not key:
                raise DatasetError(f"{path}:{line}: no {header[column]}")
            if (earlier := seen.setdefault((column, key), line)) != line:
                raise DatasetError(f"{path}:{line}: {header[column]} {key!r} is already on line {earlier}")
        found[number] = image
    return found


def load_rsicd_10k(root: Path, *, splits: Path | None, seed: int, val: float | str = 0.1) -> ImageDataset:
    """The view of RSICD whose images are AID images of the same name: 8,973 of train and val, 1,027 of test.

    `read` gives AID's central 0.875, which is what RSICD shows. Ids are AID's, so that images shared with ``ml-aid``
    can be told by id: 821 of the test images are, and a model that reports here must not have seen them there. Its
    numbers are not comparable with published ones, which are on all of RSICD.

    With `val` "own", val is what RSICD's own validation split has of these images, 1,027, and train the 7,946 others.
    """
    rsicd, aid = root / "rsicd", root / "aid"
    if not rsicd.is_dir():
        raise RSICD_10K.missing(root, "folder rsicd")
    entries, problems = _read_captions(rsicd, ("dataset_rsicd.json", *_CAPTION_FILES), RSICD_10K)
    if val == "own":
        entries = find_own_validation(entries, _RSICD_TRAIN, _RSICD_VAL)
    folder = first_folder(aid, ("images", "Images", "."))
    images = index_images(folder) if folder else {}
    if not images:
        raise RSICD_10K.missing(root, "AID images")
    # RSICD names what it took from AID by scene, as AID does, and numbers all else.
    shared = [entry for entry in entries if not image_key(entry.filename).isdigit()]
    return _join(
        name="rsicd-10k",
        root=root,
        entries=shared,
        images=images,
        problems=problems,
        splits=splits,
        seed=seed,
        val=val,
        identify=scene_id,
        reader=functools.partial(read_centre, share=_CENTRE),
        notes=[f"{len(entries) - len(shared)} images of RSICD are not AID images and not in this view"],
        all_captioned=False,
    )


def read_centre(path: Path, share: float) -> ImageArray:
    """The middle of an image, `share` of either side, (H, W, 3) uint8."""
    image = read_image(path)
    height, width = (round(side * share) for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def _read_captions(home: Path, files: Sequence[str], origin: Origin) -> tuple[list[CaptionedFile], list[Refused]]:
    for file in files:
        if (home / file).is_file():
            return read_karpathy(home / file)
    if find_precomp(home):
        return read_precomp(home)
    raise origin.missing(home, "caption file")


def _join(
    *,
    name: str,
    root: Path,
    entries: Sequence[CaptionedFile],
    images: Mapping[str, Path],
    problems: Sequence[Refused],
    splits: Path | None,
    seed: int,
    val: float | str,
    identify: Callable[[Path], str],
    reader: Callable[[Path], ImageArray] = read_image,
    labels: Mapping[str, tuple[str, ...]] | None = None,
    prefixes: Sequence[str] = (),
    notes: Sequence[str] = (),
    all_captioned: bool = True,
) -> ImageDataset:
    problems, notes = list(problems), list(notes)
    held = [entry.split for entry in entries]
    if splits is None and "val" not in held:
        held = draw_validation(entries, val, seed)
        notes.append(f"val is {float(val):.0%} of train, drawn from seed {seed}: the files have none")
    # Only what the user names replaces the captions' own split: ``splits`` beside UC Merced's images is of its labels.
    named = {image_key(path.name) for path in images.values()}
    given = resolve_splits(root, splits, prefixes or (name,), named) if splits else None
    samples: list[Sample] = []
    used: set[str] = set()
    for entry, split in zip(entries, held, strict=True):
        key = image_key(entry.filename)
        used.add(key)
        if key not in images:
            problems.append(Refused(source=entry.where, reason=f"{entry.filename!r} has no image file"))
            continue
        path = images[key]
        samples.append(
            Sample(
                id=identify(path),
                path=path,
                split=split if given is None else given.get(image_key(path.name)),
                captions=entry.captions,
                labels=(labels or {}).get(image_key(path.name), ()),
            )
        )
    if given is not None:
        notes += split_notes(given, [image_key(sample.path.name) for sample in samples])
    if all_captioned:
        for key in sorted(images.keys() - used):
            problems.append(Refused(source=printable(images[key]), reason="no captions"))
    return ImageDataset.build(
        name=name,
        root=root,
        samples=samples,
        label_names=LABELS_17 if labels else (),
        problems=problems,
        notes=notes,
        reader=reader,
    )


def _register(name: str, origin: Origin, folder_name: str, *files: str) -> None:
    def load(root: Path, *, splits: Path | None, seed: int, val: float | str = 0.1) -> ImageDataset:
        return load_captioned(
            root,
            splits=splits,
            seed=seed,
            val=val,
            name=name,
            origin=origin,
            folder_name=folder_name,
            files=files,
            identify=scene_id if name == "nwpu-captions" else lambda path: path.stem,
        )

    DATASETS.register(name)(DatasetSpec(origin=origin, load=load, inspect=caption_statistics))


def _inspect_rsicd_10k(dataset: ImageDataset, **options: Any) -> dict[str, Any]:
    """Caption statistics, and how many images of each split are ML-AID images too, where its index is at hand."""
    found = caption_statistics(dataset, **options)
    path = find_table(dataset.root / "aid")
    if path is not None:
        keys = {image_key(key) for key in read_table(path).rows}
        found["also_in_ml_aid"] = {
            split: sum(image_key(s.path.name) in keys for s in dataset.samples if s.split == split)
            for split in dataset.splits
        }
    return found


_register("rsicd", RSICD, "rsicd", "dataset_rsicd.json")
_register("rsitmd", RSITMD, "rsitmd", "dataset_RSITMD.json", "dataset_rsitmd.json")
_register("nwpu-captions", NWPU_CAPTIONS, "nwpu", "dataset_nwpu.json")
_register("sydney-captions", SYDNEY_CAPTIONS, "sydney", "dataset_sydney.json")
DATASETS.register("ucm-captions")(DatasetSpec(origin=UCM_CAPTIONS, load=load_ucm_captions, inspect=caption_statistics))
DATASETS.register("rsicd-10k")(DatasetSpec(origin=RSICD_10K, load=load_rsicd_10k, inspect=_inspect_rsicd_10k))
