"""``terraseek data leakage``: what the splits of a data set have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import DatasetError, ImageError, IntegrityError, Refused, UsageError
from ..images import refuse
from .model import find_model
from .output import Json, emit_json, parse_options, raise_if_refused, say, show_progress, show_table

if TYPE_CHECKING:
    from ..data import ImageDataset
    from ..encoders import OnnxEncoder
    from ..metrics import LeakageReport
    from ..typing import FloatArray

__all__ = ["leakage"]

SHEET_ROWS, SHEET_COLUMNS = 20, 6
PICTURES = (".jpg", ".jpeg", ".png", ".webp")


def leakage(
    name: Annotated[str, typer.Argument(help="A data set's name (see `terraseek data list`).")],
    root: Annotated[Path, typer.Option(help="The folder that holds it, as distributed.")],
    model: Annotated[
        str | None, typer.Option(help="Also compare embeddings of this model: a directory, or a name.")
    ] = None,
    cosine: Annotated[float, typer.Option(help="Embeddings at least this close are near-duplicates.")] = 0.98,
    bits: Annotated[
        int, typer.Option(help="Images whose pixel hashes differ in at most this many of 64 bits are too.")
    ] = 4,
    scene: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Its first group, searched in an image's id, names its scene.")
    ] = None,
    splits: Annotated[Path | None, typer.Option(help="Split folder or file, if not beside the images.")] = None,
    seed: Annotated[int, typer.Option(help="Seeds the split where none comes with the data.")] = 0,
    option: Annotated[list[str] | None, typer.Option(help="key=value, an option of this data set alone.")] = None,
    show: Annotated[int, typer.Option(min=0, help="How many pairs and scenes to print; --json has all.")] = 20,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw the pairs into this picture (.jpg, .png, .webp).")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 4 if the splits have anything in common.")
    ] = False,
    as_json: Json = False,
) -> None:
    r"""Find images of one split in another: the same pixels, the same place, the same scene.

    Hashes of the pixels find the same file, re-encoded or resized; embeddings find the same place seen again, shifted
    or at another time. How close counts as the same depends on the model: look at the pairs with --sheet.

    Example: `terraseek data leakage ucmerced-ml --root UCMerced --model efficientnet-lite0 --sheet pairs.jpg`

    Example: `terraseek data leakage bigearthnet --root /data/BigEarthNet --scene '(.*)_\d+_\d+$'`
    """
    from ..data import load_dataset
    from ..encoders import load_encoder
    from ..metrics import find_leakage

    if sheet is not None and sheet.suffix.lower() not in PICTURES:
        raise UsageError(f"--sheet draws {', '.join(PICTURES)}, not {sheet.name!r}")
    data = load_dataset(name, root, splits=splits, seed=seed, **parse_options(option or ()))
    if len(data.splits) < 2:
        raise UsageError(f"{data.name} has only {', '.join(data.splits) or 'no split'}: nothing can leak")
    data = data.take([index for index, sample in enumerate(data.samples) if sample.split])
    named = _scenes(data, scene)
    encoder = load_encoder(find_model(model)) if model else None
    with show_progress("reading") as progress:
        kept, hashes, vectors, refused = _look(data, encoder, progress)
    samples = [data.samples[index] for index in kept]
    found = find_leakage(
        [sample.id for sample in samples],
        [sample.split or "" for sample in samples],
        vectors_ND=vectors,
        hashes=hashes,
        scenes=[named[index] for index in kept] if named else None,
        cosine=cosine,
        bits=bits,
    )
    if sheet is not None:
        _draw(sheet, data, found)
    if as_json:
        settings = {"cosine": cosine, "bits": bits, "scene": scene}
        fingerprint = encoder.fingerprint if encoder else None
        about = {"dataset": data.name, "split_hash": data.split_hash, "model": fingerprint, "settings": settings}
        emit_json({"schema": 1, **about, **found.to_json()})
    else:
        _show(found, show, sheet)
    raise_if_refused(refused, f"{len(kept):,} images of {data.name} compared")
    if strict and (any(found.touched.values()) or found.scenes):
        raise IntegrityError(
            f"the splits of {data.name} have images or scenes in common: move them to one split, or say so"
        )


def _scenes(data: ImageDataset, pattern: str | None) -> list[str]:
    """The scene of each image, and nothing without a pattern."""
    if pattern is None:
        return []
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--scene {pattern!r} is no regular expression: {error}") from None
    matches = [compiled.search(sample.id) for sample in data.samples]
    if compiled.groups < 1 or None in matches:
        without = next((s.id for s, match in zip(data.samples, matches, strict=True) if match is None), None)
        reason = "has no group" if compiled.groups < 1 else f"does not match the image {without!r}"
        raise UsageError(f"--scene {pattern!r} {reason}: write one like '(.*)_\\d+$', whose group is the scene")
    return [match[1] or "" for match in matches if match is not None]


def _look(
    data: ImageDataset, encoder: OnnxEncoder | None, progress: Callable[[int, int], None]
) -> tuple[list[int], list[int], FloatArray | None, list[Refused]]:
    """Read every image once: which could be read, their pixel hashes, their embeddings, and what could not be read."""
    import numpy as np

    from ..metrics import pixel_hash

    kept: list[int] = []
    hashes: list[int] = []
    parts: list[FloatArray] = []
    refused: list[Refused] = []
    step = encoder.batch_size if encoder else 32
    for start in range(0, len(data), step):
        images = []
        for index in range(start, min(start + step, len(data))):
            try:
                images.append(data.read(index))
            except ImageError as error:
                refused.append(refuse(data.samples[index].path, error))
                continue
            kept.append(index)
            hashes.append(pixel_hash(images[-1]))
        if encoder and images:
            parts.append(encoder.encode_images(images))
        progress(min(start + step, len(data)), len(data))
    if not kept:
        raise DatasetError(f"{data.name}: none of its {len(data)} images can be read; {refused[0]}")
    return kept, hashes, np.concatenate(parts) if parts else None, refused


def _show(found: LeakageReport, most: int, sheet: Path | None) -> None:
    rows = [(split, f"{count:,}", f"{found.touched[split]:,}") for split, count in found.images.items()]
    show_table("", ("split", "images", "with a near-duplicate in another split"), rows)
    for title, pairs in (("same pixels", found.by_pixels), ("same embedding", found.by_vector)):
        if pairs and most:
            lines = [(f"{p.similarity:.4f}", p.first_split, p.first, p.second_split, p.second) for p in pairs[:most]]
            say(f"\n{title}: {_first(most, len(pairs))}")
            show_table("", ("alike", "split", "image", "split", "image"), lines)
    if found.scenes and most:
        scenes = [(scene, ", ".join(f"{s} {n:,}" for s, n in parts.items())) for scene, parts in found.scenes.items()]
        say(f"\nscenes in several splits: {_first(most, len(scenes))}")
        show_table("", ("scene", "images"), scenes[:most])
    if sheet is not None:
        say(f"look at {sheet}")


def _first(most: int, there: int) -> str:
    return f"{there:,}" if there <= most else f"the first {most:,} of {there:,}, --json has all"


def _draw(path: Path, data: ImageDataset, found: LeakageReport) -> None:
    from ..images import thumbnail
    from ..metrics import Pair
    from ..search import SheetRow, SheetTile, contact_sheet

    row_of = {sample.id: index for index, sample in enumerate(data.samples)}
    pairs: dict[str, list[Pair]] = {}
    for pair in sorted((*found.by_pixels, *found.by_vector), key=lambda pair: -pair.similarity):
        if all(pair.second != known.second for known in pairs.setdefault(pair.first, [])):
            pairs[pair.first].append(pair)
    if not pairs:
        say("nothing to draw: no pair is alike")
        return

    def tile(image: str, caption: str) -> SheetTile:
        return SheetTile(image=thumbnail(data.read(row_of[image])), caption=caption)

    def row(image: str, others: Sequence[Pair]) -> SheetRow:
        hits = [tile(pair.second, f"{pair.second_split} {pair.similarity:.3f}") for pair in others[:SHEET_COLUMNS]]
        return SheetRow(title=image, example=tile(image, others[0].first_split), hits=tuple(hits))

    contact_sheet([row(image, others) for image, others in list(pairs.items())[:SHEET_ROWS]]).save(path)
