"""`rsagent ask`: a question about a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from rsagent.cli import options
from rsagent.cli.console import decorated, result, result_json, say, terminal
from rsagent.cli.show import blemishes, frame_answer

if TYPE_CHECKING:
    from rsagent.schemas import Answer
    from rsagent.settings import Settings


@options.with_engine(style=False)
def ask(
    image: options.Image,
    question: options.Question,
    experts: options.Experts = None,
    as_json: options.Json = False,
    plain: options.Plain = False,
    *,
    settings: Settings,
    bands: Sequence[int] | None,
) -> None:
    """Answer a question about a picture. When piped, stdout is the answer and nothing else."""
    from rsagent.cli.runtime import check_picture, read_source, run_async
    from rsagent.graphs.text import clean_question

    question, source = clean_question(question), read_source(image)
    check_picture(source, settings, bands)
    answer = run_async(_answer(settings, source, question, experts, bands))
    if as_json:
        result_json({"path": image, **answer.model_dump(mode="json")})
    elif decorated(plain):
        frame_answer(answer, terminal())
    else:
        result([answer.text])
        for line in blemishes(answer):
            say(line)
    raise typer.Exit(1 if answer.partial else 0)


async def _answer(
    settings: Settings, source: str | bytes, question: str, experts: str | None, bands: Sequence[int] | None
) -> Answer:
    from rsagent.cli.runtime import open_agent

    async with open_agent(settings, bands) as (agent, engine):
        return await agent.ask(source, question, options.parse_experts(experts, engine.experts))
