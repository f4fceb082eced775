"""The small picture in a conversation: drawn where it can be, and nothing that is typed suffers from it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal

pytest.importorskip("textual_image")
ROOT = Path(__file__).parents[2]
HALF = "▀"


def test_a_small_picture_is_drawn_and_nothing_is_left_in_the_prompt(place: Path, picture: Path) -> None:
    with Terminal("chat", picture, cwd=place) as terminal:
        terminal.wait("field.png>")
        assert HALF * 24 in "\n".join(terminal.lines())
        assert next(line for line in terminal.lines() if "field.png>" in line) == "field.png>"
        terminal.type("Is there a pond?")
        terminal.wait("tokens/s")
        assert any(line == "field.png> Is there a pond?" for line in terminal.lines())
        terminal.type(f"/image {picture.absolute()}")
        terminal.wait("picture 1: field.png", times=2)
        terminal.wait("field.png>", times=3)
        terminal.press("d")
        assert terminal.end() == 0 and b"Traceback" not in terminal.raw and b"Failed" not in terminal.raw


@pytest.mark.parametrize(
    ("flags", "columns", "environment"),
    [
        (["--no-preview"], 80, {}),
        (["--plain"], 80, {}),
        ([], 80, {"TERM": "dumb"}),
        ([], 40, {}),
    ],
)
def test_no_picture_is_drawn(place: Path, picture: Path, flags: list[str], columns: int, environment: dict[str, str]) -> None:
    with Terminal("chat", picture, *flags, cwd=place, columns=columns, environment=environment) as terminal:
        terminal.wait("field.png>")
        terminal.type("Is there a pond?")
        terminal.wait("tokens")
        assert HALF.encode() not in terminal.raw
        for question in (b"\x1b[c", b"\x1b_G", b"\x1b[16t"):  # nor is the terminal asked what it can
            assert question not in terminal.raw


def test_piped_questions_on_a_terminal_get_no_picture(place: Path, picture: Path) -> None:
    """The answers of a terminal cannot be read where stdin is a pipe."""
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rsagent", "chat", str(picture)],
            input=b"Is there a pond?\n",
            stdout=theirs,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "RSAGENT_HOME": str(place / "home")},
            timeout=120,
        )
        shown = os.read(ours, 1 << 16)
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.returncode == 0, done.stderr
    assert b"This is a scripted scene." in shown and HALF.encode() not in shown
