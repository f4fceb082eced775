"""The graph as a whole, on the scripted engine: what a user gets when all goes well, and when it does not."""

import asyncio
import math
import statistics
import time
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from PIL import Image
from typing_extensions import TypedDict

from rsagent.engines.base import Engine
from rsagent.engines.scripted import ScriptedEngine
from rsagent.errors import AllExpertsFailed, EngineError, ImageError, SettingsError, UserError
from rsagent.graphs import CHECKPOINT_TYPES, create_graph
from rsagent.schemas import Answer, Caption, ExpertPrompt, ImageFacts

SAID = {
    "theme": "an airport .",
    "object": "two planes and a runway .",
    "relation": "the planes are parked beside the runway .",
}
JOINED = "An airport. Two planes and a runway. The planes are parked beside the runway."
EXPERTS = tuple(SAID)


def scripted(**options: Any) -> ScriptedEngine:
    return ScriptedEngine({**SAID, **options.pop("answers", {})}, **options)


async def caption(engine: Engine, picture: str, **options: Any) -> Caption:
    return (await create_graph(engine, **options).ainvoke({"image": picture}))["caption"]


async def ask(engine: Engine, picture: str, question: str = "how many planes?", **options: Any) -> Answer:
    return (await create_graph(engine, **options).ainvoke({"image": picture, "question": question}))["answer"]


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


def saver() -> InMemorySaver:
    return InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=CHECKPOINT_TYPES))


# ----- a turn


async def test_a_caption_joins_the_experts_in_the_papers_order(picture: str) -> None:
    result = await caption(scripted(delays={"theme": 0.02}), picture)
    assert result.text == JOINED
    assert (result.theme, result.objects) == ("An airport.", "Two planes and a runway.")
    assert [report.expert for report in result.reports] == list(EXPERTS)
    assert (result.partial, result.missing, result.conflicts) == (False, [], [])
    assert (result.image.name, result.image.width, result.style) == ("picture.png", 32, "detailed")
    assert result.seconds > 0


async def test_only_the_experts_asked_for_are_run(picture: str) -> None:
    engine = scripted()
    result = (await create_graph(engine).ainvoke({"image": picture, "experts": ["relation", "theme"]}))["caption"]
    assert [prompt.expert for prompt in engine.calls] == ["theme", "relation"]
    assert (result.objects, result.partial) == ("", False)


async def test_experts_run_at_the_same_time(picture: str) -> None:
    together: list[int] = []

    def says(prompt: ExpertPrompt) -> str:
        together.append(engine.running)
        return SAID[prompt.expert]

    engine = ScriptedEngine(dict.fromkeys(EXPERTS, says), delays=dict.fromkeys(EXPERTS, 0.05))
    await caption(engine, picture)
    assert together[0] == 3


async def test_max_tokens_reach_the_experts(picture: str) -> None:
    result = await caption(scripted(), picture, max_tokens=2)
    assert result.objects == "Two planes."


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"question": " "}, "question is empty"),
        ({"question": "x" * 2001}, "2,001 characters"),
        ({"task": "answer"}, "question is empty"),
        ({"experts": ["colour"]}, "unknown expert 'colour': choose among theme, object, relation"),
        ({"style": "haiku"}, "unknown style 'haiku': choose one of detailed"),
        ({"style": "bad\n\x1b[31m"}, "unknown style 'bad'"),
    ],
)
async def test_input_that_cannot_be_used_is_refused_in_one_line(picture: str, given: Any, says: str) -> None:
    engine = scripted()
    with pytest.raises(UserError, match=says) as refused:
        await create_graph(engine).ainvoke({"image": picture, **given})
    assert "\n" not in str(refused.value)
    assert engine.calls == []


async def test_an_image_is_needed_and_must_be_one(tmp_path: Path) -> None:
    graph = create_graph(scripted())
    with pytest.raises(UserError, match="no image is given"):
        await graph.ainvoke({"question": "what is it?"})
    with pytest.raises(ImageError, match="absent.png"):
        await graph.ainvoke({"image": str(tmp_path / "absent.png")})


@pytest.mark.parametrize(
    "option", [{"expert_timeout_s": 0}, {"max_reasks": -1}, {"evidence_threshold": 1.5}, {"max_tokens": 0}]
)
def test_options_out_of_range_are_refused(option: Any) -> None:
    with pytest.raises(SettingsError):
        create_graph(scripted(), **option)


async def test_an_expert_of_another_name_appears_in_the_text(picture: str, tmp_path: Path) -> None:
    from rsagent.prompts import ExpertWords, load_prompts

    prompts = load_prompts().model_copy(deep=True)
    prompts.experts["position"] = ExpertWords(caption="{instruction} Positions:", answer="{instruction}", again="")
    engine = ScriptedEngine({"position": "a plane at the top left", "theme": "an airport"}, prompts=prompts)
    result = await caption(engine, picture, prompts=prompts)
    assert (result.text, result.relations) == ("An airport. A plane at the top left.", "")


# ----- failures


@pytest.mark.parametrize("failing", EXPERTS)
async def test_an_expert_that_fails_is_a_fact(picture: str, failing: str) -> None:
    engine = scripted(failures={failing: "out of memory"})
    result = await caption(engine, picture)
    assert (result.partial, result.missing) == (True, [failing])
    assert {report.expert: report.error for report in result.reports}[failing] == "out of memory"
    assert result.text and SAID[failing].split()[1] not in result.text.split()[:2]
    assert engine.running == 0


async def test_all_experts_failing_is_one_clear_line(picture: str) -> None:
    engine = scripted(failures=dict.fromkeys(EXPERTS, "the server is away"))
    with pytest.raises(AllExpertsFailed) as failed:
        await caption(engine, picture)
    assert str(failed.value).count("the server is away") == 3
    assert "\n" not in str(failed.value)


async def test_an_expert_that_hangs_is_given_up(picture: str) -> None:
    engine = scripted(delays={"object": math.inf})
    result = await caption(engine, picture, expert_timeout_s=0.3)
    assert result.missing == ["object"]
    assert result.reports[1].error == "not done within 0.3 s"
    assert engine.running == 0 and not others()


async def test_a_cancelled_turn_leaves_nothing_running(picture: str) -> None:
    engine = scripted(delays={"object": math.inf, "relation": math.inf})
    turn = asyncio.create_task(caption(engine, picture))
    while engine.running < 2:
        await asyncio.sleep(0.005)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert engine.running == 0
    assert not others()


@pytest.mark.parametrize("fault", [TypeError("a bug"), ValueError("a bug"), TimeoutError("a bug")])
async def test_a_programming_error_is_not_swallowed(picture: str, fault: Exception) -> None:
    engine = scripted(failures={"object": fault}, delays={"relation": math.inf})
    with pytest.raises(type(fault), match="a bug"):
        await caption(engine, picture)
    assert engine.running == 0
    assert not others()


async def test_a_router_that_fails_ends_the_turn(picture: str) -> None:
    with pytest.raises(EngineError, match="no memory for the router"):
        await caption(scripted(failures={"route": "no memory for the router"}), picture)


# ----- contradictions


async def test_an_expert_that_contradicts_another_is_asked_again_with_its_words(picture: str) -> None:
    engine = scripted(answers={"relation": ["a ship beside the planes", "two planes on the runway"]})
    result = await caption(engine, picture)
    assert [prompt.expert for prompt in engine.calls] == [*EXPERTS, "relation"]
    assert SAID["object"] in engine.calls[-1].text and engine.calls[-1].attempt == 1
    assert result.relations == "Two planes on the runway."
    assert [conflict.resolved for conflict in result.conflicts] == [True]
    assert [report.attempt for report in result.reports] == [0, 0, 0, 1]


@pytest.mark.parametrize("bound", [0, 1, 3])
async def test_asking_again_is_bounded_and_what_stays_is_marked(picture: str, bound: int) -> None:
    engine = scripted(answers={"relation": "a ship beside the planes"})
    result = await caption(engine, picture, max_reasks=bound)
    assert len(engine.calls) == 3 + bound
    assert [(conflict.what, conflict.resolved) for conflict in result.conflicts] == [
        ("relations name ship, objects do not", False)
    ]
    assert not result.partial


async def test_an_expert_that_fails_when_asked_again_keeps_its_words(picture: str) -> None:
    def says_then_fails(prompt: ExpertPrompt) -> str:
        if prompt.attempt:
            raise EngineError("away")
        return "a ship beside the planes"

    result = await caption(scripted(answers={"relation": says_then_fails}), picture)
    assert result.relations == "A ship beside the planes."
    assert (result.partial, result.conflicts[0].resolved) == (False, False)


# ----- styles


async def test_a_style_of_the_engine_is_written_by_the_composer_adapter(picture: str) -> None:
    engine = scripted(answers={"composer": "there are two planes at the airport ."}, styles=["ucm"])
    graph = create_graph(engine)
    result = (await graph.ainvoke({"image": picture, "style": "ucm"}))["caption"]
    assert result.text == "There are two planes at the airport."
    assert (result.style, result.theme, result.partial) == ("ucm", "An airport.", False)
    asked = engine.calls[-1]
    assert asked.expert == "composer" and all(words in asked.text for words in SAID.values())
    assert [prompt.expert for prompt in engine.calls] == [*EXPERTS, "composer"]

    detailed = (await graph.ainvoke({"image": picture}))["caption"]
    assert detailed.text == JOINED and len(engine.calls) == 7


@pytest.mark.parametrize(
    "trouble",
    [{"failures": {"composer": "out of memory"}}, {"delays": {"composer": math.inf}}, {"answers": {"composer": " ."}}],
)
async def test_a_composer_that_fails_falls_back_to_the_join(picture: str, trouble: Any) -> None:
    engine = scripted(**{"answers": {"composer": "x"}, **trouble}, styles=["ucm"])
    graph = create_graph(engine, expert_timeout_s=0.3)
    result = (await graph.ainvoke({"image": picture, "style": "ucm"}))["caption"]
    assert (result.text, result.partial, result.missing) == (JOINED, True, ["composer"])


async def test_an_engine_without_a_composer_joins_in_any_style_and_one_with_knows_its_own(picture: str) -> None:
    engine = scripted()
    result = (await create_graph(engine).ainvoke({"image": picture, "style": "ucm"}))["caption"]
    assert (result.text, result.style) == (JOINED, "ucm")
    assert "UC Merced" in engine.calls[0].instruction
    with pytest.raises(UserError, match="choose one of detailed, ucm"):
        await create_graph(scripted(styles=["ucm"])).ainvoke({"image": picture, "style": "rsicd"})


async def test_the_composer_adapter_is_not_asked_when_no_expert_answered(picture: str) -> None:
    engine = scripted(failures=dict.fromkeys(EXPERTS, "away"), styles=["ucm"], answers={"composer": "x"})
    with pytest.raises(AllExpertsFailed):
        await create_graph(engine).ainvoke({"image": picture, "style": "ucm"})
    assert "composer" not in [prompt.expert for prompt in engine.calls]


# ----- questions


ANSWERS = {"theme": "no idea", "object": "two", "relation": "3"}


async def test_the_highest_gate_answers_and_others_are_evidence_or_not_run(picture: str) -> None:
    engine = ScriptedEngine(ANSWERS, gate={"theme": 0.05, "object": 0.9, "relation": 0.4})
    answer = await ask(engine, picture)
    assert (answer.question, answer.text, answer.expert, answer.partial) == (
        "how many planes?",
        "two",
        "object",
        False,
    )
    assert [(report.expert, report.text, report.gate) for report in answer.evidence] == [("relation", "3", 0.4)]
    assert {prompt.expert for prompt in engine.calls} == {"object", "relation"}
    assert [conflict.what for conflict in answer.conflicts] == ["object answers 'two', relation '3'"]
    assert len(engine.calls) == 2  # contradictions between answers are shown, not asked again


async def test_the_next_expert_answers_when_the_first_fails(picture: str) -> None:
    gate = {"theme": 0.05, "object": 0.9, "relation": 0.4}
    answer = await ask(ScriptedEngine(ANSWERS, gate=gate, failures={"object": "away"}), picture)
    assert (answer.text, answer.expert, answer.partial, answer.missing) == ("3", "relation", True, ["object"])
    with pytest.raises(AllExpertsFailed, match=r"no expert answered \(object: away\)"):
        await ask(ScriptedEngine(ANSWERS, gate=gate, failures={"object": "away"}), picture, evidence_threshold=0.5)


async def test_questions_and_model_words_lose_their_control_characters(picture: str) -> None:
    engine = ScriptedEngine({"object": "\x1b[31mtwo\x1b[0m\x00 \u202eplanes"})
    graph = create_graph(engine)
    events = []
    given: Any = {"image": picture, "question": "how\x00 many\x1b[2J 🚗?"}
    async for event in graph.astream(given, stream_mode="custom"):
        events.append(event)
    assert engine.calls[0].instruction == "how many 🚗?"
    assert events[-1] == {"type": "composed", "expert": "object", "text": "two planes"}
    assert all(event["text"].isprintable() for event in events)


# ----- streaming


async def test_a_turn_streams_its_events(picture: str) -> None:
    engine = scripted(
        answers={"relation": ["a ship near a runway", "two planes"], "composer": "planes at an airport"},
        styles=["ucm"],
        failures={"theme": "away"},
    )
    events: list[Any] = []
    async for event in create_graph(engine).astream({"image": picture, "style": "ucm"}, stream_mode="custom"):
        events.append(event)
    assert [event["expert"] for event in events if event["type"] == "route"] == list(EXPERTS)
    reports = [(event["expert"], event["text"], event.get("error")) for event in events if event["type"] == "report"]
    assert ("theme", "", "away") in reports and ("composer", "planes at an airport", None) in reports
    for expert, said in (("object", SAID["object"]), ("composer", "planes at an airport")):
        assert "".join(e["text"] for e in events if e["type"] == "token" and e["expert"] == expert) == said
    (conflict,) = [event for event in events if event["type"] == "conflict"]
    assert conflict["expert"] == "relation"
    assert events[-1] == {"type": "composed", "expert": "composer", "text": "Planes at an airport."}


# ----- threads of several turns, checkpoints, resuming


async def test_a_turn_does_not_see_the_one_before(picture: str) -> None:
    engine = scripted()
    graph = create_graph(engine, checkpointer=saver())
    config: Any = {"configurable": {"thread_id": "1"}}
    first = await graph.ainvoke({"image": picture, "question": "what is it?", "experts": ["theme"]}, config)
    assert isinstance(first["answer"], Answer) and first["caption"] is None
    second = await graph.ainvoke({"image": picture}, config)
    assert isinstance(second["caption"], Caption) and second["answer"] is None
    assert len(second["caption"].reports) == 3
    values = (await graph.aget_state(config)).values
    assert len(values["reports"]) == 3 and len(values["prompts"]) == 3


async def test_a_later_turn_may_leave_the_image_out_even_after_a_turn_that_failed(picture: str) -> None:
    engine = scripted()
    graph = create_graph(engine, checkpointer=saver())
    config: Any = {"configurable": {"thread_id": "1"}}
    await graph.ainvoke({"image": picture}, config)
    engine.failures = dict.fromkeys(EXPERTS, "away")
    with pytest.raises(AllExpertsFailed):
        await graph.ainvoke({"question": "what is it?"}, config)
    with pytest.raises(UserError):
        await graph.ainvoke({"question": "and now?", "experts": ["colour"]}, config)
    engine.failures = {}
    result = await graph.ainvoke({"style": "detailed"}, config)
    assert result["caption"].text == JOINED and result["caption"].image.name == "picture.png"


async def test_twenty_turns_stay_small_and_come_back_typed(picture: str, tmp_path: Path) -> None:
    database = tmp_path / "threads.sqlite"
    config: Any = {"configurable": {"thread_id": "1"}}
    async with aiosqlite.connect(database) as connection:
        serde = JsonPlusSerializer(allowed_msgpack_modules=CHECKPOINT_TYPES)
        graph = create_graph(scripted(), checkpointer=AsyncSqliteSaver(connection, serde=serde))
        for turn in range(20):
            given: Any = {"question": f"what is there, part {turn}?"} if turn % 2 else {"image": picture}
            await graph.ainvoke(given, config, durability="exit")
        values = (await graph.aget_state(config)).values
    assert isinstance(values["facts"], ImageFacts) and isinstance(values["answer"], Answer)
    assert all(isinstance(prompt, ExpertPrompt) for prompt in values["prompts"])
    size = sum(file.stat().st_size for file in tmp_path.glob("threads.sqlite*"))
    print(f"20 turns: {size / 1000:.0f} kB")
    assert size < 200_000


async def test_every_type_in_a_checkpoint_is_on_the_list(picture: str, caplog: pytest.LogCaptureFixture) -> None:
    graph = create_graph(scripted(), checkpointer=saver())
    config: Any = {"configurable": {"thread_id": "1"}}
    await graph.ainvoke({"image": picture}, config)
    async for snapshot in graph.aget_state_history(config):
        for key, value in snapshot.values.items():
            items = value if isinstance(value, list) else [value]
            assert all(isinstance(item, (str, type(None), *CHECKPOINT_TYPES)) for item in items), key
    assert "unregistered" not in caplog.text and "Blocked" not in caplog.text


async def test_a_run_resumes_after_a_fault(picture: str) -> None:
    engine = scripted(failures={"object": RuntimeError("a bug")}, delays={"object": 0.05})
    checkpointer = saver()
    config: Any = {"configurable": {"thread_id": "1"}}
    with pytest.raises(RuntimeError):
        await create_graph(engine, checkpointer=checkpointer).ainvoke({"image": picture}, config)
    mended = scripted()  # another process: this engine has no pixels
    result = await create_graph(mended, checkpointer=checkpointer).ainvoke(None, config)
    assert result["caption"].text == JOINED
    assert {prompt.expert for prompt in mended.calls} == {"object"}  # what was done is not done again


async def test_a_run_resumes_at_the_router(picture: str) -> None:
    checkpointer = saver()
    config: Any = {"configurable": {"thread_id": "1"}}
    with pytest.raises(EngineError, match="away"):
        await create_graph(scripted(failures={"route": "away"}), checkpointer=checkpointer).ainvoke(
            {"image": picture, "question": "what is it?"}, config
        )
    result = await create_graph(scripted(), checkpointer=checkpointer).ainvoke(None, config)
    assert result["answer"].question == "what is it?"


@pytest.mark.parametrize("change", ["gone", "other"])
async def test_a_run_does_not_resume_on_another_picture(picture: str, change: str) -> None:
    checkpointer = saver()
    config: Any = {"configurable": {"thread_id": "1"}}
    with pytest.raises(EngineError):
        await create_graph(scripted(failures={"route": "away"}), checkpointer=checkpointer).ainvoke({"image": picture}, config)
    if change == "gone":
        Path(picture).unlink()
    else:
        Image.new("RGB", (32, 24), (200, 0, 0)).save(picture)
    with pytest.raises(EngineError, match="cannot be read again" if change == "gone" else "has changed") as refused:
        await create_graph(scripted(), checkpointer=checkpointer).ainvoke(None, config)
    assert "\n" not in str(refused.value)


async def test_facts_stand_for_a_picture_that_is_no_file(picture: str) -> None:
    engine = scripted()
    facts = await engine.prepare(Path(picture).read_bytes())
    graph = create_graph(engine)
    given: Any = {"image": facts}
    assert (await graph.ainvoke(given))["caption"].text == JOINED
    await engine.close()
    with pytest.raises(EngineError, match="it came from no file"):
        await graph.ainvoke(given)


# ----- embedding


async def test_the_graph_is_a_node_of_another_graph(picture: str) -> None:
    class Parent(TypedDict, total=False):
        image: str
        question: str
        answer: Answer | None

    class Context(TypedDict):
        unrelated: int

    parent = StateGraph(Parent, context_schema=Context)
    parent.add_node("eyes", create_graph(scripted()))
    parent.add_edge(START, "eyes")
    parent.add_edge("eyes", END)
    result = await parent.compile().ainvoke({"image": picture, "question": "what is it?"}, context={"unrelated": 1})
    assert result["answer"].text == "an airport."


def test_the_graph_has_a_name_and_a_small_input_schema() -> None:
    graph = create_graph(scripted())
    assert graph.name == "rsagent"
    assert set(graph.get_input_jsonschema()["properties"]) == {
        "image", "task", "question", "style", "experts", "max_tokens",
    }  # fmt: skip
    assert set(graph.get_output_jsonschema()["properties"]) == {"caption", "answer"}


# ----- speed and callers in parallel


async def test_parallel_callers_get_the_sequential_answers(picture: str) -> None:
    def says(prompt: ExpertPrompt) -> str:
        return f"{prompt.expert} of {prompt.instruction} " + "word " * (len(prompt.instruction) % 7)

    graph = create_graph(ScriptedEngine({name: says for name in EXPERTS}, gate={"theme": 0.1, "object": 0.9}))
    questions = [f"is it number {number}{'?' * (number % 5)}" for number in range(200)]
    sequential = [(await graph.ainvoke({"image": picture, "question": q}))["answer"] for q in questions]
    parallel = await asyncio.gather(*(graph.ainvoke({"image": picture, "question": q}) for q in questions))

    def untimed(answer: Answer) -> Any:
        return answer.model_dump(exclude={"seconds": True, "evidence": {"__all__": {"seconds"}}})

    assert sum(untimed(one["answer"]) == untimed(other) for one, other in zip(parallel, sequential, strict=True)) == 200


async def test_the_graphs_own_time_is_small(picture: str) -> None:
    engine = scripted()
    facts = await engine.prepare(picture)  # reading the file is not the graph's time
    graph = create_graph(engine)
    given: Any = {"image": facts}
    times: list[float] = []
    for _ in range(40):
        began = time.perf_counter()
        await graph.ainvoke(given)
        times.append(1000 * (time.perf_counter() - began))
    print(f"the graph's own time: median {statistics.median(times):.1f} ms of {len(times)}")
    assert sorted(times)[10] < 10  # the first quartile: a busy machine is not the graph's fault
