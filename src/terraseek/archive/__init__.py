"""Archives: durable, searchable sets of records that one model made."""

from .archive import AddResult, Archive, CompactResult
from .filters import Filter, Interval, parse_bbox, parse_interval
from .footprint import Bbox, bbox_of, box_geometry, on_globe
from .manifest import FORMAT_VERSION, ModelIdentity
from .ranking import Mode, Ranking
from .record import DEFAULT_COLLECTION, Record, Window

__all__ = [
    "DEFAULT_COLLECTION",
    "FORMAT_VERSION",
    "AddResult",
    "Archive",
    "Bbox",
    "CompactResult",
    "Filter",
    "Interval",
    "Mode",
    "ModelIdentity",
    "Ranking",
    "Record",
    "Window",
    "bbox_of",
    "box_geometry",
    "on_globe",
    "parse_bbox",
    "parse_interval",
]
