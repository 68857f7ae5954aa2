from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from terraseek.search.contact_sheet import COLOURS, Overview, SheetRow, SheetTile, contact_sheet


def picture(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(buffer, "PNG")
    return buffer.getvalue()


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(Image.new("RGB", (1, 1), colour).getpixel((0, 0)))


ROW = SheetRow(
    title="beach",
    example=SheetTile(image=picture("red"), window=(0, 0, 100, 100)),
    hits=(
        SheetTile(image=picture("lime"), caption="0.93", window=(500, 500, 100, 100)),
        SheetTile(image=picture("blue")),
    ),
)


def test_shows_example_and_hits_in_order() -> None:
    sheet = contact_sheet([ROW], tile=50)
    colours = [sheet.getpixel((x, 60)) for x in range(sheet.width)]
    first = [colours.index(rgb(name)) for name in ("red", "lime", "blue")]
    assert first == sorted(first)


def test_rows_of_different_length_share_one_width() -> None:
    short = SheetRow(title="marsh", example=ROW.example, hits=ROW.hits[:1])
    assert contact_sheet([ROW, short]).width == contact_sheet([ROW]).width
    assert contact_sheet([ROW, short]).height > contact_sheet([ROW]).height


def test_a_long_title_is_not_cut_off() -> None:
    title = "2 of 74; half of all records score above 0.21, one in a hundred above 0.42"
    long = np.asarray(contact_sheet([SheetRow(title=title, example=ROW.example, hits=ROW.hits)], tile=50))
    assert long.shape[1] > 2 * contact_sheet([ROW], tile=50).width
    written = np.flatnonzero((long[:30] != long[0, 0]).any(axis=(0, 2)))
    assert long.shape[1] - 20 < written.max() < long.shape[1] - 1


def test_overview_marks_each_window_in_its_rows_colour() -> None:
    overview = Overview(image=np.zeros((60, 60, 3), np.uint8), scene_size=(1000, 1000))
    elsewhere = SheetRow(title="marsh", example=SheetTile(image=picture("red"), window=(800, 0, 100, 100)), hits=())
    plain, marked = contact_sheet([ROW]), contact_sheet([ROW, elsewhere], overview)
    right = np.asarray(marked)[:, plain.width :].reshape(-1, 3)
    for index in range(2):
        assert (right == rgb(COLOURS[index])).all(axis=1).any()


def test_markup_in_titles_is_only_text() -> None:
    contact_sheet([SheetRow(title="<b>[red]\u202e</b>", example=ROW.example, hits=())])


def test_no_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([])
