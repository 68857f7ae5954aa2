"""How alike two label sets are, and how rare a label is: the one definition for metrics and losses.

Every function takes numpy arrays or torch tensors and answers in kind; nothing here imports torch, so that the
search path stays free of it. With y the multi-hot labels of an image and rho_c the rarity of label c:

    any             1 where y_q and y_g share a label, else 0
    count           |y_q & y_g|
    jaccard         |y_q & y_g| / |y_q | y_g|
    cosine          |y_q & y_g| / sqrt(|y_q| |y_g|)
    rarity-jaccard  sum of rho over the shared labels / sum of rho over all labels of either

Two empty label sets share nothing: their relevance is 0 in every kind. Soft scores, as those of concepts, have
`concept_relevance`, which is rarity-jaccard where they are 0 and 1.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

from .errors import UsageError

__all__ = ["KINDS", "Kind", "concept_relevance", "label_rarity", "overlap", "relevance"]

Kind: TypeAlias = Literal["any", "count", "jaccard", "cosine", "rarity-jaccard"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Array: TypeAlias = Any
"""A numpy array or a torch tensor: only operators that the two share are used."""


def overlap(query_labels_QC: Array, gallery_labels_GC: Array) -> Array:
    """Number of shared labels, (Q, G); labels must already be floating point.

    In half precision the sizes stay exact up to 2,048 labels (256 in bfloat16).
    """
    return query_labels_QC @ gallery_labels_GC.T


def relevance(
    query_labels_QC: Array, gallery_labels_GC: Array, kind: Kind = "jaccard", rarity_C: Array | None = None
) -> Array:
    """Graded relevance of every gallery item to every query, (Q, G), at least 0; at most 1 except for "count".

    Args:
        query_labels_QC: multi-hot labels, floating point.
        gallery_labels_GC: multi-hot labels of the same C and type.
        kind: one of `KINDS`.
        rarity_C: label weights, needed by "rarity-jaccard" alone (see `label_rarity`).

    Raises:
        UsageError: an unknown kind, or "rarity-jaccard" without `rarity_C`.

    Examples:
        >>> import numpy as np
        >>> q, g = np.array([[1.0, 1.0, 0.0]]), np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        >>> relevance(q, g, "jaccard")
        array([[0.5, 0. ]])
    """
    if kind not in KINDS:
        raise UsageError(f"unknown relevance {kind!r}; known: {', '.join(KINDS)}")
    if kind == "rarity-jaccard":
        if rarity_C is None:
            raise UsageError("relevance 'rarity-jaccard' needs rarity_C, the weight of each label")
        shared = (query_labels_QC * rarity_C) @ gallery_labels_GC.T
        size_q, size_g = query_labels_QC @ rarity_C, gallery_labels_GC @ rarity_C
    else:
        shared = overlap(query_labels_QC, gallery_labels_GC)
        if kind == "count":
            return shared
        if kind == "any":
            return (shared > 0) * (shared * 0 + 1)  # multiplied, not cast: keeps the caller's type and device
        size_q, size_g = query_labels_QC.sum(-1), gallery_labels_GC.sum(-1)
    total = (
        (size_q[:, None] * size_g[None, :]) ** 0.5 if kind == "cosine" else size_q[:, None] + size_g[None, :] - shared
    )
    # Where nothing is shared the quotient is 0 whatever it is divided by: 1 avoids 0/0.
    return shared / (total + (shared == 0) * (1 - total))


def concept_relevance(query_scores_QC: Array, gallery_scores_GC: Array, rarity_C: Array | None = None) -> Array:
    """Overlap of soft concept scores, (Q, G) in 0..1: the Tanimoto coefficient, each concept weighted by its rarity.

    With scores s, t of two items: sum rho_c s_c t_c / (sum rho_c s_c^2 + sum rho_c t_c^2 - sum rho_c s_c t_c).
    Symmetric; 1 for equal rows that are not empty, soft ones too; 0 where no concept is shared. On scores of 0 and 1 it
    is "rarity-jaccard", which on soft ones would find an item unlike itself. Sums are inner products: there is no
    (Q, G, C) table.

    Args:
        query_scores_QC: scores of at least 0, floating point.
        gallery_scores_GC: scores of the same C and type.
        rarity_C: weight of each concept, at least 0 (see `label_rarity`); all alike without it.

    Examples:
        >>> import numpy as np
        >>> q, g = np.array([[1.0, 0.5]]), np.array([[1.0, 0.5], [1.0, 0.0], [0.0, 0.0]])
        >>> concept_relevance(q, g)
        array([[1. , 0.8, 0. ]])
    """
    weighted_QC = query_scores_QC if rarity_C is None else query_scores_QC * rarity_C
    weighted_GC = gallery_scores_GC if rarity_C is None else gallery_scores_GC * rarity_C
    shared = weighted_QC @ gallery_scores_GC.T
    size_q, size_g = (weighted_QC * query_scores_QC).sum(-1), (weighted_GC * gallery_scores_GC).sum(-1)
    total = size_q[:, None] + size_g[None, :] - shared
    # Where nothing is shared the quotient is 0 whatever it is divided by: 1 avoids 0/0. Sums in another order can
    # bring equal rows a rounding step above 1.
    return (shared / (total + (shared == 0) * (1 - total))).clip(0, 1)


def label_rarity(frequency_C: Array, gamma: float = 1.0, kappa: float = 30.0) -> Array:
    """Rarity of each label, (C,): ``clip((median f / f_c) ** gamma, 1 / kappa, kappa)``.

    The median is over the labels that occur; a label that never occurs (f = 0) is as rare as the clip allows.
    Without the clip a label seen twice in 3,000 images would outweigh all others together.

    >>> import numpy as np
    >>> label_rarity(np.array([0.5, 0.25, 0.05, 0.0]), kappa=10.0)
    array([ 0.5,  1. ,  5. , 10. ])
    """
    if kappa < 1:
        raise UsageError(f"kappa is {kappa}, it must be at least 1")
    seen = frequency_C > 0
    if not seen.any():
        return frequency_C * 0 + 1
    occurring = sorted(float(f) for f in frequency_C[seen])
    middle = len(occurring) // 2
    median = occurring[middle] if len(occurring) % 2 else (occurring[middle - 1] + occurring[middle]) / 2
    ratio = (median / (frequency_C + (~seen) * 1.0)) ** gamma
    # gamma = 0 switches rarity off for every label, the never-seen included.
    unseen = kappa if gamma > 0 else 1.0
    return (ratio * seen + unseen * (~seen)).clip(1 / kappa, kappa)
