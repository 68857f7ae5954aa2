"""A learnable data set of 72 tiny images, and a backbone small enough to be trained in a test."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from terraseek.models import BACKBONES, Backbone
from terraseek.training import (
    ArchitectureConfig,
    AugmentationConfig,
    ContrastConfig,
    DataConfig,
    ObjectiveConfig,
    ObjectivesConfig,
    OptimizerConfig,
    Recipe,
    SamplerConfig,
    TextSideConfig,
    TrainerConfig,
)

COLOURS = {"field": (60, 170, 60), "sand": (220, 200, 120), "water": (30, 60, 160), "roof": (200, 60, 50)}
SPLITS = {"train": 40, "val": 16, "test": 16}


class TinyBackbone(Backbone):
    mean: ClassVar = (127.0, 127.0, 127.0)
    std: ClassVar = (64.0, 64.0, 64.0)
    stem: ClassVar = "stem.weight"
    stages: ClassVar = (("stem_conv", "bn"), (), (), ("last",))
    level_stages: ClassVar = (1, 2, 3, 4)

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.bands, self.dim, self.level_channels = bands, 16, (8, 8, 8, 16)
        self.stem_conv = nn.Conv2d(bands, 8, 3, 4, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 16, 3, 2, padding=1)

    def run_stage(self, number: int, x_NCHW: Tensor) -> Tensor:
        if number == 1:
            return torch.relu(self.bn(self.stem_conv(x_NCHW)))
        return torch.relu(self.last(x_NCHW)) if number == 4 else x_NCHW

    def pool(self, last_NCHW: Tensor) -> Tensor:
        return last_NCHW.mean((2, 3))


if "test-tiny" not in BACKBONES:
    BACKBONES.register("test-tiny")(TinyBackbone)


def write_images(root: Path, size: int = 24) -> Path:
    """Quarters of an image are of one colour each; its labels are the colours that occur, its captions name them."""
    rng = np.random.default_rng(0)
    names = list(COLOURS)
    (root / "images").mkdir(parents=True)
    with (root / "samples.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "split", "labels", "captions"])
        for split, count in SPLITS.items():
            for i in range(count):
                # "roof" is rare: one image in five.
                few = names if i % 5 == 0 else names[:3]
                quarters = rng.choice(few, (2, 2))
                if i % 5 == 0:
                    quarters[0, 0] = "roof"
                pixels = np.array([[COLOURS[name] for name in row] for row in quarters], dtype=float)
                pixels = pixels.repeat(size // 2, 0).repeat(size // 2, 1) + rng.normal(0, 8, (size, size, 3))
                path = f"images/{split}{i:02d}.png"
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / path)
                writer.writerow([path, split, "|".join(sorted(set(quarters.ravel()))), "|".join(describe(quarters))])
    return root


def describe(quarters: NDArray[np.str_]) -> list[str]:
    """Three captions where all quarters differ in colour, else two; many images share the first."""
    names = sorted(set(quarters.ravel().tolist()))
    (a, b), (c, d) = quarters.tolist()
    captions = [f"There is {' and '.join(names)}.", f"{a} and {b} above {c} and {d}"]
    return [*captions, f"{a} at the left of {b}"] if len(names) > 2 else captions


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture
def tiny_recipe(colours: Path, tmp_path: Path) -> Recipe:
    return Recipe(
        data=DataConfig(name="table", root=colours, pixels=24, cache=colours.parent / "pixels"),
        name="tiny",
        seed=3,
        model=ArchitectureConfig(backbone="test-tiny", pretrained=False, input_size=16, dim=8, hidden=16, dropout=0.2),
        optimizer=OptimizerConfig(lr=5e-3),
        sampler=SamplerConfig(batch_size=16),
        augmentation=AugmentationConfig(min_area=0.8, brightness=0.05, contrast=0.05, saturation=0.05),
        trainer=TrainerConfig(epochs=4, accelerator="cpu", precision="32-true", validate_every=2),
    )


@pytest.fixture
def caption_recipe(tiny_recipe: Recipe) -> Recipe:
    """Every term of the loss, with key encoders and queues; the symmetries would change what is left of what."""
    return dataclasses.replace(
        tiny_recipe,
        name="tiny-captions",
        text=TextSideConfig(network={"width": 12, "hidden": 12, "heads": 1}, per_image=2, least_count=1),
        objectives=ObjectivesConfig(
            contrast=ContrastConfig(queue=24, momentum=0.9),
            triplet=ObjectiveConfig(weight=0.5),
            alignment=ObjectiveConfig(weight=1.0, first_epoch=2),
            labels=ObjectiveConfig(weight=0.2),
        ),
        trainer=TrainerConfig(epochs=4, accelerator="cpu", precision="32-true", validate_every=2),
        augmentation=AugmentationConfig(symmetries=False, min_area=0.9, brightness=0, contrast=0, saturation=0),
    )
