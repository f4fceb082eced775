"""`rsagent explain`: what the router did with a picture, in words and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsagent.cli import options
from rsagent.cli.console import decorated, result, result_json, say, terminal, visible
from rsagent.cli.picture import place, router_picture, save_picture
from rsagent.cli.show import COLOURS, blemishes, footer

if TYPE_CHECKING:
    from rsagent.schemas import Answer, Caption, RouterTrace
    from rsagent.settings import Settings


def explain(
    image: options.Image,
    question: Annotated[str | None, typer.Argument(metavar='["QUESTION"]', help="Left out: a caption.")] = None,
    style: options.Style = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the router picture goes; NAME-router.png if left out.")
    ] = None,
    checkpoint: options.Checkpoint = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    max_tokens: options.MaxTokens = None,
    seed: options.Seed = None,
    prompts: options.Prompts = None,
    bands: options.Bands = None,
    max_pixels: options.MaxPixels = None,
    engine: options.Engine = None,
    as_json: options.Json = False,
    plain: options.Plain = False,
) -> None:
    """Show what the router did. Gate, prompts and nearest words, and a picture of where each expert looked."""
    from rsagent.cli.runtime import read_source, run_async
    from rsagent.graphs.text import clean_question
    from rsagent.imagery import load_image
    from rsagent.settings import Settings

    settings = Settings.load(
        style=style, checkpoint=checkpoint, device=device, dtype=dtype, max_tokens=max_tokens, seed=seed,
        prompts=prompts, max_pixels=max_pixels, engine=engine,
    )  # fmt: skip
    path = out or Path(f"{'stdin' if image == '-' else Path(image).stem}-router.png")
    question = None if question is None else clean_question(question)
    chosen, source = options.parse_bands(bands), read_source(image)
    rgb = load_image(source, bands=chosen, max_pixels=settings.max_pixels).rgb
    trace, outcome = run_async(_look(settings, source, question, chosen))
    save_picture(router_picture(rgb, trace, _said(outcome)), path)
    if as_json:
        result_json({"path": image, "trace": trace.model_dump(), "result": outcome.model_dump(), "picture": str(path)})
    elif decorated(plain):
        _frames(trace, outcome)
    else:
        result(_lines(image, trace, outcome))
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


def _said(outcome: Caption | Answer) -> dict[str, str]:
    """What each expert that was asked said."""
    from rsagent.cli.show import said_by_experts
    from rsagent.schemas import Answer

    if not isinstance(outcome, Answer):
        return said_by_experts(outcome)
    return {outcome.expert: outcome.text} | {report.expert: report.text for report in outcome.evidence}


def _rows(trace: RouterTrace, outcome: Caption | Answer) -> dict[str, list[str]]:
    """Expert -> gate, prompt, place, nearest words and report, in words."""
    said = _said(outcome)
    return {
        (name := expert.prompt.expert): [
            f"{trace.gate[name]:.2f}",
            expert.prompt.text,
            place(expert.attention),
            " ".join(expert.nearest_words) or "-",
            (said[name] or "-") if name in said else "(not asked)",
        ]
        for expert in trace.experts
    }


_LABELS = ("gate", "prompt", "looks at", "nearest words", "says")


def _lines(name: str, trace: RouterTrace, outcome: Caption | Answer) -> list[str]:
    lines = [name, f"  instruction: {trace.instruction}"]
    for expert, cells in _rows(trace, outcome).items():
        lines += [f"  {expert} {label}: {cell}" for label, cell in zip(_LABELS, cells, strict=True)]
    return [*lines, f"  result: {outcome.text}", *(f"  {line}" for line in blemishes(outcome))]


def _frames(trace: RouterTrace, outcome: Caption | Answer) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = terminal()
    rows = _rows(trace, outcome)
    table = Table(box=box.ROUNDED, expand=True, border_style="dim", title_justify="left")
    table.title = Text(visible(f"{trace.image.name}: {trace.instruction}"), style="bold")
    table.add_column("")
    for index, expert in enumerate(rows):
        table.add_column(Text(visible(expert)), style=COLOURS[index % len(COLOURS)], ratio=1)
    for label, *cells in zip(_LABELS, *rows.values(), strict=True):
        table.add_row(label, *(Text(visible(cell)) for cell in cells))
    console.print(table)
    console.print(Text(visible(outcome.text), style="bold"))
    for line in blemishes(outcome):
        console.print(Text(visible(line), style="yellow"))
    console.print(Text(visible(footer(outcome.image, outcome.seconds)), style="dim"))
