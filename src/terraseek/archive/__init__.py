"""Archives: durable, searchable sets of records that one model made."""

from .archive import AddResult, Archive, CompactResult
from .cluster import ingest_on_ray
from .declaration import describe_chipping, settle_chipping
from .export import ExportFormat, export_archive, import_archive
from .features import record_feature
from .filters import Filter, Interval, parse_bbox, parse_interval
from .footprint import Bbox, bbox_of, box_geometry, on_globe
from .ingest import IngestOptions, IngestReport, ingest
from .kept_model import create_archive, open_archive
from .manifest import FORMAT_VERSION, ModelIdentity
from .pieces import open_source
from .ranking import Mode, Ranking
from .record import DEFAULT_COLLECTION, Record, Window
from .reports import Problem, RepairReport, VerifyReport
from .sources import Source, dataset_sources, find_sources
from .spread import ScoreSpread
from .stac import stac_item
from .verify import repair_archive, verify_archive
from .view import View

__all__ = [
    "DEFAULT_COLLECTION",
    "FORMAT_VERSION",
    "AddResult",
    "Archive",
    "Bbox",
    "CompactResult",
    "ExportFormat",
    "Filter",
    "IngestOptions",
    "IngestReport",
    "Interval",
    "Mode",
    "ModelIdentity",
    "Problem",
    "Ranking",
    "Record",
    "RepairReport",
    "ScoreSpread",
    "Source",
    "VerifyReport",
    "View",
    "Window",
    "bbox_of",
    "box_geometry",
    "create_archive",
    "dataset_sources",
    "describe_chipping",
    "export_archive",
    "find_sources",
    "import_archive",
    "ingest",
    "ingest_on_ray",
    "on_globe",
    "open_archive",
    "open_source",
    "parse_bbox",
    "parse_interval",
    "record_feature",
    "repair_archive",
    "settle_chipping",
    "stac_item",
    "verify_archive",
]
