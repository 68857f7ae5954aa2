"""Search: a query in, a page of hits out; the same for Python and the command line."""

from .compare import Comparison, compare_searches
from .contact_sheet import Overview, SheetRow, SheetTile, contact_sheet
from .diversity import mmr
from .duplicates import DuplicateGroup, near_duplicates
from .example import read_example
from .feedback import logistic_direction, rocchio_direction
from .page import Hit, Page
from .page_sheet import comparison_sheet, page_sheet
from .query import MAX_K, Query
from .retriever import Retriever

__all__ = [
    "MAX_K",
    "Comparison",
    "DuplicateGroup",
    "Hit",
    "Overview",
    "Page",
    "Query",
    "Retriever",
    "SheetRow",
    "SheetTile",
    "compare_searches",
    "comparison_sheet",
    "contact_sheet",
    "logistic_direction",
    "mmr",
    "near_duplicates",
    "page_sheet",
    "read_example",
    "rocchio_direction",
]
