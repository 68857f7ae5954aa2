"""Where this machine keeps what terraseek makes for itself: the one place that reads the environment."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["allowed_hosts", "cache_home", "fetched_models_home", "models_home", "pixel_cache_home", "storage_options"]


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


def fetched_models_home() -> Path:
    """Where models that archives on object storage keep are put, by archive."""
    return cache_home() / "fetched-models"


def storage_options(uri: str) -> dict[str, str] | None:
    """Credentials and endpoint for an archive on object storage, from the variables that its own tools use.

    That is ``AWS_...`` for s3://, ``GOOGLE_...`` for gs:// and ``AZURE_...`` for az://, under their own names in lower
    case. What is not there the storage looks for itself: the machine's role, say.
    """
    prefix = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}.get(uri.partition("://")[0])
    if prefix is None or "://" not in uri:
        return None
    options = {name.lower(): value for name, value in os.environ.items() if name.startswith(prefix) and value}
    endpoint = options.get("aws_endpoint_url_s3") or options.get("aws_endpoint_url") or options.get("aws_endpoint")
    if prefix == "AWS_":
        options.setdefault("aws_region", options.get("aws_default_region", "us-east-1"))
    if endpoint:
        options["aws_endpoint"] = endpoint
        options["allow_http"] = str(endpoint.startswith("http://")).lower()
    return options


def allowed_hosts() -> tuple[str, ...]:
    """The hosts of ``TERRASEEK_ALLOW_HOSTS``, separated by commas, that every command may read from."""
    return tuple(host.strip() for host in os.environ.get("TERRASEEK_ALLOW_HOSTS", "").split(",") if host.strip())
