"""From image files and a label table to a data set: the part that all labelled folders share."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from ..errors import DatasetError, Refused
from ..images import IMAGE_SUFFIXES, printable, read_image
from ..typing import ImageArray
from .dataset import ImageDataset, Sample, multi_hot
from .splits import draw_splits, find_split_folder, given_splits, read_splits, split_notes
from .tables import LabelTable

__all__ = ["assemble", "first_folder", "image_key", "index_images", "resolve_splits", "scene_id"]


def first_folder(root: Path, candidates: Iterable[str]) -> Path | None:
    """The first of `candidates` (paths relative to `root`) that is a folder."""
    return next((root / name for name in candidates if (root / name).is_dir()), None)


def image_key(name: str) -> str:
    """What identifies an image in label and split files: its file name without folder and image suffix.

    >>> image_key("Airport/airport_1.jpg"), image_key("agricultural00"), image_key("a.b")
    ('airport_1', 'agricultural00', 'a.b')
    """
    path = PurePosixPath(name.strip().replace("\\", "/"))
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name


def scene_id(path: Path) -> str:
    """``<scene folder>/<file stem>``."""
    return f"{path.parent.name}/{path.stem}"


def index_images(folder: Path, *, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """All images in `folder` and below by their key.

    Raises:
        DatasetError: two images have one key.
    """
    found: dict[str, Path] = {}
    for where, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            if file.startswith(".") or Path(file).suffix.lower() not in suffixes:
                continue
            path, key = Path(where, file), image_key(file)
            if key in found:
                raise DatasetError(f"two images are called {key!r}: {printable(found[key])} and {printable(path)}")
            found[key] = path
    return found


def resolve_splits(
    root: Path, splits: Path | None, prefixes: Sequence[str], images: Collection[str]
) -> dict[str, str] | None:
    """Image key -> split from the given or the neighbouring split folder; None if there is none for this data set.

    Args:
        root: the data set's folder.
        splits: a split folder or file that the user named.
        prefixes: as for `read_splits`.
        images: keys of the images that are here.

    Raises:
        TerraseekError: what `read_splits` and `given_splits` raise.
    """
    if splits is not None:
        return given_splits(splits, prefixes, key=image_key, images=images)
    folder = find_split_folder(root)
    return read_splits(folder, prefixes, key=image_key, images=images) if folder else None


def assemble(
    *,
    name: str,
    root: Path,
    table: LabelTable,
    images: Mapping[str, Path],
    label_names: Sequence[str],
    assignment: Mapping[str, str] | None,
    seed: int,
    identify: Callable[[Path], str] = scene_id,
    all_labelled: bool = True,
    reader: Callable[[Path], ImageArray] = read_image,
    notes: Iterable[str] = (),
) -> ImageDataset:
    """Join label rows, images and splits by key.

    Rows without image and, if `all_labelled`, images without row are skipped and listed. Without an `assignment`
    the splits are drawn from `seed`; images that an assignment does not name stay outside all splits and are noted.
    """
    problems = list(table.problems)
    found: list[tuple[str, Path, tuple[str, ...]]] = []
    rows = {image_key(key): row for key, row in table.rows.items()}
    unlabelled = set(map(image_key, table.unlabelled))
    if len(rows) < len(table.rows) or rows.keys() & unlabelled:
        raise DatasetError(f"{table.path}: the same image is listed under two spellings")
    for key, row in rows.items():
        if key in images:
            found.append((key, images[key], row.labels))
        else:
            source = f"{printable(table.path)}:{row.line}"
            problems.append(Refused(source=source, reason=f"{row.key!r} has no image file"))
    if all_labelled:
        for key in sorted(images.keys() - rows.keys() - unlabelled):
            problems.append(Refused(source=printable(images[key]), reason=f"no row in {table.path.name}"))
    drawn_from = seed if assignment is None else None
    if assignment is None:
        labels_NC = multi_hot([labels for _, _, labels in found], label_names)
        assignment = dict(zip((key for key, _, _ in found), draw_splits(labels_NC, seed=seed), strict=True))
    samples = [
        Sample(id=identify(path), path=path, split=assignment.get(key), labels=labels) for key, path, labels in found
    ]
    notes = [*notes, *split_notes(assignment, [key for key, _, _ in found], drawn_from=drawn_from)]
    return ImageDataset.build(
        name=name, root=root, samples=samples, label_names=label_names, problems=problems, notes=notes, reader=reader
    )
