"""The model card: what a person should know before using a model."""

from __future__ import annotations

from typing import Any

from ..encoders import ModelConfig

__all__ = ["model_card"]


def model_card(name: str, config: ModelConfig, fingerprint: str, max_abs_difference: float) -> str:
    """The README.md of a model directory, Markdown with the usual front matter.

    Args:
        name: of the model.
        config: its config.
        fingerprint: of its config and weights.
        max_abs_difference: largest difference of one coordinate between torch and ONNX.
    """
    rows = {
        "architecture": config.architecture,
        "input": f"{config.input_size} x {config.input_size} pixels, {config.bands} bands ({config.resize})",
        "normalisation": f"mean {_numbers(config.mean)}, std {_numbers(config.std)}",
        "embedding": f"{config.dim} dimensions, unit length, compared by cosine{_averaged(config)}",
        "labels": ", ".join(config.label_names) or "none",
        "concepts": f"{len(config.concepts)} words" if config.concepts else "none",
        "text": _text(config),
        "fingerprint": f"`{fingerprint}`",
        "ONNX against torch": f"largest difference {max_abs_difference:.1e}",
    }
    parts = [
        "---\nlibrary_name: terraseek\ntags: [remote-sensing, image-retrieval, " + config.architecture + "]\n---",
        f"# {name}",
        "Turns satellite and aerial images"
        + (" and texts" if config.text else "")
        + " into vectors whose cosine says how alike they are.",
        _table(rows),
        "## Training",
        _table(_flat(config.provenance)) if config.training else "Not recorded.",
        "## Use",
        f"```sh\nterraseek archive create my-archive --model {name}\nterraseek archive add my-archive images/\n"
        "terraseek search my-archive --image query.jpg\n```",
        "## Limits",
        "Scores are comparable within this model only. Imagery unlike that of the training (sensor, resolution, "
        "season, region, band order or scaling) is ranked worse than the figures of an evaluation say: measure on your "
        "own with `terraseek evaluate`.",
    ]
    return "\n\n".join(parts) + "\n"


def _text(config: ModelConfig) -> str:
    if config.text is None:
        return "none"
    bank = config.network.get("query_bank")
    held_back = f"; images near to every text are held back by a bank of {bank:,} captions" if bank else ""
    return f"{config.text.architecture}, at most {config.text.max_tokens} tokens{held_back}"


def _averaged(config: ModelConfig) -> str:
    count = config.network.get("orientations", 1)
    return f"; of images the mean over {count} orientations" if count > 1 else ""


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _table(rows: dict[str, Any]) -> str:
    lines = ["| | |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in rows.items())]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = str(value)
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one level of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
