"""The kinds of scene: which things stand together where, and how often each kind occurs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, Material, Point, Rendered, along
from .objects import (
    airplane,
    boat,
    building,
    car,
    court,
    dock,
    mobile_home,
    parking,
    road,
    shrub,
    tank,
    tree,
    wood,
)

__all__ = ["SCENES", "Scene", "draw_scene", "scene_for"]


@dataclass(frozen=True)
class Scene:
    """A kind of scene: folder name, phrase for captions, relative frequency, painter."""

    name: str
    phrase: str
    weight: float
    paint: Callable[[Canvas], None]


def draw_scene(scene: Scene, rng: np.random.Generator, size: int) -> Rendered:
    """Paint one scene of `size` x `size` pixels; the same generator state gives the same scene."""
    canvas = Canvas(rng, size)
    scene.paint(canvas)
    return canvas.finish()


def scene_for(rng: np.random.Generator) -> Scene:
    """Draw a kind of scene by its weight."""
    weights = np.array([scene.weight for scene in SCENES])
    return SCENES[int(rng.choice(len(SCENES), p=weights / weights.sum()))]


def _anywhere(canvas: Canvas, margin: float = 0.0) -> Point:
    x, y = canvas.rng.uniform(margin, canvas.side - margin, 2)
    return float(x), float(y)


def _scatter_trees(canvas: Canvas, count: int, low: float = 5, high: float = 11) -> None:
    for _ in range(count):
        tree(canvas, _anywhere(canvas), canvas.rng.uniform(low, high))


def _parcels(
    canvas: Canvas, box: tuple[float, float, float, float], depth: int
) -> list[tuple[float, float, float, float]]:
    left, top, right, bottom = box
    if depth == 0 or (canvas.rng.random() < 0.2 and depth < 3):
        return [box]
    cut = canvas.rng.uniform(0.35, 0.65)
    if right - left > bottom - top:
        x = left + cut * (right - left)
        halves = ((left, top, x, bottom), (x, top, right, bottom))
    else:
        y = top + cut * (bottom - top)
        halves = ((left, top, right, y), (left, y, right, bottom))
    return [parcel for half in halves for parcel in _parcels(canvas, half, depth - 1)]


def _farmland(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.cover("dry grass", "field")
    crops = (
        ((78, 104, 52), (112, 140, 76)),
        ((146, 128, 84), (184, 168, 118)),
        ((104, 126, 62), (142, 160, 88)),
        ((128, 98, 72), (160, 130, 100)),
        ((58, 84, 46), (84, 112, 62)),
    )
    for left, top, right, bottom in _parcels(canvas, (0, 0, canvas.side, canvas.side), int(rng.integers(1, 4))):
        dark, light = crops[int(rng.integers(len(crops)))]
        corners = [
            (left + 1.5, top + 1.5),
            (right - 1.5, top + 1.5),
            (right - 1.5, bottom - 1.5),
            (left + 1.5, bottom - 1.5),
        ]
        canvas.area(Material(canvas.vary(dark, 6), canvas.vary(light, 6), 0.55), corners, "field")
        row = tuple(int(value * 0.72) for value in dark)
        angle = 0.0 if rng.random() < 0.5 else math.pi / 2
        canvas.stripes(corners, (row[0], row[1], row[2]), rng.uniform(3, 7), angle, rng.uniform(0.15, 0.5))
    if rng.random() < 0.4:
        y = rng.uniform(0.3, 0.7) * canvas.side
        for x in np.arange(0, canvas.side, 11):
            tree(canvas, (float(x), y + rng.uniform(-2, 2)), rng.uniform(5, 8))
    if rng.random() < 0.25:
        x = rng.uniform(0.3, 0.7) * canvas.side
        canvas.area("soil", [(x, 0), (x + 9, 0), (x + 9, canvas.side), (x, canvas.side)], "bare-soil")


def _residential(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.cover("grass" if rng.random() < 0.7 else "dry grass", "grass")
    for y in (60.0, 190.0, 320.0):
        road(canvas, (-10, y), (canvas.side + 10, y), 20, traffic=0.25)
        for side in (-1, 1):
            x = rng.uniform(0, 20)
            while x < canvas.side:
                length, width = rng.uniform(34, 46), rng.uniform(24, 32)
                place = (x, y + side * (38 + rng.uniform(-3, 3)))
                drive = [(x - 4, y + side * 10), (x + 4, y + side * 10), (x + 4, place[1]), (x - 4, place[1])]
                canvas.area("concrete", drive, "pavement")
                if rng.random() < 0.5:
                    car(canvas, (x, y + side * 17), math.pi / 2)
                building(canvas, place, rng.choice([0, math.pi / 2]) + rng.normal(0, 0.04), length, width)
                if rng.random() < 0.75:
                    tree(canvas, (x + rng.uniform(22, 30), y + side * rng.uniform(16, 60)), rng.uniform(6, 12))
                x += rng.uniform(54, 64)


def _street_crossing(canvas: Canvas) -> None:
    rng, middle = canvas.rng, canvas.centre
    canvas.cover("grass", "grass")
    for sx in (-1, 1):
        for sy in (-1, 1):
            place = (middle + sx * rng.uniform(88, 104), middle + sy * rng.uniform(88, 104))
            if rng.random() < 0.3:
                for _ in range(9):
                    tree(canvas, (place[0] + rng.uniform(-45, 45), place[1] + rng.uniform(-45, 45)), rng.uniform(6, 12))
            else:
                canvas.area("concrete", along(place, 0, [(-58, -58), (58, -58), (58, 58), (-58, 58)]), "pavement")
                building(canvas, place, 0, rng.uniform(70, 100), rng.uniform(60, 90), hall=True)
    for start, end in (((0, middle), (canvas.side, middle)), ((middle, 0), (middle, canvas.side))):
        road(canvas, start, end, 44, lanes=4, traffic=0.6)
    canvas.area("asphalt", along((middle, middle), 0, [(-22, -22), (22, -22), (22, 22), (-22, 22)]), "pavement")
    for turn in range(4):
        for stripe in (-18.0, -12.0, -6.0, 0.0, 6.0, 12.0, 18.0):
            bar = along((middle, middle), turn * math.pi / 2, [(26, stripe), (36, stripe)])
            canvas.line(bar, (214, 214, 210), 2.4)


def _parking_lot(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.cover("asphalt", "pavement")
    parking(canvas, (canvas.centre, canvas.centre), 0, 7, 42, full=rng.uniform(0.4, 0.95))
    if rng.random() < 0.4:
        for x in np.arange(20, canvas.side, rng.uniform(40, 60)):
            for y in (canvas.centre - 26, canvas.centre + 26):
                tree(canvas, (float(x), y), rng.uniform(4, 7))
    if rng.random() < 0.35:
        building(canvas, (canvas.centre + 90, canvas.centre), math.pi / 2, 330, 110, hall=True)


def _freeway(canvas: Canvas) -> None:
    rng, middle = canvas.rng, canvas.centre
    canvas.cover("dry grass" if rng.random() < 0.5 else "grass", "grass")
    if rng.random() < 0.5:
        _scatter_trees(canvas, int(rng.integers(10, 40)))
    for offset in (-34, 34):
        road(
            canvas,
            (-10, middle + offset),
            (canvas.side + 10, middle + offset),
            52,
            lanes=3,
            traffic=rng.uniform(0.2, 0.9),
        )
    if rng.random() < 0.35:
        x = middle + rng.uniform(-60, 60)
        canvas.shadow([(x + 8, 0), (x + 52, 0), (x + 52, canvas.side), (x + 8, canvas.side)], 0.35)
        road(canvas, (x, -10), (x, canvas.side + 10), 40, lanes=2, traffic=0.4)


def _forest(canvas: Canvas) -> None:
    wood(canvas, [(0, 0), (canvas.side, 0), (canvas.side, canvas.side), (0, canvas.side)], canvas.rng.uniform(11, 17))
    if canvas.rng.random() < 0.3:
        soft = canvas.noise()
        canvas.cover("dry grass", "grass", soft > np.quantile(soft, 0.86))


def _river(canvas: Canvas) -> None:
    rng = canvas.rng
    if rng.random() < 0.6:
        wood(canvas, [(0, 0), (canvas.side, 0), (canvas.side, canvas.side), (0, canvas.side)], 15)
    else:
        canvas.cover("grass", "grass")
        _scatter_trees(canvas, 70)
    x, y = canvas.grid()
    course = canvas.centre + rng.uniform(20, 60) * np.sin(x / rng.uniform(40, 90) + rng.uniform(0, 6)) * 0.8
    distance = np.abs(y - course + 26 * (canvas.noise() - 0.5))
    width = rng.uniform(18, 44)
    if rng.random() < 0.45:
        canvas.cover("sand", "sand", distance < width + rng.uniform(20, 44) * (canvas.noise() - 0.32))
    canvas.cover("water", "water", distance < width)


def _coast(canvas: Canvas, waterline: float, beach: float) -> None:
    """Sea above `waterline`, then surf, wet and dry sand for `beach` pixels."""
    x, y = canvas.grid()
    depth = waterline - y + 30 * (canvas.noise() - 0.5) + 5 * np.sin(x / 31)
    canvas.cover("sand", "sand", depth > -beach)
    canvas.cover("wet sand", "sand", depth > -9)
    canvas.cover("sea", "sea", depth > 0)
    for reach, colour in ((46, (44, 92, 108)), (24, (70, 116, 122)), (9, (120, 150, 146))):
        canvas.cover(
            Material(canvas.vary(colour, 3), canvas.vary(colour, 12), 0.4),
            "sea",
            (depth > 0) & (depth < reach + 14 * (canvas.noise() - 0.5)),
        )
    foam = canvas.noise("fine")
    white = Material((198, 208, 208), (240, 244, 244), 0.8)
    for line in (2.0, canvas.rng.uniform(16, 26), canvas.rng.uniform(38, 58)):
        ridge = np.abs(depth - line - 12 * (canvas.noise() - 0.5))
        canvas.cover(white, "sea", ridge < 1.0 + 6.5 * (foam - 0.48).clip(0))


def _beach(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.cover("sand", "sand")
    green = rng.random() < 0.45
    if green:
        canvas.cover("grass", "grass")
        for _ in range(60):
            tree(canvas, (rng.uniform(0, canvas.side), rng.uniform(260, canvas.side)), rng.uniform(5, 10))
    _coast(canvas, rng.uniform(130, 200), rng.uniform(40, 70) if green else canvas.side)
    if rng.random() < 0.2:
        boat(canvas, (rng.uniform(90, 270), rng.uniform(60, 100)), rng.uniform(0, 6), rng.uniform(16, 26), wake=True)


def _open_sea(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.cover("sea", "sea")
    x, y = canvas.grid()
    swell = np.sin((x + 0.4 * y) / 4 + 9 * canvas.noise()) * canvas.noise("fine")
    canvas.cover(Material((52, 96, 118), (70, 116, 136), 0.6), "sea", swell > 0.52)
    heading = rng.uniform(0, 2 * math.pi)
    for side in (-1, 1)[: int(rng.integers(1, 3))]:
        place = along((canvas.centre, canvas.centre), heading, [(rng.uniform(-40, 40), side * rng.uniform(35, 60))])[0]
        boat(canvas, place, heading + rng.normal(0, 0.15), rng.uniform(50, 125), wake=rng.random() < 0.6)


def _harbor(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.cover("water", "water")
    quay = rng.uniform(40, 110)
    for x in np.arange(rng.uniform(10, 40), canvas.side, rng.uniform(66, 78)):
        dock(canvas, (float(x), quay), math.pi / 2, canvas.side, full=rng.uniform(0.5, 0.95))
    canvas.area("concrete", [(0, 0), (canvas.side, 0), (canvas.side, quay), (0, quay)], "pavement")
    if rng.random() < 0.6:
        for x in np.arange(8, canvas.side, 9):
            if rng.random() < 0.6:
                car(canvas, (float(x), quay - 14), math.pi / 2)


def _chaparral(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.cover("scrub", "chaparral")
    density = canvas.noise()
    scale = density.shape[0] / canvas.side
    for x, y in rng.uniform(0, canvas.side, (int(rng.integers(500, 1100)), 2)):
        if rng.random() < 1.4 * density[int(y * scale) - 1, int(x * scale) - 1]:
            shrub(canvas, (float(x), float(y)), rng.uniform(2.0, 5.0))
    if rng.random() < 0.3:
        a, b = rng.uniform(0, canvas.side, 2)
        canvas.area("soil", [(a, 0), (a + 7, 0), (b + 7, canvas.side), (b, canvas.side)], "bare-soil")


def _golf(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.cover("grass", "grass")
    soft = canvas.noise()
    canvas.cover(Material((92, 124, 64), (126, 154, 84), 0.3), "grass", soft > np.quantile(soft, 0.55))
    x, y = canvas.grid()
    for _ in range(int(rng.integers(2, 5))):
        cx, cy = _anywhere(canvas, 110)
        blob = np.hypot((x - cx) * rng.uniform(0.7, 1.3), y - cy) + 22 * (canvas.noise() - 0.5)
        canvas.cover("sand", "sand", blob < rng.uniform(9, 19))
    if rng.random() < 0.35:
        cx, cy = _anywhere(canvas, 100)
        canvas.cover("water", "water", np.hypot(x - cx, y - cy) + 60 * (canvas.noise() - 0.5) < rng.uniform(28, 52))
    _scatter_trees(canvas, int(rng.integers(15, 60)))


def _baseball(canvas: Canvas) -> None:
    rng, middle = canvas.rng, canvas.centre
    canvas.cover("grass", "grass")
    corners = [(0.0, 0.0), (canvas.side, 0.0), (canvas.side, canvas.side), (0.0, canvas.side)]
    canvas.stripes(corners, (112, 140, 76), rng.uniform(12, 18), 0.0, 0.25)
    home = (middle - 62, middle + 62)
    arc = [(math.cos(t), -math.sin(t)) for t in np.linspace(0, math.pi / 2, 24)]
    canvas.area("soil", [home, *((home[0] + 138 * c, home[1] + 138 * s) for c, s in arc)], "bare-soil")
    infield = along((home[0] + 47, home[1] - 47), 0, [(-38, -38), (38, -38), (38, 38), (-38, 38)])
    canvas.area("grass", infield, "grass")
    for dx, dy in ((160.0, 0.0), (0.0, -160.0)):
        canvas.line([home, (home[0] + dx, home[1] + dy)], (230, 228, 222), 1.0)
    for spot in ((0.0, 0.0), (47.0, -47.0)):
        centre = (home[0] + spot[0], home[1] + spot[1])
        canvas.area(
            "soil",
            [(centre[0] + 9 * math.cos(t), centre[1] + 9 * math.sin(t)) for t in np.arange(0, 6.3, 0.4)],
            "bare-soil",
        )
    if rng.random() < 0.5:
        for y in np.arange(10, canvas.side, 16):
            tree(canvas, (rng.uniform(262, 284), float(y)), rng.uniform(6, 10))
    if rng.random() < 0.4:
        road(canvas, (0, 318), (canvas.side, 318), 22, traffic=0.4)


def _tennis(canvas: Canvas) -> None:
    rng, middle = canvas.rng, canvas.centre
    canvas.cover("grass", "grass")
    _scatter_trees(canvas, int(rng.integers(8, 30)))
    if rng.random() < 0.6:
        road(canvas, (0, 66), (canvas.side, 66), 22, traffic=0.4)
    if rng.random() < 0.5:
        building(canvas, (middle + rng.uniform(-40, 40), 300), 0, rng.uniform(60, 90), 36)
    colours = ("hard court green", "hard court blue", "hard court red")
    surround, play = rng.choice(colours, 2)
    count = int(rng.integers(1, 5))
    for i in range(count):
        court(canvas, (middle, middle + (i - (count - 1) / 2) * 50), 0, str(surround), str(play))


def _mobile_homes(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.cover("dry grass", "grass" if rng.random() < 0.6 else "bare-soil")
    for y in (28.0, 133.0, 238.0, 343.0):
        road(canvas, (0, y), (canvas.side, y), 16, traffic=0.15)
        for side in (-1, 1):
            for x in np.arange(rng.uniform(0, 14), canvas.side, 24):
                place = (float(x), y + side * 36)
                mobile_home(canvas, place, math.pi / 2 + 0.12 * side)
                if rng.random() < 0.35:
                    tree(canvas, (x + 12, y + side * rng.uniform(16, 54)), rng.uniform(3.5, 6.5))
                if rng.random() < 0.4:
                    car(canvas, (x + 11, y + side * 19), math.pi / 2)


def _tank_farm(canvas: Canvas) -> None:
    rng = canvas.rng
    ground = "concrete" if rng.random() < 0.4 else "soil"
    canvas.cover(ground, "pavement" if ground == "concrete" else "bare-soil")
    radius = rng.uniform(16, 40)
    pitch = radius * 2.7
    street = rng.uniform(120, 250) if rng.random() < 0.5 else -100.0
    road(canvas, (street, 0), (street, canvas.side), 20, traffic=0.2)
    for x in np.arange(rng.uniform(0, pitch), canvas.side, pitch):
        for y in np.arange(rng.uniform(0, pitch / 3), canvas.side, pitch):
            chance = rng.random()
            if abs(x - street) < radius * 1.1 + 12 or chance > 0.92:
                continue
            if chance < 0.8:
                tank(canvas, (float(x), float(y)), radius * rng.uniform(0.8, 1.05))
            else:
                building(canvas, (float(x), float(y)), 0, pitch * 0.7, pitch * 0.45, hall=True)


def _airport(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.cover("concrete", "pavement")
    for y in np.arange(0, canvas.side, 30):
        canvas.line([(0, float(y)), (canvas.side, float(y))], (150, 147, 142), 0.6)
    if rng.random() < 0.7:
        canvas.area("grass", [(0, 270), (canvas.side, 270), (canvas.side, canvas.side), (0, canvas.side)], "grass")
    canvas.line([(0, 252), (canvas.side, 252)], (206, 178, 84), 1.2)
    length, edge = rng.uniform(60, 118), rng.uniform(50, 84)
    if rng.random() < 0.7:
        building(canvas, (canvas.centre, edge / 2), 0, canvas.side, edge, hall=True)
    for x in np.arange(rng.uniform(30, 70), canvas.side, length * 1.06):
        if rng.random() < 0.85:
            airplane(canvas, (float(x), edge + length * 0.62), -math.pi / 2 + rng.normal(0, 0.04), length)
            for _ in range(int(rng.integers(0, 3))):
                car(canvas, (x + rng.uniform(-30, 30), edge + 10), rng.uniform(0, 3))


def _works(canvas: Canvas) -> None:
    rng = canvas.rng
    canvas.cover("concrete" if rng.random() < 0.7 else "soil", "pavement")
    for left, top, right, bottom in _parcels(canvas, (0, 0, canvas.side, canvas.side), 3):
        place, chance = ((left + right) / 2, (top + bottom) / 2), rng.random()
        if chance < 0.72:
            building(canvas, place, 0, (right - left) * 0.78, (bottom - top) * 0.72, hall=True)
        elif chance < 0.9:
            bays = max(2, int((right - left) * 0.8 / 8))
            parking(canvas, place, 0, max(1, int((bottom - top) / 56)), bays, full=0.6)
        else:
            canvas.area("soil", [(left, top), (right, top), (right, bottom), (left, bottom)], "bare-soil")
    road(canvas, (0, canvas.centre), (canvas.side, canvas.centre), 26, traffic=0.4)


SCENES: tuple[Scene, ...] = (
    Scene("residential", "residential area", 22, _residential),
    Scene("intersection", "road intersection", 16, _street_crossing),
    Scene("industrial", "industrial area", 13, _works),
    Scene("parkinglot", "parking lot", 11, _parking_lot),
    Scene("freeway", "freeway", 10, _freeway),
    Scene("agricultural", "piece of farmland", 8, _farmland),
    Scene("forest", "forest", 7, _forest),
    Scene("golfcourse", "golf course", 6, _golf),
    Scene("river", "river landscape", 5, _river),
    Scene("baseballdiamond", "baseball field", 4.5, _baseball),
    Scene("beach", "beach", 4, _beach),
    Scene("harbor", "harbor", 3.5, _harbor),
    Scene("tenniscourt", "tennis facility", 3, _tennis),
    Scene("chaparral", "dry shrub landscape", 2.5, _chaparral),
    Scene("storagetanks", "tank farm", 2.2, _tank_farm),
    Scene("airport", "airport apron", 2, _airport),
    Scene("opensea", "stretch of open sea", 1.6, _open_sea),
    Scene("mobilehomepark", "mobile home park", 1.4, _mobile_homes),
)
"""Every kind of scene, from the commonest to the rarest: the tail gives the labels theirs."""
