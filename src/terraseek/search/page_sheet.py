"""A search as a picture: what was looked for, then the hits."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..images import thumbnail
from ..typing import ImageArray
from .compare import Comparison
from .contact_sheet import SheetRow, SheetTile, contact_sheet
from .page import Page
from .query import Query
from .retriever import Retriever

__all__ = ["comparison_sheet", "page_sheet"]

COLUMNS = 10
THUMBNAIL = 256


def page_sheet(retriever: Retriever, page: Page, query: Query) -> Image.Image:
    """Draw the hits of a page in the order of their ranks, after the examples and words that found them.

    Hits are shown by the thumbnails of their records, which are the records' own windows; example images are read by
    the rules by which they were embedded.

    Args:
        retriever: what found the page.
        page: with at least one hit.
        query: what was asked.

    Raises:
        ValueError: the page is empty.
    """
    if not page.hits:
        raise ValueError("a page without hits cannot be drawn")
    return contact_sheet(_rows(retriever, page, query, f"{len(page.hits):,} of {page.matched:,}{_at_large(page)}"))


def comparison_sheet(first: Retriever, second: Retriever, comparison: Comparison, query: Query) -> Image.Image:
    """Draw the hits of two archives, one above the other, as `page_sheet` draws each.

    Raises:
        ValueError: neither has a hit.
    """
    if not comparison.first.hits and not comparison.second.hits:
        raise ValueError("two pages without hits cannot be drawn")
    agreed = f"{comparison.overlap_at(comparison.depth):.0%} in common"
    upper = _rows(first, comparison.first, query, f"{first.archive.uri}, {agreed}{_at_large(comparison.first)}")
    lower = _rows(second, comparison.second, query, f"{second.archive.uri}{_at_large(comparison.second)}")
    return contact_sheet([*upper, *lower])


def _at_large(page: Page) -> str:
    return f"; {page.spread.describe()}" if page.spread else ""


def _rows(retriever: Retriever, page: Page, query: Query, heading: str) -> list[SheetRow]:
    pictures = [record.thumbnail for record in retriever.archive.get(page.ids)]
    hits = [
        SheetTile(image=picture, caption=str(hit.rank) if hit.score is None else f"{hit.rank}   {hit.score:.3f}")
        for hit, picture in zip(page.hits, pictures, strict=True)
    ]
    asked = _asked(retriever, query)
    rows = []
    if len(asked) > 1:
        rows.append(SheetRow(title="looked for", example=asked[0], hits=tuple(asked[1:])))
    example = asked[0] if len(asked) == 1 else None
    for start in range(0, len(hits), COLUMNS):
        title = "" if start else heading
        rows.append(SheetRow(title=title, example=example, hits=tuple(hits[start : start + COLUMNS])))
        example = None
    return rows


def _asked(retriever: Retriever, query: Query) -> list[SheetTile]:
    liked = retriever.archive.get((*query.like, *query.not_like)[: 2 * COLUMNS])
    shown = [_picture(retriever.pixels(example, query.collections)) for example in query.image[:COLUMNS]]
    tiles = [SheetTile(image=picture, caption="image") for picture in shown]
    tiles += [SheetTile(text=words, caption="text") for words in query.text]
    avoided = set(query.not_like)
    tiles += [
        SheetTile(image=record.thumbnail, caption="not like" if record.id in avoided else "like") for record in liked
    ]
    return tiles[:COLUMNS]


def _picture(pixels: ImageArray) -> bytes | None:
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
        return None  # many bands, or not yet scaled to 8 bits
    return thumbnail(pixels, THUMBNAIL, form="JPEG", quality=90)
