"""How each of the thirteen types of scene is laid out: one function a type, which fills a `Builder`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rsagent.training.scene_builder import GROUNDS, Builder, jitter
from rsagent.training.scene_model import DIRECTIONS, FOLIAGE, PAVED, SAND, SCENES, WATER, Line, Mark, SceneObject

SEA = (46, 92, 128)
QUARTER = (0.0, np.pi / 2, np.pi, 3 * np.pi / 2)


def _lean(b: Builder) -> tuple[float, ...]:
    """Four quarter turns from a common random direction, as built-up places have."""
    first = float(b.rng.choice((0.0, float(b.rng.uniform(-0.6, 0.6)))))
    return tuple(first + q for q in QUARTER)


def _count(b: Builder, low: int = 0, high: int = 12) -> int:
    """A count that is often small but reaches `high`."""
    return b.number(low, high) if b.chance(0.5) else b.number(low, min(high, low + 4))


def _cast_trees(b: Builder, share: float = 0.3) -> None:
    """Let single trees stand a little over houses, cars, pools and courts."""
    for thing in list(b.objects):
        if thing.kind in ("house", "pool", "tennis court", "large building") and b.chance(share):
            angle = float(b.rng.uniform(0, 2 * np.pi))
            x0, y0, x1, y1 = thing.box
            center = (
                thing.center[0] + float(np.cos(angle)) * (x1 - x0) * 0.55,
                thing.center[1] + float(np.sin(angle)) * (y1 - y0) * 0.55,
            )
            tree = b.thing("tree", center, 0.0)
            if b.inside(tree, 0.1) and not any(_touch(tree, o) for o in b.objects if o is not thing):
                b.put(tree)


def _touch(a: SceneObject, b: SceneObject) -> bool:
    return a.box[0] < b.box[2] and b.box[0] < a.box[2] and a.box[1] < b.box[3] and b.box[1] < a.box[3]


def _airport(b: Builder) -> None:
    if b.chance(0.5):
        b.grass()
    else:
        b.bare("concrete", "asphalt", "concrete")
    paved = b.season is None
    runway = b.add_line("runway", b.rng.uniform(26, 36) * min(b.scale, 1.2), spread=0.3) if b.chance(0.75) else None
    b.clutter(b.number(3, 14))
    if not paved:
        b.patch(jitter(b.rng, (150, 150, 148), 8), tuple(b.rng.uniform(0.2, 0.8, 2) * b.size), 75 * b.u, 60 * b.u,
                sides=8, rough=0.06)  # fmt: skip
    lean = _lean(b)
    b.place("large building", b.number(0, 2), angles=lean)
    b.place("plane", _count(b, 1, 8), gap=1, angles=None if b.chance(0.6) else lean)
    b.place("car", _count(b, 0, 7), angles=lean)
    if not paved:
        b.place("tree", b.number(0, 4))
    if runway and b.chance(0.3):
        b.place_on(runway, "plane", 1, (0.0,), 0.35)


def _harbor(b: Builder) -> None:
    b.bare("concrete", "dirt", "asphalt")
    b.clutter(b.number(3, 10))
    b.water_half(jitter(b.rng, SEA, 14), b.rng.uniform(0.33, 0.67), 0.0, jitter(b.rng, (196, 194, 188), 6), 3.0)
    for _ in range(b.number(0, 4)):
        _dock(b)
    b.place("ship", _count(b, 1, 12), on=(WATER,), angles=_lean(b) if b.chance(0.6) else None, gap=1)
    lean = _lean(b)
    b.place("large building", b.number(0, 1), angles=lean)
    b.place("house", b.number(0, 3), angles=lean)
    b.place("car", _count(b, 0, 8), angles=lean)


def _dock(b: Builder) -> None:
    """A jetty from the shore into the water."""
    length, width = float(b.rng.uniform(46, 72)) * b.u, float(b.rng.uniform(10, 14)) * b.u
    side = b.water_side or "left"
    axis = {"left": (1, 0), "right": (-1, 0), "top": (0, 1), "bottom": (0, -1)}[side]
    deep = np.flatnonzero((b.cover == WATER).any(axis=0 if axis[0] else 1))
    cells = len(b.cover)
    across = float(b.rng.uniform(0.1, 0.9)) * b.size
    line = int(across / b.size * cells)
    strip = (b.cover[line] if axis[0] else b.cover[:, line]) == WATER
    shore = float(strip.sum()) / cells * b.size
    if len(deep) == 0 or shore < length:
        return
    inward = shore - length / 2 + 4 * b.u
    position = inward if axis[0] + axis[1] > 0 else b.size - inward
    center = (position, across) if axis[0] else (across, position)
    dock = b.thing("dock", center, 0.0 if axis[0] else np.pi / 2, length, width)
    if b.inside(dock, 0.0) and not any(_touch(dock, o) for o in b.objects):
        b.put(dock, gap=5)


def _parking(b: Builder) -> None:
    if b.chance(0.25):
        b.grass()
        edge = b.size * 0.06
        corners = ((edge, edge), (b.size - edge, edge), (b.size - edge, b.size - edge), (edge, b.size - edge))
        b.marks.append(Mark("polygon", corners, jitter(b.rng, (112, 112, 114), 8), texture=80))
        b.cover[3:-3, 3:-3] = PAVED
    else:
        b.bare("asphalt", "asphalt", "concrete")
    b.clutter(b.number(2, 12))
    horizontal = b.chance(0.5)
    length, width = 23 * b.scale * b.u, 12 * b.scale * b.u
    slot, deep = width * b.rng.uniform(1.55, 1.9), length * 1.3
    room = b.size * 0.84
    rows = min(b.number(1, 4), int(room / (deep * 1.45)))
    columns = min(b.number(4, 9), int(room / slot))
    start_a = (b.size - columns * slot) / 2 + float(b.rng.uniform(-6, 6)) * b.u
    lane = min(deep * float(b.rng.uniform(1.4, 1.9)), (room - deep) / max(rows - 1, 1))
    start_b = max((b.size - (rows - 1) * lane - deep) / 2 + float(b.rng.uniform(-8, 8)) * b.u, 16 * b.u)

    def at(a: float, c: float) -> tuple[float, float]:
        return (a, c) if horizontal else (c, a)

    paint = jitter(b.rng, (226, 226, 220) if b.chance(0.8) else (220, 196, 90), 6)
    slots: list[tuple[float, float]] = []
    for r in range(rows):
        top = start_b + r * lane
        for c in range(columns + 1):
            a = start_a + c * slot
            b.marks.append(Mark("line", (at(a, top), at(a, top + deep)), paint, 1.3 * b.u, 40))
            if c < columns:
                slots.append((a + slot / 2, top + deep / 2))
        b.marks.append(Mark("line", (at(start_a, top), at(start_a + columns * slot, top)), paint, 1.3 * b.u, 40))
        x0, y0 = at(start_a, top)
        x1, y1 = at(start_a + columns * slot, top + deep)
        m = len(b.taken) / b.size
        b.taken[max(int(y0 * m), 0) : int(y1 * m) + 1, max(int(x0 * m), 0) : int(x1 * m) + 1] = True
    for i in b.rng.permutation(len(slots))[: _count(b, 1, 12)]:
        a, c = slots[int(i)]
        turn = np.pi / 2 if horizontal else 0.0
        car = b.thing("car", at(a, c), turn + np.pi * b.number(0, 1) + float(b.rng.normal(0, 0.03)))
        if b.inside(car, 0.0):
            b.put(car)
    b.place("large building", int(b.chance(0.3)), angles=QUARTER)
    b.place("tree", _count(b, 0, 6))


def _residential(b: Builder) -> None:
    b.grass()
    b.clutter(b.number(4, 14))
    road = b.add_line("road", 25 * min(b.scale, 1.15)) if b.chance(0.8) else None
    lean = tuple((road.angle if road and b.chance(0.7) else _lean(b)[0]) + q for q in QUARTER)
    b.place("house", b.number(3, 12), angles=lean)
    _cast_trees(b)
    b.place("pool", _count(b, 0, 5) if b.chance(0.6) else 0, angles=lean)
    if road:
        b.place_on(road, "car", _count(b, 0, 5))
    b.place("car", b.number(0, 3), angles=lean)
    b.place("tree", _count(b, 0, 9))
    b.place("tennis court", int(b.chance(0.1)), angles=lean)


def _farmland(b: Builder) -> None:
    b.grass()
    b.clutter(b.number(3, 12))
    if b.chance(0.7):
        road = b.add_line("road", 20)
        b.place_on(road, "car", b.number(0, 2))
        lean = tuple(road.angle + q for q in QUARTER)
    else:
        lean = _lean(b)
    b.scale *= 0.8
    count = b.number(2, 8)
    size = float(np.clip(150 / np.sqrt(count), 42, 84)) * b.u
    for _ in range(count):
        length, width = size * b.rng.uniform(0.9, 1.35), size * b.rng.uniform(0.65, 0.9)
        b.place("farm field", 1, angles=lean, gap=1.5, length=length, width=width)
    b.scale /= 0.8
    b.place("house", b.number(0, 3), angles=lean)
    b.place("tree", _count(b, 0, 8))
    if b.chance(0.25):
        _pond(b)


def _pond(b: Builder) -> None:
    """A pond on free ground, as part of the ground (not counted)."""
    spots = np.argwhere(~b.taken)
    if len(spots) == 0:
        return
    row, column = spots[int(b.rng.integers(len(spots)))]
    center = (float(b.x[row, column]), float(b.y[row, column]))
    rx, ry = float(b.rng.uniform(20, 34)) * b.u, float(b.rng.uniform(15, 24)) * b.u
    x, y = np.asarray(center[0]), np.asarray(center[1])
    if any(max(abs(o.center[0] - x), abs(o.center[1] - y)) < rx + o.length / 2 for o in b.objects):
        return
    if any(line.distance(x, y) < rx * 1.3 + line.width / 2 for line in b.lines):
        return
    b.patch(jitter(b.rng, (62, 98, 116), 10), center, rx, ry, float(b.rng.uniform(0, 3)), cover=WATER, texture=60)
    b.taken |= (b.x - center[0]) ** 2 + (b.y - center[1]) ** 2 < (1.25 * rx) ** 2


def _forest(b: Builder) -> None:
    b.grass()
    b.many.add("tree")
    tone = {"summer": (46, 84, 44), "autumn": (158, 96, 44), "winter": (134, 144, 143)}[b.palette]
    line = None
    if b.chance(0.6):
        line = b.add_line("river", 24, swing=9) if b.chance(0.3) else b.add_line("road", 20)
    clearings = [(b.rng.uniform(0.15, 0.85, 2) * b.size, float(b.rng.uniform(30, 50)) * b.u) for _ in range(b.number(0, 2))]
    mask = np.ones_like(b.taken)
    for center, radius in clearings:
        mask &= (b.x - center[0]) ** 2 + (b.y - center[1]) ** 2 > radius**2
    if line:
        mask &= line.distance(b.x, b.y) > line.width / 2 + 3 * b.u
    b.cover[mask] = FOLIAGE
    outline = ((-9.0, -9.0), (b.size + 9.0, -9.0), (b.size + 9.0, b.size + 9.0), (-9.0, b.size + 9.0))
    b.marks.append(Mark("foliage", outline, jitter(b.rng, tone, 8)))
    for center, radius in clearings:
        middle = (float(center[0]), float(center[1]))
        b.patch(jitter(b.rng, b.ground, 4), middle, radius * 1.12, radius * 1.12, sides=20, rough=0.08)
    b.place("house", b.number(0, 2) if clearings else 0, on=(0,), angles=_lean(b), gap=1)
    b.place("car", b.number(0, 2) if clearings else 0, on=(0,), gap=1)
    if line and line.name == "road":
        b.place_on(line, "car", b.number(0, 3))


def _river(b: Builder) -> None:
    b.grass()
    b.clutter(b.number(4, 14))
    river = b.add_line("river", b.rng.uniform(40, 66), swing=float(b.rng.uniform(0, 12)), spread=0.18)
    places = b.rng.permutation((-0.3, 0.02, 0.3))[: b.number(1, 2) if b.chance(0.5) else 0]
    for i, along in enumerate(places):
        _bridge(b, river, float(along) * b.size, with_road=i == 0 and b.chance(0.6))
    b.scale = min(b.scale, 1.25)
    b.place_on(river, "ship", _count(b, 0, 5), (-0.15, 0.15), 0.48)
    if b.chance(0.35):
        _grove(b)
    lean = tuple(river.angle + q for q in QUARTER)
    b.place("house", _count(b, 0, 6), angles=lean)
    b.place("car", b.number(0, 3))
    b.place("tree", _count(b, 0, 9))


def _bridge(b: Builder, river: Line, along: float, with_road: bool) -> None:
    """A bridge square to the river, alone or carrying a road through the whole picture."""
    center = river.point(along)
    angle = river.angle + np.pi / 2
    bridge = b.thing("bridge", center, angle, river.width * 1.4, float(b.rng.uniform(18, 23)) * b.u)
    if not b.inside(bridge, 0.0) or b.collides(bridge):
        return
    b.put(bridge, gap=4)
    if with_road:
        road = b.add_line("road", 17, DIRECTIONS.index(river.direction) ^ 1, at=(center, angle))
        b.place_on(road, "car", b.number(0, 3), (-0.2, 0.2))


def _grove(b: Builder) -> None:
    """A mass of trees on free ground; from then on trees are not countable in this scene."""
    center = b.rng.uniform(0.1, 0.9, 2) * b.size
    radius = float(b.rng.uniform(30, 48)) * b.u
    inside = (b.x - center[0]) ** 2 + (b.y - center[1]) ** 2 < (radius * 1.1) ** 2
    if (b.taken & inside).any():
        return
    b.many.add("tree")
    tone = {"summer": (50, 88, 46), "autumn": (160, 98, 46), "winter": (134, 144, 143)}.get(b.palette, (50, 88, 46))
    turn = np.linspace(0, 2 * np.pi, 18, endpoint=False)
    r = radius * b.rng.uniform(0.8, 1.1, 18)
    points = tuple(zip((center[0] + np.cos(turn) * r).tolist(), (center[1] + np.sin(turn) * r).tolist(), strict=True))
    b.marks.append(Mark("foliage", points, jitter(b.rng, tone, 8)))
    b.taken |= inside
    b.cover[inside] = FOLIAGE


def _beach(b: Builder) -> None:
    b.bare("sand")
    b.clutter(b.number(2, 8))
    water = jitter(b.rng, (52, 124, 158), 14)
    b.water_half(water, b.rng.uniform(0.32, 0.62), b.rng.uniform(2, 9), (236, 240, 240), 5.0)
    b.cover[b.cover == 0] = SAND
    b.place("umbrella", _count(b, 0, 12), on=(SAND,))
    b.place("ship", _count(b, 0, 5), on=(WATER,))
    b.palette = "summer"
    b.place("tree", _count(b, 0, 5), on=(SAND,))
    b.place("house", b.number(0, 2), on=(SAND,), angles=_lean(b))
    b.place("car", b.number(0, 2) if b.chance(0.4) else 0, on=(SAND,))


def _sports(b: Builder) -> None:
    b.grass()
    if b.season == "winter":
        b.season = b.palette = "summer"
        b.ground = jitter(b.rng, GROUNDS["lawn"], 7)
    b.clutter(b.number(2, 10))
    road = b.add_line("road", 22, direction=b.number(0, 1), spread=0.36) if b.chance(0.35) else None
    lean = tuple(q + float(b.rng.choice((0.0, 0.25, -0.3))) for q in QUARTER)
    b.scale = min(b.scale, 1.3)
    choice = b.rng.random()
    if choice < 0.4:
        b.place("football field", b.number(1, 2), angles=lean)
        b.place("tennis court", b.number(0, 4), angles=lean)
    elif choice < 0.7:
        b.place("baseball field", b.number(1, 4), angles=None)
        b.place("tennis court", b.number(0, 3), angles=lean)
    else:
        b.place("tennis court", b.number(2, 9), angles=lean)
        b.place("baseball field", b.number(0, 1))
    b.place("large building", int(b.chance(0.25)), angles=lean)
    if road:
        b.place_on(road, "car", b.number(0, 4))
    b.place("car", b.number(0, 4), angles=lean)
    _cast_trees(b, 0.15)
    b.place("tree", _count(b, 0, 8))


def _industrial(b: Builder) -> None:
    b.bare("concrete", "dirt", "asphalt", "dirt")
    b.clutter(b.number(6, 18))
    road = b.add_line("road", 24) if b.chance(0.5) else None
    lean = _lean(b)
    b.place("storage tank", _count(b, 1, 12), gap=2.5)
    b.place("large building", b.number(0, 2), angles=lean)
    b.place("car", _count(b, 0, 6), angles=lean)
    if road:
        b.place_on(road, "car", b.number(0, 3))
    b.place("tree", b.number(0, 4))


def _intersection(b: Builder) -> None:
    b.grass() if b.chance(0.6) else b.bare("concrete", "dirt")
    b.clutter(b.number(3, 12))
    diagonal = 2 * int(b.chance(0.35))
    width = b.rng.uniform(28, 40)
    b.scale = min(b.scale, 1.2)
    roads = [b.add_line("road", width, direction=diagonal + i, spread=0.15) for i in range(2)]
    for road in roads:
        b.place_on(road, "car", _count(b, 0, 6), (-0.27, 0.27))
    lean = tuple(roads[0].angle + q for q in QUARTER)
    b.place("house", _count(b, 0, 6), angles=lean)
    b.place("large building", int(b.chance(0.2)), angles=lean)
    b.place("tree", _count(b, 0, 8))


def _park(b: Builder) -> None:
    b.grass()
    b.clutter(b.number(2, 8))
    _pond(b)
    tone = jitter(b.rng, (196, 178, 142), 8)
    for _ in range(b.number(2, 4)):
        ends = b.rng.uniform(-0.1, 1.1, (3, 2)) * b.size
        t = np.linspace(0, 1, 14)[:, None]
        curve = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * ends[1] + t**2 * ends[2]
        points = tuple((float(x), float(y)) for x, y in curve)
        b.marks.insert(0, Mark("line", points, tone, float(b.rng.uniform(3.5, 6)) * b.u))
    if b.chance(0.4):
        _grove(b)
    b.place("tree", b.number(3, 12))
    b.place("house", b.number(0, 1), angles=_lean(b))
    b.place("umbrella", b.number(0, 4) if b.chance(0.25) else 0)
    b.place("tennis court", int(b.chance(0.2)), angles=_lean(b))


def _desert(b: Builder) -> None:
    b.bare("sand", "dirt", "sand")
    b.ground_texture = 190
    for _ in range(b.number(3, 9)):
        x, y = (b.rng.uniform(0, 1, 2) * b.size).tolist()
        long = float(b.rng.uniform(40, 110)) * b.u
        angle = float(b.rng.normal(0.6, 0.2))
        shade = jitter(b.rng, (b.ground[0] - 16, b.ground[1] - 18, b.ground[2] - 20), 4)
        b.patch(shade, (x, y), long, long * 0.12, angle, rough=0.25, texture=200)
    b.clutter(b.number(6, 20))
    road = b.add_line("road", 20) if b.chance(0.45) else None
    if road:
        b.place_on(road, "car", b.number(0, 3))
    b.place("car", b.number(0, 2))
    b.place("house", b.number(0, 3) if b.chance(0.5) else 0, angles=_lean(b))
    b.place("tree", b.number(0, 3) if b.chance(0.4) else 0)


LAYOUTS: dict[str, Callable[[Builder], None]] = dict(
    zip(SCENES, (_airport, _harbor, _parking, _residential, _farmland, _forest, _river, _beach, _sports, _industrial,
                 _intersection, _park, _desert), strict=True)
)  # fmt: skip
