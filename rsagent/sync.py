"""The synchronous twin of RSAgent, for code that cannot await: scripts, notebooks, frameworks without async."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rsagent.agent import CONCURRENCY, Described, RSAgent, Seen
from rsagent.schemas import Answer, Caption, RouterTrace

if TYPE_CHECKING:
    from rsagent.graphs import Event
    from rsagent.imagery import ImageSource

T = TypeVar("T")


class SyncRSAgent:
    """The synchronous twin of RSAgent. It runs in an event loop of its own, in a thread, so that it works anywhere.

    Methods, arguments and errors are those of RSAgent. Close it, or use it in a `with` block.
    """

    def __init__(self, agent: RSAgent) -> None:
        """Start the loop that runs `agent`."""
        self._agent = agent
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rsagent", daemon=True)
        self._thread.start()

    def caption(
        self,
        image: ImageSource,
        style: str = "detailed",
        experts: Sequence[str] = (),
        *,
        max_tokens: int | None = None,
    ) -> Caption:
        """Describe an image; see `RSAgent.caption`."""
        return self._wait(self._agent.caption(image, style, experts, max_tokens=max_tokens))

    def ask(self, image: ImageSource, question: str, experts: Sequence[str] = (), *, max_tokens: int | None = None) -> Answer:
        """Answer a question about an image; see `RSAgent.ask`."""
        return self._wait(self._agent.ask(image, question, experts, max_tokens=max_tokens))

    def batch(
        self,
        images: Iterable[ImageSource],
        question: str | None = None,
        *,
        style: str = "detailed",
        experts: Sequence[str] = (),
        concurrency: int = CONCURRENCY,
    ) -> list[Seen]:
        """Describe all images or ask each the same question, in order; see `RSAgent.batch`."""
        work = self._agent.batch(images, question, style=style, experts=experts, concurrency=concurrency)
        return self._wait(work)

    def caption_many(
        self,
        images: Iterable[ImageSource],
        style: str = "detailed",
        experts: Sequence[str] = (),
        *,
        concurrency: int = CONCURRENCY,
    ) -> Iterator[Described]:
        """Describe many images, yielded in order of completion; see `RSAgent.caption_many`."""
        return self._iterate(self._agent.caption_many(images, style, experts, concurrency=concurrency))

    def stream(
        self,
        image: ImageSource,
        question: str | None = None,
        *,
        style: str = "detailed",
        experts: Sequence[str] = (),
    ) -> Iterator[Event | Caption | Answer]:
        """What happens during a turn, then its result; see `RSAgent.stream`."""
        return self._iterate(self._agent.stream(image, question, style=style, experts=experts))

    def explain(self, image: ImageSource, question: str | None = None, *, style: str = "detailed") -> RouterTrace:
        """What the instruction router does; see `RSAgent.explain`."""
        return self._wait(self._agent.explain(image, question, style=style))

    def close(self) -> None:
        """Stop what still runs, close the engine and the loop. Idempotent."""
        if self._loop.is_closed():
            return
        self._wait(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def _finish(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._agent.close()
        await asyncio.get_running_loop().shutdown_default_executor()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the loop; an interrupt here cancels it there."""
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("this agent is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _iterate(self, source: AsyncGenerator[T, None]) -> Iterator[T]:
        """The items of `source`, which one task of the loop reads from beginning to end."""
        if self._loop.is_closed():
            raise RuntimeError("this agent is closed")
        ready: queue.SimpleQueue[tuple[T] | None] = queue.SimpleQueue()

        async def pump() -> None:
            async with aclosing(source) as items:
                async for item in items:
                    ready.put((item,))

        future = asyncio.run_coroutine_threadsafe(pump(), self._loop)
        future.add_done_callback(lambda _: ready.put(None))
        try:
            while (item := ready.get()) is not None:
                yield item[0]
            future.result()
        finally:
            future.cancel()
