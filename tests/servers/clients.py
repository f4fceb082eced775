"""What the tests of real servers share: a client, prompts for it, a bare request, what a server holds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from rsagent.engines.sglang import SGLangEngine, packed
from rsagent.prompts import load_prompts
from rsagent.schemas import ExpertPrompt
from rsagent.serving.sglang.http import ask


async def connect(*servers: Any, **options: Any) -> SGLangEngine:
    """A client of one or several servers of the same checkpoint, patient enough for a busy machine."""
    given = {"timeout_s": 120.0, "patience_s": 300.0, **options}
    urls = ",".join(server.url for server in servers)
    return await asyncio.to_thread(SGLangEngine.load, urls, servers[0].checkpoint, **given)


async def listen(engine: Any, prompt: ExpertPrompt) -> list[str]:
    """What an expert says, piece by piece."""
    return [piece async for piece in engine.generate(prompt)]


async def prompts_of(engine: Any, picture: Path, instruction: str = "", tokens: int = 24) -> list[ExpertPrompt]:
    """The prompts of a caption's experts, or of another instruction."""
    facts = await engine.prepare(picture)
    instruction = instruction or load_prompts().caption_instruction("detailed")
    written = await engine.route(facts.sha256, instruction, "caption")
    return [prompt.model_copy(update={"max_tokens": tokens}) for prompt in written]


async def first_prompt(engine: Any, picture: Path, tokens: int = 24) -> ExpertPrompt:
    """The prompt of the first expert."""
    return (await prompts_of(engine, picture, tokens=tokens))[0]


async def good_body(engine: SGLangEngine, prompt: ExpertPrompt) -> dict[str, Any]:
    """A request as any other client could send it."""
    tokens = engine._eyes.network.tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
    return {
        "input_ids": [*tokens, engine._eyes.network.tokenizer.bos_token_id],
        "image_data": packed(await engine._eyes.prefix(prompt), "float32"),
        "lora_path": prompt.expert,
        "sampling_params": {"temperature": 0, "max_new_tokens": 8},
    }


def requests_running(url: str) -> int:
    """How many requests a server holds, running and waiting."""
    loads = ask(url, "/v1/loads")["loads"]
    return sum(int(load["num_running_reqs"]) + int(load["num_waiting_reqs"]) for load in loads)


async def wait_until_idle(url: str, limit_s: float = 10.0) -> int:
    """The requests that a server still holds when it has none, or after `limit_s`."""
    ends = asyncio.get_running_loop().time() + limit_s
    while (left := await asyncio.to_thread(requests_running, url)) and asyncio.get_running_loop().time() < ends:
        await asyncio.sleep(0.2)
    return left
