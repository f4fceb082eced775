"""Streamable HTTP that stops as `rsagent serve` does: calls in hand are answered first, then the standing streams end.

By itself the library of the streams cuts all of them at the first signal, those with a tool's result among them.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sse_starlette.sse import AppStatus

_LOOK_S = 0.1


class Draining:
    """An ASGI application that knows how many POSTs, each the call of a client, are in hand."""

    def __init__(self, app: Any) -> None:
        """Take over the end of the event streams of this process."""
        AppStatus.disable_automatic_graceful_drain()
        self._app, self._posts = app, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass everything on."""
        call = scope["type"] == "http" and scope["method"] == "POST"
        self._posts += call
        try:
            await self._app(scope, receive, send)
        finally:
            self._posts -= call

    async def drain(self) -> None:
        """Wait for the calls in hand, then end the streams that clients keep open for news."""
        while self._posts:
            await asyncio.sleep(_LOOK_S)
        AppStatus.should_exit = True
