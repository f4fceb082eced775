"""A real pseudo-terminal with `rsagent` in it, and the screen that a person would see."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import TracebackType

import pexpect
import pyte

PATIENCE = 120.0
"""Seconds after which what should appear has not: generous, because test machines are busy."""


class _Screen(pyte.HistoryScreen):
    """A screen that answers when it is asked where its cursor is."""

    child: pexpect.spawn

    def write_process_input(self, data: str) -> None:
        self.child.send(data)


class Terminal:
    """`python -m rsagent ARGUMENTS` on a terminal of its own.

    Attributes:
        raw: every byte that it wrote.
        child: the process.
    """

    def __init__(
        self, *arguments: object, cwd: Path, columns: int = 80, rows: int = 30, environment: dict[str, str] | None = None
    ) -> None:
        known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        environment = {**known, "TERM": "xterm-256color", "RSAGENT_HOME": str(cwd / "home"), **(environment or {})}
        environment.setdefault("PYTHONPATH", str(Path(__file__).parents[2]))
        self.raw = b""
        self._screen = _Screen(columns, rows, history=5000, ratio=0.1)
        self._stream = pyte.ByteStream(self._screen)
        command = ["-m", "rsagent", *map(str, arguments)]
        self.child = pexpect.spawn(
            sys.executable, command, env=environment, cwd=str(cwd), dimensions=(rows, columns), timeout=PATIENCE
        )
        self.child.delaybeforesend = None
        self._screen.child = self.child

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.child.close(force=True)

    def pump(self, seconds: float = 0.05) -> bool:
        """Take in what is written within `seconds`; False when the process has closed its terminal."""
        try:
            piece = self.child.read_nonblocking(1 << 16, seconds)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += piece
        self._stream.feed(piece)
        return True

    def lines(self) -> list[str]:
        """What has been shown, scrolled off lines included, without empty lines and trailing spaces."""
        width = self._screen.columns
        above = ["".join(line[column].data for column in range(width)) for line in self._screen.history.top]
        return [line.rstrip() for line in [*above, *self._screen.display] if line.strip()]

    def wait(self, text: str, times: int = 1, seconds: float = PATIENCE) -> float:
        """Until `text` has been shown on `times` lines; gives the seconds it took."""
        began = time.monotonic()
        while sum(text in line for line in self.lines()) < times:
            assert time.monotonic() - began < seconds, f"{text!r} did not appear:\n" + "\n".join(self.lines())
            alive = self.pump()
            assert alive or text in "\n".join(self.lines()), f"ended before {text!r}:\n" + "\n".join(self.lines())
        return time.monotonic() - began

    def wait_bytes(self, text: bytes, after: int = 0, seconds: float = PATIENCE) -> None:
        """Until `text` has been written, after the first `after` bytes."""
        until = time.monotonic() + seconds
        while text not in self.raw[after:]:
            assert time.monotonic() < until and self.pump(), f"{text!r} was not written:\n" + "\n".join(self.lines())

    def type(self, text: str) -> None:
        """Press the keys of `text`, and Enter."""
        self.child.send(text + "\r")

    def press(self, letter: str) -> None:
        """Press Ctrl with a letter."""
        self.child.sendcontrol(letter)

    def resize(self, columns: int, rows: int = 30) -> None:
        """Make the terminal another size."""
        self._screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)
        self.child.kill(signal.SIGWINCH)

    def end(self, seconds: float = PATIENCE) -> int:
        """Wait for the process to end; gives its exit code."""
        until = time.monotonic() + seconds
        while self.pump(0.1):
            assert time.monotonic() < until, "it does not end:\n" + "\n".join(self.lines())
        self.child.close()
        return self.child.exitstatus if self.child.exitstatus is not None else -(self.child.signalstatus or 0)
