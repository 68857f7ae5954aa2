"""The things that stand on the ground: trees, cars, houses, airplanes, boats, tanks, courts, roads."""

from __future__ import annotations

import math

from .canvas import Canvas, Colour, Point, along, hull

__all__ = [
    "airplane",
    "boat",
    "building",
    "car",
    "court",
    "dock",
    "mobile_home",
    "parking",
    "road",
    "shrub",
    "tank",
    "tree",
    "wood",
]

_CARS: tuple[Colour, ...] = (
    (228, 228, 226),
    (196, 198, 202),
    (60, 62, 68),
    (38, 40, 46),
    (150, 40, 38),
    (52, 74, 122),
    (120, 122, 124),
)
_ROOFS: tuple[Colour, ...] = ((150, 120, 104), (128, 118, 112), (168, 148, 130), (142, 86, 70), (104, 104, 110))
_HALL_ROOFS: tuple[Colour, ...] = ((206, 206, 202), (182, 180, 176), (156, 158, 164), (216, 210, 198))


def _rectangle(length: float, width: float) -> list[Point]:
    a, b = length / 2, width / 2
    return [(-a, -b), (a, -b), (a, b), (-a, b)]


def _shade(colour: Colour, factor: float) -> Colour:
    r, g, b = (min(255, int(value * factor)) for value in colour)
    return r, g, b


def _circle(centre: Point, radius: float) -> list[Point]:
    return [
        (centre[0] + radius * math.cos(t * math.pi / 10), centre[1] + radius * math.sin(t * math.pi / 10))
        for t in range(20)
    ]


def tree(canvas: Canvas, centre: Point, radius: float, *, blobs: int = 9) -> None:
    """A crown of overlapping leaf masses, lit from the sun's side, with its shadow."""
    if not canvas.sees(centre, 2 * radius):
        return
    rng, (sx, sy) = canvas.rng, canvas.sun
    canvas.shadow(_circle((centre[0] + sx * radius * 0.7, centre[1] + sy * radius * 0.7), radius), 0.45)
    base = canvas.vary((52, 72, 40), 8)
    canvas.disk(centre, radius * 0.85, _shade(base, 0.72), "trees")
    for angle, distance, size in zip(
        rng.uniform(0, 2 * math.pi, blobs), rng.uniform(0.1, 0.75, blobs), rng.uniform(0.22, 0.45, blobs), strict=True
    ):
        dx, dy = math.cos(angle) * distance, math.sin(angle) * distance
        light = 1.0 - 0.38 * (dx * sx + dy * sy)
        canvas.disk((centre[0] + dx * radius, centre[1] + dy * radius), size * radius, _shade(base, light), "trees")
    canvas.count("trees", centre)


def shrub(canvas: Canvas, centre: Point, radius: float) -> None:
    """A low dark bush, as chaparral is made of."""
    if not canvas.sees(centre, 2 * radius):
        return
    dx, dy = canvas.sun
    canvas.disk((centre[0] + dx, centre[1] + dy), radius, (84, 74, 60))
    canvas.disk(centre, radius, canvas.vary((72, 80, 54), 8), "chaparral")


def wood(canvas: Canvas, inside: list[Point], spacing: float = 12.0) -> None:
    """Closed forest in a polygon (its bounding box is filled; give rectangles)."""
    xs, ys = [x for x, _ in inside], [y for _, y in inside]
    canvas.area("forest floor", inside, "trees")
    x = min(xs)
    while x < max(xs):
        y = min(ys)
        while y < max(ys):
            jitter = canvas.rng.uniform(-0.45, 0.45, 2) * spacing
            tree(canvas, (x + jitter[0], y + jitter[1]), canvas.rng.uniform(0.45, 0.8) * spacing, blobs=5)
            y += spacing
        x += spacing


def car(canvas: Canvas, centre: Point, angle: float) -> None:
    """A car, 13 x 6: body, cabin glass, roof."""
    if not canvas.sees(centre, 12):
        return
    colour = canvas.vary(_CARS[int(canvas.rng.integers(len(_CARS)))], 8)
    canvas.shape(along(centre, angle, _rectangle(13.5, 6)), colour, "cars", height=2.0)
    canvas.shape(along(centre, angle, [(-4.5, -2.4), (3.2, -2.4), (3.2, 2.4), (-4.5, 2.4)]), (40, 46, 54))
    canvas.shape(along(centre, angle, [(-3.2, -2.2), (1.4, -2.2), (1.4, 2.2), (-3.2, 2.2)]), _shade(colour, 1.06))
    canvas.count("cars", centre)


def building(canvas: Canvas, centre: Point, angle: float, length: float, width: float, *, hall: bool = False) -> None:
    """A house with a ridged roof, or a hall with a flat one."""
    rng = canvas.rng
    palette = _HALL_ROOFS if hall else _ROOFS
    colour = canvas.vary(palette[int(rng.integers(len(palette)))], 10)
    outline = along(centre, angle, _rectangle(length, width))
    canvas.shape(outline, colour, "buildings", height=9.0 if hall else 6.0)
    if hall:
        canvas.line([*outline, outline[0]], _shade(colour, 0.82), 1.2)
        for _ in range(int(rng.integers(2, 7))):
            x, y = rng.uniform(-0.4, 0.4) * length, rng.uniform(-0.38, 0.38) * width
            unit = along(along(centre, angle, [(x, y)])[0], angle, _rectangle(*rng.uniform(2.5, 6, 2)))
            canvas.shape(unit, _shade(colour, rng.uniform(0.7, 0.85)), height=1.5)
    else:
        a, b = length / 2, width / 2
        ridge = max(a - b, 0.0)
        # The half that faces the sun is lighter: the shadow side is where `sun` points to.
        facing = -math.sin(angle) * canvas.sun[0] + math.cos(angle) * canvas.sun[1]
        for side in (-1, 1):
            face = [(-a, side * b), (a, side * b), (ridge, 0), (-ridge, 0)]
            canvas.shape(along(centre, angle, face), _shade(colour, 1.0 - 0.2 * side * facing))
        canvas.line(along(centre, angle, [(-ridge, 0), (ridge, 0)]), _shade(colour, 1.18), 0.8)
    canvas.count("buildings", centre)


def mobile_home(canvas: Canvas, centre: Point, angle: float) -> None:
    """A long, narrow, pale roof with a carport."""
    if not canvas.sees(centre, 32):
        return
    colour = canvas.vary((206, 202, 194), 14)
    canvas.shape(along(centre, angle, _rectangle(44, 14)), colour, "mobile-home", height=4.0)
    canvas.line(along(centre, angle, [(-22, 0), (22, 0)]), _shade(colour, 0.9), 0.8)
    porch = along(centre, angle, [(-14, 7), (6, 7), (6, 12), (-14, 12)])
    canvas.shape(porch, _shade(colour, 0.84), "mobile-home")
    canvas.count("mobile-home", centre)


def road(canvas: Canvas, start: Point, end: Point, width: float, *, lanes: int = 2, traffic: float = 0.0) -> None:
    """A straight road with lane marks; `traffic` is cars per 100 pixels and lane."""
    length, angle = math.dist(start, end), math.atan2(end[1] - start[1], end[0] - start[0])
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    canvas.area("concrete", along(middle, angle, _rectangle(length, width + 4)), "pavement")
    canvas.area("asphalt", along(middle, angle, _rectangle(length, width)), "pavement")
    lane = width / lanes
    for i in range(1, lanes):
        offset = -width / 2 + i * lane
        if i * 2 == lanes:
            canvas.line(along(middle, angle, [(-length / 2, offset), (length / 2, offset)]), (198, 176, 104), 0.9)
            continue
        x = -length / 2
        while x < length / 2:
            canvas.line(along(middle, angle, [(x, offset), (x + 8, offset)]), (206, 206, 204), 0.8)
            x += 20
    for i in range(lanes):
        offset = -width / 2 + (i + 0.5) * lane
        for _ in range(int(canvas.rng.poisson(traffic * length / 100))):
            place = along(middle, angle, [(canvas.rng.uniform(-0.5, 0.5) * length, offset)])[0]
            car(canvas, place, angle + (math.pi if i * 2 < lanes else 0.0))


def parking(canvas: Canvas, centre: Point, angle: float, rows: int, bays: int, *, full: float = 0.75) -> None:
    """Rows of marked bays, nose to nose, with cars in a share of them."""
    bay, depth, aisle = 8.0, 16.0, 20.0
    pitch = 2 * depth + aisle
    canvas.area("asphalt", along(centre, angle, _rectangle(bays * bay + 24, rows * pitch + 12)), "pavement")
    for row in range(rows):
        y = (row - (rows - 1) / 2) * pitch
        canvas.line(along(centre, angle, [(-bays * bay / 2, y), (bays * bay / 2, y)]), (206, 206, 202), 0.7)
        for i in range(bays + 1):
            x = (i - bays / 2) * bay
            canvas.line(along(centre, angle, [(x, y - depth), (x, y + depth)]), (206, 206, 202), 0.6)
            for side in (-1, 1):
                if i < bays and canvas.rng.random() < full:
                    jitter = canvas.rng.uniform(-1, 1)
                    car(
                        canvas,
                        along(centre, angle, [(x + bay / 2, y + side * (depth / 2 + jitter))])[0],
                        angle + math.pi / 2,
                    )


def airplane(canvas: Canvas, centre: Point, angle: float, length: float) -> None:
    """An airliner seen from above: fuselage, swept wings, tail, engines."""
    a, span, body = length / 2, length * 0.48, length * 0.055
    white = canvas.vary((226, 228, 230), 6)
    wings: list[Point] = [
        (a * 0.25, 0),
        (-a * 0.2, span),
        (-a * 0.38, span),
        (-a * 0.22, 0),
        (-a * 0.38, -span),
        (-a * 0.2, -span),
    ]
    tail: list[Point] = [
        (-a * 0.72, 0),
        (-a * 0.95, a * 0.36),
        (-a * 1.03, a * 0.36),
        (-a * 0.98, 0),
        (-a * 1.03, -a * 0.36),
        (-a * 0.95, -a * 0.36),
    ]
    hull: list[Point] = [
        (a, 0), (a * 0.93, body * 0.7), (a * 0.78, body), (-a * 0.6, body), (-a, body * 0.2),
        (-a, -body * 0.2), (-a * 0.6, -body), (a * 0.78, -body), (a * 0.93, -body * 0.7),
    ]  # fmt: skip
    drop = (canvas.sun[0] * length * 0.06, canvas.sun[1] * length * 0.06)
    for part in (wings[:4], [wings[0], *wings[3:]], tail, hull):
        canvas.shadow([(x + drop[0], y + drop[1]) for x, y in along(centre, angle, part)], 0.4)
    for side in (-1, 1):
        engine = along(
            along(centre, angle, [(a * 0.06, side * span * 0.36)])[0], angle, _rectangle(length * 0.1, length * 0.045)
        )
        canvas.shape(engine, (120, 122, 126), "airplane")
    canvas.shape(along(centre, angle, wings), _shade(white, 0.9), "airplane")
    canvas.shape(along(centre, angle, tail), _shade(white, 0.9), "airplane")
    canvas.shape(along(centre, angle, hull), white, "airplane")
    fin = canvas.vary((70, 90, 150), 40)
    canvas.line(along(centre, angle, [(-a * 0.7, 0), (-a * 0.98, 0)]), fin, length * 0.022)
    canvas.count("airplane", centre)


def boat(canvas: Canvas, centre: Point, angle: float, length: float, *, wake: bool = False) -> None:
    """A boat with deck and cabin; under way it draws a wake."""
    if not canvas.sees(centre, 3 * length):
        return
    a, b = length / 2, length * 0.15
    if wake:
        for reach, spread, strength in ((5.0, 1.5, 0.12), (3.6, 0.9, 0.2), (2.4, 0.6, 0.4)):
            trail = [(-a * 0.9, b * 0.5), (-a * reach, b * spread), (-a * reach, -b * spread), (-a * 0.9, -b * 0.5)]
            canvas.shadow(along(centre, angle, trail), strength, (210, 222, 226))
    outline: list[Point] = [(a, 0), (a * 0.45, b), (-a, b), (-a, -b), (a * 0.45, -b)]
    colour = canvas.vary((230, 230, 228), 8) if length < 60 else canvas.vary((124, 70, 60), 20)
    canvas.shape(along(centre, angle, outline), colour, "ship", height=length * 0.05)
    deck: list[Point] = [(a * 0.3, b * 0.6), (-a * 0.8, b * 0.6), (-a * 0.8, -b * 0.6), (a * 0.3, -b * 0.6)]
    canvas.shape(along(centre, angle, deck), _shade(colour, 0.86))
    cabin: list[Point] = [(-a * 0.1, b * 0.5), (-a * 0.55, b * 0.5), (-a * 0.55, -b * 0.5), (-a * 0.1, -b * 0.5)]
    canvas.shape(along(centre, angle, cabin), canvas.vary((94, 106, 126), 20))
    canvas.count("ship", centre)


def dock(canvas: Canvas, start: Point, angle: float, length: float, *, slip: float = 26.0, full: float = 0.8) -> None:
    """A pier with finger docks on both sides and boats in a share of the slips."""
    wood_colour = canvas.vary((176, 166, 150), 8)
    canvas.line(along(start, angle, [(0, 0), (length, 0)]), wood_colour, 5, "dock")
    x = 8.0
    while x < length:
        for side in (-1, 1):
            canvas.line(along(start, angle, [(x, 0), (x, side * slip)]), wood_colour, 1.8, "dock")
            if canvas.rng.random() < full:
                place = along(start, angle, [(x + 6.5, side * (slip * 0.55 + canvas.rng.uniform(-1, 2)))])[0]
                boat(canvas, place, angle + side * math.pi / 2, canvas.rng.uniform(17, 24))
        x += 14
    canvas.count("dock", start)


def tank(canvas: Canvas, centre: Point, radius: float) -> None:
    """A storage tank: wall shadow, pale roof with a rim, a stair."""
    dx, dy = canvas.sun[0] * radius * 0.4, canvas.sun[1] * radius * 0.4
    canvas.shadow(hull(_circle(centre, radius) + _circle((centre[0] + dx, centre[1] + dy), radius)), 0.5)
    colour = canvas.vary((214, 214, 208), 12)
    canvas.disk(centre, radius, _shade(colour, 0.8), "tanks")
    canvas.disk(centre, radius * 0.94, colour, "tanks")
    lit = (centre[0] - canvas.sun[0] * radius * 0.12, centre[1] - canvas.sun[1] * radius * 0.12)
    canvas.disk(lit, radius * 0.7, _shade(colour, 1.05), "tanks")
    angle = canvas.rng.uniform(0, 2 * math.pi)
    canvas.line(along(centre, angle, [(radius * 0.2, 0), (radius, 0)]), _shade(colour, 0.7), 1.2)
    canvas.count("tanks", centre)


def court(canvas: Canvas, centre: Point, angle: float, surround: str, play: str) -> None:
    """A tennis court with its lines and net."""
    canvas.area(surround, along(centre, angle, _rectangle(92, 48)), "court")
    canvas.area(play, along(centre, angle, _rectangle(66, 30)), "court")
    white: Colour = (228, 230, 228)
    for y in (-15.0, -11.5, 11.5, 15.0):
        canvas.line(along(centre, angle, [(-33, y), (33, y)]), white, 0.9)
    for x in (-33.0, -17.0, 17.0, 33.0):
        reach = 15.0 if abs(x) > 20 else 11.5
        canvas.line(along(centre, angle, [(x, -reach), (x, reach)]), white, 0.9)
    canvas.line(along(centre, angle, [(-17, 0), (17, 0)]), white, 0.8)
    canvas.line(along(centre, angle, [(0, -17), (0, 17)]), (46, 52, 52), 1.0)
    canvas.count("court", centre)
