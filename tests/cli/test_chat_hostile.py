"""Whatever a model, a file name or a person writes: no escape of theirs reaches the terminal, and nothing breaks."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsagent.chat.records import Reply, Turn
from rsagent.cli.chat_commands import command_of
from rsagent.cli.chat_input import find_paths
from rsagent.cli.chat_screen import Screen

EXAMPLES = int(os.environ.get("RSAGENT_HOSTILE", "60"))

pieces = st.sampled_from(
    [
        "\x1b", "\x1b[31m", "\x1b]0;title\x07", "\x1b[2J", "\x9b2J", "\x1bP", "\x07", "\x08", "\r", "\n", "\t", "\x00", "\x7f",
        "\u202e", "\u2066", "\u200b", "\ud800", "\u0301", "\U0001f468\u200d\U0001f469", "[red]x[/red]", "[/]", "{{7*7}}", "%s",
        "x" * 300, "字" * 90, " ", "word", "é", "\\x1b", "</b>", "\x85", "\u2028",
    ]
)  # fmt: skip
hostile = st.one_of(st.lists(pieces, max_size=12).map("".join), st.text(max_size=120))
# What rich itself writes: colours, the cursor hidden and shown, lines redrawn.
OURS = re.compile(r"\x1b\[(?:\d{1,3}(?:;\d{1,3})*)?m|\x1b\[\?25[lh]|\x1b\[\d*[AGK]|\x1b\[2K")


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(look: str, texts: list[str], columns: int) -> str:
    """What a turn with these texts writes."""
    out = Tty()
    names = [texts[0]]
    reply = Reply(picture=1, text=texts[1], expert=texts[2], said={texts[2]: texts[1], "theme": texts[3]}, conflicts=[texts[4]])
    environment = {"COLUMNS": str(columns), "TERM": "xterm-256color"}
    with patch.object(sys, "stdout", out), patch.object(sys, "stderr", out), patch.dict(os.environ, environment):
        screen = Screen(plain=look == "plain")
        assert screen.look == look
        for task in ("answer", "caption"):
            screen.begin(task)
            screen.event({"type": "picture", "picture": 1}, names, True)
            screen.event({"type": "route", "expert": texts[2], "text": "", "picture": 1}, names, True)
            for text in texts:
                screen.event({"type": "token", "expert": texts[2], "text": text, "picture": 1}, names, True)
            screen.reply(reply, task, True)
            screen.cite(reply.model_copy(update={"earlier": texts[0], "contradicts": True}))
            screen.stopped(kept=True)
        screen.fault(texts[0])
        screen.lines(texts)
        screen.transcript([Turn(number=1, said=texts[0], question=texts[1], pictures=[1], replies=[reply])])
    return out.getvalue()


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(hostile, min_size=5, max_size=8), st.integers(10, 120), st.sampled_from(["live", "plain"]))
def test_no_escape_reaches_the_terminal(texts: list[str], columns: int, look: str) -> None:
    left = OURS.sub("", show(look, texts, columns)) if look == "live" else show(look, texts, columns)
    bad = {mark for mark in left if (ord(mark) < 32 and mark not in "\n\r") or 127 <= ord(mark) < 160}
    assert not bad
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]", left)


@settings(max_examples=EXAMPLES, deadline=None)
@given(hostile)
def test_whatever_is_typed_is_a_command_pictures_or_a_question(text: str) -> None:
    command = command_of(text)
    assert command is None or re.fullmatch(r"/[^\s/]*", command[0])
    paths, rest = find_paths(text)
    assert all(path for path in paths) and isinstance(rest, str)


def test_pictures_in_a_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "my photo.jpg", "b.tif"):
        (tmp_path / name).write_bytes(b"x")
    assert find_paths("a.png how many ships are there?") == (["a.png"], "how many ships are there?")
    assert find_paths("How many ships are in a.png?") == (["a.png"], "How many ships are in the image?")
    assert find_paths("look at 'my photo.jpg'") == (["my photo.jpg"], "")
    assert find_paths(r"my\ photo.jpg") == (["my photo.jpg"], "")
    assert find_paths(f"file://{tmp_path}/my%20photo.jpg") == ([f"{tmp_path}/my photo.jpg"], "")
    assert find_paths("a.png b.tif: where is the pond?") == (["a.png", "b.tif"], "where is the pond?")
    assert find_paths("is c.png there? it's a 'test") == ([], "is c.png there? it's a 'test")
    assert find_paths("/nowhere/at/all.png") == (["/nowhere/at/all.png"], "")
    assert command_of("/nowhere/at/all.png") is None and command_of("/use 2") == ("/use", "2")
