"""What the pages of all reports share: one file each, no scripts, figures and pictures inside."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from ..errors import ImageError, require
from ..images import thumbnail as encode
from ..typing import ImageArray

__all__ = ["number", "picture", "render_page", "row"]

_TEMPLATES = ("page.html.j2", "label_report.html.j2", "image_text_report.html.j2")
_THUMBNAIL = 112


def render_page(template: str, content: Mapping[str, Any], figures: Mapping[str, str], **values: Any) -> str:
    """The page as text. Everything but the figures' SVG came from outside and is escaped by the template."""
    jinja2 = require("jinja2", "train")
    folder = files(__package__)
    environment = jinja2.Environment(
        loader=jinja2.DictLoader({name: folder.joinpath(name).read_text(encoding="utf-8") for name in _TEMPLATES}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, interval=_interval, plain=_plain)
    markup = require("markupsafe", "train").Markup
    drawn = {name: markup(svg) for name, svg in figures.items()}
    context = {"content": content, "p": content["provenance"], "c": content["counts"], **drawn, **values}
    return str(environment.get_template(template).render(context))


def row(name: str, entry: Mapping[str, Any], unit: str) -> dict[str, Any]:
    """A measure's entry in report.json with what the table needs to draw it; `unit` as `number` takes it."""
    span = None if entry["ceiling"] is None else entry["ceiling"] - entry["floor"]

    def place(value: float | None) -> float:
        """How far between floor (0) and oracle (100) a value stands."""
        return 0.0 if not span or value is None else min(100.0, max(0.0, 100 * (value - entry["floor"]) / span))

    low, high = sorted((place(entry["low"]), place(entry["high"])))
    placed = {"place": place(entry["value"]), "place_low": low, "place_width": high - low}
    return {**entry, "name": name, "unit": unit, **placed}


def number(value: float | None, unit: str = "share") -> str:
    """A number as a person reads it: "share" (0..1) becomes percent, "percent" and "rank" stay, "count" is exact."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:.1f}" if unit == "share" else f"{value:.2f}" if unit == "count" else f"{value:.1f}"


def _interval(entry: Mapping[str, Any], unit: str = "share") -> str:
    """The interval of an entry in report.json; it has none without bootstrap, or of too few queries."""
    low, high = (number(entry[end], unit) for end in ("low", "high"))
    return "–" if entry["low"] is None else f"{low} – {high}"


def _plain(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def picture(thumbnail: Callable[[str], ImageArray] | None, image: str) -> str:
    """Base64 of a small WebP of the image with this id; empty where there is none to be had."""
    if thumbnail is None:
        return ""
    try:
        return base64.b64encode(encode(thumbnail(image), _THUMBNAIL)).decode()
    except ImageError:
        return ""  # the frame stays, empty: the report is about the ranking
