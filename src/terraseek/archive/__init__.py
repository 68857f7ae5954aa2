"""Archives: durable, searchable sets of records that one model made."""

from .footprint import Bbox, bbox_of, box_geometry, on_globe
from .record import DEFAULT_COLLECTION, Record, Window

__all__ = ["DEFAULT_COLLECTION", "Bbox", "Record", "Window", "bbox_of", "box_geometry", "on_globe"]
