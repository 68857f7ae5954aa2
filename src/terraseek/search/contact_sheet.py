"""Pictures of searches: a row per query, its example first, then the hits; beside them where on the scene they lie."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..errors import ImageError
from ..images import decode_image, printable
from ..typing import ImageArray

__all__ = ["Overview", "SheetRow", "SheetTile", "contact_sheet"]

# Okabe and Ito's palette (2008): told apart with any kind of colour vision.
COLOURS = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#D55E00", "#0072B2")
BACKGROUND, EMPTY, INK, FAINT = "#16181d", "#262a33", "#f2f2f2", "#a8adb8"
GAP, CAPTION = 10, 18
MAX_PIXELS = 1 << 22


@dataclass(frozen=True, kw_only=True)
class SheetTile:
    """One picture and what is written below it.

    Attributes:
        image: encoded (JPEG, PNG or WebP), as the thumbnail of a record is; None where there is none to show.
        caption: below the picture.
        text: in place of the picture, where there is none or it cannot be decoded.
        window: (column, row, width, height) in pixels of the scene that the overview shows.
    """

    image: bytes | None = None
    caption: str = ""
    text: str = "no picture"
    window: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    """One search: its title, its example if there is one to show, its hits in order."""

    title: str
    example: SheetTile | None
    hits: tuple[SheetTile, ...]


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The whole scene, small, and the size in pixels that tile windows refer to."""

    image: ImageArray = field(repr=False)
    scene_size: tuple[int, int]


def contact_sheet(rows: Sequence[SheetRow], overview: Overview | None = None, tile: int = 112) -> Image.Image:
    """Draw the rows under one another, the overview with all windows to their right.

    Args:
        rows: at least one; they may differ in length.
        overview: shown at the height of all rows; windows are outlined in the colour of their row.
        tile: edge of a picture in pixels.

    Returns:
        An RGB image.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one row")
    title_font, caption_font = ImageFont.load_default(16), ImageFont.load_default(12)
    columns = 1 + max(len(row.hits) for row in rows)
    row_height = 26 + tile + CAPTION + GAP
    titles = max(title_font.getlength(printable(row.title)) for row in rows)
    grid_width = GAP + max(columns * (tile + GAP), math.ceil(titles)) + GAP
    height = GAP + len(rows) * row_height
    map_image, scale = _fit(overview, height - 2 * GAP)
    width = grid_width + (map_image.width + GAP if map_image else 0)
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)

    for index, row in enumerate(rows):
        colour = COLOURS[index % len(COLOURS)]
        top = GAP + index * row_height
        draw.text((GAP, top), printable(row.title), INK, font=title_font)
        for column, item in enumerate((row.example, *row.hits)):
            if item is None:
                continue
            left = GAP + column * (tile + GAP) + (GAP if column else 0)
            sheet.paste(_picture(item, tile, caption_font), (left, top + 26))
            if column == 0:
                draw.rectangle((left - 3, top + 23, left + tile + 2, top + 28 + tile), outline=colour, width=3)
            draw.text((left, top + 28 + tile), printable(item.caption), FAINT, font=caption_font)

    if map_image:
        _outline(map_image, rows, scale)
        sheet.paste(map_image, (grid_width, GAP))
    return sheet


def _picture(item: SheetTile, edge: int, font: Any) -> Image.Image:
    """The whole picture in a square of `edge` pixels, its shape kept; the text where there is no picture."""
    square = Image.new("RGB", (edge, edge), EMPTY)
    try:
        shown = None if item.image is None else decode_image(item.image, "picture", max_pixels=MAX_PIXELS)
    except ImageError:  # an imported record may bring anything as its thumbnail
        shown = None
    if shown is not None:
        picture = ImageOps.contain(Image.fromarray(shown), (edge, edge), Image.Resampling.LANCZOS)
        square.paste(picture, ((edge - picture.width) // 2, (edge - picture.height) // 2))
        return square
    lines = textwrap.wrap(printable(item.text), width=max(4, edge // 7))[: max(1, edge // 18)]
    ImageDraw.Draw(square).multiline_text((6, 6), "\n".join(lines), INK, font=font)
    return square


def _fit(overview: Overview | None, height: int) -> tuple[Image.Image | None, float]:
    if overview is None:
        return None, 0.0
    scene_width, scene_height = overview.scene_size
    scale = height / scene_height
    size = (max(1, round(scene_width * scale)), height)
    return Image.fromarray(overview.image).resize(size, Image.Resampling.LANCZOS), scale


def _outline(picture: Image.Image, rows: Sequence[SheetRow], scale: float) -> None:
    draw = ImageDraw.Draw(picture)
    for index, row in enumerate(rows):
        colour = COLOURS[index % len(COLOURS)]
        for item in (*row.hits, row.example):
            if item is None or item.window is None:
                continue
            column, line, width, height = (value * scale for value in item.window)
            box = (column, line, column + width, line + height)
            draw.rectangle(box, fill=colour if item is row.example else None, outline=colour, width=2)
