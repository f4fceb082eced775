"""The `openai` engine against a server that behaves, and against one that misbehaves in every known way."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from PIL import Image

from rsagent import RSAgent, create_graph
from rsagent.chat.conversation import Conversation
from rsagent.chat.store import Store
from rsagent.engines.base import Engine, Rewriter
from rsagent.engines.chat import ChatEngine
from rsagent.engines.grounding import ungrounded
from rsagent.engines.planning import rule_gates
from rsagent.errors import AllExpertsFailed, EngineError, SettingsError
from rsagent.graphs import CHECKPOINT_TYPES
from rsagent.telemetry import TurnTrace
from tests.engines.misbehaving import KEY, SAID, Upstream, chat_engine, kind


@pytest.fixture
def engine(upstream: Upstream) -> Callable[..., ChatEngine]:
    return lambda **options: chat_engine(**{"url": upstream.url, **options})


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.new("RGB", (2000, 100), (10, 80, 120)).save(tmp_path / "port.png")
    return str(tmp_path / "port.png")


# ----- a server that behaves


async def test_a_caption_from_router_experts_and_composer(upstream, engine, picture):
    assert isinstance(engine(), Engine)
    traces: list[TurnTrace] = []
    async with RSAgent(engine(), on_trace=traces.append) as agent:
        caption = await agent.caption(picture, "sentence")
    assert caption.text == upstream.caption and not caption.partial
    assert (caption.theme, caption.objects) == (SAID["theme"], SAID["object"])
    assert [call.prompt for call in traces[0].calls[:3]] == [f"Look at the {name} of it." for name in SAID]
    stages = [stage for stage, _ in upstream.calls]
    assert sorted(stages) == ["composer", "expert", "expert", "expert", "router"]
    (url,) = {body["messages"][-1]["content"][0]["image_url"]["url"] for stage, body in upstream.calls if stage != "composer"}
    assert url.startswith("data:image/png;base64,")


async def test_an_expert_is_a_model_of_its_own_or_a_prompt(upstream, engine, picture):
    async with RSAgent(engine(router="rules", experts={"object": "base:object"})) as agent:
        caption = await agent.caption(picture)
        answer = await agent.ask(picture, "How many boats are there?")
    assert caption.text == "A harbour. Three boats and a quay. The boats lie along the quay."
    assert (answer.text, answer.expert) == ("three", "object")
    models = {body["model"] for stage, body in upstream.calls}
    assert models == {"qwen-vl", "base:object"} and len(upstream.calls) == 4


async def test_a_plan_for_a_question_chooses_the_expert(upstream, engine, picture):
    upstream.plan = {"experts": [{"expert": "relation", "prompt": "Answer where."}], "reason": "it asks for a place"}
    async with RSAgent(engine()) as agent:
        answer = await agent.ask(picture, "Is the quay {left}?")
    assert answer.expert == "relation" and [stage for stage, _ in upstream.calls] == ["router", "expert"]


# ----- one that does not


FAULTS = ("401", "404", "429", "500", "503", "hang", "drop", "invalid JSON", "tool call", "no choice", "refusal", "context")
STRUCTURED = (*FAULTS, "schema", "no schema")
STREAMED = (*FAULTS, "half a stream", "error event")


def clean_of_the_key(*things: Any) -> None:
    assert KEY not in "".join(repr(thing) for thing in things)


@pytest.mark.parametrize("fault", STRUCTURED)
async def test_a_router_that_fails_leaves_the_rules_plan(upstream, engine, picture, caplog, fault):
    upstream.faults["router"] = fault
    traces: list[TurnTrace] = []
    with caplog.at_level(logging.DEBUG):
        async with RSAgent(engine(), on_trace=traces.append) as agent:
            caption = await agent.caption(picture)
    assert caption.partial and caption.missing == ["router"]
    assert caption.text == "A harbour. Three boats and a quay. The boats lie along the quay."
    assert traces[0].router_error and "\n" not in traces[0].router_error and "\x1b" not in traces[0].router_error
    asked = sum(stage == "router" for stage, _ in upstream.calls)
    assert asked == {"schema": 3, "no schema": 3}.get(fault, 2 if fault in ("429", "500", "503", "hang", "drop") else 1)
    clean_of_the_key(caption, traces, caplog.text)


@pytest.mark.parametrize("fault", STREAMED)
async def test_experts_that_fail_are_one_clear_error(upstream, engine, picture, caplog, fault):
    upstream.faults["expert"] = fault
    with caplog.at_level(logging.DEBUG), pytest.raises(AllExpertsFailed) as failed:
        async with RSAgent(engine(router="rules")) as agent:
            await agent.caption(picture)
    assert str(failed.value).isprintable() and str(failed.value).count("theme: ") == 1
    asked = sum(stage == "expert" for stage, _ in upstream.calls)
    assert asked == (6 if fault in ("429", "500", "503", "hang", "drop") else 3)
    clean_of_the_key(failed.value, caplog.text)


@pytest.mark.parametrize("fault", STRUCTURED)
async def test_a_composer_that_fails_leaves_the_joined_caption(upstream, engine, picture, caplog, fault):
    upstream.faults["composer"] = fault
    with caplog.at_level(logging.DEBUG):
        async with RSAgent(engine(router="rules")) as agent:
            caption = await agent.caption(picture, "sentence")
    assert caption.partial and caption.missing == ["composer"]
    assert caption.text == "A harbour. Three boats and a quay. The boats lie along the quay."
    clean_of_the_key(caption, caplog.text)


async def test_a_question_of_a_conversation_is_completed_by_the_model(upstream, engine, picture):
    asking = engine(router="rules")
    assert isinstance(asking, Rewriter)
    assert await asking.rewrite("and where?", [("How many boats are there?", "three")]) == "Where are the boats?"
    (body,) = [body for stage, body in upstream.calls if stage == "rewriter"]
    assert body["messages"][1]["content"].startswith(
        "User: How many boats are there?\nAnswer: three\nThe user says next: and where?"
    )
    await asking.close()


@pytest.mark.parametrize("fault", STRUCTURED)
async def test_a_model_that_cannot_complete_it_leaves_the_rules_question(upstream, engine, picture, fault):
    store, asking = Store.open(None), engine(router="rules")
    conversation = Conversation(store)
    await conversation.attach(RSAgent(asking), "openai qwen-vl", asking)
    conversation.add(picture)
    upstream.faults["rewriter"] = fault
    for said, question in (("How many boats are there?",) * 2, ("and where are they?", "Where are the boats?")):
        asked = await conversation.complete(said, conversation.understand(said))
        assert asked.question == question
        async for _ in conversation.ask(said, asked):
            pass
    await conversation.detach()
    store.close()


async def test_one_expert_that_fails_makes_a_partial_answer_with_its_retries_counted(upstream, engine, picture):
    traces: list[TurnTrace] = []
    upstream.words = lambda body: SAID[kind(body["messages"][-1]["content"][1]["text"])]  # type: ignore[method-assign]
    answer = upstream.answer

    async def only_theme(stage: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        theme = kind(body["messages"][-1]["content"][1]["text"]) == "theme"
        upstream.faults = {"expert": "503"} if theme else {}
        await answer(stage, body, writer)

    upstream.answer = only_theme  # type: ignore[method-assign]
    async with RSAgent(engine(router="rules"), on_trace=traces.append) as agent:
        caption = await agent.caption(picture)
    assert caption.missing == ["theme"] and [call.retries for call in traces[0].calls] == [1, 0, 0]


async def test_a_composer_that_adds_something_is_asked_again_and_then_not_believed(upstream, engine, picture):
    upstream.caption = "A harbour with three boats and a lighthouse."
    async with RSAgent(engine(router="rules")) as agent:
        caption = await agent.caption(picture, "sentence")
    assert "lighthouse" not in caption.text and caption.missing == ["composer"]
    composed = [body for stage, body in upstream.calls if stage == "composer"]
    assert len(composed) == 3 and "lighthouse" in json.dumps(composed[1]["messages"][-1])


async def test_what_a_server_says_is_kept_where_there_is_no_key(upstream, engine, picture, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    upstream.faults["expert"] = "422"
    upstream.said["422"] = "none of the models fits"
    with pytest.raises(AllExpertsFailed, match="none of the models fits"):
        async with RSAgent(engine(router="rules", api_key=None)) as agent:
            await agent.caption(picture)


async def test_tls_that_is_none_is_one_clear_error(upstream, engine, picture):
    with pytest.raises(AllExpertsFailed, match="no TLS connection"):
        async with RSAgent(engine(url=upstream.url.replace("http:", "https:"))) as agent:
            await agent.caption(picture)


async def test_no_key_in_a_checkpoint(upstream, engine, picture):
    saver = InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=CHECKPOINT_TYPES))
    upstream.faults["router"] = "401"
    graph = create_graph(engine(), checkpointer=saver)
    await graph.ainvoke({"image": picture}, {"configurable": {"thread_id": "t"}})
    kept = repr(saver.storage) + repr(saver.blobs) + repr(saver.writes)
    clean_of_the_key(kept)
    assert "data:image" not in kept


async def test_what_cannot_be_configured(engine, upstream):
    for wrong in ({"url": "localhost"}, {"max_side": 3}, {"max_retries": 99}, {"experts": {"colour": "x"}}):
        with pytest.raises(SettingsError):
            engine(**wrong)
    with pytest.raises(EngineError, match="no connection"):
        client = engine(url="http://127.0.0.1:9/v1", max_retries=0)._client
        await client.complete(model="m", messages=[])


# ----- rules


@pytest.mark.parametrize(
    ("question", "expert"),
    [
        ("How many ships are there?", "object"),
        ("What colour is the roof?", "object"),
        ("Is there a bridge?", "object"),
        ("Where is the pond?", "relation"),
        ("Is the road left of the field?", "relation"),
        ("Is it a rural or an urban area?", "theme"),
        ("What kind of place is this?", "theme"),
    ],
)
def test_the_rules_choose_an_expert_by_the_type_of_the_question(question, expert):
    gates = rule_gates(question, ("theme", "object", "relation"))
    assert max(gates, key=gates.__getitem__) == expert


@pytest.mark.parametrize(
    ("caption", "added"),
    [
        ("A harbour with 3 boats.", []),
        ("The image shows boats lying along a quay in the harbour.", []),
        ("Four boats in a harbour.", ["4"]),
        ("Boats and cranes.", ["cranes"]),
        ("Boats and trees.", ["trees (denied)"]),
        ("Boats, no trees.", []),
    ],
)
def test_what_no_expert_reported(caption, added):
    reports = "Theme: a harbour. Objects: three boats and a quay, no trees. Relations: the boats lie along the quay."
    assert ungrounded(caption, reports) == added
