"""`rsagent train data`: what is done to caption sets before they train anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsagent.cli.console import SlowProgress, result, say
from rsagent.errors import UserError

if TYPE_CHECKING:
    from rsagent.training.aspect_files import Split

app = typer.Typer(help="Prepare caption sets.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Caption sets, before they train anything."""


@app.command(name="split-aspects")
def split_aspects(
    name: Annotated[str, typer.Argument(metavar="SET", help="ucm, rsicd or rsicap.")],
    folder: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", envvar="RSAGENT_DATA", help="Folder that holds the data sets.")
    ] = None,
    url: Annotated[str | None, typer.Option(metavar="URL", help="An OpenAI endpoint, with /v1; rules if left out.")] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="The endpoint's model.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Instead of SET's own aspects.jsonl, to look first.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the first N images.")] = None,
) -> None:
    """Divide captions into aspects, as a file to correct. Training then reads it; OPENAI_API_KEY is the endpoint's key."""
    from rsagent.cli.train import data_folder
    from rsagent.training.aspect_files import FOLDERS, READERS, aspect_file, by_rules, split_captions

    if name not in FOLDERS:
        raise UserError(f"no caption set '{name}': choose one of {', '.join(FOLDERS)}")
    if (url is None) != (model is None):
        raise UserError("--url and --model go together: the endpoint, and which of its models divides the captions")
    root = data_folder(folder)
    images = [image for image in READERS[name](root) if image.split == "train"][:limit]
    target = out or aspect_file(root, name)
    split: Split = by_rules if url is None or model is None else _asking(url, model)
    progress = SlowProgress()
    done, kept = split_captions(images, target, split, model or "rules", lambda i, of: progress("aspects", i, of))
    say(f'{done:,} divided, {kept:,} left as they were; correct a line and set "checked": true in it to keep it')
    result([str(target)])


def _asking(url: str, model: str) -> Split:
    """Splitting by a language model, one call an image; a call that fails is repeated, and the third time ends the run."""
    import asyncio
    import os
    from collections.abc import Sequence

    from rsagent.engines.chat_client import ChatClient
    from rsagent.training.aspect_files import SplitCaption, aspect_messages

    async def ask(captions: Sequence[str]) -> SplitCaption:
        # a connection belongs to its loop, and each call has one of its own
        client = ChatClient(url, os.environ.get("OPENAI_API_KEY", "none"), timeout_s=120, max_retries=2)
        try:
            return await client.structured(SplitCaption, model=model, messages=aspect_messages(captions), temperature=0)
        finally:
            await client.close()

    return lambda captions: asyncio.run(ask(captions))
