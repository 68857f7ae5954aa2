"""Which rows of a snapshot a filter keeps."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from ..errors import QueryError
from ..registry import nearest
from ..typing import BoolArray
from .filters import Filter, Interval
from .footprint import Bbox
from .schema import BBOX_COLUMNS
from .snapshot import Snapshot
from .values import given_labels, predicted_labels, values_of

__all__ = ["mask_of"]

logger = logging.getLogger(__name__)


def mask_of(snapshot: Snapshot, condition: Filter) -> BoolArray | None:
    """Which positions pass, (size,); None where all do without a look.

    Raises:
        QueryError: the filter names a label that no record has.
    """
    if condition.is_empty:
        return None
    masks = [
        *_membership(snapshot, condition),
        *(_meets(snapshot, bbox, area) for bbox, area in condition.areas()),
        *_label_masks(snapshot, condition),
    ]
    if condition.datetime is not None:
        masks.append(_during(snapshot, condition.datetime))
    if condition.expression is not None:
        masks.append(condition.expression.keeps(partial(values_of, snapshot), snapshot.size))
    mask: BoolArray | None = np.logical_and.reduce(masks) if masks else None
    return mask


def _membership(snapshot: Snapshot, condition: Filter) -> list[BoolArray]:
    masks = []
    if condition.ids is not None:
        mask = np.zeros(snapshot.size, np.bool_)
        found = snapshot.find(condition.ids)
        mask[found[found >= 0]] = True
        masks.append(mask)
    if condition.not_ids:
        mask = np.ones(snapshot.size, np.bool_)
        found = snapshot.find(condition.not_ids)
        mask[found[found >= 0]] = False
        masks.append(mask)
    for name, wanted in (("source", condition.sources), ("collection", condition.collections)):
        if wanted is not None:
            values = pa.array(wanted, pa.string())
            masks.append(pc.is_in(snapshot.column(name), value_set=values).to_numpy(zero_copy_only=False))
    return masks


def _meets(snapshot: Snapshot, bbox: Bbox, area: shapely.Geometry) -> BoolArray:
    """Footprints that meet the area: boxes first, then the shapes of those whose box alone does not tell."""
    columns = snapshot.columns([*BBOX_COLUMNS, "footprint"])
    west, south, east, north = (columns[side].to_numpy(zero_copy_only=False) for side in BBOX_COLUMNS)
    w, s, e, n = bbox
    with np.errstate(invalid="ignore"):  # NaN: no footprint
        possible = (north >= s) & (south <= n) & _longitudes_meet(west, east, w, e)
        plain_box = west <= east
    rectangle = area.geom_type == "Polygon" and area.equals(shapely.box(w, s, e, n))
    sure = np.zeros(snapshot.size, np.bool_)
    if rectangle:
        sure = possible & plain_box & (west >= w) & (east <= e) & (south >= s) & (north <= n)
    unsure = np.flatnonzero(possible & ~sure)
    if len(unsure):
        shapely.prepare(area)
        shapes = shapely.from_wkb(columns["footprint"].take(pa.array(unsure)).to_numpy(zero_copy_only=False))
        sure[unsure[shapely.intersects(area, shapes)]] = True
    return sure


def _during(snapshot: Snapshot, interval: Interval) -> BoolArray:
    moments = values_of(snapshot, "datetime")
    mask: BoolArray = ~np.isnat(moments)
    start, stop = interval
    if start is not None:
        mask &= moments >= np.datetime64(start.replace(tzinfo=None), "us")
    if stop is not None:
        mask &= moments <= np.datetime64(stop.replace(tzinfo=None), "us")
    return mask


def _label_masks(snapshot: Snapshot, condition: Filter) -> list[BoolArray]:
    masks: list[BoolArray] = []
    wanted = (condition.labels_any, condition.labels_all, condition.labels_none)
    if any(wanted) or condition.labels_exact is not None:
        masks += _having(snapshot, "label", given_labels(snapshot), *wanted, condition.labels_exact)
    wanted = (condition.predicted_any, condition.predicted_all, condition.predicted_none)
    if any(wanted):
        masks += _having(snapshot, "predicted label", predicted_labels(snapshot, float(condition.min_score)), *wanted)
    return masks


def _having(
    snapshot: Snapshot,
    what: str,
    having: Mapping[str, NDArray[np.int64]],
    any_of: Sequence[str],
    all_of: Sequence[str],
    none_of: Sequence[str],
    exactly: Sequence[str] | None = None,
) -> Iterator[BoolArray]:
    for label in sorted({*any_of, *all_of, *(exactly or ())} - having.keys()):
        raise QueryError(f"no record has the {what} {label!r}: {nearest(label, list(having))}"[:400])
    for label in sorted(set(none_of) - having.keys()):
        logger.warning("no record has the %s %r, so asking for none with it leaves nothing out", what, label)

    def counts(labels: Iterable[str]) -> NDArray[np.int32]:
        count = np.zeros(snapshot.size, np.int32)
        for label in set(labels):
            count[having[label]] += 1
        return count

    if any_of:
        yield counts(any_of) > 0
    if all_of:
        yield counts(all_of) == len(set(all_of))
    if none_of:
        yield counts(set(none_of) & having.keys()) == 0
    if exactly is not None:
        yield (counts(exactly) == len(set(exactly))) & (counts(having) == len(set(exactly)))


def _longitudes_meet(west: NDArray[Any], east: NDArray[Any], w: float, e: float) -> BoolArray:
    """Whether two longitude ranges meet, either of which may cross the antimeridian (west > east)."""
    crossing: BoolArray = west > east
    meet: BoolArray = (east >= w) & (west <= e)
    if w > e:
        meet = (east >= w) | (west <= e)
        meet |= crossing
        return meet
    either: BoolArray = np.where(crossing, (e >= west) | (w <= east), meet)
    return either
