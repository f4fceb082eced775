"""The drawing board of one scene: which ground is still free, and how objects, lines and marks are put on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rsagent.training.scene_model import (
    COVERS,
    DIRECTIONS,
    GROUND,
    PAVED,
    ROAD,
    WATER,
    Cloud,
    Line,
    Look,
    Mark,
    Point,
    Rgb,
    Scene,
    SceneObject,
)  # fmt: skip

MAP = 56
"""Side of the coarse map of covers and free ground: a cell is 4 px at 224 px."""

PAINT: dict[str, Rgb] = {
    "red": (196, 44, 40), "white": (238, 238, 236), "blue": (44, 88, 192), "green": (52, 138, 62),
    "grey": (134, 136, 140), "black": (30, 31, 36), "yellow": (236, 200, 40), "brown": (108, 72, 46),
}  # fmt: skip
KIND_COLOURS: dict[str, tuple[str, ...]] = {
    "plane": ("white", "white", "white", "grey", "red", "blue", "yellow", "black"),
    "ship": ("white", "white", "red", "grey", "black", "blue", "brown", "yellow"),
    "car": ("white", "red", "blue", "black", "yellow", "grey", "green"),
    "house": ("red", "brown", "grey", "white", "blue", "black"),
    "storage tank": ("white", "white", "grey", "brown", "red", "green", "blue"),
    "tennis court": ("green", "blue", "red", "grey"),
    "farm field": ("green", "yellow", "brown"),
    "umbrella": ("red", "blue", "yellow", "white", "green"),
    "large building": ("white", "grey", "blue", "red", "brown"),
}  # fmt: skip
SIZES: dict[str, tuple[float, float]] = {
    "plane": (46, 44), "ship": (38, 14), "car": (23, 12), "house": (34, 26), "storage tank": (32, 32),
    "pool": (25, 16), "tree": (20, 20), "tennis court": (48, 26), "football field": (86, 54),
    "baseball field": (58, 58), "farm field": (74, 56), "umbrella": (17, 17), "dock": (56, 12), "bridge": (60, 18),
    "large building": (80, 38),
}  # fmt: skip
"""Length and width in pixels at scale 1 and 224 px."""
SMALLEST = 9.5
"""No object is narrower than this many pixels at 224 px."""
ROUND = {"storage tank", "tree", "umbrella"}
ON_TOP = {"tree", "umbrella"}
"""Kinds drawn last, which may stand a little over others."""
GROUNDS: dict[str, Rgb] = {
    "summer": (104, 134, 72), "autumn": (150, 126, 74), "winter": (222, 226, 231), "sand": (214, 188, 142),
    "concrete": (158, 156, 150), "asphalt": (104, 104, 106), "dirt": (158, 132, 104), "lawn": (96, 142, 70),
}  # fmt: skip


def jitter(rng: np.random.Generator, rgb: Rgb, spread: float) -> Rgb:
    """A colour close to `rgb`: brightness and each channel move by about `spread` levels."""
    moved = np.asarray(rgb) + rng.normal(0, spread) + rng.normal(0, spread / 2, 3)
    r, g, b = (int(v) for v in np.clip(moved, 8, 250))
    return r, g, b


class Builder:
    """Collects one scene. The methods draw random numbers from `rng` only, so a seed gives one scene."""

    def __init__(self, rng: np.random.Generator, size: int, kind: str) -> None:
        """Start an empty scene of type `kind`, `size` pixels wide and high."""
        self.rng, self.size, self.kind = rng, size, kind
        self.u = size / 224
        self.scale = float(rng.uniform(0.8, 1.55))
        self.season: str | None = None
        self.palette = "summer"
        self.ground: Rgb = GROUNDS["concrete"]
        self.ground_texture = 150
        self.objects: list[SceneObject] = []
        self.lines: list[Line] = []
        self.marks: list[Mark] = []
        self.many: set[str] = set()
        self.water_side: str | None = None
        self.cover = np.full((MAP, MAP), GROUND, dtype=np.uint8)
        self.taken = np.zeros((MAP, MAP), dtype=bool)
        centres = (np.arange(MAP) + 0.5) * size / MAP
        self.x, self.y = np.meshgrid(centres, centres)
        self.modes: dict[str, tuple[str, ...]] = {}

    # ground ---------------------------------------------------------------------------------------------------

    def grass(self) -> None:
        """Ground with a visible season."""
        self.season = str(self.rng.choice(("summer", "summer", "autumn", "winter")))
        self.palette = self.season
        self.ground = jitter(self.rng, GROUNDS[self.season], 7 if self.season != "winter" else 4)
        self.ground_texture = 190 if self.season != "winter" else 90

    def bare(self, *names: str) -> None:
        """Ground without a season, one of `names` of `GROUNDS`."""
        self.ground = jitter(self.rng, GROUNDS[str(self.rng.choice(names))], 8)

    def chance(self, p: float) -> bool:
        """True with probability `p`."""
        return bool(self.rng.random() < p)

    def number(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))

    # lines ----------------------------------------------------------------------------------------------------

    def add_line(self, name: str, width: float, direction: int | None = None, swing: float = 0.0,
                 spread: float = 0.24, at: tuple[Point, float] | None = None) -> Line:  # fmt: skip
        """Lay a road, runway or river of `width` (pixels at 224 px) through the picture, or `at` (point, angle)."""
        rng = self.rng
        d = int(rng.integers(4)) if direction is None else direction
        angle = (0.0, np.pi / 2, np.pi / 4, -np.pi / 4)[d] + float(rng.uniform(-0.1, 0.1))
        shift = float(rng.uniform(-spread, spread)) * self.size * (0.6 if d > 1 else 1.0)
        mid = self.size / 2
        center = (mid - float(np.sin(angle)) * shift, mid + float(np.cos(angle)) * shift)
        center, angle = at or (center, angle)
        line = Line(
            name=name, direction=DIRECTIONS[d], angle=angle, width=width * self.u, center=center,
            swing=swing * self.u, period=float(rng.uniform(150, 300)) * self.u, phase=float(rng.uniform(0, 6.28)),
        )  # fmt: skip
        self.lines.append(line)
        distance = line.distance(self.x, self.y)
        self.cover[distance < line.width / 2] = WATER if name == "river" else ROAD
        self.taken[distance < line.width / 2 + 5 * self.u] = True
        return line

    def place_on(self, line: Line, kind: str, count: int, lanes: tuple[float, ...] = (-0.25, 0.25),
                 span: float = 0.52) -> None:  # fmt: skip
        """Put up to `count` objects along a line, each in one of `lanes` (shares of the line's width)."""
        for _ in range(count):
            for _ in range(6):
                along = float(self.rng.uniform(-span, span)) * self.size
                aside = float(self.rng.choice(lanes)) * line.width
                ahead, behind = line.point(along + 4, aside), line.point(along - 4, aside)
                angle = float(np.arctan2(ahead[1] - behind[1], ahead[0] - behind[0]))
                thing = self.thing(kind, line.point(along, aside), angle + np.pi * (aside < 0))
                if self.inside(thing, 0.1) and not self.collides(thing, same_only=True):
                    self.put(thing)
                    break

    # objects --------------------------------------------------------------------------------------------------

    def colours_of(self, kind: str) -> tuple[str, ...]:
        """The colours that `kind` has in this scene: one for all (half of the scenes), or up to three."""
        if kind not in self.modes:
            ground = np.asarray(self.ground)
            palette = [c for c in KIND_COLOURS[kind] if np.abs(np.asarray(PAINT[c]) - ground).sum() > 90]
            several = 1 if self.chance(0.55) else self.number(2, 3)
            self.modes[kind] = tuple(str(c) for c in self.rng.choice(palette or ["white"], several))
        return self.modes[kind]

    def thing(self, kind: str, center: Point, angle: float, length: float | None = None,
              width: float | None = None, colour: str | None = None) -> SceneObject:  # fmt: skip
        """An object of `kind` with its colour and size chosen, not yet put on the board."""
        rng = self.rng
        if colour is None and kind in KIND_COLOURS:
            colour = str(rng.choice(self.colours_of(kind)))
        own = float(rng.uniform(0.9, 1.12)) * self.u
        long, wide = SIZES[kind]
        length = max(long * self.scale * own, SMALLEST * self.u) if length is None else length
        width = max(wide * self.scale * own, SMALLEST * self.u) if width is None else width
        if kind in ROUND:
            width = length
        c, s = abs(np.cos(angle)), abs(np.sin(angle))
        hw = length / 2 if kind in ROUND else float(c * length + s * width) / 2
        hh = length / 2 if kind in ROUND else float(s * length + c * width) / 2
        rgb = jitter(rng, PAINT[colour], 6) if colour else (0, 0, 0)
        box = (center[0] - hw, center[1] - hh, center[0] + hw, center[1] + hh)
        return SceneObject(kind, colour, rgb, center, length, width, angle, box, 1.0, int(rng.integers(1 << 30)))

    def place(self, kind: str, count: int, on: tuple[int, ...] = (GROUND, PAVED),
              angles: tuple[float, ...] | None = None, gap: float = 3.0, length: float | None = None,
              width: float | None = None) -> int:  # fmt: skip
        """Put up to `count` objects on free ground of the covers `on`, not touching others; return how many fitted."""
        rng, placed, cell = self.rng, 0, self.size / MAP
        for _ in range(count):
            angle = float(rng.uniform(0, 2 * np.pi) if angles is None else rng.choice(angles))
            new = self.thing(kind, (0.0, 0.0), angle, length, width)
            blocked = np.zeros((MAP + 1, MAP + 1), dtype=np.int32)
            free = ~self.taken & np.isin(self.cover, on)
            blocked[1:, 1:] = (~free).cumsum(0).cumsum(1)
            w = min(int(np.ceil((new.box[2] - new.box[0] + 2 * gap * self.u) / cell)) + 1, MAP)
            h = min(int(np.ceil((new.box[3] - new.box[1] + 2 * gap * self.u) / cell)) + 1, MAP)
            sums = blocked[h:, w:] - blocked[:-h, w:] - blocked[h:, :-w] + blocked[:-h, :-w]
            spots = np.flatnonzero(sums == 0)
            if len(spots) == 0:
                continue
            row, column = divmod(int(rng.choice(spots)), sums.shape[1])
            sway = rng.uniform(-0.4, 0.4, 2) * cell
            center = ((column + w / 2) * cell + float(sway[0]), (row + h / 2) * cell + float(sway[1]))
            self.put(moved(new, center))
            placed += 1
        return placed

    def put(self, thing: SceneObject, gap: float = 2.0) -> None:
        """Add an object and mark its ground as taken."""
        self.objects.append(thing)
        x0, y0, x1, y1 = (v / self.size * MAP for v in thing.box)
        pad = gap * self.u * MAP / self.size
        ends = [max(int(v), 0) for v in (y0 - pad, np.ceil(y1 + pad), x0 - pad, np.ceil(x1 + pad))]
        self.taken[ends[0] : ends[1], ends[2] : ends[3]] = True

    def inside(self, thing: SceneObject, cut: float) -> bool:
        """Whether no more than about the share `cut` of the object's box is outside the picture."""
        x0, y0, x1, y1 = thing.box
        wide = min(x1, self.size) - max(x0, 0)
        high = min(y1, self.size) - max(y0, 0)
        return wide >= (1 - cut) * (x1 - x0) and high >= (1 - cut) * (y1 - y0)

    def collides(self, thing: SceneObject, same_only: bool = False) -> bool:
        """Whether the object's box (a little widened) meets another's."""
        pad = 4 * self.u
        x0, y0, x1, y1 = thing.box
        for other in self.objects:
            if same_only and other.kind not in (thing.kind, "bridge", "dock", "tree"):
                continue
            a0, b0, a1, b1 = other.box
            if x0 - pad < a1 and a0 < x1 + pad and y0 - pad < b1 and b0 < y1 + pad:
                return True
        return False

    # marks ----------------------------------------------------------------------------------------------------

    def patch(self, rgb: Rgb, center: Point, rx: float, ry: float, angle: float = 0.0, sides: int = 12,
              rough: float = 0.18, cover: int | None = None, texture: int = 150) -> tuple[Point, ...]:  # fmt: skip
        """Paint an irregular patch; with `cover` it also changes the map below it."""
        turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
        r = 1 + self.rng.uniform(-rough, rough, sides)
        c, s = np.cos(angle), np.sin(angle)
        px, py = np.cos(turn) * rx * r, np.sin(turn) * ry * r
        x, y = center[0] + c * px - s * py, center[1] + s * px + c * py
        points = tuple(zip(x.tolist(), y.tolist(), strict=True))
        self.marks.append(Mark("polygon", points, rgb, texture=texture))
        if cover is not None:
            dx, dy = self.x - center[0], self.y - center[1]
            self.cover[((c * dx + s * dy) / rx) ** 2 + ((c * dy - s * dx) / ry) ** 2 < 1] = cover
        return points

    def clutter(self, amount: int) -> None:
        """Small things that are none of the kinds: stains, stones, tracks and brushwood, drawn below all objects."""
        rng, u = self.rng, self.u
        for _ in range(amount):
            x, y = rng.uniform(0, self.size, 2).tolist()
            base = self.ground
            sort = rng.random()
            if sort < 0.45:
                self.patch(jitter(rng, base, 13), (x, y), *(rng.uniform(4, 26, 2) * u).tolist(), sides=9, rough=0.35)
            elif sort < 0.85:
                r = float(rng.uniform(0.6, 1.9)) * u
                rgb = jitter(rng, base, 40)
                self.marks.append(Mark("ellipse", ((x - r, y - r), (x + r, y + r * 0.8)), rgb))
            else:
                end = (x + float(rng.normal(0, 50)) * u, y + float(rng.normal(0, 50)) * u)
                width = float(rng.uniform(0.8, 2.2)) * u
                self.marks.append(Mark("line", ((x, y), end), jitter(rng, base, 14), width))

    def water_half(self, rgb: Rgb, share: float, wave: float, shore: Rgb, shore_width: float) -> None:
        """Fill one side of the picture with water, `share` of it deep, behind a shore line that waves by `wave` px."""
        rng, size = self.rng, self.size
        side = str(rng.choice(("left", "right", "top", "bottom")))
        self.water_side = side
        t = np.linspace(-0.05, 1.05, 24) * size
        phase, period, lean = rng.uniform(0, 6.28), rng.uniform(90, 220) * self.u, rng.uniform(-0.06, 0.06)

        def edge(v: np.ndarray) -> np.ndarray:
            return share * size + wave * self.u * np.sin(2 * np.pi * v / period + phase) + lean * (v - size / 2)

        def polygon(extra: float) -> tuple[Point, ...]:
            depth = edge(t) + extra
            across, far = np.concatenate([t, t[::-1]]), np.concatenate([depth, np.full_like(t, -9.0)])
            if side in ("right", "bottom"):
                far = size - far
            pair = (far, across) if side in ("left", "right") else (across, far)
            return tuple(zip(pair[0].tolist(), pair[1].tolist(), strict=True))

        self.marks.append(Mark("polygon", polygon(shore_width * self.u), shore, texture=60))
        self.marks.append(Mark("polygon", polygon(0), rgb, texture=70))
        across, far = (self.y, self.x) if side in ("left", "right") else (self.x, self.y)
        far = size - far if side in ("right", "bottom") else far
        depth = edge(across)
        self.cover[far < depth] = WATER
        self.taken[np.abs(far - depth) < 6 * self.u] = True

    # finish ---------------------------------------------------------------------------------------------------

    def finish(self) -> Scene:
        """Drop what could be read either way, choose the look and return the scene."""
        rng, u, size = self.rng, self.u, self.size
        clouds: list[Cloud] = []
        if self.chance(0.1):
            for _ in range(self.number(1, 2)):
                x, y = rng.uniform(0.05, 0.95, 2).tolist()
                rx, ry = float(rng.uniform(16, 36)) * u, float(rng.uniform(13, 26)) * u
                clouds.append(Cloud((x * size, y * size), rx, ry))
        ordered = [o for o in self.objects if o.kind not in ON_TOP] + [o for o in self.objects if o.kind in ON_TOP]
        above = [o for o in ordered if o.kind == "tree"]
        shown: list[SceneObject] = []
        for thing in ordered:
            share = visible_share(thing, size, clouds, above if thing.kind not in ON_TOP else [])
            if share >= 0.62 or share <= 0.03:
                shown.append(replace(thing, visible=share))
        shares = {name: float((self.cover == code).mean()) for code, name in enumerate(COVERS)}
        greyscale = self.chance(0.14)
        leaves = "tree" in self.many or any(o.kind == "tree" and o.visible > 0.5 for o in shown)
        season = None if greyscale or (self.season == "autumn" and not leaves) else self.season
        look = Look(
            gain=float(rng.uniform(0.82, 1.12)), contrast=float(rng.uniform(0.85, 1.12)),
            tint=(float(rng.uniform(0.96, 1.04)), 1.0, float(rng.uniform(0.95, 1.05))),
            blur=float(rng.choice((0.0, 0.0, 0.0, 0.5, 0.8))) * float(rng.uniform(0.7, 1.2)) * u,
            noise=float(rng.choice((0.0, 2.0, 4.0, 7.0))), texture=float(rng.uniform(0.6, 1.35)),
            sun=float(rng.uniform(0, 2 * np.pi)), shadow=float(rng.uniform(0.3, 1.2)),
            haze=float(rng.uniform(0.05, 0.16)) if self.chance(0.2) else 0.0, seed=int(rng.integers(1 << 31)),
        )  # fmt: skip
        if greyscale:
            shown = [replace(o, colour=None) for o in shown if o.kind != "pool"]  # a pool is told by its blue
        return Scene(
            kind=self.kind, size=size, scale=self.scale, season=season, greyscale=greyscale, objects=tuple(shown),
            lines=tuple(self.lines), marks=tuple(self.marks), clouds=tuple(clouds), ground=self.ground,
            ground_texture=self.ground_texture, many=frozenset(self.many),
            water_side=self.water_side, cover=shares, palette=self.palette, look=look,
        )  # fmt: skip


def moved(thing: SceneObject, center: Point) -> SceneObject:
    """The same object about another centre."""
    dx, dy = center[0] - thing.center[0], center[1] - thing.center[1]
    x0, y0, x1, y1 = thing.box
    return replace(thing, center=center, box=(x0 + dx, y0 + dy, x1 + dx, y1 + dy))


_SPOT = np.stack(np.meshgrid(np.linspace(-0.45, 0.45, 7), np.linspace(-0.45, 0.45, 7)), -1).reshape(-1, 2)


def visible_share(thing: SceneObject, size: int, clouds: list[Cloud], above: list[SceneObject]) -> float:
    """The share (0-1) of the object inside the picture and neither below a cloud nor below one of `above`."""
    x0, y0, x1, y1 = thing.box
    near = [t for t in above if t is not thing and t.box[0] < x1 and t.box[2] > x0 and t.box[1] < y1 and t.box[3] > y0]
    near_clouds = [
        k for k in clouds
        if k.center[0] - 1.2 * k.rx < x1 and k.center[0] + 1.2 * k.rx > x0
        and k.center[1] - 1.2 * k.ry < y1 and k.center[1] + 1.2 * k.ry > y0
    ]  # fmt: skip
    if not near and not near_clouds and x0 >= 0 and y0 >= 0 and x1 <= size and y1 <= size:
        return 1.0
    c, s = np.cos(thing.angle), np.sin(thing.angle)
    along, across = _SPOT[:, 0] * thing.length, _SPOT[:, 1] * thing.width
    x, y = thing.center[0] + c * along - s * across, thing.center[1] + s * along + c * across
    seen = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    for cloud in near_clouds:
        seen &= ((x - cloud.center[0]) / cloud.rx) ** 2 + ((y - cloud.center[1]) / cloud.ry) ** 2 > 1.1
    for tree in near:
        seen &= (x - tree.center[0]) ** 2 + (y - tree.center[1]) ** 2 > (0.45 * tree.length) ** 2
    return float(seen.mean())
