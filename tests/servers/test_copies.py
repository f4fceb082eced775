"""Two copies of the LLM behind one address: SGLang's own data parallelism, as `experts serve --dp 2` starts it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from rsagent.cli.main import app
from rsagent.engines.local import LocalEngine
from tests.servers.clients import connect, first_prompt, listen, prompts_of, wait_until_idle


async def test_two_copies_behind_one_address_say_what_one_says(copies: Any, pictures: list[Path]):
    engine, local = await connect(copies), await asyncio.to_thread(LocalEngine.load, copies.checkpoint, dtype="float32")
    for picture in pictures:
        prompts = await prompts_of(engine, picture)
        await prompts_of(local, picture)
        expected = [await listen(local, prompt) for prompt in prompts]
        assert await asyncio.gather(*(listen(engine, prompt) for prompt in prompts)) == expected
    await engine.close()
    await local.close()


async def test_adapters_cannot_be_loaded_later_and_the_copies_live(copies: Any, pictures: list[Path]):
    theme = copies.checkpoint / "experts" / "theme"
    for arguments in (["load", "later", str(theme)], ["unload", "theme"]):
        line, variables = ["experts", *arguments, "--url", copies.url], {"RSAGENT_CHECKPOINT": str(copies.checkpoint)}
        outcome = await asyncio.to_thread(CliRunner().invoke, app, line, env=variables)
        assert outcome.exit_code == 2 and "runs 2 copies" in outcome.stderr, outcome.output
    engine = await connect(copies)
    prompt = await first_prompt(engine, pictures[0], tokens=4)
    assert len(await listen(engine, prompt)) == 4
    assert await wait_until_idle(copies.url) == 0
    await engine.close()
