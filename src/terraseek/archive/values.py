"""Which records have which labels, and which values their properties have: columns of a snapshot turned over."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .snapshot import Snapshot
from .where import RECORD_FIELDS

__all__ = ["given_labels", "predicted_labels", "values_of"]


def given_labels(snapshot: Snapshot) -> Mapping[str, NDArray[np.int64]]:
    """For each label that was given, the positions that have it."""
    return snapshot.derived("labels", lambda: _inverted(snapshot.column("labels")))


def predicted_labels(snapshot: Snapshot, min_score: float) -> Mapping[str, NDArray[np.int64]]:
    """For each label that a model predicted, the positions where it did with `min_score` or more, if any."""
    scored = snapshot.derived("predicted", lambda: _inverted_predicted(snapshot.column("predicted")))
    return {label: rows[scores >= min_score] for label, (rows, scores) in scored.items()}


def values_of(snapshot: Snapshot, name: str) -> NDArray[Any]:
    """A field's or property's values as `where` compares them: float64, datetime64 or object."""
    return snapshot.derived(f"values {name}", lambda: _values(snapshot, name))


def _inverted(column: pa.Array) -> dict[str, NDArray[np.int64]]:
    """For each value of a list column, the rows that hold it."""
    rows = pc.list_parent_indices(column).to_numpy(zero_copy_only=False).astype(np.int64)
    return {name: rows[at] for name, at in _places(column.flatten()).items()}


def _places(values: pa.Array) -> dict[str, NDArray[np.int64]]:
    """For each value of a column, where it stands."""
    encoded = values.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable").astype(np.int64)
    ends = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1))
    names = encoded.dictionary.to_pylist()
    return {name: order[ends[at] : ends[at + 1]] for at, name in enumerate(names)}


def _inverted_predicted(column: pa.Array) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """For each label of a column of predictions, the rows that hold it and its scores there."""
    rows = pc.list_parent_indices(column).to_numpy(zero_copy_only=False).astype(np.int64)
    items = column.flatten()
    scores = items.field("score").to_numpy(zero_copy_only=False)
    return {label: (rows[at], scores[at]) for label, at in _places(items.field("label")).items()}


def _values(snapshot: Snapshot, name: str) -> NDArray[Any]:
    if name == "datetime":
        moments: NDArray[Any] = snapshot.column("datetime").cast(pa.timestamp("us")).to_numpy(zero_copy_only=False)
        return moments.astype("datetime64[us]")
    if name in RECORD_FIELDS:
        return np.asarray(snapshot.column(name).to_numpy(zero_copy_only=False))
    # Archives repeat few property sets (one per scene): each distinct text is parsed and looked into once.
    encoded = snapshot.column("properties").dictionary_encode()
    found = [_lookup(json.loads(text), name) for text in encoded.dictionary.to_pylist()]
    at = encoded.indices.to_numpy(zero_copy_only=False)
    column: NDArray[Any] = np.empty(len(found), object)
    if all(isinstance(value, float) or type(value) is int or value is None for value in found):
        column = np.array([_number(value) for value in found], np.float64)
    else:
        column[:] = [None if isinstance(value, (list, dict)) else value for value in found]
    values: NDArray[Any] = column[at]
    return values


def _number(value: float | None) -> float:
    """NaN for nothing; whole numbers have no largest in JSON, floats do: beyond it lies infinity."""
    try:
        return math.nan if value is None else float(value)
    except OverflowError:
        return math.inf if value and value > 0 else -math.inf


def _lookup(tree: dict[str, Any], name: str) -> Any:
    if name in tree:
        return tree[name]
    inside: Any = tree
    for part in name.split("."):
        if not isinstance(inside, dict) or part not in inside:
            return None
        inside = inside[part]
    return inside
