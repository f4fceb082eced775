"""The `openai` engine counts what its server says that a call took, and pieces where the server says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from rsagent import RSAgent
from rsagent.telemetry import TurnTrace
from tests.engines.misbehaving import Upstream, chat_engine

USAGE = {"prompt_tokens": 900, "completion_tokens": 41, "total_tokens": 941}


async def turn(upstream: Upstream, picture: str, **options: Any) -> tuple[int, TurnTrace]:
    traces: list[TurnTrace] = []
    async with RSAgent(chat_engine(upstream.url, **options), on_trace=traces.append) as agent:
        caption = await agent.caption(picture, "sentence")
    return caption.tokens, traces[0]


async def test_tokens_of_router_experts_and_composer_are_the_servers(upstream: Upstream, picture: str) -> None:
    upstream.usage = USAGE
    tokens, trace = await turn(upstream, picture)
    assert [call.tokens for call in trace.calls] == [41] * 4 and tokens == 4 * 41
    assert trace.router is not None and trace.router.tokens == 41
    assert trace.tokens == 5 * 41


async def test_what_a_composer_that_is_asked_again_wrote_is_all_counted(upstream: Upstream, picture: str) -> None:
    upstream.usage, upstream.caption = USAGE, "A harbour with three boats and a lighthouse."
    _, trace = await turn(upstream, picture, router="rules")
    composer = trace.calls[-1]
    assert (composer.expert, composer.tokens, composer.retries) == ("composer", 3 * 41, 2) and composer.error


@pytest.mark.parametrize(
    "usage", [None, "many", {"completion_tokens": -3}, {"completion_tokens": 10**30}, {"completion_tokens": "x"}]
)
async def test_pieces_are_counted_where_a_server_gives_no_usable_number(upstream: Upstream, picture: str, usage: Any) -> None:
    upstream.usage = usage
    _, trace = await turn(upstream, picture, router="rules")
    assert [call.tokens for call in trace.calls] == [4, 10, 12, 1] and not trace.partial


async def test_a_server_that_knows_no_stream_options_is_asked_without_them(upstream: Upstream, picture: str) -> None:
    upstream.usage, upstream.faults["expert"] = USAGE, "no stream_options"
    engine = chat_engine(upstream.url, router="rules")
    async with RSAgent(engine) as agent:
        first = await agent.caption(picture)
        asked = len(upstream.calls)
        second = await agent.caption(picture)
    assert not first.partial and first.text == second.text
    assert asked <= 6 and len(upstream.calls) == asked + 3  # it is not tried again
