"""What people expect of a prompt, and of one whose home or terminal is not there: on a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path

import pytest
from PIL import Image

from rsagent.chat.conversation import Conversation
from rsagent.chat.store import Store
from tests.cli.terminal import PATIENCE, Terminal

ROOT = Path(__file__).parents[2]
PROMPT = "field.png>"


def start(place: Path, **options: dict[str, str]) -> Terminal:
    """A conversation about `field.png`, at its first prompt."""
    terminal = Terminal("chat", "field.png", "--no-preview", cwd=place, **options)
    terminal.wait(PROMPT)
    return terminal


def test_what_was_typed_in_one_session_is_found_in_the_next(place: Path, picture: Path) -> None:
    with start(place) as first:
        for number, question in enumerate(("Is there a bridge?", "Where is the pond?"), 1):
            first.type(question)
            first.wait("tokens/s", times=number)
        first.press("d")
        assert first.end() == 0
    with start(place) as second:
        second.child.send("\x1b[A")
        second.wait(f"{PROMPT} Where is the pond?")
        second.child.send("\x1b[A")
        second.wait(f"{PROMPT} Is there a bridge?")
        second.child.send("\x1b[B" * 2)  # back to the empty line; to clear the one from the past would lose it for the search
        second.press("r")
        second.wait("I-search backward")
        second.child.send("brid")
        second.wait("Is there a bridge?")
        second.child.send("\r")  # takes what was found, to be edited
        second.child.send("\r")
        second.wait("tokens/s")
        assert any(line == f"{PROMPT} Is there a bridge?" for line in second.lines())
    assert (place / "home" / "history").stat().st_mode & 0o077 == 0


def test_paths_are_completed(place: Path, picture: Path) -> None:
    (place / "pictures").mkdir()
    Image.new("RGB", (20, 20), (9, 0, 0)).save(place / "pictures" / "harbour.png")
    with start(place) as terminal:
        terminal.child.send("/image pic\t")
        terminal.wait("/image pictures")
        terminal.child.send("/har\t")
        terminal.wait("/image pictures/harbour.png")
        terminal.child.send("\r")
        terminal.wait("picture 2: harbour.png")
        terminal.child.send("Is there a pond in ./fie\t")
        terminal.wait("Is there a pond in ./field.png")
        terminal.child.send("\r")
        terminal.wait("tokens/s")


def test_without_a_home_directory_it_talks_and_says_that_nothing_is_kept(
    place: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose user the system does not know."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    (place / "unknown").mkdir()
    (place / "unknown" / "sitecustomize.py").write_text(
        "import pwd\ndef nobody(uid):\n    raise KeyError(uid)\npwd.getpwuid = nobody\n"
    )
    before = set(place.rglob("*"))
    environment = {"RSAGENT_HOME": "", "PYTHONPATH": f"{place / 'unknown'}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    with start(place, environment=environment) as terminal:
        terminal.wait("there is no home folder, so nothing of this conversation is kept")
        terminal.type("How many ships are there?")
        terminal.wait("tokens/s")
        terminal.child.send("\x1b[A")
        terminal.wait(f"{PROMPT} How many ships are there?", times=2)
        terminal.child.send("\x15and what colour are they?\r")
        terminal.wait("asked: What colour are the ships?")
        terminal.wait("tokens/s", times=2)
        terminal.press("d")
        assert terminal.end() == 0 and b"Traceback" not in terminal.raw
    assert set(place.rglob("*")) == before


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
@pytest.mark.parametrize("answering", [False, True], ids=["at the prompt", "in an answer"])
def test_a_terminal_that_goes_away(
    place: Path, picture: Path, script: Callable[..., None], told: bool, answering: bool
) -> None:
    """Told by SIGHUP, as by a window that is closed; or not, as after `nohup` or on a line that just ends."""
    script(answers={"object": ["two", " ".join(f"word{index}" for index in range(2000))]}, pace=0.02)
    ours, theirs = pty.openpty()
    with (place / "errors").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "rsagent", "chat", "field.png", "--no-preview"],
            stdin=theirs,
            stdout=theirs,
            stderr=errors,
            start_new_session=True,
            preexec_fn=(lambda: ioctl(0, termios.TIOCSCTTY, 0)) if told else None,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "TERM": "xterm-256color",
                "RSAGENT_HOME": str(place / "home"),
                "PROMPT_TOOLKIT_NO_CPR": "1",
            },
        )
    os.close(theirs)
    try:
        read_until(ours, PROMPT)
        os.write(ours, b"How many ships are there?\r")
        read_until(ours, f"tokens/s.*{PROMPT}")
        if answering:
            os.write(ours, b"What is there?\r")
            read_until(ours, "word3")
        os.close(ours)
        process.wait(60)
    finally:
        process.kill()
    said = (place / "errors").read_text()
    assert "Traceback" not in said and said.count("\n") <= 1, said
    store = Store.open(place / "home")
    turns = Conversation(store, store.list()[0].id, hold=False).turns
    store.close()
    assert turns[0].said == "How many ships are there?" and turns[0].replies[0].text == "two"


def read_until(terminal: int, wanted: str) -> None:
    """Read what is written until it holds `wanted`, an expression."""
    read, until = "", time.monotonic() + PATIENCE
    while not re.search(wanted, read, re.S):
        assert time.monotonic() < until, read
        read += os.read(terminal, 1 << 16).decode("utf-8", "replace")
