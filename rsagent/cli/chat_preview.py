"""A small preview of a picture where the terminal can show one and the extra `preview` is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

WIDTH = 24
"""Columns of a preview."""
_SIDE = 256  # pixels; more is not seen in so few columns


def show_preview(rgb: NDArray[np.uint8], console: Console) -> None:
    """Draw the picture; nothing where the extra is missing or the terminal is narrow."""
    if console.width < 2 * WIDTH:
        return
    try:
        from textual_image.renderable import Image as Preview  # type: ignore[import-not-found]
    except ImportError:
        return
    from PIL import Image

    picture = Image.fromarray(rgb)
    picture.thumbnail((_SIDE, _SIDE))
    console.print(Preview(picture, width=WIDTH, height="auto"))
