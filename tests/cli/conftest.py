"""A small model, a folder of pictures and an archive of them, for the commands to work on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from terraseek.cli import main

from ..encoders.conftest import make_model

__all__ = ["make_model"]

COLOURS = {"sea": (20, 60, 160), "sand": (230, 210, 150), "grass": (60, 140, 50), "roof": (170, 60, 50)}


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command as a person would, arguments being turned into text."""
    monkeypatch.setenv("TERRASEEK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve pictures, three of each colour, named by it."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for number in range(3):
            noise = rng.integers(-12, 13, (32, 32, 3))
            pixels = (np.asarray(colour) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}{number}.png")
    return folder


@pytest.fixture
def archive(run: Run, make_model: Callable[..., Path], pictures: Path, tmp_path: Path) -> Path:
    uri = tmp_path / "archive"
    assert run("archive", "create", uri, "--model", make_model()).code == 0
    assert run("archive", "add", uri, pictures).code == 0
    return uri
