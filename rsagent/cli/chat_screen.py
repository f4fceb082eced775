"""What a conversation looks like: aspects in colours with their names on a terminal, bare lines when piped.

Nothing that comes from outside reaches the terminal as it came: every character that does not print shows as an escape.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rsagent.cli.console import decorated, say, terminal, visible
from rsagent.cli.show import COLOURS
from rsagent.pixels import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from rsagent.chat.records import Reply, Turn

Look = Literal["live", "plain", "piped"]
"""A terminal that can draw, one that cannot (or shall not), or no terminal at all."""

_ORDER = ("theme", "object", "relation")
_REDRAWS_A_SECOND = 20
_INDENT = 2


class Screen:
    """Where a conversation is shown.

    Attributes:
        look: how much the output can do.
    """

    def __init__(self, plain: bool, stream: bool = True) -> None:
        """Look at stdout.

        Args:
            plain: no colours, nothing redrawn.
            stream: show words as they come.
        """
        self.look: Look = "piped" if not sys.stdout.isatty() else "live" if decorated(plain) else "plain"
        self._streams = stream and self.look != "piped"
        self._console: Console | None = None
        self._live: Live | None = None
        self._drawn = 0.0
        self._words: dict[str, str] = {}
        self._speaker = ""
        self._column = 0
        self._shown = ""
        self._task = "answer"

    @property
    def console(self) -> Console:
        """The terminal, made when it is first drawn on; it reads its width anew each time."""
        if self._console is None:
            if self.look == "live":
                self._console = terminal()
            else:
                from rich.console import Console

                self._console = Console(color_system=None, markup=False, emoji=False, highlight=False)
        return self._console

    def line(self, text: str, style: str = "") -> None:
        """One line of what was asked for: on stdout."""
        if self.look == "piped":
            print(visible(text), flush=True)
        else:
            self._print(visible(text), style)

    def lines(self, lines: Sequence[str]) -> None:
        """Several lines; two leading spaces indent."""
        for line in lines:
            indent = "  " if line.startswith("  ") else ""
            if self.look == "piped":
                print(indent + visible(line), flush=True)
            else:
                self._print(indent + visible(line))

    def note(self, text: str, style: str = "dim") -> None:
        """One line about what happens: dim on a terminal, on stderr when piped."""
        if self.look == "piped":
            say(text)
        else:
            self._print(visible(text), style)

    def fault(self, text: str) -> None:
        """One line about what went wrong."""
        self.note(text, "yellow")

    def changed(self, number: int) -> None:
        """A picture is no longer the one that was talked about."""
        self.fault(f"picture {number} has changed since it was last looked at: what was said may no longer hold")

    def begin(self, task: str) -> None:
        """A turn begins."""
        self._words, self._speaker, self._shown, self._column, self._task = {}, "", "", 0, task

    def event(self, event: Mapping[str, Any], names: Sequence[str], several: bool) -> None:
        """Show what happens during a turn: an event of `rsagent.chat.graph`.

        Args:
            event: the event.
            names: the pictures' names, number 1 first.
            several: the turn is about more than one picture, so each is named.
        """
        kind = event["type"]
        if kind == "picture":
            self._words, self._speaker, self._shown = {}, "", ""
            if several and self.look != "piped":
                self.note(f"picture {event['picture']} ({names[event['picture'] - 1]})", "bold")
        elif kind == "changed":
            self.changed(event["picture"])
        elif kind == "route":
            self._speaker = self._speaker or event["expert"]
        elif kind == "token" and self._streams:
            self._token(event["expert"], event["text"])

    def reply(self, reply: Reply, task: str, several: bool) -> None:
        """Show a reply that is whole."""
        self._end_live()
        if self.look == "piped":
            self._reply_piped(reply, task, several)
            return
        if task == "caption":
            for expert, text in reply.said.items():
                self._labelled(expert, text or "-")
            self._print(visible(reply.text), "bold")
        else:
            self._finish_answer(reply)
        for line in remarks(reply):
            self._print(visible(line), "yellow")
        self._print(visible(self._footer(reply)), "dim")

    def cite(self, reply: Reply) -> None:
        """Say what an earlier turn had established about the same."""
        if reply.contradicts:
            self.fault(f"contradiction: {reply.earlier}")
        elif reply.earlier and self.look != "piped":
            self._print(visible(reply.earlier), "dim")

    def abandon(self) -> None:
        """The turn failed: what it has drawn is ended."""
        self._end_live()
        if self._column:
            print(flush=True)
            self._column = 0

    def stopped(self, kept: bool) -> None:
        """The turn was cut off."""
        self.abandon()
        self.note("stopped" if kept else "stopped before anything was said")

    def transcript(self, turns: Sequence[Turn]) -> None:
        """Earlier turns, for somebody who comes back to them."""
        for turn in turns:
            self._print(visible(f"> {turn.said}"), "dim")
            for reply in turn.replies:
                self._print(visible(reply.text + (" (cut)" if turn.cut else "")))

    def _reply_piped(self, reply: Reply, task: str, several: bool) -> None:
        label = f"picture {reply.picture}: " if several else ""
        if task == "caption":
            self.lines([f"  {expert}: {text}" for expert, text in reply.said.items()])
        print(label + visible(reply.text), flush=True)
        for line in remarks(reply):
            say(line)

    def _token(self, expert: str, text: str) -> None:
        """A piece of what an expert says: the one who answers at once, a caption's experts side by side."""
        self._words[expert] = self._words.get(expert, "") + text
        if self._task == "caption":
            self._redraw()
        elif expert == self._speaker:
            if not self._shown:
                self._label(expert)
                text = text.lstrip()
            self._shown += text
            self._flow(printable(text, limit=sys.maxsize))

    def _redraw(self) -> None:
        """The experts' words so far, one line each, cut at the terminal's width so that nothing wraps or jumps."""
        if self.look != "live" or time.monotonic() - self._drawn < 1 / _REDRAWS_A_SECOND:
            return
        from rich.live import Live
        from rich.text import Text

        rows = Text(no_wrap=True, overflow="crop")
        for index, expert in enumerate(self._words):
            said = visible(self._words[expert])
            room = max(4, self.console.width - len(expert) - 5)
            rows.append(("\n" if index else "") + visible(expert) + "  ", style=self._colour(expert))
            rows.append(said if len(said) <= room else "…" + said[1 - room :])
        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False, transient=True, vertical_overflow="crop")
            self._live.start()
        self._live.update(rows, refresh=True)
        self._drawn = time.monotonic()

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _finish_answer(self, reply: Reply) -> None:
        """End the streamed line; what was streamed and is not the answer is followed by the answer."""
        streamed = bool(self._shown)
        if self._column:
            print(flush=True)
            self._column = 0
        same = "".join(self._shown.split()) == "".join(reply.text.split()) and self._speaker == reply.expert
        if not streamed or not same:
            self._labelled(reply.expert, reply.text, "bold")
        for expert, text in reply.said.items():
            if expert != reply.expert:
                self._labelled(expert, text, "dim")

    def _label(self, expert: str) -> None:
        from rich.text import Text

        self.console.print(Text(f"{visible(expert)}  ", style=self._colour(expert)), end="")
        self._column = len(expert) + _INDENT
        sys.stdout.flush()

    def _labelled(self, expert: str, text: str, style: str = "") -> None:
        """An expert's name and its words, wrapped under each other."""
        from rich.padding import Padding
        from rich.text import Text

        line = Text(f"{visible(expert)}  ", style=self._colour(expert))
        line.append(visible(text), style=style or "default")
        self.console.print(Padding(line, 0), overflow="fold")

    def _flow(self, text: str) -> None:
        """Write a piece of a streamed line, on a new line where it would not fit."""
        from rich.cells import cell_len

        width, length = max(10, self.console.width), cell_len(text)
        if self._column + length >= width and text.startswith(" "):
            text, length, self._column = "\n" + " " * _INDENT + text.lstrip(), cell_len(text.lstrip()), _INDENT
        sys.stdout.write(text)
        sys.stdout.flush()
        self._column = (self._column + length) % width or 1

    def _footer(self, reply: Reply) -> str:
        parts = [", ".join(reply.said) or reply.expert, f"{reply.tokens} tokens"]
        if reply.seconds > 0:
            parts.append(f"{reply.tokens / reply.seconds:.0f} tokens/s")
        return " · ".join([*parts, f"{reply.seconds:.2f} s"])

    def _colour(self, expert: str) -> str:
        index = _ORDER.index(expert) if expert in _ORDER else len(_ORDER)
        return f"bold {COLOURS[index]}"

    def _print(self, text: str, style: str = "") -> None:
        from rich.text import Text

        self.console.print(Text(text, style=style), overflow="fold")


def remarks(reply: Reply) -> list[str]:
    """What a reader must know of a reply: experts that failed, contradictions between experts."""
    lines = [f"partial: no answer from {', '.join(reply.missing)}"] if reply.missing else []
    return lines + [f"conflict: {what}" for what in reply.conflicts]
