"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def terraseek_data() -> Path:
    """The folder of real imagery that TERRASEEK_DATA names; skips where there is none."""
    root = os.environ.get("TERRASEEK_DATA")
    if not root:
        pytest.skip("TERRASEEK_DATA is not set: this test needs the real imagery (see CONTRIBUTING.md)")
    path = Path(root)
    if not path.is_dir():
        pytest.fail(f"TERRASEEK_DATA names {path}, which is no folder")
    return path
