"""Reports: what an evaluation found, written so that a program, a spreadsheet and a person can each read it.

    report.json        values with intervals, floors, ceilings and definitions; counts; provenance
    queries.parquet    one row per query with its value of each measure: an image with its labels, or, for image-text
                       retrieval, an image with its captions
    captions.parquet   image-text retrieval only: one row per caption
    report.html        the same to look at, in one file

Nothing in them depends on the time or the machine's paths: the same evaluation writes the same report.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..typing import ImageArray
from ._image_text_report import image_text_content, image_text_page, image_text_tables
from ._label_report import label_content, label_page, label_tables
from .image_text import ImageTextEvaluation
from .results import Evaluation

__all__ = ["SCHEMA", "Provenance", "report_json", "write_report"]

SCHEMA = 1
"""Of report.json; a report of another schema is not read."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the numbers of a report come from.

    Attributes:
        dataset: name of the data set.
        split: what was searched with what, as in "test in train".
        split_hash: hash of the split files or of the seeded split.
        model: name or directory name of the model.
        fingerprint: fingerprint of the model.
        seed: seed of the training.
        notes: anything else worth keeping, as text.
    """

    dataset: str = ""
    split: str = ""
    split_hash: str = ""
    model: str = ""
    fingerprint: str = ""
    seed: int | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


def report_json(evaluation: Evaluation | ImageTextEvaluation, provenance: Provenance | None = None) -> dict[str, Any]:
    """The content of report.json: plain JSON values, null where a number does not exist."""
    provenance = provenance or Provenance()
    found = image_text_content(evaluation) if isinstance(evaluation, ImageTextEvaluation) else label_content(evaluation)
    content = {
        "schema": SCHEMA,
        **found,
        "provenance": {**provenance.__dict__, "notes": dict(provenance.notes)},
        "versions": {
            "terraseek": version("terraseek"),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    return _without_nan(content)  # type: ignore[no-any-return]


def write_report(
    directory: str | Path,
    evaluation: Evaluation | ImageTextEvaluation,
    provenance: Provenance | None = None,
    *,
    thumbnail: Callable[[str], ImageArray] | None = None,
    describe: Callable[[str], str] | None = None,
    html: bool = True,
) -> Path:
    """Write report.json, the tables and, with `html`, report.html into `directory`; returns report.json's path.

    Args:
        directory: made if it is not there; files of an earlier report in it are replaced.
        evaluation: what to report, by labels or of image-text retrieval.
        provenance: where the numbers come from.
        thumbnail: (H, W, 3) uint8 pixels of the image with an id, for the contact sheets; None leaves them out.
        describe: a line of text for the image with an id, say its labels; captions need none.
        html: whether to write report.html, which needs ``terraseek[train]``.

    Raises:
        MissingExtraError: `html` without matplotlib and jinja2.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    content = report_json(evaluation, provenance)
    tables = image_text_tables(evaluation) if isinstance(evaluation, ImageTextEvaluation) else label_tables(evaluation)
    for name, columns in tables.items():
        _write_table(directory / name, columns)
    if html:
        if isinstance(evaluation, ImageTextEvaluation):
            page = image_text_page(content, evaluation, thumbnail)
        else:
            page = label_page(content, evaluation, thumbnail, describe)
        (directory / "report.html").write_text(page, encoding="utf-8")
    # Last, so that a directory with a report.json has all the rest.
    path = directory / "report.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return path


def _write_table(path: Path, columns: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # nan as null: a spreadsheet then averages the right rows.
    pq.write_table(pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()}), path)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
