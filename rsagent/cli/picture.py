"""The router picture: the image, and beside it for each expert where in the image its prompt attends."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from rsagent.cli.console import visible
from rsagent.errors import RSAgentError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from rsagent.schemas import ExpertTrace, RouterTrace

SIDE = 320
"""Pixels a panel is wide."""
_GAP = 10
_LINE = 17
_PAPER, _INK, _FAINT = (255, 255, 255), (25, 25, 25), (120, 120, 120)
_HEAT = ((0, 160, 200), (40, 160, 60), (190, 60, 170), (200, 150, 0))
_CELLS = (
    ("upper left", "upper middle", "upper right"),
    ("left", "centre", "right"),
    ("lower left", "lower middle", "lower right"),
)


def router_picture(rgb: NDArray[np.uint8], trace: RouterTrace, said: Mapping[str, str]) -> Image:
    """The image and one panel an expert, with gate, place, nearest words and what the expert said under each.

    Args:
        rgb: the picture, (height, width, 3).
        trace: what the router did with it.
        said: expert -> its report, where there is one.
    """
    from PIL import Image, ImageDraw

    picture = Image.fromarray(rgb).resize(_panel_size(rgb.shape[1], rgb.shape[0]))
    width, height = picture.size
    experts = sorted(trace.experts, key=lambda expert: list(trace.gate).index(expert.prompt.expert))
    texts = [[trace.image.name, f"asked: {trace.instruction}"], *(_about(expert, trace, said) for expert in experts)]
    wrapped = [_wrap(lines, width) for lines in texts]
    under = _LINE * max(len(lines) for lines in wrapped) + _GAP
    sheet = Image.new("RGB", (_GAP + (width + _GAP) * len(texts), height + under + 2 * _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, lines in enumerate(wrapped):
        x = _GAP + index * (width + _GAP)
        panel = picture if index == 0 else _heat(picture, experts[index - 1], _HEAT[(index - 1) % len(_HEAT)])
        sheet.paste(panel, (x, _GAP))
        for row, line in enumerate(lines):
            draw.text((x, height + 2 * _GAP + row * _LINE), line, _INK if row == 0 else _FAINT, font=_font())
    return sheet


def place(attention: Sequence[Sequence[float]]) -> str:
    """Where a map (rows, columns) that sums to 1 is strongest, in words, with the share of that ninth of the image."""
    shares = [[0.0] * 3 for _ in range(3)]
    for row, values in enumerate(attention):
        for column, value in enumerate(values):
            shares[row * 3 // len(attention)][column * 3 // len(values)] += value
    best, row, column = max((shares[row][column], row, column) for row in range(3) for column in range(3))
    if min(len(attention), len(attention[0])) < 3 or best < 1.5 / 9:
        return "the whole image"
    return f"{_CELLS[row][column]} ({best:.0%})"


def save_picture(picture: Image, path: Path) -> None:
    """Write a PNG; it appears whole or not at all.

    Raises:
        RSAgentError: it cannot be written.
    """
    partial = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            partial = file.name
            picture.save(file, format="PNG")
        os.chmod(partial, 0o666 & ~_umask())
        os.replace(partial, path)
    except OSError as error:
        if partial is not None:
            with suppress(OSError):
                os.unlink(partial)
        raise RSAgentError(f"cannot write {path}: {error.strerror or error}") from error


def _panel_size(width: int, height: int) -> tuple[int, int]:
    """SIDE wide, in proportion, between a quarter and twice as high."""
    return SIDE, max(SIDE // 4, min(2 * SIDE, round(SIDE * height / width)))


def _heat(picture: Image, expert: ExpertTrace, colour: tuple[int, int, int]) -> Image:
    """The picture, dark where the prompt does not attend and tinted where it does; brightness alone says it, too."""
    import numpy as np
    from PIL import Image

    attention = np.asarray(expert.attention, np.float32)
    attention = attention / max(float(attention.max()), 1e-9)
    smooth = Image.fromarray(attention).resize(picture.size, Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(smooth, np.float32), 0, 1)[..., None]
    grey = np.asarray(picture.convert("L"), np.float32)[..., None]
    tinted = np.asarray(picture, np.float32) * 0.75 + np.asarray(colour, np.float32) * 0.25
    return Image.fromarray((grey * 0.35 * (1 - heat) + tinted * heat).astype(np.uint8))


def _about(expert: ExpertTrace, trace: RouterTrace, said: Mapping[str, str]) -> list[str]:
    name = expert.prompt.expert
    lines = [f"{name}: gate {trace.gate[name]:.2f}, looks at {place(expert.attention)}"]
    if expert.nearest_words:
        lines.append("near: " + " ".join(expert.nearest_words))
    return [*lines, f"says: {said[name]}"] if said.get(name) else lines


def _wrap(lines: Sequence[str], width: int) -> list[str]:
    """Break `lines` at `width` pixels, at most four rows each; what is left out shows as dots."""
    wrapped: list[str] = []
    for line in lines:
        rows = [""]
        for word in visible(line).split():
            longer = f"{rows[-1]} {word}".strip()
            if _font().getlength(longer) <= width or not rows[-1]:
                rows[-1] = longer
            else:
                rows.append(word)
        for row in rows[:4]:
            while _font().getlength(row) > width:  # one long word
                row = row[:-1]
            wrapped.append(row)
        if len(rows) > 4:
            wrapped[-1] = wrapped[-1][:-3] + "..."
    return wrapped


@lru_cache(maxsize=1)
def _font() -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(13)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
