"""The trace of a turn tells of the router, and there is one wherever the turn ends."""

from __future__ import annotations

from typing import Any

import pytest

from rsagent.engines.scripted import ScriptedEngine
from rsagent.errors import EngineError, ImageError
from rsagent.graphs import create_graph
from rsagent.schemas import ExpertPrompt
from rsagent.telemetry import TurnTrace, note_retry

SAID = {"theme": "an airport", "object": "two planes"}


class Retrying(ScriptedEngine):
    async def route(self, *given: Any, **named: Any) -> list[ExpertPrompt]:
        note_retry("the server answers 503")
        return await super().route(*given, **named)


async def test_the_routers_retries_are_counted_once(picture: str) -> None:
    traces: list[TurnTrace] = []
    await create_graph(Retrying(SAID), on_trace=traces.append).ainvoke({"image": picture, "question": "what secret?"})
    (trace,) = traces
    assert trace.router is not None and (trace.router.retries, trace.router.error) == (1, None)
    assert [call.retries for call in trace.calls] == [0, 0] and trace.router.seconds > 0
    assert "secret" not in trace.without_content().model_dump_json()


async def test_a_turn_that_ends_in_the_router_has_a_trace(picture: str) -> None:
    traces: list[TurnTrace] = []
    engine = Retrying(SAID, failures={"route": "no memory"})
    with pytest.raises(EngineError):
        await create_graph(engine, on_trace=traces.append).ainvoke({"image": picture})
    (trace,) = traces
    assert trace.error == "no memory" and trace.router is not None and trace.router.retries == 1
    assert trace.calls == [] and trace.image


async def test_a_turn_that_ends_with_the_picture_has_a_trace() -> None:
    traces: list[TurnTrace] = []
    with pytest.raises(ImageError):
        await create_graph(ScriptedEngine(SAID), on_trace=traces.append).ainvoke({"image": "gone.png"})
    (trace,) = traces
    assert trace.error is not None and "gone.png" in trace.error and (trace.router, trace.calls) == (None, [])
