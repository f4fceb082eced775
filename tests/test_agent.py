"""RSAgent and its synchronous twin, on the scripted engine."""

import asyncio
import math
import subprocess
import sys
import threading
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rsagent import Answer, Caption, RSAgent
from rsagent.agent import Described
from rsagent.engines.scripted import ScriptedEngine
from rsagent.errors import AllExpertsFailed, ImageError, SettingsError, UserError
from rsagent.schemas import ExpertPrompt

SAID = {"theme": "a port", "object": "many boats and a quay", "relation": "the boats lie along the quay"}


@pytest.fixture
def picture(tmp_path: Path) -> str:
    return draw(tmp_path / "port.png", 10)


def draw(path: Path, shade: int) -> str:
    Image.new("RGB", (24, 16), (shade, 80, 120)).save(path)
    return str(path)


async def test_an_agent_captions_and_answers_with_typed_results(picture: str) -> None:
    engine = ScriptedEngine(SAID, gate={"theme": 0.1, "object": 0.8, "relation": 0.1})
    async with RSAgent(engine) as agent:
        caption = await agent.caption(picture)
        answer = await agent.ask(Path(picture), "what\x1b[1m is there?")
        only = await agent.caption(picture, experts=["theme"])
    assert isinstance(caption, Caption) and isinstance(answer, Answer)
    assert caption.text == "A port. Many boats and a quay. The boats lie along the quay."
    assert (answer.question, answer.text, answer.expert) == ("what is there?", "many boats and a quay", "object")
    assert only.text == "A port."


async def test_pictures_that_are_no_files(picture: str) -> None:
    agent = RSAgent(ScriptedEngine(SAID))
    with Image.open(picture) as opened:
        for image in (Path(picture).read_bytes(), opened, np.asarray(opened)):
            caption = await agent.caption(image)
            assert (caption.theme, caption.image.width) == ("A port.", 24)


@pytest.mark.parametrize("question", ["", " \n", "\x00", "x" * 100_000])
async def test_a_question_is_refused_before_anything_is_loaded(question: str) -> None:
    with pytest.raises(UserError, match="the question"):
        await RSAgent("local", checkpoint="/nowhere").ask("absent.png", question)


def test_options_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown engine 'cloud': give 'local'"):
        RSAgent("cloud")
    with pytest.raises(SettingsError, match="cannot read the prompts"):
        RSAgent(ScriptedEngine(SAID), prompts=tmp_path)


async def test_options_reach_the_graph(picture: str) -> None:
    engine = ScriptedEngine(SAID, delays={"theme": math.inf})
    caption = await RSAgent(engine, max_tokens=2, expert_timeout_s=0.3).caption(picture)
    assert (caption.missing, caption.text) == (["theme"], "Many boats.")


async def test_many_images_come_in_order_of_completion_with_their_errors(tmp_path: Path) -> None:
    slow = draw(tmp_path / "slow.png", 1)
    digest = (await ScriptedEngine(SAID).prepare(slow)).sha256
    others_done = asyncio.Event()

    class Slow(ScriptedEngine):
        async def generate(self, prompt: ExpertPrompt) -> Any:
            if prompt.digest == digest:
                await others_done.wait()
            async for piece in super().generate(prompt):
                yield piece

    images = [slow, str(tmp_path / "absent.png"), *(draw(tmp_path / f"{n}.png", n) for n in range(2, 8))]
    results: list[Described] = []
    async for described in RSAgent(Slow(SAID)).caption_many(images, concurrency=3):
        results.append(described)
        if len(results) == 7:
            others_done.set()
    assert sorted(described.index for described in results) == list(range(8))
    assert results[-1].index == 0
    assert all(described.image == images[described.index] for described in results)
    (broken,) = [described for described in results if isinstance(described.result, Exception)]
    assert broken.index == 1 and isinstance(broken.result, ImageError)


async def test_many_images_are_in_flight_together_but_not_more_than_asked(tmp_path: Path) -> None:
    together: list[int] = []

    def says(_: ExpertPrompt) -> str:
        together.append(engine.running)
        return "a port"

    engine = ScriptedEngine({"theme": says}, delays={"theme": 0.03})
    images = [draw(tmp_path / f"{n}.png", n) for n in range(12)]
    assert len([d async for d in RSAgent(engine).caption_many(images, concurrency=4)]) == 12
    assert 1 < max(together) <= 4


async def test_what_is_wrong_for_every_image_is_raised_once(picture: str) -> None:
    agent = RSAgent(ScriptedEngine(SAID))
    for wrong in ({"style": "haiku"}, {"experts": ["colour"]}):
        with pytest.raises(UserError, match="unknown"):
            _ = [described async for described in agent.caption_many([picture], **wrong)]


async def test_leaving_early_or_a_bug_cancels_what_still_runs(tmp_path: Path) -> None:
    images = [draw(tmp_path / f"{n}.png", n) for n in range(3)]
    engine = ScriptedEngine(SAID, delays={"theme": 0.05})
    async with aclosing(RSAgent(engine).caption_many(images)) as many:
        async for _ in many:
            break
    assert engine.running == 0
    engine.failures["object"] = TypeError("a bug")
    with pytest.raises(TypeError, match="a bug"):
        _ = [described async for described in RSAgent(engine).caption_many(images)]
    assert engine.running == 0 and asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_stream_ends_with_the_result(picture: str) -> None:
    agent = RSAgent(ScriptedEngine(SAID))
    items: list[Any] = [item async for item in agent.stream(picture)]
    assert isinstance(items[-1], Caption)
    assert [item["type"] for item in items[:3]] == ["route"] * 3 and items[-2]["type"] == "composed"
    items = [item async for item in agent.stream(picture, "what is it?", experts=["object"])]
    assert isinstance(items[-1], Answer) and {item["expert"] for item in items[:-1]} == {"object"}
    with pytest.raises(UserError):
        _ = [item async for item in agent.stream(picture, "")]


async def test_leaving_a_stream_stops_the_work(picture: str) -> None:
    engine = ScriptedEngine(SAID, delays={"relation": math.inf})
    async with aclosing(RSAgent(engine).stream(picture)) as events:
        async for event in events:
            if isinstance(event, dict) and event["type"] == "report":
                break
    assert engine.running == 0 and asyncio.all_tasks() == {asyncio.current_task()}


async def test_explain(picture: str) -> None:
    agent = RSAgent(ScriptedEngine(SAID, gate={"theme": 0.2, "object": 0.9, "relation": 0.3}))
    trace = await agent.explain(picture, "how many?")
    assert (trace.instruction, trace.gate["object"]) == ("how many?", 0.9)
    assert [expert.prompt.expert for expert in trace.experts] == ["object", "relation", "theme"]
    assert (await agent.explain(picture)).instruction == "Describe this image."
    with pytest.raises(UserError):
        await agent.explain(picture, " ")
    with pytest.raises(UserError, match="haiku"):
        await agent.explain(picture, style="haiku")


# ----- the synchronous twin


def test_the_twin_does_all_that_the_agent_does(picture: str, tmp_path: Path) -> None:
    with RSAgent(ScriptedEngine(SAID)).sync as agent:
        assert agent.caption(picture).theme == "A port."
        assert agent.ask(picture, "what is it?").text == "a port"
        assert agent.explain(picture, "what is it?").instruction == "what is it?"
        assert isinstance(list(agent.stream(picture))[-1], Caption)
        described = list(agent.caption_many([picture, str(tmp_path / "absent.png")]))
        assert {item.index: type(item.result) for item in described} == {0: Caption, 1: ImageError}
        assert all(isinstance(item, Described) for item in described)
        with pytest.raises(UserError):
            agent.ask(picture, "")
        with pytest.raises(UserError):
            list(agent.stream(picture, ""))


async def test_the_twin_works_inside_a_running_loop(picture: str) -> None:
    with RSAgent(ScriptedEngine(SAID)).sync as agent:  # as in a notebook
        assert agent.caption(picture).theme == "A port."
        assert isinstance(list(agent.stream(picture))[-1], Caption)


def test_the_twin_serves_several_threads(picture: str) -> None:
    results: list[str] = []
    with RSAgent(ScriptedEngine(SAID)).sync as agent:
        threads = [threading.Thread(target=lambda: results.append(agent.caption(picture).theme)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == ["A port."] * 8


def test_leaving_the_twins_stream_or_closing_it_leaves_nothing_running(picture: str) -> None:
    engine = ScriptedEngine(SAID, delays={"relation": math.inf})
    agent = RSAgent(engine).sync
    events = agent.stream(picture)
    next(events)
    events.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    while engine.running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.running == 0

    waiting = agent.stream(picture)
    next(waiting)
    agent.close()
    agent.close()
    assert engine.running == 0
    assert "rsagent" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(RuntimeError, match="closed"):
        agent.caption(picture)


def test_an_error_of_the_engine_reaches_the_twins_caller(picture: str) -> None:
    with RSAgent(ScriptedEngine(SAID, failures=dict.fromkeys(SAID, "away"))).sync as agent:
        with pytest.raises(AllExpertsFailed, match="away"):
            agent.caption(picture)


def test_the_agent_is_light_until_it_is_used() -> None:
    code = "import sys, rsagent.agent; print([m for m in ('torch', 'transformers', 'langgraph') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
