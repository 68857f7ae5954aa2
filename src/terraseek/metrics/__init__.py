"""Measures of retrieval: numpy only, tie-safe, blocked."""

from .embeddings import EmbeddingSet, similarity_blocks, unit_rows
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
from .image_text import DirectionResult, ImageTextEvaluation, evaluate_image_text, normalize_text
from .ranking import Ranking, rank

__all__ = [
    "DENOMINATORS",
    "Denominator",
    "DirectionResult",
    "EmbeddingSet",
    "ImageTextEvaluation",
    "Ranking",
    "average_precision",
    "discounted_gain",
    "evaluate_image_text",
    "gain_from_count",
    "hit_probability",
    "ideal_discounted_gain",
    "label_distance",
    "mean_value",
    "ndcg",
    "normalize_text",
    "precision",
    "rank",
    "recall",
    "shared_labels",
    "similarity_blocks",
    "unit_rows",
    "weighted_average_precision",
]
