"""The shipped test double does what it is told."""

import asyncio
import math
from contextlib import aclosing
from pathlib import Path

import pytest
from PIL import Image

from rsagent.engines.base import Engine
from rsagent.engines.scripted import ScriptedEngine
from rsagent.errors import EngineError, ImageLost
from rsagent.schemas import ExpertPrompt


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


async def prompts(engine: ScriptedEngine, picture: Path) -> dict[str, ExpertPrompt]:
    facts = await engine.prepare(picture)
    return {prompt.expert: prompt for prompt in await engine.route(facts.sha256, "how many?", "answer")}


async def said(engine: ScriptedEngine, prompt: ExpertPrompt) -> str:
    return "".join([piece async for piece in engine.generate(prompt)])


async def test_it_is_an_engine_with_experts_in_the_papers_order(picture: Path) -> None:
    engine = ScriptedEngine({"relation": "r", "composer": "c", "theme": "t"}, styles=["ucm"])
    assert isinstance(engine, Engine)
    assert (engine.experts, engine.styles) == (("theme", "relation"), ("ucm",))
    digest = (await engine.prepare(picture)).sha256
    assert [p.expert for p in await engine.route(digest, "Describe.", "caption")] == ["theme", "relation"]
    assert [p.expert for p in await engine.route(digest, "Describe.", "caption", experts=["relation"])] == ["relation"]


async def test_it_streams_its_answers_word_by_word(picture: Path) -> None:
    engine = ScriptedEngine(
        {"theme": "a  port .", "object": ["one", "two"], "relation": lambda prompt: prompt.instruction.upper()}
    )
    asked = await prompts(engine, picture)
    assert [piece async for piece in engine.generate(asked["theme"])] == ["a", "  port", " ."]
    assert [await said(engine, asked["object"]) for _ in range(3)] == ["one", "two", "two"]
    assert await said(engine, asked["relation"]) == "HOW MANY?"
    assert await said(engine, asked["theme"].model_copy(update={"max_tokens": 1})) == "a"
    assert [prompt.expert for prompt in engine.calls] == ["theme", *["object"] * 3, "relation", "theme"]


async def test_the_gate_orders_the_prompts_of_a_question(picture: Path) -> None:
    engine = ScriptedEngine({"theme": "t", "object": "o"}, gate={"theme": 0.2, "object": 0.7})
    asked = await prompts(engine, picture)
    assert [(name, prompt.gate) for name, prompt in asked.items()] == [("object", 0.7), ("theme", 0.2)]
    trace = await engine.explain(asked["theme"].digest, "how many?", "answer")
    assert trace.gate == {"object": 0.7, "theme": 0.2}


async def test_it_fails_and_hangs_as_told(picture: Path) -> None:
    engine = ScriptedEngine(
        {"theme": "t", "object": "o"}, failures={"theme": "away", "object": KeyError("a bug")}, delays={"object": 0.01}
    )
    asked = await prompts(engine, picture)
    with pytest.raises(EngineError, match="away"):
        await said(engine, asked["theme"])
    with pytest.raises(KeyError):
        await said(engine, asked["object"])
    engine.failures.clear()
    assert await said(engine, asked["object"]) == "o"
    with pytest.raises(EngineError, match="no answer is scripted for the expert 'colour'"):
        await said(engine, asked["theme"].model_copy(update={"expert": "colour"}))

    hanging = ScriptedEngine({"theme": "t"}, delays={"theme": math.inf})
    asked = await prompts(hanging, picture)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(said(hanging, asked["theme"]), 0.05)
    assert hanging.running == 0


async def test_closing_a_stream_early_ends_it(picture: Path) -> None:
    engine = ScriptedEngine({"theme": "one two three"})
    asked = await prompts(engine, picture)
    async with aclosing(engine.generate(asked["theme"])) as pieces:
        async for _ in pieces:
            assert engine.running == 1
            break
    assert engine.running == 0


async def test_a_closed_engine_has_lost_its_pictures(picture: Path) -> None:
    engine = ScriptedEngine({"theme": "t"})
    asked = await prompts(engine, picture)
    await engine.close()
    await engine.close()
    with pytest.raises(ImageLost):
        await engine.route(asked["theme"].digest, "how many?", "answer")
    with pytest.raises(ImageLost):
        await said(engine, asked["theme"])
