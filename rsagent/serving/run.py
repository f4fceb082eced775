"""Run a server until it is told to stop, and then finish what is in hand."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import uvicorn

from rsagent.serving.logs import log, log_to_stderr

if TYPE_CHECKING:
    from rsagent.agent import RSAgent
    from rsagent.engines.base import Engine
    from rsagent.serving.web import ServeOptions

LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


async def serve(agent: RSAgent, engine: Engine, options: ServeOptions, *, host: str, port: int, grace_s: float | None) -> None:
    """Serve on `host`:`port` until SIGTERM or SIGINT; then take no more, finish what is in hand, and return.

    Args:
        agent: whose engine `engine` is; the caller closes it.
        engine: loaded.
        options: keys, limits, what clients may name.
        host: address to listen on.
        port: 0 takes any free one; the log says which.
        grace_s: seconds after which requests in hand are given up; None: so long that each is answered or has run out of time.

    Raises:
        OSError: the address is taken or not ours.
    """
    from rsagent.serving.web import create_app

    log_to_stderr()
    if host not in LOOPBACK and not options.keys:
        log.warning("anyone who reaches this address can use the server: give API keys", extra={"facts": {"host": host}})
    longest_s = options.limits.longest_s()
    if grace_s is not None and grace_s < longest_s:
        message = (
            "requests in hand may be given up when told to stop: give a longer --grace, a shorter --turn-timeout or --queue"
        )
        log.warning(message, extra={"facts": {"grace_s": grace_s, "needed_s": longest_s}})
    app = create_app(agent, engine, options)
    await serve_app(app, host=host, port=port, grace_s=longest_s if grace_s is None else grace_s)


async def serve_app(
    app: Any, *, host: str, port: int, grace_s: float, on_stop: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Serve any ASGI application in this way; see `serve`. `on_stop` runs beside what is in hand when told to stop."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(grace_s),
    )
    # bound here, so that a taken port is an error of ours and no exit of uvicorn's
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off, which costs a reply 40 ms, only where the protocol is named
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"{error.strerror}; choose another with --host and --port", f"{host}:{port}") from error
    server = uvicorn.Server(config)

    def stop(number: int, frame: Any) -> None:
        server.should_exit = True

    async def stopping() -> None:
        while not server.should_exit:
            await asyncio.sleep(0.1)
        if on_stop is not None:
            await on_stop()

    watching = asyncio.create_task(stopping())
    # uvicorn handles signals while it serves, and when it has shut down raises them once more for whoever did before:
    # that is for `stop`, which also hears one that comes too early.
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    log.info("listening", extra={"facts": {"host": host, "port": listening.getsockname()[1], "grace_s": grace_s}})
    try:
        await server.serve([listening])
    finally:
        watching.cancel()
        listening.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    log.info("stopped")
