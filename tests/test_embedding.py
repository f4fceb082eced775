"""rsagent inside other people's programs: parent graphs, tools, results that show themselves, traces."""

from __future__ import annotations

import asyncio
import base64
import operator
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from PIL import Image
from typing_extensions import TypedDict

from rsagent import Answer, Caption, RSAgent, create_graph
from rsagent.engines.scripted import ScriptedEngine
from rsagent.errors import ImageError, UserError
from rsagent.graphs import CHECKPOINT_TYPES
from rsagent.schemas import ExpertPrompt
from rsagent.sources import SourcePolicy
from rsagent.telemetry import TurnTrace, note_retry

SAID = {"theme": "a port", "object": "many boats and a quay", "relation": "the boats lie along the quay"}


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.new("RGB", (24, 16), (10, 80, 120)).save(tmp_path / "port.png")
    return str(tmp_path / "port.png")


def uri(path: str) -> str:
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()


# ----- parent graphs


class Parent(TypedDict, total=False):
    file: str
    notes: Annotated[list[str], operator.add]


class Office(NamedTuple):
    region: str


def parent(checkpointer: Any = None, depth: int = 1) -> Any:
    """A parent with other state and context, whose node runs the agent's graph; `depth` parents around each other."""
    look = create_graph(ScriptedEngine(SAID))

    async def describe(state: Parent, runtime: Runtime[Office]) -> Parent:
        caption = (await look.ainvoke({"image": state["file"]}))["caption"]
        return {"notes": [f"{runtime.context.region}: {caption.theme}"]}

    graph = StateGraph(Parent, context_schema=Office).add_node("describe", describe).add_edge(START, "describe")
    for _ in range(depth - 1):
        graph = StateGraph(Parent, context_schema=Office).add_node("inner", graph.compile()).add_edge(START, "inner")
    return graph.compile(checkpointer=checkpointer)


@pytest.mark.parametrize("depth", [1, 2])
async def test_a_parent_of_another_state_and_context(picture: str, depth: int) -> None:
    result = await parent(depth=depth).ainvoke({"file": picture}, context=Office("north"))
    assert result["notes"] == ["north: A port."]


async def test_a_parent_with_its_own_checkpointer_keeps_no_picture(picture: str) -> None:
    saver = InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=CHECKPOINT_TYPES))
    graph, config = parent(saver), {"configurable": {"thread_id": "t"}}
    for _ in range(2):
        result = await graph.ainvoke({"file": picture}, config, context=Office("north"))
    assert result["notes"] == ["north: A port."] * 2
    assert len(repr(saver.storage)) + len(repr(saver.blobs)) < 60_000


class Shared(TypedDict, total=False):
    image: str
    question: str
    answer: Any


async def test_the_graph_itself_as_a_node_reads_no_context_of_the_parent(picture: str) -> None:
    graph = StateGraph(Shared, context_schema=Office).add_node("look", create_graph(ScriptedEngine(SAID)))
    compiled = graph.add_edge(START, "look").compile()
    result = await compiled.ainvoke({"image": picture, "question": "what is it?"}, context=Office("north"))
    assert isinstance(result["answer"], Answer) and result["answer"].text == "a port"


@pytest.mark.parametrize("registered", [True, False])
async def test_the_graph_itself_as_a_node_of_a_parent_with_a_checkpointer(picture: str, registered: bool) -> None:
    serde = JsonPlusSerializer(allowed_msgpack_modules=CHECKPOINT_TYPES) if registered else None
    graph = StateGraph(Shared).add_node("look", create_graph(ScriptedEngine(SAID))).add_edge(START, "look")
    compiled, config = graph.compile(checkpointer=InMemorySaver(serde=serde)), {"configurable": {"thread_id": "t"}}
    first = await compiled.ainvoke({"image": picture, "question": "what is it?"}, config)
    second = await compiled.ainvoke({"question": "where are the boats?"}, config)  # the parent keeps the picture's path
    assert [turn["answer"].question for turn in (first, second)] == ["what is it?", "where are the boats?"]
    assert len(second["answer"].evidence) == len(first["answer"].evidence)  # nothing of the turn before is left
    kept = (await compiled.aget_state(config)).values
    assert isinstance(kept["answer"], Answer) and kept["answer"].text == second["answer"].text


async def test_events_and_the_text_stream_through_a_parent(picture: str) -> None:
    events: list[Any] = []
    texts: list[str] = []
    run = parent(depth=2).astream(
        {"file": picture}, context=Office("north"), stream_mode=["custom", "messages"], subgraphs=True
    )
    async for _, mode, part in run:
        if mode == "custom":
            events.append(part)
        elif isinstance(part[0], AIMessage):
            texts.append(part[0].content)
    assert {event["type"] for event in events} == {"route", "token", "report", "composed"}
    assert texts == ["A port. Many boats and a quay. The boats lie along the quay."]


async def test_a_synchronous_caller_inside_a_running_loop(picture: str) -> None:
    with RSAgent(ScriptedEngine(SAID)).sync as agent:
        assert agent.caption(picture).theme == "A port."


async def test_a_graph_takes_no_picture_that_would_stay_in_checkpoints(picture: str) -> None:
    with pytest.raises(UserError, match=r"takes no data: URI"):
        await create_graph(ScriptedEngine(SAID)).ainvoke({"image": uri(picture)})


async def test_two_agents_with_different_engines_in_one_process(picture: str) -> None:
    port, farm = RSAgent(ScriptedEngine(SAID)), RSAgent(ScriptedEngine({"theme": "a farm"}))
    captions = await asyncio.gather(*(agent.caption(picture) for agent in (port, farm, port)))
    assert [caption.theme for caption in captions] == ["A port.", "A farm.", "A port."]


# ----- pictures and batches


async def test_a_data_uri_is_a_picture_and_a_url_is_refused(picture: str) -> None:
    agent = RSAgent(ScriptedEngine(SAID))
    assert (await agent.caption(uri(picture))).image.width == 24
    assert (await agent.explain(uri(picture))).image.width == 24
    with pytest.raises(ImageError, match="not fetched here"):
        await agent.caption("http://127.0.0.1/a.png")
    with pytest.raises(ImageError, match="private"):
        await RSAgent(ScriptedEngine(SAID), sources=SourcePolicy(allow_urls=True)).caption("http://127.0.0.1/a.png")


async def test_a_batch_keeps_the_order_and_has_errors_in_place(picture: str) -> None:
    engine = ScriptedEngine({"theme": lambda prompt: "a port" if prompt.task == "caption" else "blue"})
    images = [picture, "gone.png", picture]
    described = await RSAgent(engine).batch(images)
    asked = await RSAgent(engine).batch(images, "what colour?")
    assert [type(seen.result) for seen in described] == [Caption, ImageError, Caption]
    assert [type(seen.result) for seen in asked] == [Answer, ImageError, Answer]
    assert [seen.image for seen in asked] == images
    with pytest.raises(UserError, match="question"):
        await RSAgent(engine).batch(images, " ")
    with RSAgent(engine).sync as agent:
        assert agent.batch([picture], "what colour?")[0].result.text == "blue"  # type: ignore[union-attr]


async def test_bands_and_sizes_belong_to_the_engine() -> None:
    with pytest.raises(UserError, match="belong to the engine"):
        RSAgent(ScriptedEngine(SAID), bands=(3, 2, 1))


async def test_tokens_are_limited_for_one_call(picture: str) -> None:
    agent = RSAgent(ScriptedEngine(SAID))
    assert (await agent.caption(picture, max_tokens=2)).objects == "Many boats."
    assert (await agent.ask(picture, "what?", max_tokens=1)).text == "a"
    with pytest.raises(UserError, match="0 tokens"):
        await agent.caption(picture, max_tokens=-0 or 0)
    assert (await agent.caption(picture)).objects == "Many boats and a quay."


# ----- the tool


async def test_as_a_tool_for_models_that_call_tools(picture: str) -> None:
    tool = RSAgent(ScriptedEngine(SAID, gate={"theme": 0.0, "object": 1.0, "relation": 0.0})).as_tool()
    assert set(tool.tool_call_schema.model_json_schema()["properties"]) == {"image", "question"}  # type: ignore[union-attr]
    call = {"name": tool.name, "args": {"image": picture, "question": "what is there?"}, "id": "1", "type": "tool_call"}
    message = await tool.ainvoke(call)
    assert message.content == "many boats and a quay" and isinstance(message.artifact, Answer)
    wrong = await tool.ainvoke({**call, "args": {"image": "gone.png"}})
    assert wrong.status == "error" and "no such file" in wrong.content


def test_the_tool_without_a_loop_and_with_limits(picture: str) -> None:
    agent = RSAgent(ScriptedEngine(SAID, failures={"theme": "away"}))
    root = Path(picture).parent
    tool = agent.as_tool(name="eyes", sources=SourcePolicy(root=root))
    message = tool.invoke({"name": "eyes", "args": {"image": "port.png"}, "id": "1", "type": "tool_call"})
    assert "(partial: nothing from theme)" in message.content and isinstance(message.artifact, Caption)
    refused = tool.invoke({"name": "eyes", "args": {"image": "/etc/passwd"}, "id": "2", "type": "tool_call"})
    assert refused.status == "error" and "outside the root" in refused.content
    agent.sync.close()


# ----- results and traces


async def test_results_show_themselves_and_escape_what_models_say(picture: str) -> None:
    hostile = "<script>alert(1)</script> *bold* [x](javascript:y)"
    agent = RSAgent(ScriptedEngine({"theme": hostile, "object": "boats"}, failures={"object": "away"}))
    for result in (await agent.caption(picture), await agent.ask(picture, "what <b>?")):
        html, markdown = result._repr_html_(), result.to_markdown()
        assert "<script" not in html + markdown.replace("\\<", "") and "<b>" not in html
        assert "nothing from object" in html and "nothing from object" in markdown
        assert "\\*bold\\*" in markdown


async def test_each_turn_has_a_trace(picture: str) -> None:
    class Retrying(ScriptedEngine):
        async def generate(self, prompt: ExpertPrompt) -> AsyncGenerator[str, None]:
            note_retry("once more")
            async for piece in super().generate(prompt):
                yield piece

    traces: list[TurnTrace] = []
    agent = RSAgent(Retrying(SAID, failures={"theme": "away"}), on_trace=traces.append)
    caption = await agent.caption(picture)
    (trace,) = traces
    assert (trace.text, trace.partial, trace.image) == (caption.text, True, caption.image.sha256)
    assert [(call.expert, call.retries, call.error) for call in trace.calls] == [
        ("theme", 1, "away"), ("object", 1, None), ("relation", 1, None),
    ]  # fmt: skip
    assert trace.tokens == 11 and "Describe this image." in trace.calls[1].prompt
    assert not any(word in trace.without_content().model_dump_json() for word in ("boats", "Describe"))


async def test_a_turn_in_which_all_fail_has_a_trace_too(picture: str) -> None:
    traces: list[TurnTrace] = []
    agent = RSAgent(ScriptedEngine(SAID, failures=dict.fromkeys(SAID, "away")), on_trace=traces.append)
    with pytest.raises(Exception, match="no expert answered"):
        await agent.caption(picture)
    assert traces[0].error is not None and "away" in traces[0].error


async def test_spans_carry_numbers_and_no_words(picture: str) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    await RSAgent(ScriptedEngine(SAID, failures={"theme": "away"})).ask(picture, "secret word?")
    spans = {(span.name, span.attributes.get("expert")): dict(span.attributes) for span in exporter.get_finished_spans()}
    assert {name for name, _ in spans} == {"rsagent.prepare", "rsagent.router", "rsagent.expert", "rsagent.composer"}
    assert spans["rsagent.expert", "theme"]["failed"] is True
    assert "secret" not in str(spans) and "boats" not in str(spans)
