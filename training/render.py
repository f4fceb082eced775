"""Drawing a scene: flat shapes at twice the size with Pillow, then texture, shadow, light and noise with numpy."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from rsagent.training.scene_model import Line, Mark, Point, Rgb, Scene, SceneObject

ZOOM = 2
CANOPY = 250
"""The alpha value that marks foliage; smaller values are the strength of the ground's texture."""
HEIGHT: dict[str, float] = {
    "house": 9, "large building": 13, "storage tank": 11, "tree": 9, "plane": 5, "ship": 3, "car": 3, "umbrella": 4,
    "dock": 2, "bridge": 5,
}  # fmt: skip
PLANE = (
    (0.5, 0.0), (0.46, 0.045), (0.36, 0.062), (0.14, 0.066), (-0.10, 0.5), (-0.18, 0.5), (-0.08, 0.066), (-0.33, 0.05),
    (-0.42, 0.19), (-0.49, 0.19), (-0.46, 0.03), (-0.5, 0.0),
)  # fmt: skip
PLANE = PLANE + tuple((x, -y) for x, y in PLANE[-2:0:-1])
SHIP = (
    (0.5, 0.0), (0.4, 0.24), (0.22, 0.42), (0.0, 0.48), (-0.44, 0.44), (-0.5, 0.34),
    (-0.5, -0.34), (-0.44, -0.44), (0.0, -0.48), (0.22, -0.42), (0.4, -0.24),
)  # fmt: skip
CAR = ((0.5, 0.3), (0.44, 0.46), (-0.46, 0.5), (-0.5, 0.4), (-0.5, -0.4), (-0.46, -0.5), (0.44, -0.46), (0.5, -0.3))
SQUARE = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
CIRCLE = tuple((0.5 * float(np.cos(a)), 0.5 * float(np.sin(a))) for a in np.linspace(0, 2 * np.pi, 20, endpoint=False))

OUTLINE = {"plane": PLANE, "ship": SHIP, "car": CAR, "storage tank": CIRCLE, "umbrella": CIRCLE, "tree": CIRCLE}


def render(scene: Scene) -> np.ndarray:
    """Draw a scene as (size, size, 3) uint8; the same scene gives the same picture."""
    return _Canvas(scene).picture()


def shade(rgb: Rgb, factor: float) -> Rgb:
    """The colour made lighter (above 1) or darker."""
    return tuple(min(max(int(v * factor), 0), 255) for v in rgb)  # type: ignore[return-value]


class _Canvas:
    """The two layers of one scene: colour with texture strength, and shadow."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        side = scene.size * ZOOM
        self.paint = Image.new("RGBA", (side, side), (*scene.ground, scene.ground_texture))
        self.draw = ImageDraw.Draw(self.paint)
        self.shadow = Image.new("L", (side, side), 0)
        self.dark = ImageDraw.Draw(self.shadow)
        u = scene.size / 224
        self.u = u
        self.cast = tuple(float(f(scene.look.sun)) * scene.look.shadow * u for f in (np.cos, np.sin))

    def picture(self) -> np.ndarray:
        """All layers together."""
        scene = self.scene
        for mark in scene.marks:
            self.mark(mark)
        for line in sorted(scene.lines, key=lambda line: line.name != "river"):
            self.line(line)
        if scene.kind == "intersection":
            for line in scene.lines[:1]:
                self.crossing(line)
        for thing in scene.objects:
            self.thing(thing)
        return self.develop()

    # shapes ---------------------------------------------------------------------------------------------------

    def polygon(self, points: list[tuple[float, float]], rgb: Rgb, texture: int = 40) -> None:
        self.draw.polygon([(x * ZOOM, y * ZOOM) for x, y in points], fill=(*rgb, texture))

    def stroke(self, points: list[tuple[float, float]], rgb: Rgb, width: float, texture: int = 40) -> None:
        scaled = [(x * ZOOM, y * ZOOM) for x, y in points]
        self.draw.line(scaled, fill=(*rgb, texture), width=max(round(width * ZOOM), 1), joint="curve")

    def mark(self, mark: Mark) -> None:
        """One uncounted shape."""
        if mark.shape == "line":
            self.stroke(list(mark.points), mark.rgb, mark.width, mark.texture)
        elif mark.shape == "ellipse":
            box = [v * ZOOM for point in mark.points for v in point]
            self.draw.ellipse(box, fill=(*mark.rgb, mark.texture))
        else:
            self.polygon(list(mark.points), mark.rgb, CANOPY if mark.shape == "foliage" else mark.texture)

    def line(self, line: Line) -> None:
        """A road, runway or river."""
        rng = np.random.default_rng(int(abs(line.center[0] * 1000)))
        reach = self.scene.size * 0.8
        along = np.linspace(-reach, reach, 40 if line.swing else 2)

        def band(half: float) -> list[tuple[float, float]]:
            return [line.point(float(t), half) for t in along] + [line.point(float(t), -half) for t in along[::-1]]

        half = line.width / 2
        if line.name == "river":
            bank = shade(self.scene.ground, 0.82)
            self.polygon(band(half + 2.5 * self.u), bank, 150)
            water = (48 + int(rng.integers(34)), 86 + int(rng.integers(26)), 100 + int(rng.integers(36)))
            self.polygon(band(half), water, 60)
            return
        tone = int(rng.integers(88, 118)) if line.name == "road" else int(rng.integers(72, 100))
        if sum(self.scene.ground) < 3 * 130:
            tone += 44
        rgb = (tone + 2, tone, tone + int(rng.integers(0, 5)))
        if line.name == "road":
            self.polygon(band(half + 1.6 * self.u), shade(self.scene.ground, 1.12), 120)
        self.polygon(band(half), rgb, 60)
        white = (226, 226, 216)
        step, dash = (18, 9) if line.name == "road" else (26, 15)
        for t in np.arange(-reach, reach, step * self.u):
            self.stroke([line.point(float(t)), line.point(float(t + dash * self.u))], white, 1.4 * self.u)
        if line.name == "runway":
            for aside in (-half * 0.86, half * 0.86):
                self.stroke([line.point(-reach, aside), line.point(reach, aside)], white, 1.2 * self.u)
            at = -0.36 * self.scene.size
            for aside in np.linspace(-0.32, 0.32, 6) * line.width:
                key = [line.point(at, float(aside)), line.point(at + 18 * self.u, float(aside))]
                self.stroke(key, white, 1.8 * self.u)

    def crossing(self, line: Line) -> None:
        """Clear the painted lines where the two roads meet."""
        other = self.scene.lines[1]
        turn = other.angle - line.angle
        dx, dy = other.center[0] - line.center[0], other.center[1] - line.center[1]
        along = (dx * np.sin(other.angle) - dy * np.cos(other.angle)) / np.sin(turn)
        center, half = line.point(float(along)), line.width / 2
        tone = self.paint.getpixel((
            int(np.clip(center[0] * ZOOM + 3 * ZOOM, 0, self.paint.width - 1)),
            int(np.clip(center[1] * ZOOM + 5 * ZOOM, 0, self.paint.height - 1)),
        ))  # fmt: skip
        assert isinstance(tone, tuple)
        rgb = (int(tone[0]), int(tone[1]), int(tone[2]))
        self.polygon(local(center, line.angle, line.width, other.width, SQUARE), rgb, 60)
        for turned, reach in ((line.angle, half + 4 * self.u), (other.angle, half + 4 * self.u)):
            for sign in (-1, 1):
                for aside in np.linspace(-0.36, 0.36, 5) * line.width:
                    c, s = float(np.cos(turned)), float(np.sin(turned))
                    a = (center[0] + c * sign * reach - s * aside, center[1] + s * sign * reach + c * aside)
                    z = (a[0] + c * sign * 6 * self.u, a[1] + s * sign * 6 * self.u)
                    self.stroke([a, z], (222, 222, 214), 2.2 * self.u)

    # objects --------------------------------------------------------------------------------------------------

    def thing(self, o: SceneObject) -> None:
        """An object with its shadow."""
        shape = local(o.center, o.angle, o.length, o.width, OUTLINE.get(o.kind, SQUARE))
        height = HEIGHT.get(o.kind, 0)
        if height:
            long = (self.cast[0] ** 2 + self.cast[1] ** 2) ** 0.5 * height
            steps = max(int(long / 4), 1)
            for k in range(1, steps + 1):
                sx, sy = self.cast[0] * height * k / steps, self.cast[1] * height * k / steps
                self.dark.polygon([((x + sx) * ZOOM, (y + sy) * ZOOM) for x, y in shape], fill=255)
            self.dark.polygon([(x * ZOOM, y * ZOOM) for x, y in shape], fill=0)
        _DRAW[o.kind](self, o, shape)

    def part(self, o: SceneObject, corners: tuple[tuple[float, float], ...], rgb: Rgb, texture: int = 40) -> None:
        """A polygon in the object's own coordinates (-0.5 to 0.5 along and across)."""
        self.polygon(local(o.center, o.angle, o.length, o.width, corners), rgb, texture)

    def rim(self, o: SceneObject, corners: tuple[tuple[float, float], ...], rgb: Rgb, width: float) -> None:
        """A closed outline in the object's own coordinates."""
        points = local(o.center, o.angle, o.length, o.width, corners)
        self.stroke([*points, points[0]], rgb, width)

    def chord(self, o: SceneObject, a: Point, z: Point, rgb: Rgb, width: float, texture: int = 40) -> None:
        """A straight line between two points in the object's own coordinates."""
        self.stroke(local(o.center, o.angle, o.length, o.width, (a, z)), rgb, width, texture)

    def disc(self, center: tuple[float, float], radius: float, rgb: Rgb, texture: int = 40) -> None:
        x, y, r = center[0] * ZOOM, center[1] * ZOOM, radius * ZOOM
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=(*rgb, texture))

    # development ----------------------------------------------------------------------------------------------

    def develop(self) -> np.ndarray:
        """Reduce the layers, then texture, shadow, clouds, light, blur and noise."""
        scene, look = self.scene, self.scene.look
        rng = np.random.default_rng(look.seed)
        size = scene.size
        paint = np.asarray(self.paint.reduce(ZOOM))
        shadow = np.asarray(self.shadow.reduce(ZOOM))
        picture = paint[..., :3].astype(np.float32)
        alpha = paint[..., 3]
        fine, coarse, canopy = _textures(size)
        top, left = (int(v) for v in rng.integers(0, size, 2))
        window = (slice(top, top + size), slice(left, left + size))
        strength = np.minimum(alpha, 200).astype(np.float32) * (look.texture / 200)
        field = 1 + strength * (0.055 * fine[window] + 0.085 * coarse[window])
        leaves = alpha > 225
        if leaves.any():
            field = np.where(leaves, 0.96 + 0.3 * look.texture * canopy[window], field)
        field *= 1 - (0.44 / 255) * shadow
        picture *= field[..., None]
        hue = coarse[window[1], window[0]] * strength
        picture[..., 0] += 3.5 * hue
        picture[..., 2] -= 3.5 * hue
        if scene.clouds:
            picture = self.overcast(picture, fine[window])
        gain = np.asarray(look.tint, dtype=np.float32) * (look.gain * look.contrast * (1 - look.haze))
        offset = 118 * (1 - look.contrast) + 205 * look.haze
        picture = picture * gain + offset
        if scene.greyscale:
            grey = picture @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
            picture = np.repeat(grey[..., None], 3, axis=2)
        if look.noise:
            grain = rng.standard_normal((size, size), dtype=np.float32)
            picture += (look.noise * grain)[..., None]
        out = np.clip(picture, 0, 255).astype(np.uint8)
        if look.blur:
            out = np.asarray(Image.fromarray(out).filter(ImageFilter.GaussianBlur(look.blur)))
        return out

    def overcast(self, picture: np.ndarray, rough: np.ndarray) -> np.ndarray:
        """Lay the clouds over the picture."""
        axis = np.arange(self.scene.size, dtype=np.float32) + 0.5
        for cloud in self.scene.clouds:
            dx, dy = (axis - cloud.center[0]) / cloud.rx, (axis - cloud.center[1]) / cloud.ry
            depth = 1.12 - np.sqrt(dx[None] ** 2 + dy[:, None] ** 2) + 0.035 * rough
            cover = np.clip(depth * 4, 0, 1)[..., None]
            picture = picture * (1 - cover) + (241 + 6 * rough[..., None]) * cover
        return picture


def local(center: tuple[float, float], angle: float, length: float, width: float,
          corners: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:  # fmt: skip
    """Corners in an object's own coordinates (-0.5 to 0.5) as points of the picture."""
    c, s = float(np.cos(angle)), float(np.sin(angle))
    cl, sl, cw, sw = c * length, s * length, c * width, s * width
    return [(center[0] + cl * x - sw * y, center[1] + sl * x + cw * y) for x, y in corners]


@lru_cache(maxsize=4)
def _textures(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fine and coarse noise and tree crowns, each (2 size, 2 size) float32 with mean about 0 and spread about 1."""
    rng = np.random.default_rng(20261)
    side = 2 * size

    def noise(cells: int) -> np.ndarray:
        small = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
        grown = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))
        return grown / grown.std()

    grain = rng.standard_normal((side, side)).astype(np.float32)
    fine = 0.75 * grain + 0.5 * noise(side // 3) + 0.4 * noise(side // 7)
    coarse = 0.8 * noise(14) + 0.6 * noise(34) + 0.3 * noise(80)
    crowns = Image.new("F", (side, side), -1.4)
    draw = ImageDraw.Draw(crowns)
    u = size / 224
    for _ in range(5200):
        x, y = rng.uniform(0, side, 2)
        r, tone = rng.uniform(3.5, 8.5) * u, rng.uniform(-0.55, 0.35)
        for k in range(4):
            q, shift = r * (1 - 0.24 * k), k * u * 0.7
            box = (x - q - shift, y - q - shift, x + q - shift, y + q - shift)
            draw.ellipse(box, fill=tone + 0.28 * k)
    canopy = np.asarray(crowns) * 0.8 + 0.16 * fine + 0.3 * coarse
    return fine, coarse, canopy.astype(np.float32)


# one function a kind: they get the canvas, the object and its outline in picture coordinates


def _plane(k: _Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    k.polygon(shape, o.rgb)
    dark = shade(o.rgb, 0.72)
    k.part(o, ((-0.46, 0.012), (0.4, 0.02), (0.4, -0.02), (-0.46, -0.012)), shade(o.rgb, 1.12))
    for side in (-1, 1):
        k.part(o, ((0.11, 0.2 * side), (0.11, 0.25 * side), (-0.02, 0.25 * side), (-0.02, 0.2 * side)), dark)
    k.part(o, ((0.43, 0.04), (0.46, 0.03), (0.46, -0.03), (0.43, -0.04)), (44, 48, 56))


def _ship(k: _Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    wake = (176, 196, 206)
    if o.variant % 3 == 0:
        k.part(o, ((-0.5, 0.3), (-0.95, 0.12), (-0.95, -0.12), (-0.5, -0.3)), wake, 90)
    k.polygon(shape, o.rgb)
    k.rim(o, SHIP, shade(o.rgb, 0.7), 0.8 * k.u)
    deck = shade(o.rgb, 0.86) if sum(o.rgb) > 300 else shade(o.rgb, 1.25)
    k.part(o, ((0.32, 0.0), (0.2, 0.24), (-0.4, 0.3), (-0.4, -0.3), (0.2, -0.24)), deck)
    k.part(o, ((-0.3, 0.2), (-0.08, 0.2), (-0.08, -0.2), (-0.3, -0.2)), shade(o.rgb, 0.62))


def _car(k: _Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    k.polygon(shape, o.rgb)
    glass = (40, 44, 52) if sum(o.rgb) > 150 else (96, 104, 114)
    k.part(o, ((0.2, 0.38), (0.08, 0.32), (0.08, -0.32), (0.2, -0.38)), glass)
    k.part(o, ((-0.3, 0.32), (-0.38, 0.36), (-0.38, -0.36), (-0.3, -0.32)), glass)


def _house(k: _Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
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


def _tank(k: _Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    r = o.length / 2
    k.disc(o.center, r, shade(o.rgb, 0.74))
    k.disc((o.center[0] - k.cast[0] * 1.2, o.center[1] - k.cast[1] * 1.2), r * 0.93, o.rgb)
    k.disc(o.center, r * 0.3, shade(o.rgb, 0.9))
    k.disc(o.center, r * 0.22, o.rgb)


def _pool(k: _Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
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


def _tree(k: _Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
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


def _tennis(k: _Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    k.polygon(shape, shade(o.rgb, 0.84))
    inner = tuple((x * 0.8, y * 0.74) for x, y in SQUARE)
    k.part(o, inner, shade(o.rgb, 1.12))
    white, thin = (240, 240, 236), 1.1 * k.u
    k.rim(o, inner, white, thin)
    for a, z in (((-0.4, 0.26), (0.4, 0.26)), ((-0.4, -0.26), (0.4, -0.26)), ((0, -0.42), (0, 0.42)),
                 ((-0.2, -0.26), (-0.2, 0.26)), ((0.2, -0.26), (0.2, 0.26)), ((-0.2, 0), (0.2, 0))):  # fmt: skip
        k.chord(o, a, z, white, thin)


def _football(k: _Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
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


def _baseball(k: _Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
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


def _field(k: _Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
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


def _umbrella(k: _Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    k.polygon(shape, o.rgb)
    for i in range(0, 20, 4):
        k.polygon([o.center, shape[i], shape[(i + 2) % 20]], shade(o.rgb, 0.8))
    k.disc(o.center, max(o.length * 0.08, 0.8), (240, 240, 236))


def _dock(k: _Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    wood = (168 + o.variant % 20, 142 + o.variant % 16, 106)
    k.polygon(shape, wood)
    for v in np.linspace(-0.46, 0.46, 12):
        k.chord(o, (float(v), -0.5), (float(v), 0.5), shade(wood, 0.8), 0.7 * k.u)


def _bridge(k: _Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    k.polygon(shape, (196, 194, 188))
    k.part(o, ((-0.5, -0.36), (0.5, -0.36), (0.5, 0.36), (-0.5, 0.36)), (124, 122, 122))
    k.chord(o, (-0.5, 0.0), (0.5, 0.0), (226, 226, 216), 1.1 * k.u)


def _building(k: _Canvas, o: SceneObject, shape: list[tuple[float, float]]) -> None:
    k.polygon(shape, o.rgb)
    k.rim(o, tuple((x * 0.97, y * 0.94) for x, y in SQUARE), shade(o.rgb, 0.78), 1.4 * k.u)
    seams = 5 + o.variant % 5
    for v in np.linspace(-0.42, 0.42, seams):
        k.chord(o, (float(v), -0.44), (float(v), 0.44), shade(o.rgb, 0.9), 0.9 * k.u)
    for i in range(2 + o.variant % 3):
        x = -0.34 + 0.22 * i
        k.part(o, ((x, -0.2), (x + 0.07, -0.2), (x + 0.07, -0.02), (x, -0.02)), shade(o.rgb, 0.66))


_DRAW = {
    "plane": _plane, "ship": _ship, "car": _car, "house": _house, "storage tank": _tank, "pool": _pool, "tree": _tree,
    "tennis court": _tennis, "football field": _football, "baseball field": _baseball, "farm field": _field,
    "umbrella": _umbrella, "dock": _dock, "bridge": _bridge, "large building": _building,
}  # fmt: skip
