"""What is looked for: examples and words on one side, conditions on the other."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from ..archive import Filter, Mode
from ..errors import QueryError
from ..registry import nearest
from ..typing import FloatArray, ImageArray
from .feedback import GAMMA, Feedback

__all__ = ["MAX_K", "Combine", "Example", "Query"]

Combine: TypeAlias = Literal["mean", "max"]
Example: TypeAlias = "ImageArray | str | Path"
MAX_K = 10_000
MAX_EXAMPLES = 1_000
MAX_TEXT = 2_000
SIDES = ("image", "text", "vector", "like")


@dataclass(frozen=True, kw_only=True, eq=False)
class Query(Filter):
    """One search. The conditions are those of `terraseek.archive.Filter` and are applied before ranking.

    Without any example or text the records that pass come in the order of their ids, without a score.

    Attributes:
        image: examples, each an (H, W, B) array or the path of a file, which is read by `read_example`; one may stand
            alone.
        text: what is looked for, in words (the model needs a text side); one may stand alone.
        vector: unit vectors already at hand, (D,) or (N, D).
        like: ids of records to resemble. These records themselves are never among the hits.
        not_like: ids of records to avoid resembling; never among the hits either.
        combine: "mean" searches once with the mean of all examples; "max" gives each record the score of the example
            that it resembles most ("any of these").
        weights: how much "image", "text", "vector" and "like" count beside each other in the mean, 1 each by default;
            a negative weight moves away. What has a weight has to be there.
        negative_weight: how far to move away from `not_like` (Rocchio's gamma, beside 1 for what is looked for).
        feedback: "rocchio" or "logistic" takes `like` and `not_like` as marks on the hits of the search by `image`,
            `text` and `vector`, which they move; without those three the mean of `like` is the search. None takes
            `like` as further examples. See `rocchio_direction` and `logistic_direction`.
        diversity: 0 ranks by score alone; up to 1, hits that resemble better-ranked hits are put back (MMR).
        k: how many hits a page has.
        after: the `next` of the page before.
        mode: "exact" or "ann".

    Raises:
        QueryError: a value that makes no sense; the message is one line.

    Examples:
        >>> Query(like="chip-7", labels_any=("beach",), bbox=(-10, 40, 5, 50), k=5).like
        ('chip-7',)
    """

    image: tuple[Example, ...] = ()
    text: tuple[str, ...] = ()
    vector: FloatArray | None = None
    like: tuple[str, ...] = ()
    not_like: tuple[str, ...] = ()
    combine: Combine = "mean"
    weights: Mapping[str, float] = field(default_factory=dict)
    negative_weight: float = GAMMA
    feedback: Feedback | None = None
    diversity: float = 0.0
    k: int = 20
    after: str | None = None
    mode: Mode = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        put = object.__setattr__
        for name in ("text", "like", "not_like"):
            put(self, name, _texts(name, getattr(self, name)))
        put(self, "image", _images(self.image))
        if self.vector is not None:
            put(self, "vector", _rows(self.vector))
        if self.combine not in get_args(Combine):
            raise QueryError(f"unknown combine {self.combine!r}: {nearest(str(self.combine), list(get_args(Combine)))}")
        if self.mode not in get_args(Mode):
            raise QueryError(f"unknown mode {self.mode!r}: {nearest(str(self.mode), list(get_args(Mode)))}")
        put(self, "weights", {name: _weight(name, value) for name, value in self.weights.items()})
        _between("negative_weight", self.negative_weight, 0.0, 10.0)
        _between("diversity", self.diversity, 0.0, 1.0)
        if isinstance(self.k, bool) or not isinstance(self.k, int) or not 1 <= self.k <= MAX_K:
            raise QueryError(f"k is {self.k!r}, it must be a whole number in 1..{MAX_K}")
        self._check_together()

    def _check_together(self) -> None:
        if self.not_like and not self.has_examples:
            raise QueryError("not_like says what to avoid; give what to look for too (like, image, text or vector)")
        if self.combine == "max" and (self.not_like or self.weights or self.feedback):
            raise QueryError("combine 'max' takes no not_like, no weights and no feedback; they need 'mean'")
        if self.feedback is not None:
            self._check_feedback()
        self._check_weights()
        if self.diversity and self.after is not None:
            raise QueryError("a search with diversity has one page; ask for a larger k instead of after")
        if self.diversity and not self.has_examples:
            raise QueryError("diversity needs an example or a text to rank by")

    def _check_feedback(self) -> None:
        if self.feedback not in get_args(Feedback):
            hint = nearest(str(self.feedback), list(get_args(Feedback)))
            raise QueryError(f"unknown feedback {self.feedback!r}: {hint}")
        if not self.like and not self.not_like:
            raise QueryError("feedback needs hits that are marked: give like, not_like or both")
        if "like" in self.weights:
            raise QueryError("feedback weighs what is marked by itself; leave out the weight of like, or feedback")
        if self.feedback == "logistic" and self.negative_weight != GAMMA:
            raise QueryError("negative_weight is Rocchio's, logistic feedback has none; leave one of them out")

    def _check_weights(self) -> None:
        given = [side for side in SIDES if getattr(self, side) is not None and len(getattr(self, side))]
        for side in self.weights:
            if side not in given:
                there = f"there is {' and '.join(given)}" if given else "there is nothing to weigh"
                raise QueryError(f"{side} has a weight and the search has no {side}: {there}")

    @property
    def has_examples(self) -> bool:
        """Whether there is anything to rank by."""
        return bool(self.image or self.text or self.like) or self.vector is not None

    @property
    def filter(self) -> Filter:
        """The conditions alone; the records of `like` and `not_like` are left out."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(Filter)}
        values["not_ids"] = (*self.not_ids, *self.like, *self.not_like)
        return Filter(**values)

    def digest(self) -> str:
        """A short text that two queries share when the pages of one continue the other (k and after may differ)."""
        state = hashlib.sha256()
        plain = [
            self.filter.to_mapping(),
            self.text,
            self.like,
            self.not_like,
            self.combine,
            self.feedback,
            sorted(self.weights.items()),
        ]
        state.update(json.dumps([*plain, self.negative_weight, self.mode], sort_keys=True).encode())
        for example in self.image:
            state.update(example.tobytes() if isinstance(example, np.ndarray) else str(example).encode())
        if self.vector is not None:
            state.update(self.vector.tobytes())
        return state.hexdigest()[:16]

    @classmethod
    def from_mapping(cls, tree: Mapping[str, Any]) -> Query:
        """Read a query from JSON values; what JSON cannot hold (image arrays) is given to the constructor.

        Raises:
            QueryError: an unknown key (the nearest known one is named) or a bad value.
        """
        known = [entry.name for entry in dataclasses.fields(cls)]
        for key in tree:
            if key not in known:
                raise QueryError(f"unknown key {key!r}: {nearest(str(key), known)}")
        own = {key: value for key, value in tree.items() if key not in _FILTER_FIELDS and value is not None}
        conditions = Filter.from_mapping({key: value for key, value in tree.items() if key in _FILTER_FIELDS})
        shared = {entry.name: getattr(conditions, entry.name) for entry in dataclasses.fields(Filter)}
        try:
            return cls(**shared, **own)
        except (TypeError, AttributeError) as error:
            raise QueryError(f"the query has a value of the wrong type: {error}") from None


_FILTER_FIELDS = frozenset(entry.name for entry in dataclasses.fields(Filter))


def _texts(name: str, value: object) -> tuple[str, ...]:
    items = (value,) if isinstance(value, str) else value
    if not isinstance(items, (tuple, list)) or not all(isinstance(item, str) and item.strip() for item in items):
        raise QueryError(f"{name} is a text or a list of texts, none of them empty, not {value!r:.80}")
    if len(items) > MAX_EXAMPLES:
        raise QueryError(f"{name} has {len(items)} entries, at most {MAX_EXAMPLES} are read")
    for item in items:
        if len(item) > MAX_TEXT:
            raise QueryError(f"{name} has {len(item)} characters, at most {MAX_TEXT} are read")
    return tuple(items)


def _images(value: object) -> tuple[Example, ...]:
    items: Sequence[Any] = (value,) if isinstance(value, (str, Path, np.ndarray)) else value  # type: ignore[assignment]
    if not isinstance(items, (tuple, list)) or not all(isinstance(item, (str, Path, np.ndarray)) for item in items):
        raise QueryError(f"image is an array, a path, or a list of them, not {type(value).__name__}")
    if len(items) > MAX_EXAMPLES:
        raise QueryError(f"image has {len(items)} entries, at most {MAX_EXAMPLES} are read")
    return tuple(items)


def _rows(value: object) -> FloatArray:
    try:
        rows = np.atleast_2d(np.asarray(value, np.float64))
    except (TypeError, ValueError):
        raise QueryError("vector is a list of numbers, or a list of such lists of one length") from None
    if rows.ndim != 2 or not rows.size or len(rows) > MAX_EXAMPLES:
        raise QueryError(f"vector has the shape {rows.shape}, (D,) or (N, D) is needed")
    if not np.isfinite(rows).all() or (np.linalg.norm(rows, axis=1) < 1e-12).any():
        raise QueryError("vector has a row that is zero or not finite")
    return rows


def _weight(name: str, value: object) -> float:
    if name not in SIDES:
        raise QueryError(f"unknown weight {name!r}: {nearest(str(name), list(SIDES))}")
    return _between(f"weight of {name}", value, -10.0, 10.0)


def _between(name: str, value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise QueryError(f"{name} is {value!r}, it must be a number in {low:g}..{high:g}")
    return float(value)
