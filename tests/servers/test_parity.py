"""A real server's experts say what the local engine's say, and what was read once is not read again."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from rsagent import RSAgent
from rsagent.engines.local import LocalEngine
from rsagent.engines.sglang import SGLangEngine, packed
from rsagent.errors import EngineError
from rsagent.schemas import OBJECTS_SCHEMA
from tests.servers.clients import connect, good_body, listen, prompts_of

QUESTION = "how many red lorries are there ?"


@pytest.mark.parametrize("which", ["shipped", "untrained"])
async def test_the_experts_say_what_they_say_locally(request: pytest.FixtureRequest, which: str, pictures: list[Path]):
    running = request.getfixturevalue(which)
    ours = await connect(running, dtype="float32")
    local = await asyncio.to_thread(LocalEngine.load, running.checkpoint, device="cpu", dtype="float32")
    for picture in pictures:
        prompts = await prompts_of(ours, picture)
        assert prompts == await prompts_of(local, picture)
        theirs = [await listen(local, prompt) for prompt in prompts]
        assert await asyncio.gather(*(listen(ours, prompt) for prompt in prompts)) == theirs  # piece by piece
    await ours.close()
    await local.close()


async def test_the_composer_and_the_single_llm_too(shipped: Any, pictures: list[Path]):
    ours, local = await connect(shipped), await asyncio.to_thread(LocalEngine.load, device="cpu", dtype="float32")
    prompt = (await prompts_of(ours, pictures[0]))[0]
    await prompts_of(local, pictures[0])
    for expert in ("composer", "single"):
        asked = prompt.model_copy(update={"expert": expert, "text": "Two planes stand on a runway."})
        assert await listen(ours, asked) == await listen(local, asked)
    await ours.close()
    await local.close()


async def test_a_repeated_instruction_finds_its_whole_prompt_in_the_radix_cache(shipped: Any, pictures: list[Path]):
    engine = await connect(shipped)
    prompt = (await prompts_of(engine, pictures[1], QUESTION))[0]
    await listen(engine, prompt)
    await listen(engine, prompt)
    counted = engine.last_counters
    assert counted["cached_tokens"] == counted["prompt_tokens"] - 1  # the last one has to be read for the first word
    await listen(engine, prompt.model_copy(update={"text": prompt.text + " Look again."}))
    assert engine.last_counters["cached_tokens"] >= len(await engine._eyes.prefix(prompt))
    await engine.close()


async def test_an_agent_describes_and_answers_through_the_server(shipped: Any, pictures: list[Path]):
    async with RSAgent(await connect(shipped)) as agent, RSAgent(dtype="float32") as local:
        ours, theirs = await agent.caption(pictures[0]), await local.caption(pictures[0])
        assert (ours.text, ours.partial) == (theirs.text, False)
        assert (await agent.ask(pictures[0], QUESTION)).text == (await local.ask(pictures[0], QUESTION)).text


async def test_many_turns_at_once_give_what_each_gives_alone(shipped: Any, pictures: list[Path]):
    engine = await connect(shipped)
    prompts = [prompt for picture in pictures for prompt in await prompts_of(engine, picture)]
    alone = [await listen(engine, prompt) for prompt in prompts]
    assert await asyncio.gather(*(listen(engine, prompt) for prompt in prompts * 17)) == alone * 17  # 204 requests
    await engine.close()


async def test_text_instead_of_tokens_is_read_as_the_experts_were_trained(shipped: Any, pictures: list[Path]):
    engine = await connect(shipped)
    prompt = (await prompts_of(engine, pictures[0]))[0]
    expected = "".join(await listen(engine, prompt))
    image = packed(await engine._eyes.prefix(prompt), "float32")
    body = {"text": prompt.text, "image_data": image, "lora_path": prompt.expert}
    body["sampling_params"] = {"temperature": 0, "max_new_tokens": prompt.max_tokens}
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(f"{shipped.url}/generate", json=body)
    assert answer.json()["text"] == expected
    await engine.close()


async def test_a_schema_is_kept_by_both_engines_and_they_say_the_same(shipped: Any, pictures: list[Path]):
    ours, local = await connect(shipped), await asyncio.to_thread(LocalEngine.load, device="cpu", dtype="float32")
    prompt = (await prompts_of(ours, pictures[0], tokens=80))[1]
    free = (await prompts_of(local, pictures[0]))[0]
    item = {"type": "object", "properties": {"name": {"enum": ["tree", "road"]}, "count": {"enum": [1, 2]}}}
    item |= {"required": ["name", "count"], "additionalProperties": False}
    asked = prompt.model_copy(update={"json_schema": json.dumps({"type": "array", "items": item, "maxItems": 2})})
    theirs, unbound = await asyncio.gather(listen(local, asked), listen(local, free))  # one batch, one of them free
    assert await listen(ours, asked) == theirs
    assert all(found["name"] in ("tree", "road") for found in json.loads("".join(theirs)))
    assert unbound == await listen(local, free)
    objects = prompt.model_copy(update={"json_schema": OBJECTS_SCHEMA})  # cut off after 80 tokens, but the same
    assert "".join(await listen(ours, objects)) == "".join(await listen(local, objects))
    for engine in (ours, local):
        with pytest.raises(EngineError):
            await listen(engine, prompt.model_copy(update={"json_schema": "{"}))
        await engine.close()


async def test_a_regex_binds_an_adapters_words(shipped: Any, pictures: list[Path]):
    engine = await connect(shipped)
    for prompt in await prompts_of(engine, pictures[0]):
        body = await good_body(engine, prompt)
        body["sampling_params"] = {"temperature": 0, "max_new_tokens": 20, "regex": "(yes|no), (one|two) (trees|roads)"}
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.post(f"{shipped.url}/generate", json=body)
        assert re.fullmatch("(yes|no), (one|two) (trees|roads)", answer.json()["text"]), answer.text
    await engine.close()


async def test_two_hundred_turns_at_once_give_what_each_gives_alone(shipped: Any, pictures: list[Path]):
    async with RSAgent(await connect(shipped), expert_timeout_s=300.0, max_tokens=8) as agent:
        alone = [(await agent.caption(picture)).text for picture in pictures]
        turns = await asyncio.gather(*(agent.caption(picture) for picture in pictures * 50))
        assert [turn.text for turn in turns] == alone * 50
        assert not any(turn.partial for turn in turns)


async def test_experts_of_an_llm_inside_an_instructblip_say_what_they_say_locally(instructblip: Any, pictures: list[Path]):
    ours = await connect(instructblip, dtype="float32")
    local = await asyncio.to_thread(LocalEngine.load, instructblip.checkpoint, device="cpu", dtype="float32")
    prompts = await prompts_of(ours, pictures[0])
    assert prompts == await prompts_of(local, pictures[0])
    theirs = [await listen(local, prompt) for prompt in prompts]
    assert all(theirs) and [await listen(ours, prompt) for prompt in prompts] == theirs
    await ours.close()
    await local.close()


async def test_another_checkpoint_is_refused_when_connecting(shipped: Any, tiny_checkpoint: Path):
    with pytest.raises(EngineError, match="another checkpoint"):
        await asyncio.to_thread(SGLangEngine.load, shipped.url, tiny_checkpoint)
