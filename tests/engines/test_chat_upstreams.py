"""The `openai` engine in front of our own server: chat experts that are themselves rsagent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn

from rsagent import RSAgent
from rsagent.engines.chat import ChatEngine
from rsagent.engines.scripted import ScriptedEngine
from rsagent.errors import AllExpertsFailed
from rsagent.serving.web import Limits, ServeOptions, create_app
from rsagent.telemetry import TurnTrace

Upstream = Callable[..., Awaitable[ChatEngine]]

SAID = {"theme": "a port", "object": "12", "relation": "the boats lie along the quay"}
KEY = "correct-horse-battery"
EXPERTS = {name: f"rsagent:{name}" for name in SAID}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A chat engine whose upstream is our server on the scripted engine, over a real socket."""
    running: list[tuple[uvicorn.Server, asyncio.Task[None]]] = []

    async def start(engine: ScriptedEngine | None = None, limits: Limits | None = None, **options: Any) -> ChatEngine:
        inner = engine or ScriptedEngine(SAID)
        app = create_app(RSAgent(inner), inner, ServeOptions(keys=(KEY,), limits=limits or Limits()))
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
        running.append((server, asyncio.create_task(server.serve([listening]))))
        while not server.started:
            await asyncio.sleep(0.01)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        return ChatEngine(url, "rsagent", **{"api_key": KEY, "experts": EXPERTS, **options})

    yield start
    for server, task in running:
        server.should_exit = True
        await task


async def test_each_expert_is_a_model_of_our_own_server(upstream: Upstream, picture: str) -> None:
    inner = ScriptedEngine(SAID)
    async with RSAgent(await upstream(inner)) as agent:
        caption = await agent.caption(picture)
        answer = await agent.ask(picture, "How many boats are there?")
    assert caption.text == "A port. 12. The boats lie along the quay." and not caption.partial
    assert (answer.text, answer.expert) == ("12", "object")
    assert {call.expert for call in inner.calls} == set(SAID) and not inner.running


async def test_its_faults_arrive_as_what_they_are(upstream: Upstream, picture: str) -> None:
    async with RSAgent(await upstream(ScriptedEngine(SAID, failures={"theme": "away"}), max_retries=0)) as agent:
        caption = await agent.caption(picture)
    assert caption.missing == ["theme"] and "12" in caption.text
    for options, said in (({"api_key": "wrong-key-of-16-chars"}, "refuses the API key"), ({"experts": {}}, None)):
        async with RSAgent(await upstream(max_retries=0, **options)) as agent:
            if said is None:  # without experts of its own each prompt goes to the whole of it
                assert (await agent.caption(picture)).text
                continue
            with pytest.raises(AllExpertsFailed, match=said):
                await agent.caption(picture)
    with pytest.raises(AllExpertsFailed, match="knows no such model|refuses the call"):
        async with RSAgent(await upstream(experts=dict.fromkeys(SAID, "gpt"), max_retries=0)) as agent:
            await agent.caption(picture)


async def test_a_full_queue_upstream_is_waited_for(upstream: Upstream, picture: str) -> None:
    inner = ScriptedEngine(SAID, delays=dict.fromkeys(SAID, 0.1))
    traces: list[TurnTrace] = []
    engine = await upstream(inner, limits=Limits(running=1, queue=1), max_retries=5)
    async with RSAgent(engine, on_trace=traces.append) as agent:
        caption = await agent.caption(picture)
    assert not caption.partial and sum(call.retries for call in traces[0].calls) >= 1


async def test_a_client_that_goes_stops_the_turn_upstream(upstream: Upstream, picture: str) -> None:
    inner = ScriptedEngine(SAID, delays=dict.fromkeys(SAID, float("inf")))
    async with RSAgent(await upstream(inner), expert_timeout_s=0.3) as agent:
        with pytest.raises(AllExpertsFailed, match="not done within"):
            await agent.caption(picture)
        for _ in range(500):
            if not inner.running:
                break
            await asyncio.sleep(0.02)
    assert inner.running == 0
