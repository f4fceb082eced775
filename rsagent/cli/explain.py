"""`rsagent explain`: what the router did with a picture, in words and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsagent.cli import options
from rsagent.cli.console import decorated, result, result_json, say, terminal
from rsagent.cli.picture import router_picture, save_picture
from rsagent.cli.show import frame_trace, said, trace_lines

if TYPE_CHECKING:
    from rsagent.schemas import Answer, Caption, RouterTrace
    from rsagent.settings import Settings


@options.with_engine()
def explain(
    image: options.Image,
    question: Annotated[str | None, typer.Argument(metavar='["QUESTION"]', help="Left out: a caption.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the router picture goes; NAME-router.png if left out.")
    ] = None,
    as_json: options.Json = False,
    plain: options.Plain = False,
    *,
    settings: Settings,
    bands: Sequence[int] | None,
) -> None:
    """Show what the router did. Gate, prompts and nearest words, and a picture of where each expert looked."""
    from rsagent.cli.runtime import read_source, run_async
    from rsagent.graphs.text import clean_question
    from rsagent.imagery import load_image

    path = out or Path(f"{'stdin' if image == '-' else Path(image).stem}-router.png")
    question = None if question is None else clean_question(question)
    source = read_source(image)
    rgb = load_image(source, bands=bands, max_pixels=settings.max_pixels).rgb
    trace, outcome = run_async(_look(settings, source, question, bands))
    save_picture(router_picture(rgb, trace, said(outcome)), path)
    if as_json:
        result_json({"path": image, "trace": trace.model_dump(), "result": outcome.model_dump(), "picture": str(path)})
    elif decorated(plain):
        frame_trace(trace, outcome, terminal())
    else:
        result(trace_lines(image, trace, outcome))
    say(f"the router picture is {path}")
    raise typer.Exit(1 if outcome.partial else 0)


async def _look(
    settings: Settings, source: str | bytes, question: str | None, bands: Sequence[int] | None
) -> tuple[RouterTrace, Caption | Answer]:
    """What the router did, and what came of it, in one run."""
    from rsagent.cli.runtime import open_agent

    async with open_agent(settings, bands) as (agent, _):
        trace = await agent.explain(source, question, style=settings.style)
        turn = agent.caption(source, settings.style) if question is None else agent.ask(source, question)
        return trace, await turn
