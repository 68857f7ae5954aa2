"""The registry of data sets: how each is loaded, what it is, where it comes from and on which terms."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, NotFoundError
from ..images import printable
from ..registry import Registry, nearest
from .dataset import ImageDataset

__all__ = ["DATASETS", "LABELS_17", "DatasetSpec", "Download", "Origin", "load_dataset"]

LABELS_17: tuple[str, ...] = (
    "airplane",
    "bare-soil",
    "buildings",
    "cars",
    "chaparral",
    "court",
    "dock",
    "field",
    "grass",
    "mobile-home",
    "pavement",
    "sand",
    "sea",
    "ship",
    "tanks",
    "trees",
    "water",
)
"""The label names that UC Merced multi-label, DLRSD and ML-AID share."""


@dataclass(frozen=True, kw_only=True)
class Download:
    """One archive of a data set: its address, the MD5 that its publishers or users know it by, the folder it holds."""

    url: str
    md5: str
    folder: str


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a data set comes from: said whenever its files are not where they were looked for."""

    title: str
    home: str
    terms: str
    layout: str
    """The folder layout, in words for a person."""
    downloads: tuple[Download, ...] = ()
    """Archives that may be fetched directly; empty where the source wants a visit."""

    def missing(self, root: Path, what: str) -> NotFoundError:
        """The error for a root that lacks `what`."""
        where = f"{self.title}: no {what} under {printable(root)}; expected {self.layout}"
        return NotFoundError(f"{where}; get it from {self.home} ({self.terms})")


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """One entry of the registry.

    `load` takes root, splits, seed and the data set's own keyword options; `inspect`, where a data set has one, takes
    the loaded data set and the same options and returns what `check_dataset` should tell beyond counts.
    """

    origin: Origin
    load: Callable[..., ImageDataset]
    inspect: Callable[..., dict[str, Any]] | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that only this data set has."""
        names = inspect.signature(self.load).parameters
        return tuple(name for name in names if name not in ("root", "splits", "seed"))


DATASETS: Registry[DatasetSpec] = Registry("data set")


def load_dataset(
    name: str, root: str | Path, /, *, splits: str | Path | None = None, seed: int = 0, **options: Any
) -> ImageDataset:
    """Load a data set by its registered name.

    Splits come from `splits` wherever it is given. Without it:

    - label sets in folders (``ucmerced-ml``, ``dlrsd``, ``ml-aid``, ``whdld``, ``mlrsnet``): the first of a folder
      ``splits`` in the data set's folder or beside it; the distributed split, which ``ml-aid`` alone has and of which
      val is drawn; a stratified draw of 60/20/20 from `seed`
    - caption sets: the distributed split; where it has no val, a share of train (option `val`) drawn from `seed`, or,
      of RSICD, its own (`val` "own")
    - ``bigearthnet``: the distributed split
    - ``table``: its column `split`; without one, a stratified draw of 60/20/20 from `seed`

    Args:
        name: one of ``DATASETS.names``.
        root: the data set's folder, or a folder that holds it (for ``table``: the table file).
        splits: a split folder or split file, see `terraseek.data.splits`.
        seed: seeds what is drawn.
        options: options of the data set, see ``DATASETS[name].options``.

    Raises:
        ConfigError: unknown name or option.
        NotFoundError: files are missing; the message says which, where they come from and their terms.
        DatasetError: the files contradict each other or the layout; the message begins with file and line.
    """
    spec = DATASETS[name]
    for option in options:
        if option not in spec.options:
            known = nearest(option, list(spec.options)) if spec.options else "it has no options"
            raise ConfigError(f"data set {name!r} has no option {option!r}: {known}")
    root = Path(root).expanduser()
    if not root.exists():
        raise spec.origin.missing(root, "such path")
    return spec.load(root, splits=None if splits is None else Path(splits).expanduser(), seed=seed, **options)
