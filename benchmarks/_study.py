"""What a study is made of: settings, runs kept under their full configuration, tuning, and tables with intervals."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from terraseek.losses import resolve_options

MEASURES = ("mAP", "nDCG@100(jaccard)", "nDCG@100(count)", "macro-AP", "6 rarest AP")
MEAN = "mean of four"
COLUMNS = (*MEASURES, MEAN)
# Options that are younger than kept runs, and what was done before there was a choice: left out of a run's
# configuration where they say just that, so that the runs stay valid.
BEFORE: Mapping[str, Mapping[str, Any]] = {"macl": {"fading_by": "jaccard"}, "concepts": {"apart": False}}
_BEGIN, _END = "<!-- tables: begin -->", "<!-- tables: end -->"
# Two-sided 95 % quantiles of Student's t by the number of pairs.
_STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}


def options_of(loss: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A loss's options, defaults written out, as they stand in the configuration of a kept run."""
    return as_before(loss, resolve_options(loss, options))


def as_before(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a loss, or of a section of a recipe, without those of `BEFORE` that say what was done before."""
    before = BEFORE.get(name, {})
    return {key: value for key, value in options.items() if key not in before or value != before[key]}


@dataclass(frozen=True)
class Setting:
    """A row of a table: the loss, its options, and what differs from the common schedule."""

    name: str
    loss: str
    options: Mapping[str, Any] = field(default_factory=dict)
    schedule: Mapping[str, Any] = field(default_factory=dict)
    queue: int = 0
    sampler: Mapping[str, Any] = field(default_factory=dict)

    def described(self) -> str:
        """What is particular to it, in words."""
        return ", ".join(f"{name} {value}" for name, value in {**self.options, **self.schedule}.items())


@dataclass(frozen=True)
class Competitor:
    """A loss and the one number of it that is tuned: an option of the loss, or "lr"."""

    base: Setting
    option: str
    grid: tuple[float, ...]

    def at(self, value: float) -> Setting:
        """The setting with this value."""
        where = "schedule" if self.option == "lr" else "options"
        return replace(self.base, **{where: {**getattr(self.base, where), self.option: value}})


@dataclass(frozen=True)
class Tuned:
    """The best setting of a competitor, and whether a better one may lie beyond what was tried."""

    setting: Setting
    at_end: bool


class MissingError(Exception):
    """A run that is not kept, while only kept runs are wanted."""


class Store:
    """Finished runs by configuration, in one JSON file that several processes may fill; a line per run."""

    def __init__(self, path: Path, *, kept_only: bool = False) -> None:
        self.path = path
        self.kept_only = kept_only
        self._read: dict[str, Any] | None = None
        path.parent.mkdir(parents=True, exist_ok=True)

    def runs(self) -> dict[str, Any]:
        """Every kept run by its key."""
        if self._read is None or not self.kept_only:
            self._read = json.loads(self.path.read_text()) if self.path.exists() else {}
        return self._read

    def put(self, config: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
        """Keep a run; the file is whole whenever the process dies."""
        with (self.path.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            runs = self.runs() | {key_of(config): {"config": config, **outcome}}
            lines = [f"{json.dumps(key)}: {json.dumps(run, sort_keys=True)}" for key, run in sorted(runs.items())]
            partial = self.path.with_suffix(".partial")
            partial.write_text("{\n" + ",\n".join(lines) + "\n}\n")
            partial.replace(self.path)

    def finish(self, config: Mapping[str, Any], run: Callable[[], dict[str, Any]], note: str) -> dict[str, Any]:
        """The kept outcome under this configuration; runs it where there is none."""
        kept = self.runs().get(key_of(config))
        if kept is not None:
            return kept  # type: ignore[no-any-return]
        if self.kept_only:
            raise MissingError(note)
        outcome = run()
        self.put(config, outcome)
        print(f"{note}: {outcome['scores'][MEAN]:.2f}", flush=True)
        return outcome


def key_of(config: Mapping[str, Any]) -> str:
    """A name for all that an outcome depends on."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def summary(scores: Mapping[str, float], labels: Sequence[float]) -> dict[str, Any]:
    """What is kept of an evaluation, in percent: the measures, their mean, and the AP of every label."""
    mean = float(np.mean([scores[m] for m in MEASURES[:4]]))
    return {
        "scores": {name: round(value, 4) for name, value in {**scores, MEAN: mean}.items()},
        "labels": [None if math.isnan(ap) else round(ap, 2) for ap in labels],
    }


def tune(competitor: Competitor, worth: Callable[[Setting], float]) -> Tuned:
    """The best value on the grid, then the two halfway (in ratio) to its neighbours: the same number for everybody.

    Where the best is at an end of the grid, one step outwards takes the place of the neighbour that is missing.
    """
    grid = list(competitor.grid)
    found = {value: worth(competitor.at(value)) for value in grid}
    i = max(range(len(grid)), key=lambda k: found[grid[k]])
    step = grid[1] / grid[0]
    below = math.sqrt(grid[i] * grid[i - 1]) if i else grid[0] / step
    above = math.sqrt(grid[i] * grid[i + 1]) if i + 1 < len(grid) else grid[-1] * step
    for value in (below, above):
        rounded = float(f"{value:.2g}")
        found[rounded] = worth(competitor.at(rounded))
    best = max(found, key=found.__getitem__)
    return Tuned(competitor.at(best), best in (min(found), max(found)))


def interval(difference: np.ndarray) -> str:
    """Mean with the 95 % interval of a paired t test over seeds."""
    n = len(difference)
    if not difference.any():
        return ""
    if n == 1:
        return f"{difference[0]:+.2f}"
    half = half_width(difference)
    return f"{difference.mean():+.2f} ({difference.mean() - half:+.2f} to {difference.mean() + half:+.2f})"


def half_width(difference: np.ndarray) -> float:
    """Half of that interval; infinite for a single seed."""
    n = len(difference)
    return float(_STUDENT[n] * difference.std(ddof=1) / math.sqrt(n)) if n > 1 else math.inf


@dataclass(frozen=True)
class Row:
    """A line of a table: the kept runs of a setting by seed; without `seeded` nothing random is in it, and one run."""

    name: str
    runs: Mapping[int, Mapping[str, Any]]
    seeded: bool = True

    def values(self, column: str) -> np.ndarray:
        """One value for each seed."""
        return np.array([run["scores"][column] for run in self.runs.values()])

    def cell(self, column: str) -> str:
        """Mean and standard deviation over seeds."""
        values = self.values(column)
        spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 and np.ptp(values) else ""
        return f"{values.mean():.1f}{spread}"

    def minus(self, other: Row, column: str) -> np.ndarray:
        """Difference for each seed that both have; a row without seeds goes with any."""
        if not (self.seeded and other.seeded):
            return self.values(column) - other.values(column)
        common = sorted(self.runs.keys() & other.runs.keys())
        return np.array([self.runs[s]["scores"][column] - other.runs[s]["scores"][column] for s in common])


def table(rows: Sequence[Row], against: str) -> str:
    """Every row, with the paired difference of the mean that row `against` makes to it."""
    ours = next((row for row in rows if row.name == against), None)
    if ours is None:
        return f"(no finished runs of {against})"
    lines = [
        "| | " + " | ".join((*COLUMNS, f"{against} minus this (95 %)", "seeds")) + " |",
        "|---" * (len(COLUMNS) + 3) + "|",
    ]
    for row in rows:
        cells = [*map(row.cell, COLUMNS), interval(ours.minus(row, MEAN)), str(len(row.runs))]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdict(rows: Sequence[Row], ours: str, competitors: Iterable[str], lead: float) -> str:
    """`ours` against the best competitor of every column, each column's own best, and whether that is what was wanted.

    Wanted: the mean ahead by `lead` with an interval above zero, no measure behind by more than 1.5, the rarest labels
    not behind.
    """
    by_name = {row.name: row for row in rows}
    rivals = [by_name[name] for name in competitors if name in by_name]
    if ours not in by_name or not rivals:
        return f"(no finished runs of {ours} and a competitor)"
    lines = [f"| | best competitor | its value | {ours} | difference (95 %) |", "|---|---|---|---|---|"]
    found = {}
    for column in COLUMNS:
        best = max(rivals, key=lambda row: float(row.values(column).mean()))
        found[column] = difference = by_name[ours].minus(best, column)
        cells = [column, best.name, best.cell(column), by_name[ours].cell(column), interval(difference)]
        lines.append("| " + " | ".join(cells) + " |")
    goals = {
        f"mean ahead by {lead}": found[MEAN].mean() >= lead and half_width(found[MEAN]) < found[MEAN].mean(),
        "no measure behind by more than 1.5": all(found[m].mean() >= -1.5 for m in MEASURES[:4]),
        "rarest labels not behind": found[MEASURES[4]].mean() >= 0,
    }
    said = "; ".join(f"{goal}: {'reached' if met else 'NOT reached'}" for goal, met in goals.items())
    return "\n".join([*lines, "", f"Goals set beforehand: {said}."])


def write_tables(path: Path, tables: str) -> None:
    """Put the tables between the two marks of a page; a file without them, or none, becomes the tables alone."""
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    if _BEGIN in page and _END in page:
        tables = page[: page.index(_BEGIN)] + f"{_BEGIN}\n\n{tables}\n\n" + page[page.index(_END) :]
    path.write_text(tables.rstrip() + "\n", encoding="utf-8")
