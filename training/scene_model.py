"""What a rendered scene is: the closed sets (kinds, scene types, colours, directions, cells) and the data classes.

All lengths are pixels of the finished picture, x to the right and y down; angles are radians, clockwise as seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KINDS: tuple[str, ...] = (
    "plane", "ship", "car", "house", "storage tank", "pool", "tree", "tennis court", "football field",
    "baseball field", "farm field", "umbrella", "dock", "bridge", "large building",
)  # fmt: skip
SCENES: tuple[str, ...] = (
    "airport", "harbor", "parking lot", "residential area", "farmland", "forest", "river", "beach",
    "sports ground", "industrial area", "intersection", "park", "desert",
)  # fmt: skip
COLOURS: tuple[str, ...] = ("red", "white", "blue", "green", "grey", "black", "yellow", "brown")
DIRECTIONS: tuple[str, ...] = (
    "from left to right", "from top to bottom", "from top left to bottom right", "from bottom left to top right",
)  # fmt: skip
CELLS: tuple[str, ...] = (
    "top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right",
)  # fmt: skip
LINES: tuple[str, ...] = ("road", "runway", "river")
SEASONS: tuple[str, ...] = ("summer", "autumn", "winter")
SIDES: tuple[str, ...] = ("left", "right", "top", "bottom")
GRID = 14
"""Annotation cells a side, whatever the picture's size."""

GROUND, ROAD, WATER, SAND, FOLIAGE, PAVED = range(6)
"""Codes of the coarse map of what covers the ground."""
COVERS: tuple[str, ...] = ("ground", "road", "water", "sand", "trees", "pavement")

Rgb = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One countable thing. `length` runs along `angle`; `visible` is the share of it (0-1) that can be seen."""

    kind: str
    colour: str | None
    rgb: Rgb
    center: Point
    length: float
    width: float
    angle: float
    box: tuple[float, float, float, float]
    visible: float = 1.0
    variant: int = 0

    @property
    def counts(self) -> bool:
        """Whether enough can be seen to say that it is there."""
        return self.visible >= 0.5


@dataclass(frozen=True, slots=True)
class Line:
    """A road, runway or river through the whole picture.

    Its centre line passes `center` at `angle`; a river swings sideways by `swing` pixels with wavelength `period`.
    """

    name: str
    direction: str
    center: Point
    angle: float
    width: float
    swing: float = 0.0
    period: float = 200.0
    phase: float = 0.0

    def sideways(self, along: np.ndarray) -> np.ndarray:
        """The centre line's sideways shift in pixels at the positions `along` it."""
        return self.swing * np.sin(2 * np.pi * along / self.period + self.phase)

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Sideways distance in pixels of the points from the centre line."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        dx, dy = x - self.center[0], y - self.center[1]
        return np.abs(-s * dx + c * dy - self.sideways(c * dx + s * dy))

    def point(self, along: float, aside: float = 0.0) -> Point:
        """The point `along` pixels from the centre and `aside` pixels beside the centre line."""
        c, s = float(np.cos(self.angle)), float(np.sin(self.angle))
        n = float(self.sideways(np.asarray(along))) + aside
        return self.center[0] + c * along - s * n, self.center[1] + s * along + c * n


@dataclass(frozen=True, slots=True)
class Mark:
    """A drawn shape that is not counted: `shape` is polygon, line, ellipse (then two corner points) or foliage."""

    shape: str
    points: tuple[Point, ...]
    rgb: Rgb
    width: float = 0.0
    texture: int = 120


@dataclass(frozen=True, slots=True)
class Cloud:
    """A cloud that hides what is below it: centre and radii of its ellipse."""

    center: Point
    rx: float
    ry: float


@dataclass(frozen=True, slots=True)
class Look:
    """How the picture was taken: light, blur, noise, tint, shadow and the seed of the textures."""

    gain: float
    contrast: float
    tint: tuple[float, float, float]
    blur: float
    noise: float
    texture: float
    sun: float
    shadow: float
    haze: float
    seed: int


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene and the whole truth about its picture.

    `season` is None where a person could not tell it; `many` holds the kinds present in masses that nobody counts;
    `water_side` is the side of the picture where the sea or the basin lies; `cover` gives the shares of the picture
    (0-1) by name of cover, before objects.
    """

    kind: str
    size: int
    scale: float
    season: str | None
    greyscale: bool
    objects: tuple[SceneObject, ...]
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...]
    clouds: tuple[Cloud, ...]
    ground: Rgb
    ground_texture: int
    many: frozenset[str]
    water_side: str | None
    cover: dict[str, float]
    palette: str
    look: Look

    def seen(self, kind: str | None = None) -> list[SceneObject]:
        """The objects (of one kind) that count, in drawing order."""
        return [o for o in self.objects if o.counts and (kind is None or o.kind == kind)]

    def count(self, kind: str) -> int:
        """How many of `kind` are seen; -1 where they are a mass that nobody counts."""
        return -1 if kind in self.many else len(self.seen(kind))

    def line(self, name: str) -> Line | None:
        """The only line called `name`, or None where there is none or more than one."""
        found = [line for line in self.lines if line.name == name]
        return found[0] if len(found) == 1 else None


def cell_of(center: Point, size: int, margin: float = 0.0) -> str | None:
    """Which ninth of the picture holds `center`; None if it lies within `margin` (share of size) of another."""
    index: list[int] = []
    for value in center:
        share = value / size
        if min(abs(share - 1 / 3), abs(share - 2 / 3)) < margin:
            return None
        index.append(0 if share < 1 / 3 else 1 if share < 2 / 3 else 2)
    return CELLS[index[1] * 3 + index[0]]


def annotate(scene: Scene) -> dict[str, np.ndarray | int]:
    """The dense truth of a scene.

    Returns:
        counts: (kinds,) int64, -1 where a kind is not countable.
        cells: (kinds, 14, 14) float32, number of object centres in each cell; -1 all over where not countable.
        scene: index into `SCENES`. direction: index into `DIRECTIONS` of the main line, or -1.
        line: index into `LINES` of that line, or -1.
        kind_colour: (kinds, colours) float32, which colours a kind has; -1 all over where the question is void.
        grey: 1 for a greyscale picture. season: index into `SEASONS`, or -1.
    """
    counts = np.array([scene.count(kind) for kind in KINDS], dtype=np.int64)
    cells = np.zeros((len(KINDS), GRID, GRID), dtype=np.float32)
    colour = np.full((len(KINDS), len(COLOURS)), -1, dtype=np.float32)
    for thing in scene.seen():
        k = KINDS.index(thing.kind)
        x, y = (min(max(int(v * GRID / scene.size), 0), GRID - 1) for v in visible_center(thing, scene.size))
        cells[k, y, x] += 1
        if thing.colour is not None:
            colour[k] = np.maximum(colour[k], 0)
            colour[k, COLOURS.index(thing.colour)] = 1
    cells[counts < 0] = -1
    main = scene.lines[0] if scene.lines and scene.kind != "intersection" else None
    return {
        "counts": counts,
        "cells": cells,
        "kind_colour": colour,
        "scene": SCENES.index(scene.kind),
        "direction": DIRECTIONS.index(main.direction) if main else -1,
        "line": LINES.index(main.name) if main else -1,
        "grey": int(scene.greyscale),
        "season": SEASONS.index(scene.season) if scene.season else -1,
    }


def visible_center(thing: SceneObject, size: int) -> Point:
    """The centre of the part of the object's box that lies inside the picture."""
    x0, y0, x1, y1 = thing.box
    return (max(x0, 0) + min(x1, size)) / 2, (max(y0, 0) + min(y1, size)) / 2
