"""Does marking hits help? Relevance feedback simulated from labels, on frozen features of UC Merced multi-label.

    python benchmarks/feedback.py FEATURES.npz                 # arrays: features (N, F), labels (N, C)

One half of the images, drawn by a seed, is what a simulated person looks at; the other half is what the search is
judged by, so that no mark can be counted as a success. A person starts with one image, looks at the first ten hits
not seen yet, marks as right those whose labels agree with the image's by a Jaccard index of a half or more and as wrong
the others, and searches again: three rounds. After each round the direction that `rocchio_direction` or
`logistic_direction` makes of the image and all marks so far ranks the other half. Beside both: the image alone, and a
person who is shown everything that is right (the mean of all images that agree), a ceiling for mAP alone.

Figures are means over the seeds with their standard deviation over the seeds, and the gain over the image alone: the
mean difference query by query, over the queries of all seeds, with its bootstrap interval of 95 % over the queries.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from terraseek.metrics import EmbeddingSet, bootstrap_interval, evaluate_retrieval
from terraseek.metrics.significance import query_mean
from terraseek.relevance import relevance
from terraseek.search import logistic_direction, rocchio_direction

MEASURES = ("mAP", "nDCG@100(jaccard)", "P@10")
METHODS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "rocchio": rocchio_direction,
    "logistic": logistic_direction,
}
SHOWN, ROUNDS, AGREES = 10, 3, 0.5
Scores = dict[str, list[dict[str, np.ndarray]]]
"""For each method and round the measures of every query, (Q,)."""


def simulate(features: np.ndarray, labels: np.ndarray, seed: int, queries: int) -> Scores:
    """For each method its measures after 0, 1, ... rounds."""
    order = np.random.default_rng(seed).permutation(len(features))
    looked, judged = order[: len(order) // 2], order[len(order) // 2 :]
    gallery = EmbeddingSet(features[judged], labels[judged], tuple(f"g{at}" for at in judged))
    asked = looked[:queries]
    agree_QL = relevance(labels[asked], labels[looked], "jaccard") >= AGREES

    def measured(directions_QD: np.ndarray) -> dict[str, np.ndarray]:
        found = EmbeddingSet(directions_QD.astype(np.float32), labels[asked], tuple(f"q{at}" for at in asked))
        evaluation = evaluate_retrieval(found, gallery, MEASURES, bootstrap=0)
        return {name: np.asarray(evaluation.per_query[name]) for name in MEASURES}

    alone_QD = features[asked]
    shown_all = [features[looked[agree]].mean(axis=0) for agree in agree_QL]
    ceiling_QD = np.stack([mean / np.linalg.norm(mean) for mean in shown_all])
    results: Scores = {"image alone": [measured(alone_QD)], "all that agree": [measured(ceiling_QD)]}
    for name, method in METHODS.items():
        directions_QD, seen_QL = alone_QD.copy(), np.zeros_like(agree_QL)
        seen_QL[np.arange(len(asked)), np.arange(len(asked))] = True  # the image itself
        results[name] = [results["image alone"][0]]
        for _ in range(ROUNDS):
            for at, direction_D in enumerate(directions_QD):
                scores_L = np.where(seen_QL[at], -np.inf, features[looked] @ direction_D)
                seen_QL[at, np.argsort(-scores_L, kind="stable")[:SHOWN]] = True
                marked = seen_QL[at].copy()
                marked[at] = False
                right, wrong = looked[marked & agree_QL[at]], looked[marked & ~agree_QL[at]]
                directions_QD[at] = method(alone_QD[at], features[right], features[wrong])
            results[name].append(measured(directions_QD))
    return results


def summary(runs: list[Scores]) -> dict[str, list[dict[str, dict[str, float]]]]:
    """Means and deviations over the seeds, and the gain over the image alone, query by query."""

    def spread(method: str, rounds: int, measure: str) -> dict[str, float]:
        per_seed_SQ = np.stack([run[method][rounds][measure] for run in runs])
        gains_SQ = per_seed_SQ - np.stack([run["image alone"][0][measure] for run in runs])
        interval = bootstrap_interval({measure: query_mean(gains_SQ.ravel())}, gains_SQ.size)[measure]
        return {
            "mean": float(per_seed_SQ.mean()),
            "std": float(per_seed_SQ.mean(axis=1).std(ddof=1)),
            "gain": float(gains_SQ.mean()),
            "gain_low": interval.low,
            "gain_high": interval.high,
        }

    return {
        method: [{measure: spread(method, at, measure) for measure in MEASURES} for at in range(len(rounds))]
        for method, rounds in runs[0].items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--queries", type=int, default=200, help="images asked with, per seed")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "feedback.json")
    options = parser.parse_args()
    with np.load(options.features) as arrays:
        features, labels = arrays["features"].astype(np.float64), arrays["labels"].astype(np.uint8)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    runs = [simulate(features, labels, seed, options.queries) for seed in range(options.seeds)]
    found = summary(runs)
    settings = {
        "images": len(features),
        "queries": options.queries,
        "seeds": options.seeds,
        "shown": SHOWN,
        "agrees": AGREES,
    }
    tree = {"schema": 1, "settings": settings, "methods": found}
    options.out.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    print(f"{'':16s}{'marks':>6s}" + "".join(f"{measure:>34s}" for measure in MEASURES))
    for method, rounds in found.items():
        for number, measures in enumerate(rounds):
            cells = [
                f"{f['mean']:9.4f} {f['gain']:+.4f} [{f['gain_low']:+.4f}, {f['gain_high']:+.4f}]"
                for f in measures.values()
            ]
            print(f"{method:16s}{number * SHOWN:6d}{''.join(cells)}")


if __name__ == "__main__":
    main()
