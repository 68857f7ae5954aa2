"""Near-duplicates between splits: what a test set has in common with the images that a model was trained on.

Two kinds of evidence, which see different things: the cosine of embeddings finds the same place seen again, shifted
or at another time; a hash of the pixels finds the same file, re-encoded or resized. A third looks at names: images cut
from one scene that ended up in different splits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from ..typing import ImageArray
from .embeddings import similarity_blocks, unit_rows

__all__ = ["LeakageReport", "Pair", "find_leakage", "near_duplicates", "pixel_hash", "shared_scenes"]

_HASH_BITS = 64


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two images that look alike: their ids, their splits, and how alike (a cosine, or 1 - differing bits / 64)."""

    first: str
    second: str
    first_split: str
    second_split: str
    similarity: float


@dataclass(frozen=True, kw_only=True)
class LeakageReport:
    """What splits have in common.

    Attributes:
        by_vector: pairs across splits whose embeddings are close.
        by_pixels: pairs across splits whose pixel hashes are close.
        scenes: scene -> split -> number of images, for scenes that are in more than one split.
        images: split -> number of images.
        touched: split -> number of its images that have a near-duplicate in another split, by either evidence.
    """

    by_vector: tuple[Pair, ...]
    by_pixels: tuple[Pair, ...]
    scenes: Mapping[str, Mapping[str, int]]
    images: Mapping[str, int]
    touched: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "images": dict(self.images),
            "touched": dict(self.touched),
            "by_vector": [dict(pair.__dict__) for pair in self.by_vector],
            "by_pixels": [dict(pair.__dict__) for pair in self.by_pixels],
            "scenes": {scene: dict(splits) for scene, splits in self.scenes.items()},
        }


def find_leakage(
    ids: Sequence[str],
    splits: Sequence[str],
    *,
    vectors_ND: ArrayLike | None = None,
    images: Sequence[ImageArray] | None = None,
    hashes: Sequence[int] | None = None,
    scenes: Sequence[str] | None = None,
    cosine: float = 0.98,
    bits: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> LeakageReport:
    """Look for images of one split in another.

    Args:
        ids: one name per image.
        splits: the split of each image.
        vectors_ND: embeddings; None leaves that evidence out.
        images: pixels, (H, W) or (H, W, 3) each, any size; read one after another, so a lazy sequence will do.
        hashes: their `pixel_hash`, in place of `images` where they were read before.
        scenes: the scene each image was cut from.
        cosine: embeddings at least this close are near-duplicates. It depends on the model: look at the pairs.
        bits: pixel hashes that differ in at most this many of 64 bits are near-duplicates.
        progress: called with (images done, all images) while hashing.

    Raises:
        UsageError: the lengths differ, a threshold is out of range, or both images and hashes are given.

    Examples:
        >>> report = find_leakage(["a", "b"], ["train", "test"], vectors_ND=[[1.0, 0.0], [1.0, 0.01]])
        >>> report.touched
        {'test': 1, 'train': 1}
    """
    given = {"splits": splits, "vectors": vectors_ND, "images": images, "hashes": hashes, "scenes": scenes}
    wrong = {name: len(v) for name, v in given.items() if v is not None and len(v) != len(ids)}  # type: ignore[arg-type]
    if wrong:
        raise UsageError(f"{len(ids)} ids, but " + ", ".join(f"{count} {name}" for name, count in wrong.items()))
    by_vector: tuple[Pair, ...] = ()
    by_pixels: tuple[Pair, ...] = ()
    if vectors_ND is not None:
        by_vector = tuple(_name(near_duplicates(vectors_ND, cosine, splits), ids, splits))
    if images is not None:
        if hashes is not None:
            raise UsageError("give images or their hashes, not both")
        hashes = [pixel_hash(image) for image in _watched(images, progress)]
    if hashes is not None:
        by_pixels = tuple(_name(_near_hashes(np.array(hashes, dtype=np.uint64), bits, splits), ids, splits))
    touched: dict[str, set[str]] = {split: set() for split in sorted(set(splits))}
    for pair in (*by_vector, *by_pixels):
        touched[pair.first_split].add(pair.first)
        touched[pair.second_split].add(pair.second)
    return LeakageReport(
        by_vector=by_vector,
        by_pixels=by_pixels,
        scenes=shared_scenes(scenes, splits) if scenes is not None else {},
        images={split: list(splits).count(split) for split in touched},
        touched={split: len(names) for split, names in touched.items()},
    )


def _watched(images: Sequence[ImageArray], progress: Callable[[int, int], None] | None) -> Iterator[ImageArray]:
    for row in range(len(images)):
        yield images[row]
        if progress:
            progress(row + 1, len(images))


def near_duplicates(
    vectors_ND: ArrayLike, cosine: float, groups: Sequence[str] | None = None
) -> list[tuple[int, int, float]]:
    """Pairs of rows (i < j) with a cosine of at least `cosine`, most alike first; with `groups`, across groups only.

    Work is N^2 D in blocks; memory does not grow with N^2.

    Raises:
        UsageError: `cosine` is not in (0, 1], or `groups` has another length.
    """
    if not 0 < cosine <= 1:
        raise UsageError(f"the cosine threshold is {cosine}, it lies above 0 and at most at 1")
    rows = unit_rows(vectors_ND)
    number = np.unique(np.asarray(groups if groups is not None else range(len(rows))), return_inverse=True)[1]
    if len(number) != len(rows):
        raise UsageError(f"{len(number)} groups for {len(rows)} vectors")
    pairs: list[tuple[int, int, float]] = []
    # float32 products of equal unit rows end up to a few roundings short of 1.
    limit = cosine - 1e-6
    for start, block in similarity_blocks(rows, rows):
        near, other = np.nonzero(block >= limit)
        near += start
        kept = (near < other) & (number[near] != number[other])
        alike = np.minimum(block[near[kept] - start, other[kept]], 1.0)
        pairs.extend(zip(near[kept].tolist(), other[kept].tolist(), alike.tolist(), strict=True))
    return sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))


def pixel_hash(image: ImageArray) -> int:
    """A 64-bit difference hash: whether each cell of an 8 x 9 grid of mean brightness is darker than its neighbour.

    Resizing, re-encoding and changes of brightness or contrast leave almost all bits as they are; turning or mirroring
    does not. Cells without any contrast (all-black images) give 0, which says nothing: see `find_leakage`.

    Raises:
        UsageError: the image is not (H, W) or (H, W, B), or empty.

    Examples:
        >>> ramp = np.tile(np.arange(90, dtype=np.uint8), (80, 1))
        >>> pixel_hash(ramp) == pixel_hash(ramp[::2, ::2]), pixel_hash(ramp) == pixel_hash(ramp[:, ::-1])
        (True, False)
    """
    pixels = np.asarray(image)
    if pixels.ndim not in (2, 3) or not pixels.size:
        raise UsageError(f"an image is (H, W) or (H, W, B), not {pixels.shape}")
    grey = pixels.astype(np.float64) if pixels.ndim == 2 else pixels.mean(axis=2, dtype=np.float64)
    cells = _cells(_cells(grey, 8).T, 9).T
    difference = cells[:, 1:] - cells[:, :-1]
    # Differences in the last bits are rounding, not contrast.
    bits = (difference > 1e-9 * max(float(np.abs(cells).max()), 1e-30)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _cells(rows: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Means over `count` equal parts of the first axis, shares of a row included."""
    height = len(rows)
    total = np.vstack([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0)])
    edges = np.linspace(0, height, count + 1)
    whole = np.minimum(edges.astype(int), height - 1)
    at_edge = total[whole] + (edges - whole)[:, None] * rows[whole]
    return np.asarray(np.diff(at_edge, axis=0) * (count / height))


def _near_hashes(hashes_N: NDArray[np.uint64], bits: int, groups: Sequence[str]) -> list[tuple[int, int, float]]:
    if not 0 <= bits < _HASH_BITS // 2:
        raise UsageError(f"bits is {bits}, it lies between 0 and {_HASH_BITS // 2 - 1}")
    number = np.unique(np.asarray(groups), return_inverse=True)[1]
    # Flat images all hash to 0 and would all look alike.
    usable = np.flatnonzero(hashes_N != 0)
    pairs: list[tuple[int, int, float]] = []
    for place, row in enumerate(usable.tolist()):
        rest = usable[place + 1 :]
        distance = np.bitwise_count(hashes_N[rest] ^ hashes_N[row])
        for other in np.flatnonzero((distance <= bits) & (number[rest] != number[row])).tolist():
            pairs.append((row, int(rest[other]), 1 - int(distance[other]) / _HASH_BITS))
    return sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))


def shared_scenes(scenes: Sequence[str], splits: Sequence[str]) -> dict[str, dict[str, int]]:
    """Scenes with images in more than one split: scene -> split -> number of images.

    >>> shared_scenes(["s1", "s1", "s2"], ["train", "test", "train"])
    {'s1': {'test': 1, 'train': 1}}
    """
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for scene, split in zip(scenes, splits, strict=True):
        counts[scene][split] += 1
    return {scene: dict(sorted(parts.items())) for scene, parts in sorted(counts.items()) if len(parts) > 1}


def _name(pairs: Sequence[tuple[int, int, float]], ids: Sequence[str], splits: Sequence[str]) -> list[Pair]:
    return [
        Pair(first=ids[i], second=ids[j], first_split=splits[i], second_split=splits[j], similarity=alike)
        for i, j, alike in pairs
    ]
