"""Experts of the local engine that answer in the form of a JSON schema."""

from __future__ import annotations

import asyncio
import json
from importlib.resources import files
from pathlib import Path

import pytest

from rsagent import RSAgent
from rsagent.engines.local import LocalEngine
from rsagent.errors import EngineError, SettingsError
from rsagent.model.network import RSMoE
from rsagent.prompts import load_prompts
from rsagent.schemas import OBJECTS, OBJECTS_SCHEMA, ExpertPrompt

pytest.importorskip("xgrammar")
SCHEMA = json.dumps({"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 2})


async def listen(engine: LocalEngine, prompt: ExpertPrompt) -> str:
    return "".join([piece async for piece in engine.generate(prompt)])


async def test_a_schema_binds_its_row_and_no_other(exact: RSMoE, pictures: list[Path]):
    engine = LocalEngine(exact, "digest")
    facts = await engine.prepare(pictures[0])
    free, other, _ = await engine.route(facts.sha256, "how many boats ?", "answer")
    bound = free.model_copy(update={"json_schema": SCHEMA, "max_tokens": 60})
    alone = await listen(engine, other)
    answer, beside = await asyncio.gather(listen(engine, bound), listen(engine, other))
    assert set(json.loads(answer)) <= {"a", "b"} and beside == alone
    with pytest.raises(EngineError, match="the JSON schema of an expert cannot be used"):
        await listen(engine, free.model_copy(update={"json_schema": "{"}))
    await engine.close()


async def test_the_object_experts_list_of_name_count_and_where(exact: RSMoE, pictures: list[Path]):
    assert [thing.count for thing in OBJECTS.validate_json('[{"name":"tree","count":3,"where":"left"}]')] == [3]
    engine = LocalEngine(exact, "digest")
    facts = await engine.prepare(pictures[0])
    asked = (await engine.route(facts.sha256, "how many boats ?", "answer", experts=["object"]))[0]
    begun = await listen(engine, asked.model_copy(update={"json_schema": OBJECTS_SCHEMA, "max_tokens": 12}))
    assert begun == "[]" or '[{"name":"'.startswith(begun[:10]), begun
    await engine.close()


async def test_an_agent_whose_prompts_bind_an_expert(exact: RSMoE, pictures: list[Path]):
    prompts = load_prompts().model_copy(deep=True)
    prompts.experts["object"].json_schema = json.loads(SCHEMA)
    async with RSAgent(LocalEngine(exact, "digest"), prompts=prompts) as agent:
        caption = await agent.caption(pictures[0], experts=["theme", "object"])
        reports = {report.expert: report for report in caption.reports}
        assert not caption.partial and set(json.loads(reports["object"].text)) <= {"a", "b"}
        assert not reports["theme"].text.startswith("[")
        assert not (await agent.ask(pictures[0], "how many boats ?", experts=["object"])).text.startswith("[")
        cut = await agent.caption(pictures[0], experts=["theme", "object"], max_tokens=2)
        errors = {report.expert: report.error for report in cut.reports}
        assert cut.missing == ["object"] and "no JSON after 2 tokens (cut off? give more --max-tokens)" in str(errors["object"])


def test_prompts_name_a_schema(tmp_path: Path):
    text = files("rsagent.prompts").joinpath("default.yaml").read_text("utf-8")
    before = '    caption: "{instruction} Objects:"\n'
    for form, schema in (("objects", OBJECTS_SCHEMA), ('{type: array, items: {enum: ["a"]}}', '{"type": "array", "items"')):
        folder = tmp_path / form[:3].strip("{")
        folder.mkdir()
        (folder / "default.yaml").write_text(text.replace(before, f"{before}    json_schema: {form}\n"))
        prompts = load_prompts(folder)
        assert str(prompts.caption_schema("object")).startswith(schema) and prompts.caption_schema("theme") is None
    (tmp_path / "default.yaml").write_text(text.replace(before, f"{before}    json_schema: lists\n"))
    with pytest.raises(SettingsError, match="default.yaml are not usable"):
        load_prompts(tmp_path)
