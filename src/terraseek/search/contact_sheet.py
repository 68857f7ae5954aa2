"""Pictures of searches: a row per query, its example first, then the hits; beside them where on the scene they lie."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont

from ..typing import ImageArray

__all__ = ["Overview", "SheetRow", "SheetTile", "contact_sheet"]

# Okabe and Ito's palette (2008): told apart with any kind of colour vision.
COLOURS = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#D55E00", "#0072B2")
BACKGROUND, INK, FAINT = "#16181d", "#f2f2f2", "#a8adb8"
GAP, CAPTION = 10, 18


@dataclass(frozen=True, kw_only=True)
class SheetTile:
    """One picture: encoded image bytes (JPEG, PNG or WebP), a caption, and its window on the overview.

    `window` is (column, row, width, height) in pixels of the scene that the overview shows.
    """

    image: bytes
    caption: str = ""
    window: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    """One search: its title, its example, its hits in order."""

    title: str
    example: SheetTile
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
    grid_width = GAP + columns * (tile + GAP) + GAP
    height = GAP + len(rows) * row_height
    map_image, scale = _fit(overview, height - 2 * GAP)
    width = grid_width + (map_image.width + GAP if map_image else 0)
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)

    for index, row in enumerate(rows):
        colour = COLOURS[index % len(COLOURS)]
        top = GAP + index * row_height
        draw.text((GAP, top), row.title, INK, font=title_font)
        for column, item in enumerate((row.example, *row.hits)):
            left = GAP + column * (tile + GAP) + (GAP if column else 0)
            picture = Image.open(io.BytesIO(item.image)).convert("RGB").resize((tile, tile), Image.Resampling.LANCZOS)
            sheet.paste(picture, (left, top + 26))
            if column == 0:
                draw.rectangle((left - 3, top + 23, left + tile + 2, top + 28 + tile), outline=colour, width=3)
            draw.text((left, top + 28 + tile), item.caption, FAINT, font=caption_font)

    if map_image:
        _outline(map_image, rows, scale)
        sheet.paste(map_image, (grid_width, GAP))
    return sheet


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
            if item.window is None:
                continue
            column, line, width, height = (value * scale for value in item.window)
            box = (column, line, column + width, line + height)
            draw.rectangle(box, fill=colour if item is row.example else None, outline=colour, width=2)
