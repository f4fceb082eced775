"""How the local engine spends its machine: a thread or several, pictures looked at a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import rsagent.engines.local as local
from rsagent.engines.local import LocalEngine
from rsagent.model.network import RSMoE


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


async def said(engine: LocalEngine, picture: Path) -> list[str]:
    facts = await engine.prepare(picture)
    prompts = await engine.route(facts.sha256, "how many lorries are there ?", "answer")
    return [piece async for piece in engine.generate(prompts[0].model_copy(update={"max_tokens": 4}))]


@pytest.mark.parametrize(("little", "threads"), [(1e12, 1), (0.0, 2)])
async def test_little_work_is_done_by_one_thread_and_the_others_come_back(
    exact: RSMoE, pictures: list[Path], two_threads: None, monkeypatch: pytest.MonkeyPatch, little: float, threads: int
):
    monkeypatch.setattr(local, "_LITTLE", little)
    engine, seen = LocalEngine(exact, "digest"), set[int]()
    hook = exact.llm.register_forward_hook(lambda *_: seen.add(torch.get_num_threads()))
    await said(engine, pictures[0])
    hook.remove()
    await engine.close()
    assert seen == {threads} and torch.get_num_threads() == 2


async def test_pictures_looked_at_together_are_seen_as_each_is_alone(
    exact: RSMoE, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(local, "_LOOKS", 2)  # five pictures: two looks at two of them, and one
    alone = LocalEngine(exact, "digest")
    expected = [await said(alone, picture) for picture in pictures]
    await alone.close()
    together, looked = LocalEngine(exact, "digest"), list[int]()
    hook = exact.image_encoder.register_forward_pre_hook(lambda _, inputs: looked.append(len(inputs[0])))
    assert await asyncio.gather(*(said(together, picture) for picture in pictures)) == expected
    hook.remove()
    await together.close()
    assert max(looked) <= 2 and sum(looked) == len(pictures)
