"""The loop of a conversation: read, understand, ask, show. The networks load while the first question is typed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from rsagent.chat.conversation import Conversation
from rsagent.cli.chat_commands import NAMES, Commands, command_of
from rsagent.cli.chat_input import MOST_TYPED, Keyboard, Pipe, TooMuch, find_paths, silent_keys
from rsagent.cli.chat_screen import Screen
from rsagent.errors import RSAgentError, UserError

if TYPE_CHECKING:
    from rsagent.agent import RSAgent
    from rsagent.chat.records import Reply
    from rsagent.engines.base import Engine
    from rsagent.schemas import RouterTrace
    from rsagent.settings import Settings

_TWICE = 1.0
"""Seconds within which a second Ctrl-C leaves."""


class Leave(Exception):
    """Ctrl-C, twice."""


class Loop:
    """A conversation at the terminal, or over a pipe.

    Attributes:
        talk: the conversation.
        screen: where it is shown.
        experts: ask only these; empty means those that the gate chooses.
    """

    def __init__(
        self,
        talk: Conversation,
        settings: Settings,
        bands: Sequence[int] | None,
        *,
        plain: bool = False,
        stream: bool = True,
        preview: bool = True,
        experts: str | None = None,
        images: Sequence[str] = (),
    ) -> None:
        self.talk, self.settings, self.bands = talk, settings, bands
        self.screen = Screen(plain, stream)
        self.experts: tuple[str, ...] = ()
        self.failed = False
        self._wanted_experts, self._images = experts, images
        self._commands = Commands(self)
        self._loading: asyncio.Task[tuple[RSAgent, Engine]] | None = None
        self._closing = AsyncExitStack()
        self._turn: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None
        self._noting: asyncio.Future[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._interrupted = float("-inf")
        self._leaving = False
        self._told_engine: str | None = None  # the session whose other engine was told
        tty = sys.stdin.isatty() and sys.stdout.isatty()
        folder = talk.store.path.parent if talk.store.path else None
        self._input: Keyboard | Pipe = Keyboard(NAMES, folder, self.screen.look == "live") if tty else Pipe()
        self._preview = preview and tty and self.screen.look == "live" and find_spec("textual_image") is not None

    async def run(self) -> int:
        """Talk until the user leaves; gives the exit code."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError):  # no such signals on this platform
            loop.add_signal_handler(signal.SIGINT, self._on_interrupt)
        self._loading = asyncio.create_task(self._load())
        self._loading.add_done_callback(self._on_loaded)
        code = 0
        try:
            await self._take_images()
            await self._greet()
            with silent_keys():
                await self._talk()
        except Leave:
            code = 130
        finally:
            await self._close()
        code = code or int(self.failed)
        if self._loading.cancelled() and isinstance(self._input, Keyboard):
            # A thread still loads networks that nobody will use, and Python would wait for it. What is kept is on disk.
            sys.stdout.flush()
            os._exit(code)
        return code

    async def ready(self) -> tuple[RSAgent, Engine]:
        """The agent and its engine, as soon as they are loaded.

        Raises:
            RSAgentError: they cannot be.
        """
        assert self._loading is not None
        if not self._loading.done() and self.screen.look != "piped":
            self.screen.note("the networks are loading ...")
        return await asyncio.shield(self._loading)

    async def add_picture(self, path: str) -> None:
        """Add a picture to the conversation once it has proved to be one.

        Raises:
            ImageError: it cannot be used.
        """
        from rsagent.imagery import load_image

        path, known = os.path.expanduser(path), [picture.path for picture in self.talk.pictures]
        image = await asyncio.to_thread(load_image, path, bands=self.bands, max_pixels=self.settings.max_pixels)
        number = self.talk.add(path, image.facts.sha256)
        if number <= len(known) and known[number - 1] != self.talk.pictures[number - 1].path:
            self.screen.note(f"picture {number} was found again: {self.talk.pictures[number - 1].path}")
        else:
            self.screen.note(f"picture {number}: {image.facts.name}, {image.facts.width} x {image.facts.height}")
        if self._preview:
            from rsagent.cli.chat_preview import show_preview

            show_preview(image.rgb, self.screen.console)

    async def ask(self, said: str) -> None:
        """Ask what was typed."""
        asked = self.talk.understand(said)
        await self.ready()
        asked = await self.talk.complete(said, asked)
        if asked.compares:
            self.screen.note("it looks at one picture at a time and cannot compare two: the same question for each")
        if asked.rewritten or len(asked.pictures) > 1:
            self.screen.note(f"asked: {asked.question}")
        await self._show(lambda: self.talk.ask(said, asked, self.experts), "answer", len(asked.pictures) > 1)

    async def describe(self, style: str) -> None:
        """Describe the current picture."""
        await self._show(lambda: self.talk.caption(style, self.experts), "caption", several=False)

    async def ask_again(self) -> None:
        """Ask the last question once more, as it was understood.

        Raises:
            UserError: nothing was said yet.
        """
        if not self.talk.turns:
            raise UserError("nothing was said yet, so there is nothing to ask again")
        turn = self.talk.turns[-1]
        several = len(turn.pictures) > 1
        if turn.task == "answer" and (several or turn.question.casefold() != turn.said.casefold()):
            self.screen.note(f"asked: {turn.question}")
        await self._show(lambda: self.talk.again(self.experts), turn.task, several)

    async def explain_last(self) -> tuple[RouterTrace, Reply]:
        """What the router did in the last turn.

        Raises:
            UserError: nothing was said yet.
        """
        if not self.talk.turns or not self.talk.turns[-1].replies:
            raise UserError("nothing was said yet: ask something first")
        turn = self.talk.turns[-1]
        reply = turn.replies[-1]
        agent, _ = await self.ready()
        path = self.talk.pictures[reply.picture - 1].path
        if turn.task == "caption":
            return await agent.explain(path, style=turn.question), reply
        return await agent.explain(path, turn.question), reply

    async def tell_resumed(self) -> None:
        """Say what was resumed, and what is no longer as it was."""
        talk = self.talk
        self.screen.note(f"session {talk.id}: {talk.title} ({len(talk.turns)} turns)")
        if self.screen.look != "piped":
            self.screen.transcript(talk.turns[-3:])
        for number in talk.missing():
            path = talk.pictures[number - 1].path
            self.screen.fault(f"picture {number} is gone ({path}): if it was moved, /image NEW_PATH finds it again")
        if talk.read_only:
            self.screen.fault("another terminal holds this session, so here it is read-only: /clear begins another")
        if note := self._other_engine():
            self.screen.fault(note)
        looking = asyncio.create_task(self._find_changed())
        if isinstance(self._input, Pipe):
            await looking
        elif self._looking is not None:
            self._looking.cancel()
        self._looking = looking

    async def _find_changed(self) -> None:
        """Say which pictures of a resumed session are no longer what was looked at; those that are gone were told."""
        from rsagent.imagery import load_image

        for number, picture in enumerate(self.talk.pictures, 1):
            if not picture.digest or not os.path.isfile(picture.path):
                continue
            with contextlib.suppress(RSAgentError):  # one that cannot be read is told when it is asked about
                image = await asyncio.to_thread(load_image, picture.path, bands=self.bands, max_pixels=self.settings.max_pixels)
                if image.facts.sha256 != picture.digest:
                    await self._input.above(lambda number=number: self.screen.changed(number))

    async def _take_images(self) -> None:
        """The pictures named on the command line; on a terminal the prompt does not wait until they have been read."""
        if isinstance(self._input, Pipe) or self._preview:
            for path in self._images:
                await self.add_picture(path)
            return
        for path in self._images:
            self.talk.add(path)
        if self._images:
            self._checking = asyncio.create_task(self._check_images())

    async def _check_images(self) -> None:
        from rsagent.imagery import load_image

        try:
            for path in self._images:
                await asyncio.to_thread(load_image, path, bands=self.bands, max_pixels=self.settings.max_pixels)
        except RSAgentError as error:
            self._input.interrupt(error)

    async def _greet(self) -> None:
        if self.talk.id is not None:
            await self.tell_resumed()
        for note in self.talk.store.notes:
            self.screen.fault(note)
        if self.screen.look != "piped" and self.talk.id is None:
            what = "ask about the picture" if self.talk.pictures else "/image PATH gives a picture"
            self.screen.note(f"{what}; /help lists the commands, Ctrl-D leaves")

    async def _talk(self) -> None:
        """Read and do, until there is nothing left to read."""
        while True:
            try:
                text = await self._input.read(self._prompt())
            except EOFError:
                return
            except KeyboardInterrupt:
                if isinstance(self._input, Pipe) or self._again():
                    raise Leave from None
                self.screen.note("press Ctrl-C again to leave")
                continue
            except TooMuch:
                self._say_fault(f"that is more than {MOST_TYPED:,} characters: nobody asks that much; it was left out")
                continue
            if not text.strip():
                continue
            self._turn = asyncio.create_task(self._do(text.strip()))
            try:
                await self._turn
            except asyncio.CancelledError:
                if self._leaving or isinstance(self._input, Pipe) or not self._turn.cancelled():
                    raise Leave from None
            except EOFError:
                return
            finally:
                self._turn = None

    async def _do(self, text: str) -> None:
        """One input: a command, pictures, a question, or pictures with a question."""
        await self._settle()
        try:
            command = command_of(text)
            if command is not None:
                await self._commands.run(*command)
                return
            paths, rest = find_paths(text)
            for path in paths:
                await self.add_picture(path)
            if _asks(rest):
                await self.ask(rest)
        except RSAgentError as error:
            if self._loading is not None and self._loading.done() and self._loading.exception() is error:
                raise  # there is nothing to talk to
            self._say_fault(str(error))

    async def _settle(self) -> None:
        """Wait until a turn that was stopped is kept, and say if it could not be."""
        try:
            await self.talk.settled()
        except RSAgentError as error:
            self._say_fault(str(error))

    def _say_fault(self, text: str) -> None:
        self.failed = self.failed or self.screen.look == "piped"
        self.screen.fault(text)

    async def _show(self, begin: Any, task: str, several: bool) -> None:
        """Show a turn while it happens."""
        await self.ready()
        names = [picture.name for picture in self.talk.pictures]
        before = len(self.talk.turns)
        self.screen.begin(task)
        events: AsyncGenerator[dict[str, Any], None] = begin()
        try:
            async with aclosing(events):
                async for event in events:
                    if event["type"] == "reply":
                        reply = event["reply"]
                        self.screen.reply(reply, task, several)
                    elif event["type"] == "settled":
                        for reply in event["turn"].replies:
                            self.screen.cite(reply)
                    else:
                        self.screen.event(event, names, several)
        except asyncio.CancelledError:
            self.screen.stopped(len(self.talk.turns) > before)
            raise
        except RSAgentError:
            self.screen.abandon()
            raise

    def _prompt(self) -> str:
        if not self.talk.pictures:
            return "> "
        name = self.talk.pictures[self.talk.current - 1].name
        room = max(8, shutil.get_terminal_size().columns // 3)
        number = f"{self.talk.current} " if len(self.talk.pictures) > 1 else ""
        return f"{number}{name if len(name) <= room else name[: room - 1] + '~'}> "

    async def _load(self) -> tuple[RSAgent, Engine]:
        """The agent and the engine, loaded in the background."""
        from rsagent.cli.runtime import engine_label, open_agent
        from rsagent.engines.base import Rewriter

        await asyncio.to_thread(_import_heavy)
        agent, engine = await self._closing.enter_async_context(open_agent(self.settings, self.bands))
        if self._wanted_experts is not None:
            from rsagent.cli.options import parse_experts

            self.experts = parse_experts(self._wanted_experts, engine.experts)
        rewriter = engine if isinstance(engine, Rewriter) else None
        await self.talk.attach(agent, await asyncio.to_thread(engine_label, self.settings), rewriter)
        return agent, engine

    def _on_loaded(self, task: asyncio.Task[Any]) -> None:
        """Say what a resumed session must know; end at once where there is nothing to talk to."""
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._input.interrupt(error)
        elif note := self._other_engine():
            self._noting = asyncio.ensure_future(self._input.above(lambda: self.screen.fault(note)))

    def _other_engine(self) -> str:
        """What to say where something else held the session; "" while it is not known what answers, and once it was said."""
        before = self.talk.other_engine() if self.talk.engine and self._told_engine != self.talk.id else ""
        self._told_engine = self.talk.id if self.talk.engine else None
        return f"this session was held with {before}; it goes on with {self.talk.engine}" if before else ""

    def _on_interrupt(self) -> None:
        """Ctrl-C: stop the answer that is written; the second one within a second leaves."""
        if self._turn is not None:
            self._leaving = self._leaving or self._again()
            self._turn.cancel()
        else:
            self._input.interrupt(KeyboardInterrupt())

    def _again(self) -> bool:
        now = time.monotonic()
        again, self._interrupted = now - self._interrupted < _TWICE, now
        return again

    async def _close(self) -> None:
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        started: list[asyncio.Future[Any] | None] = [self._loading, self._checking, self._noting, self._looking]
        background = [task for task in started if task is not None]
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self._settle()
        await self.talk.detach()
        await self._closing.aclose()


def _asks(text: str) -> bool:
    """Whether there is anything to ask."""
    return any(mark.isalnum() for mark in text)


def _import_heavy() -> None:
    """What the first turn needs, imported in a thread so that typing goes on."""
    for name in ("rsagent.agent", "rsagent.chat.graph", "rsagent.graphs.build", "langgraph.checkpoint.sqlite.aio"):
        import_module(name)
