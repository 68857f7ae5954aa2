"""Procedural aerial scenes with labels, masks and captions, for tests and first trainings without real imagery."""

from __future__ import annotations

from .canvas import Rendered
from .scenes import SCENES, Scene, draw_scene
from .write import LAYOUTS, Layout, synthesize

__all__ = ["LAYOUTS", "SCENES", "Layout", "Rendered", "Scene", "draw_scene", "synthesize"]
