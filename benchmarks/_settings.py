"""What is compared: MACL, every competitor with the grid it is tuned on, and the rows of the ablation."""

from __future__ import annotations

from typing import Any

from _study import Competitor, Setting

TEMPERATURES = (0.03, 0.055, 0.1, 0.18, 0.33, 0.6)
MARGINS = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8)


def competitor(loss: str, option: str, grid: tuple[float, ...], name: str = "", **options: Any) -> Competitor:
    return Competitor(Setting(name or loss, loss, options), option, grid)


# Eight runs for each competitor on each data set: six values and two between the best and its neighbours, chosen on
# validation. MACL has one default for both data sets.
COMPETITORS = [
    competitor("mul-supcon", "temperature", TEMPERATURES),
    competitor("multi-supcon", "temperature", TEMPERATURES),
    competitor("bce", "lr", (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
    competitor("any-supcon", "temperature", TEMPERATURES),
    competitor("triplet", "margin", MARGINS),
    competitor("triplet", "margin", MARGINS, "triplet, all positives", mining="hard-negative"),
    competitor("similarity-dissimilarity", "temperature", TEMPERATURES),
    competitor("proxy-anchor", "alpha", (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)),
    competitor("all-supcon", "temperature", TEMPERATURES),
    competitor("nt-xent", "temperature", TEMPERATURES),
    competitor(
        "multi-supcon",
        "temperature",
        TEMPERATURES,
        "multi-supcon, as published",
        threshold=0.3,
        normalisation="count",
    ),
    competitor("sndl", "temperature", TEMPERATURES),
]
FROZEN = Setting("frozen features", "frozen")
MACL = [Setting("MACL", "macl"), Setting("MACL weighted", "macl", {"weighted": True})]
QUICK = ("mul-supcon", "multi-supcon", "bce", "any-supcon", "triplet")
FINETUNED = QUICK


def macl(name: str, queue: int = 0, sampler: dict[str, Any] | None = None, **options: Any) -> Setting:
    return Setting(name, "macl", options, queue=queue, sampler=sampler or {})


REPEAT = {"kind": "repeat-factor", "threshold": 0.1}
LABEL_AWARE = {"kind": "label-aware", "labels": 4, "per_label": 4}
ABLATION = [
    macl("default"),
    macl("PLR off", plr="off"),
    macl("PLR label (training frequencies)", plr="label"),
    macl("DTS off", alpha=0.0, beta=0.0),
    macl("PLR and DTS off", plr="off", alpha=0.0, beta=0.0),
    macl("PLR pair", plr="pair"),
    macl("PLR mean instead of sum", aggregation="mean"),
    macl("gamma 0", gamma=0.0),
    macl("gamma 1", gamma=1.0),
    macl("gamma 2, kappa 1000", gamma=2.0, kappa=1000.0),
    macl("over anchors", over="anchors"),
    macl("eta 0.5", eta=0.5),
    macl("eta 1 (weighted)", eta=1.0),
    macl("alpha 0", alpha=0.0),
    macl("alpha 1", alpha=1.0),
    macl("alpha 2", alpha=2.0),
    macl("alpha -0.5", alpha=-0.5),
    macl("beta 0", beta=0.0),
    macl("beta -0.3", beta=-0.3),
    macl("beta 1", beta=1.0),
    macl("fading 0", fading=0.0),
    macl("fading by rarity", fading_by="rarity"),
    macl("alpha 0, fading kept", alpha=1e-6, fading=9e5),
    macl("DTS off, gamma 1 (MulSupCon at 0.1)", alpha=0.0, beta=0.0, gamma=1.0),
    macl("overlap jaccard", overlap="jaccard"),
    macl("anchor rarity max", anchor_rarity="max"),
    macl("DTS numerator", dts="numerator"),
    macl("DTS denominator", dts="denominator"),
    macl("DTS anchor", dts="anchor"),
    macl("normalisation count", normalisation="count"),
    macl("positives jaccard >= 0.3", positives="jaccard", jaccard_threshold=0.3),
    macl("queue 512", queue=512),
    macl("queue 1024", queue=1024),
    macl("repeat-factor sampling", sampler=REPEAT),
    macl("label-aware sampling", sampler=LABEL_AWARE),
]
