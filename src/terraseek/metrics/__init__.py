"""Measures of retrieval: numpy only, tie-safe, blocked."""

from .comparison import Report, compare_reports, find_reports, read_report
from .embeddings import EmbeddingSet, similarity_blocks, unit_rows
from .evaluation import evaluate_retrieval
from .functional import (
    DENOMINATORS,
    Denominator,
    average_precision,
    discounted_gain,
    gain_from_count,
    hit_probability,
    ideal_discounted_gain,
    label_distance,
    mean_value,
    ndcg,
    precision,
    recall,
    shared_labels,
    weighted_average_precision,
)
from .image_text import DirectionResult, ImageTextEvaluation, RecallResult, evaluate_image_text
from .label_measures import BANDS, LabelAP, frequency_bands
from .leakage import LeakageReport, Pair, find_leakage, near_duplicates, pixel_hash, shared_scenes
from .measure import Measure, QueryMeasure
from .measures import DEFAULT_MEASURES, HEADLINE_MEASURES, MEASURES, parse_measure
from .query_measures import GAINS
from .ranking import Ranking, rank
from .report import Provenance, report_json, write_report
from .results import Evaluation, LabelResult, MeasureResult, PrecisionRecall, SimilarityHistogram
from .significance import (
    Comparison,
    Interval,
    SeedSummary,
    bootstrap_interval,
    compare_paired,
    enough_queries,
    fewest_queries,
    holm,
    summarize_seeds,
)

__all__ = [
    "BANDS",
    "DEFAULT_MEASURES",
    "DENOMINATORS",
    "GAINS",
    "HEADLINE_MEASURES",
    "MEASURES",
    "Comparison",
    "Denominator",
    "DirectionResult",
    "EmbeddingSet",
    "Evaluation",
    "ImageTextEvaluation",
    "Interval",
    "LabelAP",
    "LabelResult",
    "LeakageReport",
    "Measure",
    "MeasureResult",
    "Pair",
    "PrecisionRecall",
    "Provenance",
    "QueryMeasure",
    "Ranking",
    "RecallResult",
    "Report",
    "SeedSummary",
    "SimilarityHistogram",
    "average_precision",
    "bootstrap_interval",
    "compare_paired",
    "compare_reports",
    "discounted_gain",
    "enough_queries",
    "evaluate_image_text",
    "evaluate_retrieval",
    "fewest_queries",
    "find_leakage",
    "find_reports",
    "frequency_bands",
    "gain_from_count",
    "hit_probability",
    "holm",
    "ideal_discounted_gain",
    "label_distance",
    "mean_value",
    "ndcg",
    "near_duplicates",
    "parse_measure",
    "pixel_hash",
    "precision",
    "rank",
    "read_report",
    "recall",
    "report_json",
    "shared_labels",
    "shared_scenes",
    "similarity_blocks",
    "summarize_seeds",
    "unit_rows",
    "weighted_average_precision",
    "write_report",
]
