"""Label sets read off segmentation masks: a label holds where enough pixels have its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ConfigError, DatasetError, ImageError, Refused
from ..images import printable, read_image, refuse
from .dataset import ImageDataset
from .tables import LabelRow, LabelTable

__all__ = ["mask_agreement", "mask_labels", "mask_table", "read_mask"]


def read_mask(path: Path, classes: int) -> NDArray[np.uint8]:
    """The class ids of a mask, (H, W), 0 for unlabelled.

    A palette mask is read by index: its colours are decoration, and turning them into grey gives ids that mean
    nothing.

    Raises:
        ImageError: the file is damaged or missing.
        DatasetError: the mask stores colours instead of ids, or an id above `classes`.
    """
    read_image(path)  # the safety checks; masks are small
    with Image.open(path) as mask:
        if mask.mode not in ("P", "L"):
            raise DatasetError(f"{path}: a mask holds class ids in a palette or grey image, this one is {mask.mode}")
        ids: NDArray[np.uint8] = np.array(mask)
    if (highest := int(ids.max(initial=0))) > classes:
        raise DatasetError(f"{path}: class id {highest}, the data set has 1 to {classes}")
    return ids


def mask_labels(ids: NDArray[np.uint8], names: Sequence[str], min_pixels: int) -> tuple[str, ...]:
    """The labels with at least `min_pixels` pixels; id 1 is the first name.

    >>> mask_labels(np.array([[1, 2], [2, 0]], np.uint8), ("sand", "sea"), 2)
    ('sea',)
    """
    counts = np.bincount(ids.ravel(), minlength=len(names) + 1)
    return tuple(name for i, name in enumerate(names, 1) if counts[i] >= min_pixels)


def mask_table(folder: Path, masks: Mapping[str, Path], names: Sequence[str], min_pixels: int) -> LabelTable:
    """A label table read off masks; damaged masks and masks without any label are skipped and listed.

    Raises:
        ConfigError: `min_pixels` is below 1.
        DatasetError: a mask that is none (see `read_mask`).
    """
    if min_pixels < 1:
        raise ConfigError(f"min_pixels is {min_pixels}, it must be at least 1")
    rows: dict[str, LabelRow] = {}
    problems: list[Refused] = []
    unlabelled = set()
    for key, path in sorted(masks.items()):
        try:
            labels = mask_labels(read_mask(path, len(names)), names, min_pixels)
        except ImageError as error:
            problems.append(refuse(path, error))
            unlabelled.add(key)
            continue
        if labels:
            rows[key] = LabelRow(key=key, labels=labels, line=0)
        else:
            problems.append(Refused(source=printable(path), reason=f"no label has {min_pixels} pixels"))
            unlabelled.add(key)
    return LabelTable(path=folder, rows=rows, problems=tuple(problems), unlabelled=frozenset(unlabelled))


def mask_agreement(
    dataset: ImageDataset, masks: Mapping[str, Path], table: Mapping[str, Sequence[str]], min_pixels: int
) -> dict[str, Any]:
    """How far masks and label table tell the same story.

    Args:
        dataset: gives names and their order.
        masks: image key -> mask.
        table: image key -> labels of the table.
        min_pixels: from how many pixels on a mask has a label.

    Returns:
        Counts of images compared and of images with equal sets, and for each label how many images have it in both,
        in the table only and in the masks only.
    """
    from_masks = mask_table(dataset.root, masks, dataset.label_names, min_pixels).rows
    both = sorted(from_masks.keys() & table.keys())
    labels = {name: {"both": 0, "table_only": 0, "masks_only": 0} for name in dataset.label_names}
    equal = 0
    for key in both:
        seen, told = set(from_masks[key].labels), set(table[key])
        equal += seen == told
        for name in seen | told:
            where = "both" if name in seen and name in told else "table_only" if name in told else "masks_only"
            labels[name][where] += 1
    return {"min_pixels": min_pixels, "images": len(both), "equal_label_sets": equal, "labels": labels}
