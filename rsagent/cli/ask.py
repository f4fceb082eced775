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


def ask(
    image: options.Image,
    question: options.Question,
    experts: options.Experts = None,
    checkpoint: options.Checkpoint = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    best: options.Best = False,
    max_tokens: options.MaxTokens = None,
    seed: options.Seed = None,
    prompts: options.Prompts = None,
    bands: options.Bands = None,
    max_pixels: options.MaxPixels = None,
    engine: options.Engine = None,
    url: options.Url = None,
    as_json: options.Json = False,
    plain: options.Plain = False,
) -> None:
    """Answer a question about a picture. When piped, stdout is the answer and nothing else."""
    from rsagent.cli.runtime import check_picture, read_source, run_async
    from rsagent.graphs.text import clean_question
    from rsagent.settings import Settings

    settings = Settings.load(
        checkpoint=checkpoint, device=device, dtype=dtype, best=best or None, max_tokens=max_tokens, seed=seed,
        prompts=prompts, max_pixels=max_pixels, engine=engine, url=url,
    )  # fmt: skip
    question, chosen, source = clean_question(question), options.parse_bands(bands), read_source(image)
    check_picture(source, settings, chosen)
    answer = run_async(_answer(settings, source, question, experts, chosen))
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
