"""`rsagent chat` on a real pseudo-terminal, as a person sees it."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal

Chat = Callable[..., Terminal]


@pytest.fixture
def chat(place: Path, picture: Path) -> Iterator[Chat]:
    """Start `rsagent chat` about one picture on a terminal, and wait for the prompt."""
    started: list[Terminal] = []

    def start(*arguments: object, wait: bool = True, **options: object) -> Terminal:
        terminal = Terminal("chat", *(arguments or (picture,)), cwd=place, **options)  # type: ignore[arg-type]
        started.append(terminal)
        if wait:
            terminal.wait("field.png>")
        return terminal

    yield start
    for terminal in started:
        terminal.child.close(force=True)


def test_a_conversation(chat: Chat) -> None:
    terminal = chat()
    terminal.type("How many ships are there?")
    terminal.wait("tokens/s")
    terminal.type("and what colour are they?")
    terminal.wait("asked: What colour are the ships?")
    terminal.wait("tokens/s", times=2)
    terminal.type("/caption")
    terminal.wait("The houses are side by side.", times=4)  # two answers, the aspect, the caption
    assert b"\x1b[1;36mtheme" in terminal.raw and b"\x1b[1;32mobject" in terminal.raw
    terminal.type("/nonsense")
    terminal.wait("there is no command /nonsense")
    terminal.press("d")
    assert terminal.end() == 0
    assert b"Traceback" not in terminal.raw


def test_without_colours_the_names_still_tell_the_experts_apart(chat: Chat) -> None:
    for arguments, environment in (((), {"NO_COLOR": "1"}), (("--plain",), {}), ((), {"TERM": "dumb"})):
        terminal = chat("field.png", *arguments, environment=environment)
        terminal.type("/caption")
        terminal.wait("tokens")
        assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", terminal.raw)
        assert any(line.startswith("relation") for line in terminal.lines())
        terminal.press("d")
        assert terminal.end() == 0


def test_ctrl_c_stops_the_answer_and_keeps_what_was_written(chat: Chat, script: Callable[..., None]) -> None:
    script(answers={"object": " ".join(f"word{index}" for index in range(60))}, pace=0.05)
    terminal = chat()
    terminal.type("What is there?")
    terminal.wait("word3")
    terminal.press("c")
    terminal.wait("stopped")
    terminal.wait("field.png>", times=2)
    terminal.type("/retry")
    terminal.wait("word2", times=2)
    time.sleep(1.1)  # a second Ctrl-C within a second would leave
    terminal.press("c")
    terminal.wait("stopped", times=2)
    time.sleep(1.1)
    terminal.press("c")
    terminal.wait("press Ctrl-C again to leave")
    terminal.press("c")
    assert terminal.end() == 130


def test_a_resize_during_an_answer_breaks_nothing(chat: Chat, script: Callable[..., None]) -> None:
    words = " ".join(f"word{index}" for index in range(30))
    script(answers={"theme": words, "object": words, "relation": words}, pace=0.04)
    terminal = chat()
    terminal.type("/caption")
    terminal.wait("word2")
    for columns in (40, 120, 20, 80):
        terminal.resize(columns)
        for _ in range(4):
            terminal.pump()
    terminal.wait("tokens/s")
    terminal.type("How many?")
    terminal.wait("tokens/s", times=2)
    terminal.press("d")
    assert terminal.end() == 0 and b"Traceback" not in terminal.raw


def test_a_terminal_of_twenty_columns(chat: Chat) -> None:
    terminal = chat("field.png", columns=20, wait=False)
    terminal.wait("field.png"[:6])
    terminal.type("How many?")
    terminal.wait("tokens")
    terminal.type("/help")
    terminal.wait("/exit")
    terminal.press("d")
    assert terminal.end() == 0 and b"Traceback" not in terminal.raw


def test_editing_history_and_pasting(chat: Chat) -> None:
    terminal = chat()
    terminal.child.send("Is there a bridgex\x7f?\r")
    terminal.wait("tokens/s")
    terminal.child.send("\x1b[A")
    terminal.wait("Is there a bridge?", times=2)
    terminal.child.send("\x15\x1b[200~Where is\nthe house?\x1b[201~")
    terminal.wait("the house?")
    terminal.child.send("\r")
    terminal.wait("tokens/s", times=2)
    terminal.child.send("\x1b[200~" + "x" * 200_000 + "\x1b[201~")
    terminal.wait("more than 10,000 characters")
    terminal.child.send("/ima\t")
    terminal.wait("/image")
    terminal.child.send("s\x15/images\r")
    terminal.wait("* 1")
    terminal.press("d")
    assert terminal.end() == 0 and b"Traceback" not in terminal.raw


def test_hostile_words_of_a_model_stay_words(chat: Chat, script: Callable[..., None]) -> None:
    evil = "\x1b]0;owned\x07 \x1b[2Jgone\x9b31m [bold]markup[/bold] {{7*7}} \u202etxet " + "x" * 10_000
    script(answers={"theme": evil, "object": evil, "relation": evil})
    terminal = chat()
    terminal.type("What is there?")
    terminal.wait("tokens/s")
    terminal.type("/caption")
    terminal.wait("tokens/s", times=2)
    terminal.press("d")
    terminal.end()
    for harm in (b"\x1b]0;owned", b"\x1b[2Jgone", b"\x9b31m", "\u202e".encode()):
        assert harm not in terminal.raw
    assert b"[bold]markup[/bold]" in terminal.raw and b"{{7*7}}" in terminal.raw


def test_the_second_terminal_is_told_and_may_look(chat: Chat) -> None:
    first = chat()
    first.type("How many ships are there?")
    first.wait("tokens/s")
    second = chat("--continue", wait=False)
    second.wait("another terminal holds this session")
    second.wait("> How many ships are there?")
    second.type("Where are they?")
    second.wait("read-only", times=2)
    second.type("/clear")
    second.type("Where are they?")
    second.wait("tokens/s")


def test_what_cannot_be_used_is_refused_at_once(chat: Chat, place: Path) -> None:
    assert chat("gone.png", wait=False).end() == 2
    (place / "text.png").write_text("no picture")
    terminal = chat("text.png", wait=False)
    assert terminal.end() == 2 and "it holds text" in "\n".join(terminal.lines())


def test_tmux_smoke(place: Path, picture: Path) -> None:
    """A terminal that many people use; skipped where it is not installed."""
    import shutil
    import sys

    tmux = shutil.which("tmux")
    if tmux is None:
        pytest.skip("tmux is not installed")
    call = [tmux, "-L", f"rsagent-test-{place.name}", "-f", "/dev/null"]
    root = Path(__file__).parents[2]
    inner = f"PYTHONPATH={root} RSAGENT_HOME={place}/home RSAGENT_ENGINE=scripted {sys.executable} -m rsagent chat {picture}"
    subprocess.run([*call, "new-session", "-d", "-x", "100", "-y", "30", "-c", str(place), inner], check=True)
    try:
        for keys, wanted in (("How many ships are there?", "tokens/s"), ("and where are they?", "asked: Where are the ships?")):
            _until(call, "field.png>")
            subprocess.run([*call, "send-keys", "-l", keys], check=True)
            subprocess.run([*call, "send-keys", "Enter"], check=True)
            _until(call, wanted)
        subprocess.run([*call, "send-keys", "C-d"], check=True)
    finally:
        subprocess.run([*call, "kill-server"], check=False, capture_output=True)


def _until(call: list[str], text: str) -> None:
    for _ in range(300):
        shown = subprocess.run([*call, "capture-pane", "-p"], capture_output=True, text=True, check=False).stdout
        if text in shown:
            return
        time.sleep(0.2)
    raise AssertionError(f"{text!r} did not appear:\n{shown}")
