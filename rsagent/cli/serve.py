"""`rsagent serve`: the OpenAI-compatible server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsagent.cli import options

if TYPE_CHECKING:
    from rsagent.serving.web import ServeOptions
    from rsagent.settings import Settings

KEYS = "RSAGENT_API_KEYS"


@options.with_engine()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; loopback by default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any free one.")] = 8321,
    api_keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"API keys, one a line; or comma-separated in {KEYS}.")
    ] = None,
    root: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Let clients name pictures below it.")] = None,
    allow_urls: Annotated[bool, typer.Option("--allow-urls", help="Fetch pictures from public http(s) addresses.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="HOST[:PORT]", help="Fetch from this private host too; repeatable.")
    ] = None,
    running: Annotated[int, typer.Option(min=1, help="Turns at a time.")] = 16,
    queue: Annotated[int, typer.Option(min=0, help="Requests that wait; more get 429.")] = 64,
    max_body_mb: Annotated[int, typer.Option(min=1, max=1024, help="Largest request, in MiB.")] = 48,
    turn_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds a turn may take.")] = 120.0,
    grace: Annotated[
        float | None, typer.Option(min=1, help="Seconds for requests in hand when told to stop; as many as they may need.")
    ] = None,
    *,
    settings: Settings,
    bands: Sequence[int] | None,
) -> None:
    """Serve any OpenAI client: POST /v1/chat/completions with a picture. Ends on SIGTERM when all is answered."""
    from rsagent.cli.runtime import run_async
    from rsagent.errors import MissingExtra

    root = options.chosen_root(root, settings)
    try:
        from rsagent.serving.run import LOOPBACK
        from rsagent.serving.web import Limits, ServeOptions
    except ImportError as error:
        raise MissingExtra(error.name or "fastapi", "serve", "rsagent serve") from error
    from rsagent.sources import SourcePolicy

    body = max_body_mb * 2**20
    chosen = ServeOptions(
        keys=read_keys(api_keys),
        hosts=LOOPBACK if host in LOOPBACK else None,
        sources=SourcePolicy(
            allow_urls=allow_urls or bool(allow_host),
            root=root,
            allowed_hosts=frozenset(name.lower() for name in allow_host or ()),
            max_bytes=body * 3 // 4,
        ),
        limits=Limits(body_bytes=body, running=running, queue=queue, turn_s=turn_timeout),
        style=settings.style,
    )
    run_async(_serve(settings, bands, chosen, host, port, grace))


def read_keys(path: Path | None) -> tuple[str, ...]:
    """The API keys of a file, one a line, and of the environment; empty lines and those that begin with # are none.

    Raises:
        SettingsError: the file cannot be read or holds no key, or a key is shorter than 16 characters.
    """
    from rsagent.errors import SettingsError

    lines = os.environ.get(KEYS, "").split(",")
    if path is not None:
        try:
            lines += (found := path.read_text("utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"--api-keys: {path} cannot be read: {error}") from error
        if not any(line.strip() and not line.startswith("#") for line in found):
            raise SettingsError(f"--api-keys: {path} holds no key; write one a line")
    keys = tuple(dict.fromkeys(line.strip() for line in lines if line.strip() and not line.startswith("#")))
    if any(len(key) < 16 for key in keys):
        raise SettingsError("an API key is shorter than 16 characters, which can be guessed: make longer ones")
    return keys


async def _serve(
    settings: Settings, bands: Sequence[int] | None, chosen: ServeOptions, host: str, port: int, grace_s: float | None
) -> None:
    from rsagent.cli.runtime import open_agent
    from rsagent.serving.run import serve

    async with open_agent(settings, bands) as (agent, engine):
        await serve(agent, engine, chosen, host=host, port=port, grace_s=grace_s)
