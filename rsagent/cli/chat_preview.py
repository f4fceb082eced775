"""A small preview of a picture where the terminal can show one and the extra `preview` is installed."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING

from rsagent.cli.chat_input import silent_keys

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

WIDTH = 24
"""Columns of a preview."""
_SIDE = 256  # pixels; more is not seen in so few columns
_PATIENCE = 1.0  # seconds for a terminal to answer
_HOW_ARE_YOU, _FINE = b"\x1b[5n", b"\x1b[0n"


def show_preview(rgb: NDArray[np.uint8], console: Console) -> None:
    """Draw the picture; nothing where the extra is missing, the terminal is narrow, or somebody types already.

    textual-image asks the terminal what it can, and reads the answer from the keyboard.
    """
    if console.width < 2 * WIDTH:
        return
    with silent_keys():
        if _waits(0):
            return
        # Its warnings come with a traceback, about terminals that do not answer: nothing that a user can do about.
        logging.getLogger("textual_image").addHandler(logging.NullHandler())
        first = "textual_image.renderable" not in sys.modules
        try:
            from PIL import Image
            from textual_image.renderable import Image as Preview  # type: ignore[import-not-found]

            picture = Image.fromarray(rgb)
            picture.thumbnail((_SIDE, _SIDE))
            console.print(Preview(picture, width=WIDTH, height="auto"))
        except (ImportError, ValueError):  # not installed; or what was typed meanwhile was taken for an answer
            return
        finally:
            if first and "textual_image" in sys.modules:
                _take_late_answers()


def _waits(seconds: float) -> bool:
    """Whether something can be read, or will be within `seconds`."""
    import select

    if sys.platform == "win32":  # its consoles cannot be asked
        return False
    return bool(select.select([sys.stdin], [], [], max(0.0, seconds))[0])


def _take_late_answers() -> None:
    """Read the terminal's answers that came too late for the question, else they would stand in the next prompt.

    A terminal answers in order: after the answer to a last question, one that all know, none is left.
    """
    if sys.platform == "win32":
        return
    os.write(sys.stdout.fileno(), _HOW_ARE_YOU)
    read, until = b"", time.monotonic() + _PATIENCE
    while not read.endswith(_FINE) and _waits(until - time.monotonic()):
        piece = os.read(sys.stdin.fileno(), 1)
        if not piece:
            return
        read += piece
