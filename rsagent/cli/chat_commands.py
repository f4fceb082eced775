"""The commands of a conversation: what begins with a slash."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rsagent.errors import UserError
from rsagent.graphs.text import clean
from rsagent.imagery import SUFFIXES

if TYPE_CHECKING:
    from rsagent.cli.chat_loop import Loop

HELP = {
    "/help": "this list",
    "/image PATH": "add a picture and look at it from now on; a path in a question does the same",
    "/images": "the pictures, the current one marked",
    "/use N": "look at picture N",
    "/caption [STYLE]": "describe the picture",
    "/aspects": "what each expert said in the last turn",
    "/trace": "what the router did with the last question",
    "/map [FILE]": "save a picture of where each expert looked, and print its path",
    "/experts [A,B|all]": "which experts there are; ask only these from now on",
    "/engine": "what answers",
    "/undo": "take the last turn back",
    "/retry": "ask the last question again, in place of the last turn",
    "/clear": "begin a new session with the same pictures",
    "/save TITLE": "give the session a title (it is kept in any case)",
    "/load ID": "go on with another session",
    "/sessions": "the sessions that are kept",
    "/export FILE": "write the conversation to FILE.md, FILE.json or FILE.html",
    "/exit": "leave (Ctrl-D does, too)",
}
NAMES = tuple(line.split()[0] for line in HELP)
_MOST_SHOWN = 40  # characters of a command that there is not


def command_of(text: str) -> tuple[str, str] | None:
    """A command, or what was meant as one, and its argument; None for a path: a second "/", a picture's name, or a file."""
    match = re.match(r"(/[^\s/]*)(?:\s+(.*))?$", text, re.S)
    if match is None or match[1].lower().endswith(SUFFIXES) or (match[1].lower() not in NAMES and os.path.isfile(match[1])):
        return None
    return match[1].lower(), (match[2] or "").strip()


def _nearest(name: str) -> str:
    """What to do about a command that there is not."""
    bare = re.match(r"/[a-z]*", name)
    close = [bare[0]] if bare and bare[0] in NAMES else difflib.get_close_matches(name, NAMES, n=1)
    return f"did you mean {close[0]}?" if close else "/help lists them"


class Commands:
    """The commands, each a method `do_NAME` that takes what stands after the name."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    async def run(self, name: str, argument: str) -> None:
        """Run a command.

        Raises:
            UserError: there is no such command, or it cannot be done.
            EOFError: the conversation is over.
        """
        if name in ("/quit", "/bye", "/q"):
            name = "/exit"
        if name not in NAMES:
            raise UserError(f"there is no command {clean(name[:_MOST_SHOWN])}: {_nearest(name)}")
        method: Callable[[str], Awaitable[None]] = getattr(self, f"do_{name[1:]}")
        await method(argument)

    async def do_help(self, argument: str) -> None:
        """List the commands."""
        del argument
        width = max(map(len, HELP))
        self.loop.screen.lines([f"  {usage:{width}}  {what}" for usage, what in HELP.items()])

    async def do_image(self, argument: str) -> None:
        """Add a picture."""
        if not argument:
            raise UserError("/image needs the path of a picture")
        path = argument.strip("'\"").replace("\\ ", " ")
        await self.loop.add_picture(path)

    async def do_images(self, argument: str) -> None:
        """List the pictures."""
        del argument
        talk = self.loop.talk
        if not talk.pictures:
            raise UserError("there is no picture yet: /image PATH gives one")
        gone = talk.missing()
        self.loop.screen.lines(
            [
                f"{'*' if number == talk.current else ' '} {number}  {picture.path}{'  (gone)' if number in gone else ''}"
                for number, picture in enumerate(talk.pictures, 1)
            ]
        )

    async def do_use(self, argument: str) -> None:
        """Choose the current picture."""
        if not re.fullmatch(r"[0-9]{1,4}", argument):
            raise UserError("/use needs the number of a picture: /images lists them")
        self.loop.talk.use(int(argument))
        self.loop.screen.note(f"picture {argument}: {self.loop.talk.pictures[int(argument) - 1].name}")

    async def do_caption(self, argument: str) -> None:
        """Describe the current picture."""
        await self.loop.describe(argument or self.loop.settings.style)

    async def do_aspects(self, argument: str) -> None:
        """What each expert said."""
        del argument
        if not self.loop.talk.turns:
            raise UserError("nothing was said yet: /caption describes the picture")
        for reply in self.loop.talk.turns[-1].replies:
            self.loop.screen.lines([f"{expert}: {text or '-'}" for expert, text in reply.said.items()])

    async def do_trace(self, argument: str) -> None:
        """What the router did."""
        del argument
        from rsagent.cli.picture import place

        trace, _ = await self.loop.explain_last()
        lines = [f"instruction: {trace.instruction}"]
        for expert in trace.experts:
            name = expert.prompt.expert
            lines += [
                f"{name}: gate {trace.gate[name]:.2f}, looks at {place(expert.attention)}",
                f"  prompt: {expert.prompt.text}",
            ]
            lines += [f"  nearest words: {' '.join(expert.nearest_words)}"] if expert.nearest_words else []
        self.loop.screen.lines(lines)

    async def do_map(self, argument: str) -> None:
        """Save the router picture."""
        import asyncio

        from rsagent.cli.picture import router_picture, save_picture
        from rsagent.imagery import load_image

        trace, reply = await self.loop.explain_last()
        picture = self.loop.talk.pictures[reply.picture - 1]
        path = Path(argument).expanduser() if argument else Path(f"{Path(picture.path).stem}-router.png")

        def draw() -> None:
            rgb = load_image(picture.path, max_pixels=self.loop.settings.max_pixels).rgb
            save_picture(router_picture(rgb, trace, reply.said), path)

        await asyncio.to_thread(draw)
        self.loop.screen.line(os.fspath(path))

    async def do_experts(self, argument: str) -> None:
        """Which experts there are, or which are asked."""
        from rsagent.cli.options import parse_experts

        _, engine = await self.loop.ready()
        if argument:
            self.loop.experts = () if argument == "all" else parse_experts(argument, engine.experts)
        asked = self.loop.experts or engine.experts
        self.loop.screen.line(", ".join(f"{name}{'' if name in asked else ' (not asked)'}" for name in engine.experts))

    async def do_engine(self, argument: str) -> None:
        """What answers."""
        del argument
        _, engine = await self.loop.ready()
        styles = ", ".join(dict.fromkeys(("detailed", *engine.styles)))
        self.loop.screen.line(f"{self.loop.talk.engine}, device {self.loop.settings.device}, styles {styles}")

    async def do_undo(self, argument: str) -> None:
        """Take the last turn back."""
        del argument
        self.loop.screen.note(f"taken back: {self.loop.talk.undo().said}")

    async def do_retry(self, argument: str) -> None:
        """Ask the last question again."""
        del argument
        await self.loop.ask_again()

    async def do_clear(self, argument: str) -> None:
        """A new session."""
        del argument
        self.loop.talk.begin_anew()
        self.loop.screen.note("a new session; the pictures stay")

    async def do_save(self, argument: str) -> None:
        """Give the session a title."""
        if not argument:
            raise UserError("/save needs a title")
        self.loop.talk.rename(argument)
        self.loop.screen.note(f"saved as {self.loop.talk.id}: {self.loop.talk.title}")

    async def do_load(self, argument: str) -> None:
        """Go on with another session."""
        if not argument:
            raise UserError("/load needs the id of a session: /sessions lists them")
        self.loop.talk.resume(argument)
        await self.loop.tell_resumed()

    async def do_sessions(self, argument: str) -> None:
        """List the sessions."""
        del argument
        from rsagent.cli.sessions import session_lines

        lines = session_lines(self.loop.talk.store)
        self.loop.screen.lines(lines or ["there is no session yet"])

    async def do_export(self, argument: str) -> None:
        """Write the conversation to a file."""
        from rsagent.chat.export import export

        if not argument:
            raise UserError("/export needs a file name that ends in .md, .json or .html")
        talk, path = self.loop.talk, Path(argument).expanduser()
        if not talk.turns:
            raise UserError("nothing was said yet, so there is nothing to export")
        export(path, talk.title, talk.pictures, talk.turns)
        self.loop.screen.line(os.fspath(path))

    async def do_exit(self, argument: str) -> None:
        """Leave."""
        del argument
        raise EOFError


__all__ = ["HELP", "NAMES", "Commands", "command_of"]
