"""The server that only pretends, in a thread of its own: what commands are tested against that need an SGLang server."""

from __future__ import annotations

import asyncio
import threading

from tests.engines.pretender import Pretender


class Background:
    """The server, and how to make it do something: the test itself waits for a command."""

    def __init__(self, digest: str) -> None:
        self.server = Pretender(digest)
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self.server.start(), self.loop).result(30)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)

    async def _end(self) -> None:
        await self.server.stop()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
