"""Where this machine keeps what terraseek makes for itself: the one place that reads the environment."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["allowed_hosts", "cache_home", "models_home", "pixel_cache_home"]


def cache_home() -> Path:
    """``TERRASEEK_HOME``, else the cache folder of the platform. Everything in it can be made again."""
    named = os.environ.get("TERRASEEK_HOME")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("terraseek"))


def models_home() -> Path:
    """Where models that were built by name are kept."""
    return cache_home() / "models"


def pixel_cache_home() -> Path:
    """Where decoded pixels of data sets are kept."""
    return cache_home() / "pixels"


def allowed_hosts() -> tuple[str, ...]:
    """The hosts of ``TERRASEEK_ALLOW_HOSTS``, separated by commas, that every command may read from."""
    return tuple(host.strip() for host in os.environ.get("TERRASEEK_ALLOW_HOSTS", "").split(",") if host.strip())
