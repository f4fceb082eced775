"""A conversation: its pictures and turns, asked through the agent, kept in a session. It knows nothing of terminals."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from rsagent.chat.antecedents import asked_of
from rsagent.chat.partial import Partial
from rsagent.chat.records import Picture, Turn, check_file
from rsagent.chat.resolve import Resolved, resolve
from rsagent.chat.store import Store, new_id, on_disk, serializer
from rsagent.errors import EngineError, UserError
from rsagent.graphs.text import clean

if TYPE_CHECKING:
    import aiosqlite

    from rsagent.agent import RSAgent
    from rsagent.chat.graph import ChatGraph
    from rsagent.engines.base import Rewriter

MOST_PICTURES = 100
_TITLE = 60
_READ = 8  # turns that a language model reads to complete a question


class Conversation:
    """One session. Nothing heavy is needed before `ask` or `caption`; those need `attach` first.

    Attributes:
        id: the session's name; None until something is worth keeping.
        pictures: the pictures, number 1 first.
        current: number of the picture that is meant when none is named; 0 without pictures.
        turns: what was asked and said, oldest first.
        engine: what answers, for the record; "" before `attach`.
        read_only: another process holds the session: look, do not ask.
    """

    def __init__(self, store: Store, session: str | None = None, *, hold: bool = True) -> None:
        """A new conversation, or the one that `store` keeps under the id `session`; without `hold` only to be read.

        Raises:
            UserError: there is no such session.
        """
        self.store = store
        self.pictures: list[Picture] = []
        self.current = 0
        self.turns: list[Turn] = []
        self.title = ""
        self.read_only = False
        self.id: str | None = None
        self._came_from: dict[int, int] = {}  # turn -> the picture in use before it
        self._agent: RSAgent | None = None
        self._rewriter: Rewriter | None = None
        self._graph: ChatGraph | None = None
        self._connection: aiosqlite.Connection | None = None
        self.engine = ""
        self._keeping: asyncio.Task[None] | None = None
        if session is not None:
            self.resume(session, hold=hold)

    def resume(self, name: str | None, *, hold: bool = True) -> None:
        """Go on with a session that was kept, the newest for None; the pictures of this one are left behind.

        Raises:
            UserError: there is no such session.
        """
        listed = self.store.find(name)
        if self.id is not None and self.id != listed.id:
            self.store.release(self.id)
        self.id, self.title = listed.id, listed.title
        self.read_only = not (hold and self.store.hold(listed.id))
        self.pictures = []
        self._read()
        self._came_from = {}
        self.current = min(self._last_seen(), len(self.pictures))

    def begin_anew(self) -> None:
        """A new session with the same pictures; what was said stays in the old one."""
        if self.id is not None:
            self.store.release(self.id)
        self.id, self.title, self.read_only = None, "", False
        self.turns, self._came_from = [], {}

    async def attach(self, agent: RSAgent, engine: str, rewriter: Rewriter | None = None) -> None:
        """Give the conversation its eyes.

        Args:
            agent: who answers; the caller closes it.
            engine: what answers, for the record, such as "local tiny".
            rewriter: completes questions in place of the rules, where there is one.
        """
        import aiosqlite
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        from rsagent.chat.graph import create_chat_graph

        if self._connection is None:
            self._connection = await aiosqlite.connect(self.store.address, uri=True, timeout=5.0)
            await self._connection.execute("PRAGMA synchronous=FULL")
        self._rewriter = rewriter
        saver = AsyncSqliteSaver(self._connection, serde=serializer())
        await saver.setup()
        self._agent, self.engine, self._graph = agent, engine, create_chat_graph(agent, saver)

    async def detach(self) -> None:
        """Let go of the agent and the database. Idempotent; `settled` says before whether a stopped turn was kept."""
        if self._keeping is not None:
            await asyncio.wait([self._keeping])
        self._agent = self._graph = None
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def settled(self) -> None:
        """Wait until a turn that was stopped has been kept: stopping itself does not wait for the disk.

        Raises:
            RSAgentError: it could not be kept.
        """
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            try:
                await asyncio.shield(keeping)
            except asyncio.CancelledError:
                self._keeping = keeping  # whoever waited was stopped, not the keeping
                raise

    def other_engine(self) -> str:
        """What answered the last turn, where that is not what answers now; else ""."""
        before = self.turns[-1].engine if self.turns else ""
        return before if before and before != self.engine else ""

    def add(self, path: str | os.PathLike[str], digest: str = "") -> int:
        """Add a picture and make it the current one; gives its number. A picture that has moved keeps its number.

        Raises:
            ImageError: there is no such file.
            UserError: there are too many pictures.
        """
        full = check_file(path)
        name = clean(os.path.basename(full))
        for number, picture in enumerate(self.pictures, 1):
            if picture.path == full or (digest and picture.digest == digest and not os.path.isfile(picture.path)):
                picture.path, picture.name, self.current = full, name, number
                return number
        if len(self.pictures) >= MOST_PICTURES:
            raise UserError(f"a conversation holds {MOST_PICTURES} pictures: /clear begins another")
        self.pictures.append(Picture(path=full, digest=digest, name=name))
        self.current = len(self.pictures)
        return self.current

    def use(self, number: int) -> None:
        """Make a picture the current one.

        Raises:
            UserError: there is no such picture.
        """
        if not 1 <= number <= len(self.pictures):
            raise UserError(f"picture {number} is not there: /images lists the {len(self.pictures)} there are")
        self.current = number

    def missing(self) -> list[int]:
        """Numbers of the pictures whose file has gone."""
        return [number for number, picture in enumerate(self.pictures, 1) if not os.path.isfile(picture.path)]

    def understand(self, text: str) -> Resolved:
        """The complete question that `text` asks in this conversation.

        Raises:
            UserError: there is no picture, or not the one that it names; it is empty or too long.
        """
        from rsagent.graphs.text import clean_question

        text = clean_question(text)
        if not self.pictures:
            raise UserError("there is no picture yet: /image PATH gives one")
        history = [asked_of(turn) for turn in self.turns[-30:]]
        return resolve(text, history, self.current, len(self.pictures))

    async def complete(self, said: str, asked: Resolved) -> Resolved:
        """What the engine's language model makes of `said`, where it has one; else, or if that fails, `asked` as it is.

        The rules still say which pictures are meant.
        """
        before = [(turn.question, turn.replies[-1].text) for turn in self.turns[-_READ:] if turn.replies]
        if self._rewriter is None or not before:
            return asked
        try:
            question = await self._rewriter.rewrite(said, before)
        except EngineError:
            return asked
        return replace(asked, question=question, rewritten=question.casefold() != said.casefold())

    async def ask(self, said: str, asked: Resolved, experts: Sequence[str] = ()) -> AsyncGenerator[dict[str, Any], None]:
        """The events of a turn; see `rsagent.chat.graph`. Closed early, the turn is kept as far as it came, marked as cut.

        Closing does not wait until it is on disk: `settled` does, and should stand before `undo`, `rename` and `resume`.

        Raises:
            RSAgentError: a picture or the engine cannot be used; the turn is not kept.
        """
        self._came_from[self._next()] = self.current
        if asked.pictures:
            self.current = asked.pictures[-1] if len(asked.pictures) == 1 else self.current
        turn = Turn(number=self._next(), said=said, question=asked.question, pictures=list(asked.pictures), engine=self.engine)
        async with aclosing(self._run(turn, experts)) as events:
            async for event in events:
                yield event

    async def caption(self, style: str, experts: Sequence[str] = ()) -> AsyncGenerator[dict[str, Any], None]:
        """The events of describing the current picture.

        Raises:
            RSAgentError: as for `ask`; no such style.
        """
        if not self.pictures:
            raise UserError("there is no picture yet: /image PATH gives one")
        self._came_from[self._next()] = self.current
        said = "/caption" if style == "detailed" else f"/caption {style}"
        turn = Turn(number=self._next(), said=said, question=style, task="caption", pictures=[self.current], engine=self.engine)
        async with aclosing(self._run(turn, experts)) as events:
            async for event in events:
                yield event

    def undo(self) -> Turn:
        """Take the last turn back, also from what is kept.

        Raises:
            UserError: there is none, or the session is another process's.
        """
        self._may_write()
        if not self.turns:
            raise UserError("there is nothing to undo")
        last = self.turns.pop()
        self.current = min(self._came_from.get(last.number) or self._last_seen(), len(self.pictures))
        if self.id is not None:
            self._forget(self.store.parted(self.id, last.number)[1])
            self._list()
        return last

    async def again(self, experts: Sequence[str] = ()) -> AsyncGenerator[dict[str, Any], None]:
        """The events of the last turn asked once more, of the same pictures; it is given up once the new one is kept.

        Raises:
            RSAgentError: as for `ask`; there is no turn.
        """
        if not self.turns:
            raise UserError("there is nothing to ask again")
        fresh = self.turns[-1].model_copy(update={"replies": [], "cut": False, "engine": self.engine})
        async with aclosing(self._run(fresh, experts)) as events:
            async for event in events:
                yield event

    def rename(self, title: str) -> None:
        """Give the session a title.

        Raises:
            UserError: nothing was said yet, or the session is another process's.
        """
        self._may_write()
        if self.id is None:
            raise UserError("nothing was said yet, so there is nothing to save")
        self.title = clean(title)[:_TITLE]
        self._list()

    async def _run(self, turn: Turn, experts: Sequence[str]) -> AsyncGenerator[dict[str, Any], None]:
        self._may_write()
        if self._graph is None:
            raise RuntimeError("the conversation has no agent: attach one first")
        await self.settled()
        with on_disk():
            self._begin(turn)
        events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        given = {"given": turn, "pictures": self.pictures, "experts": list(experts)}
        config, stale = self._place(turn)
        # The graph runs in a task of its own, so that whoever stops the turn need not wait until it has been put on disk.
        work = asyncio.create_task(self._work(given, config, events))
        failed, partial = False, Partial(turn)
        try:
            while (event := await events.get()) is not None:
                partial.take(event)
                yield event
            with on_disk():
                await work
        except Exception:
            failed = True
            raise
        finally:
            if work.done() and not work.cancelled() and work.exception() is None:
                values = work.result()
                self._add(values["turn"])
                self.pictures = [picture.model_copy() for picture in values["pictures"]]
                with on_disk():
                    self._forget(stale)
                    self._list()
            elif not failed:
                if cut := partial.cut():
                    self._add(cut)
                self._keeping = asyncio.create_task(self._keep_cut(work, cut, config, stale))
            elif not self.turns:
                self._take_back()

    async def _work(self, given: dict[str, Any], config: Any, events: asyncio.Queue[dict[str, Any] | None]) -> dict[str, Any]:
        """Run the graph; gives the state in the end. Its events go to `events`, and None when there will be no more."""
        assert self._graph is not None
        values = dict[str, Any]()
        parts = self._graph.astream(cast(Any, given), config, stream_mode=["custom", "values"], durability="exit")
        try:
            async with aclosing(cast(Any, parts)) as stream:
                async for mode, part in stream:
                    if mode == "values":
                        values = part
                    else:
                        events.put_nowait(part)
        finally:
            events.put_nowait(None)
        return values

    async def _keep_cut(self, work: asyncio.Task[Any], turn: Turn | None, config: Any, stale: list[str]) -> None:
        """Stop the turn's work, then keep what had been said; `settled` waits for it."""
        work.cancel()
        await asyncio.wait([work])
        with on_disk():
            if turn is not None and self._graph is not None:
                given = {"turn": turn, "pictures": self.pictures}
                await self._graph.aupdate_state(config, given, as_node="settle")
                self._forget(stale)
                await asyncio.to_thread(self._list)
            elif not self.turns:
                self._take_back()

    def _place(self, turn: Turn) -> tuple[Any, list[str]]:
        """Where in the session's thread `turn` goes on, and the checkpoints that it takes the place of."""
        place: dict[str, Any] = {"thread_id": self.id, "checkpoint_ns": ""}  # what a cut turn is kept by needs both
        if self.id is None or turn.number == self._next():
            return {"configurable": place}, []
        with on_disk():
            before, stale = self.store.parted(self.id, turn.number)
        return {"configurable": place | ({"checkpoint_id": before} if before else {})}, stale

    def _add(self, turn: Turn) -> None:
        self.turns = [*(old for old in self.turns if old.number < turn.number), turn]

    def _forget(self, checkpoints: list[str]) -> None:
        if self.id is not None and checkpoints:
            self.store.forget(self.id, checkpoints)

    def _begin(self, turn: Turn) -> None:
        """Put the session into the list before its first turn, so that no turn is ever without one."""
        if self.id is None:
            self.id = new_id()
            self.store.hold(self.id)
        if not self.title:
            about = self.pictures[self.current - 1].name if self.pictures else ""
            self.title = clean(f"{turn.said if turn.task == 'answer' else 'description'} ({about})")[:_TITLE]
        if not self.turns:
            self._list()

    def _take_back(self) -> None:
        """A first turn that came to nothing leaves no session behind."""
        if self.id is not None:
            self.store.remove(self.id)
            self.store.release(self.id)
            self.id, self.title = None, ""

    def _list(self) -> None:
        if self.id is not None:
            names = ", ".join(picture.name for picture in self.pictures)
            self.store.remember(self.id, self.title, len(self.turns), names[:200])

    def _read(self) -> None:
        """Turns and pictures as they are kept; of a turn that was written twice the later one counts."""
        if self.id is None:
            return
        by_number: dict[int, Turn] = {}
        for kept in self.store.read(self.id):
            if kept.turn is not None:
                by_number[kept.turn.number] = kept.turn
            self.pictures = kept.pictures or self.pictures
        self.turns = [by_number[number] for number in sorted(by_number)]

    def _last_seen(self) -> int:
        """The picture that the last turn was about, the newest picture before the first turn."""
        return self.turns[-1].pictures[-1] if self.turns and self.turns[-1].pictures else len(self.pictures)

    def _next(self) -> int:
        return self.turns[-1].number + 1 if self.turns else 1

    def _may_write(self) -> None:
        if self.read_only:
            raise UserError("another terminal holds this session, so here it is read-only: /clear begins another")


__all__ = ["MOST_PICTURES", "Conversation"]
