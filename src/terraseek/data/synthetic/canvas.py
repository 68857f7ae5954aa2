"""The ground that synthetic scenes are painted on: textures, shapes with shadows, and a label map kept in step.

Lengths are in pixels of a 256-pixel image, about 0.3 m each. Painting happens on a square large enough to be turned
by any angle, at twice the final resolution; `Canvas.finish` turns, crops and shrinks pixels and label map alike, so
the labels of a scene are what can be seen of it, not what was meant to be in it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from ..catalog import LABELS_17

__all__ = ["MATERIALS", "Canvas", "Colour", "Material", "Point", "Rendered", "along", "hull"]

Colour = tuple[int, int, int]
Point = tuple[float, float]

_REACH = 366  # a square of 256 turned by 45 degrees needs 362
_LABEL_ID = {name: i for i, name in enumerate(LABELS_17, 1)}
_OVERSAMPLING = 2


@dataclass(frozen=True)
class Material:
    """A surface: its darkest and lightest colour, and how much of its noise is fine grain."""

    dark: Colour
    light: Colour
    grain: float = 0.5


MATERIALS: dict[str, Material] = {
    "grass": Material((72, 92, 50), (122, 138, 82)),
    "dry grass": Material((122, 116, 74), (168, 158, 110)),
    "forest floor": Material((28, 42, 26), (58, 70, 42), 0.6),
    "soil": Material((134, 102, 74), (178, 144, 110), 0.6),
    "scrub": Material((142, 122, 92), (186, 166, 132), 0.7),
    "sand": Material((196, 178, 142), (230, 214, 180), 0.35),
    "wet sand": Material((150, 132, 104), (176, 158, 126), 0.3),
    "asphalt": Material((88, 88, 90), (120, 119, 118), 0.6),
    "concrete": Material((158, 154, 148), (196, 192, 186), 0.5),
    "water": Material((36, 58, 60), (64, 88, 82), 0.25),
    "sea": Material((16, 50, 76), (38, 88, 108), 0.35),
    "hard court green": Material((52, 98, 78), (66, 114, 92), 0.3),
    "hard court blue": Material((54, 86, 128), (68, 102, 144), 0.3),
    "hard court red": Material((138, 78, 62), (156, 94, 76), 0.3),
}


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A finished scene: pixels (H, W, 3) uint8, label map (H, W) uint8 with 1..17 and 0, visible objects per label."""

    image: NDArray[np.uint8]
    label_map: NDArray[np.uint8]
    objects: dict[str, int]

    def labels(self, least: float = 0.0006) -> tuple[str, ...]:
        """The labels that cover at least this share of the image (0.0006 of 256 x 256: half a car)."""
        counts = np.bincount(self.label_map.ravel(), minlength=len(LABELS_17) + 1)
        return tuple(name for i, name in enumerate(LABELS_17, 1) if counts[i] >= least * self.label_map.size)

    def share(self, label: str) -> float:
        """The part of the image that a label covers."""
        return float((self.label_map == _LABEL_ID[label]).mean())


class Canvas:
    """Paints surfaces and objects; see the module for units. `centre` is the middle of what will be seen."""

    side = float(_REACH)
    centre = _REACH / 2

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng = rng
        self.size = size
        self._scale = size / 256 * _OVERSAMPLING
        edge = math.ceil(_REACH * self._scale)
        self.image = Image.new("RGB", (edge, edge))
        self.label_map = Image.new("L", (edge, edge))
        self._brush, self._pen = ImageDraw.Draw(self.image), ImageDraw.Draw(self.label_map)
        self._noise = {kind: self._fractal(cells) for kind, cells in (("soft", (3, 7, 16)), ("fine", (60, 150, edge)))}
        self._surfaces: dict[Material, Image.Image] = {}
        self._objects: list[tuple[str, Point]] = []
        angle = rng.uniform(0, 2 * math.pi)
        self.sun = (math.cos(angle), math.sin(angle))
        """Direction in which shadows fall."""
        self._turn = rng.uniform(0, 360)

    def _fractal(self, cells: Sequence[int]) -> Image.Image:
        edge = self.image.width
        mixed = Image.new("L", (edge, edge), 128)
        for i, count in enumerate(cells):
            octave = self.rng.integers(0, 256, (count, count), dtype=np.uint8)
            layer = Image.fromarray(octave).resize((edge, edge), Image.Resampling.BICUBIC)
            mixed = layer if i == 0 else Image.blend(mixed, layer, 0.4)
        return mixed

    def noise(self, kind: str = "soft") -> NDArray[np.float32]:
        """A noise field over the canvas, 0..1: "soft" hills or "fine" grain, mirrored at random on every call."""
        field: NDArray[np.float32] = np.asarray(self._noise[kind], np.float32) / np.float32(255)
        field = np.rot90(field, int(self.rng.integers(4)))
        return field[:, ::-1] if self.rng.random() < 0.5 else field

    def grid(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Coordinates x and y of every canvas pixel, in image pixels."""
        axis = np.arange(self.image.width, dtype=np.float32) / self._scale
        return np.broadcast_to(axis[None, :], (len(axis),) * 2), np.broadcast_to(axis[:, None], (len(axis),) * 2)

    def surface(self, material: str | Material) -> Image.Image:
        """The whole canvas covered with a material."""
        material = MATERIALS[material] if isinstance(material, str) else material
        if material not in self._surfaces:
            mixed = Image.blend(self._noise["soft"], self._noise["fine"], material.grain)
            if self.rng.random() < 0.5:
                mixed = mixed.transpose(Image.Transpose.ROTATE_90)
            ramps = [
                mixed.point([round(low + (high - low) * value / 255) for value in range(256)])
                for low, high in zip(material.dark, material.light, strict=True)
            ]
            self._surfaces[material] = Image.merge("RGB", ramps)
        return self._surfaces[material]

    def cover(self, material: str | Material, label: str | None, mask: NDArray[np.bool_] | None = None) -> None:
        """Lay a material over everything, or where `mask` (canvas pixels) says; edges are slightly soft."""
        if mask is None:
            self.image.paste(self.surface(material))
            self.label_map.paste(_LABEL_ID.get(label or "", 0), (0, 0, *self.label_map.size))
            return
        stencil = Image.fromarray(mask.astype(np.uint8) * 255)
        self.image.paste(self.surface(material), mask=stencil.filter(ImageFilter.GaussianBlur(self._scale * 0.6)))
        self.label_map.paste(_LABEL_ID.get(label or "", 0), mask=stencil)

    def area(self, material: str | Material, points: Sequence[Point], label: str | None) -> None:
        """Lay a material inside a polygon."""
        box, stencil = self._stencil(points)
        if stencil is not None:
            self.image.paste(self.surface(material).crop(box), box, stencil)
            self._mark(points, label)

    def shape(self, points: Sequence[Point], colour: Colour, label: str | None = None, *, height: float = 0.0) -> None:
        """A polygon of one colour; `height` lets it throw a shadow of that length."""
        if height:
            dx, dy = self.sun[0] * height, self.sun[1] * height
            self.shadow(hull([(x + dx * t, y + dy * t) for t in (0.0, 1.0) for x, y in points]))
        self._brush.polygon(self._device(points), fill=colour)
        self._mark(points, label)

    def disk(self, centre: Point, radius: float, colour: Colour, label: str | None = None) -> None:
        """A disk of one colour."""
        x, y = centre[0] * self._scale, centre[1] * self._scale
        r = radius * self._scale
        self._brush.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        if label:
            self._pen.ellipse((x - r, y - r, x + r, y + r), fill=_LABEL_ID[label])

    def line(self, points: Sequence[Point], colour: Colour, width: float, label: str | None = None) -> None:
        """A line with round joints."""
        pixels = max(1, round(width * self._scale))
        self._brush.line(self._device(points), fill=colour, width=pixels, joint="curve")
        if label:
            self._pen.line(self._device(points), fill=_LABEL_ID[label], width=pixels, joint="curve")

    def shadow(self, points: Sequence[Point], strength: float = 0.5, colour: Colour = (14, 18, 30)) -> None:
        """Tint a polygon: dark for shadows, pale for foam."""
        box, stencil = self._stencil(points, round(255 * strength))
        if stencil is not None:
            self.image.paste(colour, box, stencil)

    def stripes(self, points: Sequence[Point], colour: Colour, spacing: float, angle: float, strength: float) -> None:
        """Thin parallel lines inside a polygon: crop rows, mown grass."""
        box, stencil = self._stencil(points, round(255 * strength))
        if stencil is None:
            return
        rows = Image.new("L", stencil.size)
        brush, reach = ImageDraw.Draw(rows), sum(stencil.size)
        dx, dy = math.cos(angle), math.sin(angle)
        step = max(spacing * self._scale, 2.0)
        for i in range(-int(reach / step), int(reach / step) + 1):
            x, y = stencil.width / 2 - dy * i * step, stencil.height / 2 + dx * i * step
            ends = (x - dx * reach, y - dy * reach, x + dx * reach, y + dy * reach)
            brush.line(ends, fill=255, width=max(1, round(step * 0.4)))
        self.image.paste(colour, box, ImageChops.multiply(rows, stencil))

    def count(self, label: str, centre: Point) -> None:
        """Note one countable object, for captions."""
        self._objects.append((label, centre))

    def vary(self, colour: Colour, spread: float = 10.0) -> Colour:
        """The colour a little lighter or darker, warmer or colder."""
        shift = self.rng.normal(0, spread)
        r, g, b = (
            min(255, max(0, round(value + shift + own)))
            for value, own in zip(colour, self.rng.normal(0, spread / 4, 3), strict=True)
        )
        return r, g, b

    def finish(self) -> Rendered:
        """Turn, crop, shrink, and add what a camera adds: haze, tint, blur and noise."""
        edge, crop = self.image.width, self.size * _OVERSAMPLING
        low = (edge - crop) // 2
        box = (low, low, low + crop, low + crop)
        image = self.image.rotate(self._turn, Image.Resampling.BILINEAR).crop(box)
        label_map = self.label_map.rotate(self._turn, Image.Resampling.NEAREST).crop(box)
        small = image.resize((self.size, self.size), Image.Resampling.BOX)
        ids = np.asarray(label_map)[::_OVERSAMPLING, ::_OVERSAMPLING].copy()
        return Rendered(image=self._photograph(small), label_map=ids, objects=self._visible())

    def _photograph(self, picture: Image.Image) -> NDArray[np.uint8]:
        picture = picture.filter(ImageFilter.GaussianBlur(self.rng.uniform(0.2, 0.6) * self.size / 256))
        pixels = np.asarray(picture, np.float32) / 255
        pixels = pixels ** self.rng.uniform(0.85, 1.15) * self.rng.uniform(0.94, 1.06, 3).astype(np.float32)
        grey = pixels.mean(-1, keepdims=True)
        pixels = grey + (pixels - grey) * self.rng.uniform(0.55, 0.9)  # film and haze take colour away
        haze = self.rng.uniform(0, 0.12)
        pixels = pixels * (1 - haze) + haze * np.array([0.78, 0.82, 0.88], np.float32)
        pixels += self.rng.normal(0, self.rng.uniform(0.006, 0.018), pixels.shape).astype(np.float32)
        developed: NDArray[np.uint8] = np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)
        return developed

    def sees(self, place: Point, margin: float = 0.0) -> bool:
        """Whether a place, or anything within `margin` of it, will be in the picture: the rest need not be painted."""
        turn = math.radians(self._turn)
        dx, dy = place[0] - self.centre, place[1] - self.centre
        across, down = dx * math.cos(turn) + dy * math.sin(turn), dy * math.cos(turn) - dx * math.sin(turn)
        return max(abs(across), abs(down)) < 128 + margin

    def _visible(self) -> dict[str, int]:
        return dict(Counter(label for label, place in self._objects if self.sees(place)))

    def _device(self, points: Sequence[Point]) -> list[tuple[float, float]]:
        return [(x * self._scale, y * self._scale) for x, y in points]

    def _mark(self, points: Sequence[Point], label: str | None) -> None:
        if label:
            self._pen.polygon(self._device(points), fill=_LABEL_ID[label])

    def _stencil(
        self, points: Sequence[Point], value: int = 255
    ) -> tuple[tuple[int, int, int, int], Image.Image | None]:
        device, edge = self._device(points), self.image.width
        xs, ys = [x for x, _ in device], [y for _, y in device]
        left, top = max(0, math.floor(min(xs))), max(0, math.floor(min(ys)))
        right, bottom = min(edge, math.ceil(max(xs)) + 1), min(edge, math.ceil(max(ys)) + 1)
        box = (left, top, right, bottom)
        if right <= left or bottom <= top:
            return box, None
        stencil = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(stencil).polygon([(x - left, y - top) for x, y in device], fill=value)
        return box, stencil


def along(centre: Point, angle: float, corners: Sequence[Point]) -> list[Point]:
    """Corners given in an object's own axes, turned by `angle` and moved to `centre`."""
    c, s = math.cos(angle), math.sin(angle)
    return [(centre[0] + x * c - y * s, centre[1] + x * s + y * c) for x, y in corners]


def hull(points: Sequence[Point]) -> list[Point]:
    """The convex hull, by the monotone chain."""
    ordered = sorted(set(points))

    def half(sequence: Sequence[Point]) -> list[Point]:
        chain: list[Point] = []
        for x, y in sequence:
            while len(chain) > 1:
                (ax, ay), (bx, by) = chain[-2:]
                if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                    break
                chain.pop()
            chain.append((x, y))
        return chain[:-1]

    return half(ordered) + half(ordered[::-1])
