"""What is printed, and where: results on stdout, all else on stderr; control characters from outside on neither."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rsagent.pixels import printable

if TYPE_CHECKING:
    from rich.console import Console

_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """`text` on one line with every control, bidirectional and other unprintable character written as an escape."""
    return printable(" ".join(text.split()), limit=sys.maxsize)


def say(message: str) -> None:
    """One line for people, on stderr."""
    print(f"rsagent: {visible(message)}", file=sys.stderr, flush=True)


def result(lines: Sequence[str]) -> None:
    """Lines of a result on stdout; two leading spaces indent, what cannot be printed shows as an escape."""
    for line in lines:
        print(("  " if line.startswith("  ") else "") + visible(line))
    sys.stdout.flush()


def result_json(value: Any, *, indent: int | None = 2) -> None:
    """A result as JSON, on stdout; letters of every script stay, what a terminal could obey is escaped."""
    print(to_json(value, indent=indent), flush=True)


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON text that is safe to print on a terminal."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def decorated(plain: bool) -> bool:
    """Whether frames may be drawn: stdout is a terminal that can, and nobody asked for plain."""
    return not plain and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def terminal(stderr: bool = False) -> Console:
    """A terminal for frames and colours; NO_COLOR takes the colours away. No text is read as markup."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


@contextmanager
def counting(total: int, console: Console | None) -> Generator[Callable[[], None]]:
    """A bar on `console` that counts to `total`, gone in the end; gives the function that counts one more."""
    if console is None or total < 2:
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


class SlowProgress:
    """Says on stderr how far a step is, every few seconds, and when it is done."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, name: str, done: int, count: int) -> None:
        """Tell that `done` of `count` are done."""
        if done == count or time.monotonic() - self.last > 5:
            self.last = time.monotonic()
            say(f"{name}: {done:,} of {count:,}")


class _Said(logging.Handler):
    """Says a log's lines as ours, where nobody has set up a log of another form."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            say(record.getMessage())


def say_waits() -> None:
    """Let the preparation of a base LLM, which a first use may begin, tell of itself like a command."""
    log = logging.getLogger("rsagent.model.bases")
    if not log.handlers:
        log.addHandler(_Said())


def quiet_libraries() -> None:
    """Keep back the loading bars, the advice and the coming changes of libraries: nobody asked for them."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="(transformers|peft|torch)")
    logging.getLogger("instructor").setLevel(logging.CRITICAL)  # each answer that is asked for again; the trace counts them
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
