"""The `openai` engine in front of our own server: chat experts that are themselves rsagent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from rsagent import RSAgent
from rsagent.engines.chat import ChatEngine
from rsagent.engines.scripted import ScriptedEngine
from rsagent.errors import AllExpertsFailed
from rsagent.serving.web import Limits, ServeOptions, create_app
from rsagent.telemetry import TurnTrace

SAID = {"theme": "a port", "object": "12", "relation": "the boats lie along the quay"}
KEY = "correct-horse-battery"
EXPERTS = {name: f"rsagent:{name}" for name in SAID}


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.new("RGB", (40, 30), (10, 80, 120)).save(tmp_path / "port.png")
    return str(tmp_path / "port.png")


@pytest.fixture
async def upstream() -> AsyncIterator[Callable[..., ChatEngine]]:
    """A chat engine whose upstream is our server on the scripted engine, without a socket."""
    clients: list[httpx2.AsyncClient] = []

    def start(engine: ScriptedEngine | None = None, limits: Limits | None = None, **options: object) -> ChatEngine:
        inner = engine or ScriptedEngine(SAID)
        app = create_app(RSAgent(inner), inner, ServeOptions(keys=(KEY,), limits=limits or Limits()))
        clients.append(httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost", timeout=30))
        usual = {"api_key": KEY, "experts": EXPERTS, "http_client": clients[-1]}
        return ChatEngine("http://localhost/v1", "rsagent", **{**usual, **options})  # type: ignore[arg-type]

    yield start
    for client in clients:
        await client.aclose()


async def test_each_expert_is_a_model_of_our_own_server(upstream: Callable[..., ChatEngine], picture: str) -> None:
    inner = ScriptedEngine(SAID)
    async with RSAgent(upstream(inner)) as agent:
        caption = await agent.caption(picture)
        answer = await agent.ask(picture, "How many boats are there?")
    assert caption.text == "A port. 12. The boats lie along the quay." and not caption.partial
    assert (answer.text, answer.expert) == ("12", "object")
    assert {call.expert for call in inner.calls} == set(SAID) and not inner.running


async def test_its_faults_arrive_as_what_they_are(upstream: Callable[..., ChatEngine], picture: str) -> None:
    async with RSAgent(upstream(ScriptedEngine(SAID, failures={"theme": "away"}), max_retries=0)) as agent:
        caption = await agent.caption(picture)
    assert caption.missing == ["theme"] and "12" in caption.text
    for options, said in (({"api_key": "wrong-key-of-16-chars"}, "refuses the API key"), ({"experts": {}}, None)):
        async with RSAgent(upstream(max_retries=0, **options)) as agent:
            if said is None:  # without experts of its own each prompt goes to the whole of it
                assert (await agent.caption(picture)).text
                continue
            with pytest.raises(AllExpertsFailed, match=said):
                await agent.caption(picture)
    with pytest.raises(AllExpertsFailed, match="knows no such model|refuses the call"):
        async with RSAgent(upstream(experts=dict.fromkeys(SAID, "gpt"), max_retries=0)) as agent:
            await agent.caption(picture)


async def test_a_full_queue_upstream_is_waited_for(upstream: Callable[..., ChatEngine], picture: str) -> None:
    inner = ScriptedEngine(SAID, delays=dict.fromkeys(SAID, 0.1))
    traces: list[TurnTrace] = []
    engine = upstream(inner, limits=Limits(running=1, queue=1), max_retries=5)
    async with RSAgent(engine, on_trace=traces.append) as agent:
        caption = await agent.caption(picture)
    assert not caption.partial and sum(call.retries for call in traces[0].calls) >= 1


async def test_a_client_that_goes_stops_the_turn_upstream(upstream: Callable[..., ChatEngine], picture: str) -> None:
    inner = ScriptedEngine(SAID, delays=dict.fromkeys(SAID, float("inf")))
    async with RSAgent(upstream(inner), expert_timeout_s=0.3) as agent:
        with pytest.raises(AllExpertsFailed, match="not done within"):
            await agent.caption(picture)
        for _ in range(100):
            if not inner.running:
                break
            await asyncio.sleep(0.02)
    assert inner.running == 0
