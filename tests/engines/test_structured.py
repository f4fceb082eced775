"""Experts of the local engine that answer in the form of a JSON schema."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from rsagent.engines.local import LocalEngine
from rsagent.errors import EngineError
from rsagent.model.network import RSMoE
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
