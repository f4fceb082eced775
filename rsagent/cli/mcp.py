"""`rsagent mcp`: the agent as tools for MCP clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rsagent.cli import options

if TYPE_CHECKING:
    from rsagent.settings import Settings
    from rsagent.sources import SourcePolicy

LONGEST_STEPS = 4
"""Steps of a turn, each within the experts' time limit: the router, the experts, those asked again, the composer."""


@options.with_engine()
def mcp(
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP at /mcp on loopback, in place of stdio.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port for --http; 0 takes any free one.")] = 8322,
    root: options.Root = None,
    allow_urls: Annotated[bool, typer.Option("--allow-urls", help="Fetch pictures from public http(s) addresses.")] = False,
    grace: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds for calls in hand when --http is told to stop; as many as they may need."),
    ] = None,
    *,
    settings: Settings,
    bands: Sequence[int] | None,
) -> None:
    """Serve MCP clients: describe_image, ask_image, compare_experts. Over stdio any local picture is read."""
    from rsagent.cli.runtime import run_async
    from rsagent.errors import MissingExtra
    from rsagent.sources import SourcePolicy

    root = options.chosen_root(root, settings)
    try:
        import mcp.server as _  # noqa: F401
    except ImportError as error:
        raise MissingExtra("mcp", "mcp", "rsagent mcp") from error
    # Whoever starts a program on stdio can read its files anyway; whoever reaches a port may not be the same.
    limited = http or root is not None or allow_urls
    sources = SourcePolicy(allow_urls=allow_urls, root=root) if limited else None
    run_async(_serve(settings, bands, sources, port if http else None, grace))


async def _serve(
    settings: Settings, bands: Sequence[int] | None, sources: SourcePolicy | None, port: int | None, grace_s: float | None
) -> None:
    from rsagent.cli.console import say
    from rsagent.cli.runtime import open_agent, prompts_for
    from rsagent.serving.mcp import create_server

    async with open_agent(settings, bands) as (_, engine):
        server = create_server(
            engine,
            prompts=prompts_for(settings),
            sources=sources,
            style=settings.style,
            expert_timeout_s=settings.expert_timeout_s,
            max_tokens=settings.max_tokens,
            one_client=port is None,
        )
        if port is None:
            await server.run_stdio_async()
        else:
            from rsagent.serving.draining import Draining
            from rsagent.serving.logs import log, log_to_stderr
            from rsagent.serving.run import serve_app

            log_to_stderr()
            say(f"MCP over streamable HTTP on loopback, path /mcp, port {port}")
            longest_s = LONGEST_STEPS * settings.expert_timeout_s
            if grace_s is not None and grace_s < longest_s:
                told = "calls in hand may be given up when told to stop: give a longer --grace"
                log.warning(told, extra={"facts": {"grace_s": grace_s, "needed_s": longest_s}})
            app = Draining(server.streamable_http_app())
            grace_s = longest_s if grace_s is None else grace_s
            await serve_app(app, host="127.0.0.1", port=port, grace_s=grace_s, on_stop=app.drain)
