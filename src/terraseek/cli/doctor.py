"""``terraseek doctor``: what is installed, what is missing and how to get it."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

from packaging.requirements import Requirement

from .. import __version__
from .output import Json, emit_json, say, show_table
from .settings import cache_home, models_home

__all__ = ["doctor"]

PROJECT = "terraseek"
# For work on terraseek itself: not the user's business.
OWN_EXTRAS = frozenset({"dev", "docs"})


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _requirements(extra: str = "") -> dict[str, Requirement]:
    """What the base install, or an extra beyond it, asks for by the metadata of the installed terraseek."""
    found = {}
    for requirement in map(Requirement, importlib.metadata.requires(PROJECT) or ()):
        marker = requirement.marker
        in_base = marker is None or marker.evaluate({"extra": ""})
        if in_base != bool(extra) and (marker is None or marker.evaluate({"extra": extra})):
            found[requirement.name] = requirement
    return found


def _state(requirements: dict[str, Requirement]) -> dict[str, str | None]:
    """For each package its version, None where it is missing or too old."""
    versions = {name: _version(name) for name in requirements}
    return {
        name: version if version and requirements[name].specifier.contains(version, prereleases=True) else None
        for name, version in versions.items()
    }


def _report() -> dict[str, Any]:
    home = models_home()
    names = importlib.metadata.metadata(PROJECT).get_all("Provides-Extra") or []
    extras = {name: _state(_requirements(name)) for name in names if name not in OWN_EXTRAS}
    return {
        "schema": 1,
        "terraseek": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _state(_requirements()),
        "extras": {
            extra: {
                "complete": None not in packages.values(),
                "packages": packages,
                "install": f"pip install '{PROJECT}[{extra}]'",
            }
            for extra, packages in extras.items()
            if packages
        },
        "home": str(cache_home()),
        "models": {
            "folder": str(home),
            "found": sorted(path.parent.name for path in home.glob("*/config.json")),
        },
    }


def doctor(as_json: Json = False) -> None:
    """Say which versions are installed, which extras are complete and which models are there.

    Models and decoded pixels are kept in the folder that the environment variable TERRASEEK_HOME names, else in the
    platform's cache folder.

    Example: `terraseek doctor`
    """
    report = _report()
    if as_json:
        emit_json(report)
        return
    say(f"terraseek {report['terraseek']}, Python {report['python']}, {report['platform']}")
    packages = [(name, version or "missing or too old") for name, version in report["packages"].items()]
    show_table("", ("package", "version"), packages)
    say()
    rows = []
    for extra, state in report["extras"].items():
        missing = [name for name, version in state["packages"].items() if version is None]
        rows.append((extra, "complete" if not missing else f"without {', '.join(missing)}: {state['install']}"))
    show_table("", ("extra", "state"), rows)
    found = report["models"]["found"]
    none = "none yet; make one with: terraseek model export efficientnet-lite0"
    say(f"\nmodels in {report['models']['folder']}: {', '.join(found) or none}")
