"""Rows about time, each a ratio within one run: three experts to one, the agent to the bare server."""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import AsyncGenerator
from typing import Any

import httpx

from figures import Row
from rsagent import RSAgent
from rsagent.engines.sglang import SGLangEngine
from rsagent.errors import RSAgentError
from rsagent.schemas import ExpertPrompt
from sglang_rows.bench import Bench, bare_body, clocked, deciles, gather, listen, prompts_of

_JSON = {"Content-Type": "application/json"}
_TIMES = 4
"""How often a run goes through the pictures: its end, where fewer captions are in hand than may be, should count for little."""


async def latency(bench: Bench, rounds: int) -> list[Row]:
    """Three experts of a turn against one, with features and prefixes cached; asked one by one or as one batch."""
    engine = await bench.engine()
    turns = [await prompts_of(engine, [picture]) for picture in bench.pictures[: 3 * rounds]]
    longest: list[float] = []
    means: list[float] = []
    batches: list[float] = []
    async with httpx.AsyncClient(timeout=300, headers=_JSON) as client:
        for turn in turns:
            bodies = [await bare_body(engine, prompt) for prompt in turn]
            batch = json.dumps({key: [body[key] for body in bodies] for key in bodies[0]}).encode()
            single = [json.dumps(body).encode() for body in bodies]

            async def one_batch(content: bytes = batch) -> None:
                (await client.post(f"{bench.url}/generate", content=content)).raise_for_status()

            async def one_by_one(contents: list[bytes] = single) -> None:
                await asyncio.gather(*(client.post(f"{bench.url}/generate", content=content) for content in contents))

            await gather(engine, turn)
            alone = [await clocked(lambda prompt=prompt: listen(engine, prompt)) for prompt in turn]
            together = await clocked(lambda turn=turn: gather(engine, turn))
            longest.append(together / max(alone))
            means.append(together / statistics.mean(alone))
            batches.append(await clocked(one_by_one) / await clocked(one_batch))
    await engine.close()
    ratio, batched, n = statistics.median(longest), statistics.median(batches), f"n = {len(longest)} turns"
    return [
        Row("three experts / one (the longest of the three)", f"{ratio:.2f} ({deciles(longest)}), {n}", "<= 1.5", ratio <= 1.5),
        Row("three experts / one (their mean)", f"{statistics.median(means):.2f} ({deciles(means)}), {n}", "shown", None),
        Row(
            "a turn's requests singly / as one batch",
            f"{batched:.2f} ({deciles(batches)})",
            "shown",
            None,
        ),
    ]


async def throughput(bench: Bench, rounds: int) -> list[Row]:
    """Captions through the agent against the same prompts sent straight to the server, features cached on both sides."""
    engine = await bench.engine()
    asked: list[ExpertPrompt] = []
    ratios: list[float] = []
    rates: list[float] = []
    async with RSAgent(engine, expert_timeout_s=600) as agent, _client() as client:

        async def by_agent(times: int = _TIMES) -> None:
            async for described in agent.caption_many(bench.pictures * times, concurrency=32):
                if isinstance(described.result, RSAgentError):
                    raise described.result

        with _recorded(engine, asked):
            await by_agent(1)  # which also fills the caches; some experts are asked twice
        bodies = [json.dumps(await bare_body(engine, prompt)).encode() for prompt in asked]

        async def bare() -> None:
            free = asyncio.Semaphore(96)  # 32 captions of three experts

            async def one(body: bytes) -> None:
                async with free:
                    (await client.post(f"{bench.url}/generate", content=body)).raise_for_status()

            await asyncio.gather(*(one(body) for body in bodies * _TIMES))

        await bare()
        for _ in range(max(2, rounds // 2)):
            ours, theirs = await clocked(by_agent), await clocked(bare)
            ratios.append(theirs / ours)
            rates.append(_TIMES * len(bench.pictures) / ours)
    ratio = statistics.median(ratios)
    asked_n, rate = _TIMES * len(bodies), statistics.median(rates)
    found = f"{ratio:.2f} ({deciles(ratios)}), n = {len(ratios)} x {asked_n} requests; {rate:.1f} captions/s"
    return [Row("agent / bare server, throughput at concurrency 32", found, ">= 0.90", ratio >= 0.90)]


def _client() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=96, keepalive_expiry=4)
    return httpx.AsyncClient(limits=limits, timeout=300, headers=_JSON)


class _recorded:  # noqa: N801 - a context manager, read as a word
    """While it is open, every prompt that an engine is given is noted."""

    def __init__(self, engine: SGLangEngine, asked: list[ExpertPrompt]) -> None:
        self._engine, self._asked = engine, asked

    def __enter__(self) -> None:
        generate, asked = self._engine.generate, self._asked

        def noting(prompt: ExpertPrompt) -> AsyncGenerator[str, None]:
            asked.append(prompt)
            return generate(prompt)

        vars(self._engine)["generate"] = noting

    def __exit__(self, *_: Any) -> None:
        del vars(self._engine)["generate"]
