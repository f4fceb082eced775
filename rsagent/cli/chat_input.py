"""What people type: on a terminal with history, search, several lines and completion; else plain lines from stdin."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsagent.imagery import SUFFIXES

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completion
    from prompt_toolkit.document import Document

MOST_TYPED = 10_000
"""Characters of one input; what is pasted beyond that is a mistake."""
_HISTORY = "history"


class TooMuch(Exception):
    """More was typed or pasted at once than anybody asks."""


class Keyboard:
    """A terminal's input line."""

    def __init__(self, commands: Sequence[str], folder: Path | None, colours: bool) -> None:
        """Prepare the line; nothing is shown yet.

        Args:
            commands: what a leading "/" completes to.
            folder: where the history is kept; None keeps it for this conversation only.
            colours: whether the line may use them.
        """
        self._session = _session(commands, folder, colours)

    async def read(self, prompt: str) -> str:
        """The next input.

        Raises:
            EOFError: Ctrl-D, or the terminal is gone.
            KeyboardInterrupt: Ctrl-C.
            TooMuch: it is longer than anybody asks.
        """
        text = await self._session.prompt_async(prompt, handle_sigint=False)  # the loop's handler stays
        if len(text) > MOST_TYPED:
            raise TooMuch
        return text

    def interrupt(self, error: BaseException) -> None:
        """Let `read` raise `error` now, if it is waiting."""
        if self._session.app.is_running:
            self._session.app.exit(exception=error)

    async def above(self, show: Callable[[], None]) -> None:
        """Print something while the line is shown, above it."""
        from prompt_toolkit.application import run_in_terminal

        if self._session.app.is_running:
            await run_in_terminal(show)
        else:
            show()


class Pipe:
    """Lines from a stdin that is no terminal."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[bytes | None] | None = None
        self._waiting: asyncio.Task[bytes | None] | None = None
        self._error: BaseException | None = None

    async def read(self, prompt: str) -> str:
        """The next line; see `Keyboard.read`. Bytes that are no UTF-8 are replaced."""
        del prompt
        if self._lines is None:
            self._lines = asyncio.Queue(maxsize=16)
            arguments = (_stdin_pieces(), self._lines, asyncio.get_running_loop())
            threading.Thread(target=_feed, args=arguments, daemon=True).start()  # reading cannot be cancelled
        self._waiting = asyncio.create_task(self._lines.get())
        try:
            line = await self._waiting
        except asyncio.CancelledError:
            if self._error is None:
                raise
            raise self._error from None
        if line is None:
            raise EOFError
        text = line.decode("utf-8", "replace")
        if len(text) > MOST_TYPED:
            raise TooMuch
        return text

    def interrupt(self, error: BaseException) -> None:
        """Let `read` raise `error` now, if it is waiting."""
        if self._waiting is not None and not self._waiting.done():
            self._error = error
            self._waiting.cancel()

    async def above(self, show: Callable[[], None]) -> None:
        """Print at once."""
        show()


def _stdin_pieces() -> Iterator[bytes]:
    """What is piped in, as it comes; past Python's buffer, whose lock a thread would hold when the process ends."""
    try:
        handle = sys.stdin.fileno()
    except (OSError, ValueError):  # no file
        return iter([sys.stdin.buffer.read()])
    return iter(lambda: os.read(handle, 1 << 16), b"")


def _feed(pieces: Iterator[bytes], lines: asyncio.Queue[bytes | None], loop: asyncio.AbstractEventLoop) -> None:
    """Cut `pieces` into lines and hand them over; of an endless line only enough is kept to see that it is one."""

    def hand(line: bytes | None) -> bool:
        try:
            asyncio.run_coroutine_threadsafe(lines.put(line), loop).result()
        except (RuntimeError, CancelledError):  # the loop has ended
            return False
        return True

    rest = b""
    for piece in pieces:
        first, *more = piece.split(b"\n")
        rest += first[: max(0, 4 * MOST_TYPED + 4 - len(rest))]
        for line in more:
            if not hand(rest.rstrip(b"\r")):
                return
            rest = line[: 4 * MOST_TYPED + 4]
    if rest and not hand(rest):
        return
    hand(None)


_WORD = r"'[^'\n]+'|\"[^\"\n]+\"|(?:\\.|[^\s'\"\\])+"
_LOOK = re.compile(r"^(?:(?:please|now|and|ok) )*(?:look at|open|load|see|here is|here's|take|use)\b[\s:,.]*", re.I)
_INTO = re.compile(r"\b(?:in|of|on|from|for|about|at) $", re.I)


def find_paths(text: str) -> tuple[list[str], str]:
    """Picture files named in `text`, as people drop or type them, and the question without them.

    A word counts when it ends like a picture and there is such a file, or when it begins like a path, too.
    """
    found: list[str] = []
    rest, end = "", 0
    for match in re.finditer(_WORD, text):
        name, mark = _unquoted(match[0])
        there = name.lower().endswith(SUFFIXES) and (
            os.path.isfile(os.path.expanduser(name)) or name.startswith(("/", "./", "../", "~/"))
        )
        if not there:
            continue
        found.append(os.path.expanduser(name))
        before = rest + text[end : match.start()]
        rest = f"{before}the image{mark}" if _INTO.search(before) and not _LOOK.fullmatch(before) else before
        end = match.end()
    rest = " ".join((rest + text[end:]).split())
    return found, _LOOK.sub("", rest).strip() if found else rest


def _unquoted(word: str) -> tuple[str, str]:
    """The file name that a word is, as a shell would read it, and the punctuation after it."""
    if word.startswith("file://"):
        from urllib.parse import unquote

        return unquote(word.removeprefix("file://")), ""
    try:
        parts = shlex.split(word)
    except ValueError:
        return word, ""
    name = parts[0] if len(parts) == 1 else word
    bare = name.rstrip("?.!,:;")
    return (name, "") if name.lower().endswith(SUFFIXES) else (bare, name[len(bare) :])


@contextmanager
def silent_keys() -> Generator[None]:
    """Between two input lines nothing is echoed and nothing is lost: the next line gets what was typed, Ctrl-D too."""
    if not sys.stdin.isatty():
        yield
        return
    try:
        import termios
    except ImportError:  # no such terminals on this platform
        yield
        return
    handle = sys.stdin.fileno()
    try:
        before = termios.tcgetattr(handle)
    except termios.error:  # the terminal is gone, as the next read will say
        yield
        return
    quiet = [before[0] & ~termios.ICRNL, *before[1:3], before[3] & ~(termios.ECHO | termios.ICANON), *before[4:]]
    termios.tcsetattr(handle, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(handle, termios.TCSANOW, before)


def _session(commands: Sequence[str], folder: Path | None, colours: bool) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import InMemoryHistory
    from prompt_toolkit.output import ColorDepth

    history = _history(folder) or InMemoryHistory()
    return PromptSession(
        history=history,
        completer=_completer(commands),
        complete_while_typing=False,
        enable_history_search=True,
        multiline=True,
        key_bindings=_keys(),
        prompt_continuation=lambda width, number, wrapped: " " * width,
        color_depth=None if colours else ColorDepth.DEPTH_1_BIT,
        enable_open_in_editor=False,
        mouse_support=False,
    )


def _history(folder: Path | None) -> Any:
    """The history file, readable by its owner alone; None where it cannot be written."""
    if folder is None:
        return None
    from prompt_toolkit.history import FileHistory

    path = folder / _HISTORY
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    except OSError:
        return None
    return FileHistory(str(path))


def _keys() -> Any:
    """Enter sends, or takes what a search has found; Alt-Enter begins a line; an endless paste is refused."""
    from prompt_toolkit.enums import DEFAULT_BUFFER
    from prompt_toolkit.filters import has_focus
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.keys import Keys

    keys = KeyBindings()

    @keys.add("enter", filter=has_focus(DEFAULT_BUFFER))
    def _send(event: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _newline(event: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        event.current_buffer.insert_text("\n")

    @keys.add(Keys.BracketedPaste)
    def _paste(event: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        text = event.data.replace("\r\n", "\n").replace("\r", "\n")
        if len(text) > MOST_TYPED:
            event.app.exit(exception=TooMuch())
        else:
            event.current_buffer.insert_text(text)

    return keys


def _completer(commands: Sequence[str]) -> Any:
    from prompt_toolkit.completion import Completer, Completion, PathCompleter

    class Complete(Completer):
        """Commands after a leading "/", paths after a command that takes one and after "./", "~/" or "/"."""

        def __init__(self) -> None:
            self._paths = PathCompleter(expanduser=True)

        def get_completions(self, document: Document, complete_event: Any) -> Iterable[Completion]:
            """What the text before the cursor may become."""
            from prompt_toolkit.document import Document

            text = document.text_before_cursor
            if re.fullmatch(r"/[a-z]*", text):
                yield from (Completion(name, -len(text)) for name in commands if name.startswith(text))
            path = re.search(r"(?:^/(?:image|export|map)\s+(.*)|(?:^|\s)((?:\.{1,2}/|~/|/[^/\s]+/)\S*))$", text)
            if path:
                part = path[1] if path[1] is not None else path[2]
                yield from self._paths.get_completions(Document(part), complete_event)

    return Complete()
