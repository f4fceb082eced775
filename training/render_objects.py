"""How each kind of object is drawn: its outline, its height for the shadow, and its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from rsagent.training.scene_model import Point, Rgb, SceneObject

if TYPE_CHECKING:
    from rsagent.training.render import Canvas

HEIGHT: dict[str, float] = {
    "house": 9, "large building": 13, "storage tank": 11, "tree": 9, "plane": 5, "ship": 3, "car": 3, "umbrella": 4,
    "dock": 2, "bridge": 5,
}  # fmt: skip
_HALF_PLANE = (
    (0.5, 0.0), (0.46, 0.045), (0.36, 0.062), (0.14, 0.066), (-0.10, 0.5), (-0.18, 0.5), (-0.08, 0.066), (-0.33, 0.05),
    (-0.42, 0.19), (-0.49, 0.19), (-0.46, 0.03), (-0.5, 0.0),
)  # fmt: skip
PLANE = _HALF_PLANE + tuple((x, -y) for x, y in _HALF_PLANE[-2:0:-1])
SHIP = (
    (0.5, 0.0), (0.4, 0.24), (0.22, 0.42), (0.0, 0.48), (-0.44, 0.44), (-0.5, 0.34),
    (-0.5, -0.34), (-0.44, -0.44), (0.0, -0.48), (0.22, -0.42), (0.4, -0.24),
)  # fmt: skip
CAR = ((0.5, 0.3), (0.44, 0.46), (-0.46, 0.5), (-0.5, 0.4), (-0.5, -0.4), (-0.46, -0.5), (0.44, -0.46), (0.5, -0.3))
SQUARE = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
CIRCLE = tuple((0.5 * float(np.cos(a)), 0.5 * float(np.sin(a))) for a in np.linspace(0, 2 * np.pi, 20, endpoint=False))

OUTLINE = {"plane": PLANE, "ship": SHIP, "car": CAR, "storage tank": CIRCLE, "umbrella": CIRCLE, "tree": CIRCLE}


def local(center: tuple[float, float], angle: float, length: float, width: float,
          corners: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:  # fmt: skip
    """Corners in an object's own coordinates (-0.5 to 0.5) as points of the picture."""
    c, s = float(np.cos(angle)), float(np.sin(angle))
    cl, sl, cw, sw = c * length, s * length, c * width, s * width
    return [(center[0] + cl * x - sw * y, center[1] + sl * x + cw * y) for x, y in corners]


def shade(rgb: Rgb, factor: float) -> Rgb:
    """The colour made lighter (above 1) or darker."""
    return tuple(min(max(int(v * factor), 0), 255) for v in rgb)  # type: ignore[return-value]


# One function a kind: each gets the canvas, the object and its outline in picture coordinates


def _plane(k: Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    k.polygon(shape, o.rgb)
    dark = shade(o.rgb, 0.72)
    k.part(o, ((-0.46, 0.012), (0.4, 0.02), (0.4, -0.02), (-0.46, -0.012)), shade(o.rgb, 1.12))
    for side in (-1, 1):
        k.part(o, ((0.11, 0.2 * side), (0.11, 0.25 * side), (-0.02, 0.25 * side), (-0.02, 0.2 * side)), dark)
    k.part(o, ((0.43, 0.04), (0.46, 0.03), (0.46, -0.03), (0.43, -0.04)), (44, 48, 56))


def _ship(k: Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    wake = (176, 196, 206)
    if o.variant % 3 == 0:
        k.part(o, ((-0.5, 0.3), (-0.95, 0.12), (-0.95, -0.12), (-0.5, -0.3)), wake, 90)
    k.polygon(shape, o.rgb)
    k.rim(o, SHIP, shade(o.rgb, 0.7), 0.8 * k.u)
    deck = shade(o.rgb, 0.86) if sum(o.rgb) > 300 else shade(o.rgb, 1.25)
    k.part(o, ((0.32, 0.0), (0.2, 0.24), (-0.4, 0.3), (-0.4, -0.3), (0.2, -0.24)), deck)
    k.part(o, ((-0.3, 0.2), (-0.08, 0.2), (-0.08, -0.2), (-0.3, -0.2)), shade(o.rgb, 0.62))


def _car(k: Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    k.polygon(shape, o.rgb)
    glass = (40, 44, 52) if sum(o.rgb) > 150 else (96, 104, 114)
    k.part(o, ((0.2, 0.38), (0.08, 0.32), (0.08, -0.32), (0.2, -0.38)), glass)
    k.part(o, ((-0.3, 0.32), (-0.38, 0.36), (-0.38, -0.36), (-0.3, -0.32)), glass)


def _house(k: Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    sun = o.angle - k.scene.look.sun
    light, dark = (0.8, 1.12) if np.sin(-sun) > 0 else (1.12, 0.8)
    if o.variant % 2:
        ridge = 0.5
    else:
        ridge = 0.24
        ends = (1.0, 0.92) if np.cos(sun) > 0 else (0.92, 1.0)
        k.part(o, ((-0.5, -0.5), (-ridge, 0), (-0.5, 0.5)), shade(o.rgb, ends[0]))
        k.part(o, ((0.5, -0.5), (ridge, 0), (0.5, 0.5)), shade(o.rgb, ends[1]))
    k.part(o, ((-0.5, -0.5), (0.5, -0.5), (ridge, 0), (-ridge, 0)), shade(o.rgb, light))
    k.part(o, ((-0.5, 0.5), (0.5, 0.5), (ridge, 0), (-ridge, 0)), shade(o.rgb, dark))
    if o.variant % 5 < 2:
        k.part(o, ((0.14, 0.16), (0.24, 0.16), (0.24, 0.3), (0.14, 0.3)), shade(o.rgb, 0.55))


def _tank(k: Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    r = o.length / 2
    k.disc(o.center, r, shade(o.rgb, 0.74))
    k.disc((o.center[0] - k.cast[0] * 1.2, o.center[1] - k.cast[1] * 1.2), r * 0.93, o.rgb)
    k.disc(o.center, r * 0.3, shade(o.rgb, 0.9))
    k.disc(o.center, r * 0.22, o.rgb)


def _pool(k: Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    rim, water = (226, 220, 208), (74 + o.variant % 20, 186 + o.variant % 14, 214)
    if o.variant % 3 == 0:
        oval = tuple((x * (1 + 0.0 * y), y) for x, y in CIRCLE)
        k.part(o, oval, rim)
        k.part(o, tuple((x * 0.82, y * 0.76) for x, y in oval), water, 60)
    else:
        k.polygon(shape, rim)
        k.part(o, tuple((x * 0.84, y * 0.76) for x, y in SQUARE), water, 60)


TREES: dict[str, tuple[Rgb, ...]] = {
    "summer": ((44, 88, 40), (54, 98, 44), (38, 76, 46)),
    "autumn": ((188, 104, 36), (160, 70, 34), (196, 140, 50)),
    "winter": ((84, 82, 78), (52, 76, 60), (98, 92, 86)),
}


def _tree(k: Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    tones = TREES[k.scene.palette]
    rgb = tones[o.variant % len(tones)]
    r = o.length / 2
    sx, sy = -k.cast[0] / k.u, -k.cast[1] / k.u
    far = (sx * sx + sy * sy) ** 0.5 or 1.0
    ux, uy = sx / far * r, sy / far * r
    x, y = o.center
    k.disc(o.center, r * 0.9, shade(rgb, 0.74), 190)
    phase = o.variant % 7
    for i in range(5):
        a = phase + i * 1.2566
        k.disc((x + 0.5 * r * float(np.cos(a)), y + 0.5 * r * float(np.sin(a))), r * 0.5, shade(rgb, 0.8), 190)
    for share, size, tone in ((0.22, 0.62, 1.0), (0.34, 0.4, 1.22), (0.42, 0.2, 1.42)):
        k.disc((x + ux * share, y + uy * share), r * size, shade(rgb, tone), 190)


def _tennis(k: Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    k.polygon(shape, shade(o.rgb, 0.84))
    inner = tuple((x * 0.8, y * 0.74) for x, y in SQUARE)
    k.part(o, inner, shade(o.rgb, 1.12))
    white, thin = (240, 240, 236), 1.1 * k.u
    k.rim(o, inner, white, thin)
    for a, z in (((-0.4, 0.26), (0.4, 0.26)), ((-0.4, -0.26), (0.4, -0.26)), ((0, -0.42), (0, 0.42)),
                 ((-0.2, -0.26), (-0.2, 0.26)), ((0.2, -0.26), (0.2, 0.26)), ((-0.2, 0), (0.2, 0))):  # fmt: skip
        k.chord(o, a, z, white, thin)


def _football(k: Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    grass = (70 + o.variant % 16, 142 + o.variant % 14, 62)
    k.polygon(shape, grass)
    for i in range(0, 10, 2):
        a, z = -0.5 + i * 0.1, -0.4 + i * 0.1
        k.part(o, ((a, -0.5), (z, -0.5), (z, 0.5), (a, 0.5)), shade(grass, 1.13))
    white, thin = (242, 242, 238), 1.3 * k.u
    k.rim(o, tuple((x * 0.94, y * 0.9) for x, y in SQUARE), white, thin)
    k.chord(o, (0, -0.45), (0, 0.45), white, thin)
    k.rim(o, tuple((x * 0.22, y * 0.22 * o.length / o.width) for x, y in CIRCLE), white, thin)
    for side in (-1, 1):
        k.rim(o, ((0.47 * side, -0.2), (0.34 * side, -0.2), (0.34 * side, 0.2), (0.47 * side, 0.2)), white, thin)


def _baseball(k: Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    grass, dirt = (88, 148, 66), (190, 140, 92)
    turn = np.linspace(-np.pi / 4, np.pi / 4, 14)

    def fan(radius: float) -> tuple[tuple[float, float], ...]:
        arc = [(-0.5 + radius * float(np.cos(a)), radius * float(np.sin(a))) for a in turn]
        return ((-0.5, 0.0), *arc)

    k.part(o, fan(1.0), shade(dirt, 0.9))
    k.part(o, fan(0.94), grass, 120)
    k.part(o, fan(0.52), dirt, 100)
    diamond = ((-0.42, 0.0), (-0.24, 0.18), (-0.06, 0.0), (-0.24, -0.18))
    k.part(o, diamond, grass, 100)
    k.disc(local(o.center, o.angle, o.length, o.width, ((-0.24, 0.0),))[0], 0.05 * o.length, dirt)
    for side in (-1, 1):
        k.chord(o, (-0.48, 0.0), (0.17, 0.66 * side), (240, 240, 234), k.u)


FIELDS: dict[str, Rgb] = {"green": (74, 124, 50), "yellow": (214, 184, 74), "brown": (120, 84, 56)}


def _field(k: Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    base = FIELDS[o.colour or ("green", "yellow", "brown")[o.variant % 3]]
    base = shade(base, 0.92 + (o.variant % 17) / 100)
    k.polygon(shape, base, 200)
    rows = 7 + o.variant % 9
    lines = shade(base, 0.84 if o.variant % 2 else 1.13)
    across = o.variant % 4 == 0
    for i in range(rows):
        v = -0.5 + (i + 0.5) / rows
        ends = ((v, -0.5), (v, 0.5)) if across else ((-0.5, v), (0.5, v))
        k.chord(o, *ends, lines, 1.5 * k.u, 200)
    k.rim(o, SQUARE, shade(base, 0.72), 1.2 * k.u)


def _umbrella(k: Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    k.polygon(shape, o.rgb)
    for i in range(0, 20, 4):
        k.polygon([o.center, shape[i], shape[(i + 2) % 20]], shade(o.rgb, 0.8))
    k.disc(o.center, max(o.length * 0.08, 0.8), (240, 240, 236))


def _dock(k: Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    wood = (168 + o.variant % 20, 142 + o.variant % 16, 106)
    k.polygon(shape, wood)
    for v in np.linspace(-0.46, 0.46, 12):
        k.chord(o, (float(v), -0.5), (float(v), 0.5), shade(wood, 0.8), 0.7 * k.u)


def _bridge(k: Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    k.polygon(shape, (196, 194, 188))
    k.part(o, ((-0.5, -0.36), (0.5, -0.36), (0.5, 0.36), (-0.5, 0.36)), (124, 122, 122))
    k.chord(o, (-0.5, 0.0), (0.5, 0.0), (226, 226, 216), 1.1 * k.u)


def _building(k: Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    k.polygon(shape, o.rgb)
    k.rim(o, tuple((x * 0.97, y * 0.94) for x, y in SQUARE), shade(o.rgb, 0.78), 1.4 * k.u)
    seams = 5 + o.variant % 5
    for v in np.linspace(-0.42, 0.42, seams):
        k.chord(o, (float(v), -0.44), (float(v), 0.44), shade(o.rgb, 0.9), 0.9 * k.u)
    for i in range(2 + o.variant % 3):
        x = -0.34 + 0.22 * i
        k.part(o, ((x, -0.2), (x + 0.07, -0.2), (x + 0.07, -0.02), (x, -0.02)), shade(o.rgb, 0.66))


DRAW: dict[str, Callable[[Canvas, SceneObject, list[Point]], None]] = {
    "plane": _plane, "ship": _ship, "car": _car, "house": _house, "storage tank": _tank, "pool": _pool, "tree": _tree,
    "tennis court": _tennis, "football field": _football, "baseball field": _baseball, "farm field": _field,
    "umbrella": _umbrella, "dock": _dock, "bridge": _bridge, "large building": _building,
}  # fmt: skip
