"""The report's figures as SVG text: no pyplot, no global state, the same bytes for the same numbers."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import require

__all__ = ["label_figure", "precision_recall_figure", "recall_figure", "similarity_figure"]

INK, MUTED, ACCENT, OTHER, GRID = "#1d2b36", "#6b7a86", "#0b6e6e", "#c8702a", "#e4e9ec"
BAND_COLOURS = {"head": "#0b6e6e", "medium": "#7a5ea8", "tail": "#c8702a"}


def _figure(width: float, height: float, panels: int = 1) -> tuple[Any, list[Any]]:
    figure = require("matplotlib.figure", "train").Figure(figsize=(width, height), layout="constrained")
    drawn = [figure.add_subplot(1, panels, place) for place in range(1, panels + 1)]
    for axes in drawn:
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(MUTED)
        axes.tick_params(colors=MUTED, labelsize=9)
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    return figure, drawn


def _label(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x, color=MUTED, fontsize=10)
    axes.set_ylabel(y, color=MUTED, fontsize=10)


def _svg(figure: Any) -> str:
    matplotlib = require("matplotlib", "train")
    buffer = io.StringIO()
    # Text stays text: it is sharp, can be searched, and keeps the file small.
    with matplotlib.rc_context({"svg.hashsalt": "terraseek", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def label_figure(labels: Sequence[Mapping[str, Any]]) -> str:
    """AP of each label against its training frequency, with interval and floor."""
    shown = [label for label in labels if label["ap"] is not None and label["frequency"] > 0]
    figure, [axes] = _figure(9.2, 4.6)
    axes.set_xscale("log")
    shown.sort(key=lambda label: -label["ap"])
    points: list[tuple[float, float]] = []
    for label in shown:
        x, y = label["frequency"], 100 * label["ap"]
        colour = BAND_COLOURS[label["band"]]
        if label["low"] is not None:
            axes.plot([x, x], [100 * label["low"], 100 * label["high"]], color=colour, linewidth=1.6, alpha=0.45)
        axes.plot([x], [y], "o", color=colour, markersize=7)
        axes.plot([x], [100 * label["floor"]], "_", color=MUTED, markersize=9)
        points.append((x, y))
    names = [label["name"] for label in shown]
    for (x, y), (name_x, name_y), name in zip(points, _spread(points), names, strict=True):
        axes.plot([x, name_x * 0.99], [y, name_y], color=MUTED, linewidth=0.6, alpha=0.7)
        axes.annotate(name, (name_x, name_y), color=INK, fontsize=8.5, va="center")
    frequencies = [label["frequency"] for label in shown] or [1.0]
    axes.set_xlim(min(frequencies) * 0.8, max(frequencies) * 1.6)
    axes.set_ylim(0, 104)
    if max(frequencies) <= 1:
        ticks = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
        shown_ticks = [t for t in ticks if min(frequencies) * 0.8 <= t <= max(frequencies) * 1.6]
        axes.set_xticks(shown_ticks, [f"{100 * t:g} %" for t in shown_ticks])
        axes.minorticks_off()
    _label(axes, "training images that have the label", "AP, %")
    for band, colour in BAND_COLOURS.items():
        axes.plot([], [], "o", color=colour, label=band)
    axes.plot([], [], "_", color=MUTED, markersize=9, label="random ranking")
    axes.legend(frameon=False, fontsize=9, loc="lower right", labelcolor=INK, ncols=4)
    return _svg(figure)


def _spread(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where the points' names go: right of each, as near as the names already placed allow."""
    placed: list[tuple[float, float]] = []
    moves = [step * sign * 1.5 for step in range(40) for sign in (1, -1)]
    for x, y in points:
        name_x = x * 1.06
        for move in moves:
            if all(abs(np.log10(name_x / u)) > 0.16 or abs(y + move - v) > 4.0 for u, v in placed):
                break
        placed.append((name_x, y + move))
    return placed


def precision_recall_figure(curve: Mapping[str, Any]) -> str:
    """Mean precision at each level of recall, above the floor."""
    figure, [axes] = _figure(4.6, 3.6)
    recall, precision = 100 * np.array(curve["recall"]), 100 * np.array(curve["precision"])
    axes.fill_between(recall, precision, 100 * curve["floor"], color=ACCENT, alpha=0.10, linewidth=0)
    axes.plot(recall, precision, color=ACCENT, linewidth=2.2)
    axes.axhline(100 * curve["floor"], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.annotate("random ranking", (2, 100 * curve["floor"] - 1.5), color=MUTED, fontsize=9, va="top")
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 103)
    _label(axes, "recall, %", "precision, %")
    return _svg(figure)


def recall_figure(curves: Mapping[str, Mapping[str, Any]]) -> str:
    """Recall at every K for both directions, exact and with equal texts, above the floor."""
    figure, panels = _figure(9.2, 3.6, len(curves))
    titles = {"i2t": "image to text", "t2i": "text to image"}
    for axes, (way, curve) in zip(panels, curves.items(), strict=True):
        k = range(1, len(curve["exact"]) + 1)
        axes.plot(k, curve["equivalent"], color=OTHER, linewidth=1.6, label="equal texts count")
        axes.plot(k, curve["exact"], color=ACCENT, linewidth=2.2, label="exact")
        axes.plot(k, curve["floor"], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), label="random ranking")
        axes.set_xscale("log")
        ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if tick <= len(k)]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_ylim(0, 104)
        axes.set_title(titles[way], color=INK, fontsize=10.5, loc="left")
        _label(axes, "K", "recall, %")
    panels[-1].legend(frameon=False, fontsize=9, loc="center right", labelcolor=INK)
    return _svg(figure)


def similarity_figure(histogram: Mapping[str, Any]) -> str:
    """Densities of the similarities of pairs that share a label and of those that do not."""
    figure, [axes] = _figure(4.6, 3.6)
    edges = np.array(histogram["edges"])
    middle = (edges[1:] + edges[:-1]) / 2
    seen = np.zeros(len(middle), dtype=bool)
    for name, colour, text in (("relevant", ACCENT, "share a label"), ("other", OTHER, "share none")):
        counts = np.array(histogram[name], dtype=float)
        if not counts.sum():
            continue
        seen |= counts > 1e-5 * counts.sum()
        density = counts / counts.sum()
        axes.fill_between(middle, density, step="mid", color=colour, alpha=0.18, linewidth=0)
        axes.step(middle, density, where="mid", color=colour, linewidth=1.6, label=text)
    if seen.any():
        axes.set_xlim(edges[:-1][seen].min() - 0.01, edges[1:][seen].max() + 0.01)
        axes.legend(frameon=False, fontsize=9, loc="best", labelcolor=INK)
    axes.set_ylim(bottom=0)
    axes.set_yticks([])
    _label(axes, "cosine similarity", "share of pairs")
    return _svg(figure)
