"""The two figures of the study, from kept runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from _probe import Features
from _study import MEAN, Row

mpl.use("Agg")
import matplotlib.pyplot as plt

_OURS = "#c1121f"
_OTHERS = "#457b9d"
_SECOND = "#2a9d8f"


def plot_fronts(tables: Mapping[str, Sequence[Row]], ours: Sequence[str], path: Path) -> None:
    """Macro AP against graded nDCG, one panel for each data set, one point for each loss (mean over seeds)."""
    figure, panels = plt.subplots(1, len(tables), figsize=(5.6 * len(tables), 4.6), squeeze=False)
    for panel, (name, rows) in zip(panels[0], tables.items(), strict=True):
        for row in rows:
            x, y = row.values("nDCG@100(jaccard)"), row.values("macro-AP")
            mine = row.name in ours
            panel.errorbar(
                x.mean(),
                y.mean(),
                xerr=x.std(ddof=1) if len(x) > 1 else None,
                yerr=y.std(ddof=1) if len(y) > 1 else None,
                fmt="o",
                color=_OURS if mine else _OTHERS,
                markersize=7 if mine else 5,
                capsize=2,
            )
            panel.annotate(
                row.name.split(" (")[0],
                (x.mean(), y.mean()),
                xytext=(-7, -11) if mine else (7, 5),
                ha="right" if mine else "left",
                textcoords="offset points",
                fontsize=8,
                color=_OURS if mine else "black",
            )
        panel.set_xlabel("nDCG@100, Jaccard gain (%)")
        panel.set_ylabel("macro AP over labels (%)")
        panel.set_title(name, fontsize=10)
        panel.margins(0.25)
        panel.grid(alpha=0.3)
    _save(figure, path)


def plot_labels(tables: Mapping[str, tuple[Features, Sequence[Row]]], path: Path, losses: int = 3) -> None:
    """AP of every label (mean over seeds) against its frequency in training: MACL and the best of the others."""
    figure, panels = plt.subplots(len(tables), 1, figsize=(8.0, 4.0 * len(tables)), squeeze=False)
    for panel, (data, rows) in zip(panels[:, 0], tables.values(), strict=True):
        frequency = data.frequency
        order = np.argsort(frequency)
        others = [row for row in rows if not row.name.startswith("MACL")]
        best = sorted(others, key=lambda row: -row.values(MEAN).mean())[: losses - 1]
        shown = [row for row in rows if row.name == "MACL"] + best
        for row, color in zip(shown, (_OURS, _OTHERS, _SECOND), strict=False):
            runs = [[np.nan if ap is None else ap for ap in run["labels"]] for run in row.runs.values()]
            ap = np.array(runs).mean(0)[order]
            panel.plot(ap, "o-", color=color, label=row.name, markersize=4, linewidth=1)
        ticks = [f"{data.label_names[i]} ({100 * frequency[i]:.1f} %)" for i in order]
        panel.set_xticks(range(len(order)), ticks, rotation=60, ha="right", fontsize=7)
        panel.set_ylabel("AP of the label (%)")
        panel.set_title(f"{data.name}: labels by their frequency in training", fontsize=10)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    # Without metadata the file changes only when the figure does.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
