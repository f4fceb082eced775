"""Drawing a scene: flat shapes at twice the size with Pillow, then texture, shadow, light and noise with numpy."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from rsagent.training.render_objects import DRAW, HEIGHT, OUTLINE, SQUARE, local, shade
from rsagent.training.scene_model import Line, Mark, Point, Rgb, Scene, SceneObject

ZOOM = 2
CANOPY = 250
"""The alpha value that marks foliage; smaller values are the strength of the ground's texture."""


def render(scene: Scene) -> np.ndarray:
    """Draw a scene as (size, size, 3) uint8; the same scene gives the same picture."""
    return Canvas(scene).picture()


class Canvas:
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
        """A filled polygon; `texture` (0-200) is how much of the ground's texture it takes on."""
        self.draw.polygon([(x * ZOOM, y * ZOOM) for x, y in points], fill=(*rgb, texture))

    def stroke(self, points: list[tuple[float, float]], rgb: Rgb, width: float, texture: int = 40) -> None:
        """An open line of `width` pixels through the points."""
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
        DRAW[o.kind](self, o, shape)

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
        """A filled circle."""
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
