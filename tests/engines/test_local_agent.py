"""The whole agent on the local engine: captions, answers, many pictures, and experts that take too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsagent import RSAgent
from rsagent.engines.local import LocalEngine
from rsagent.errors import AllExpertsFailed, UserError
from rsagent.model.network import RSMoE
from rsagent.schemas import Caption


@pytest.fixture
async def agent(exact: RSMoE) -> AsyncIterator[RSAgent]:
    async with RSAgent(LocalEngine(exact, "digest"), max_tokens=8) as agent:
        yield agent


async def test_a_caption_has_three_aspects_from_three_experts(agent: RSAgent, pictures: list[Path]):
    caption = await agent.caption(pictures[0])
    assert caption.text and not caption.partial
    assert [report.expert for report in caption.reports[:3]] == ["theme", "object", "relation"]
    assert all(report.tokens == 8 and report.error is None for report in caption.reports)


async def test_a_caption_in_a_style_is_written_by_the_composer(agent: RSAgent, pictures: list[Path]):
    one, other = await asyncio.gather(agent.caption(pictures[0], "ucm"), agent.caption(pictures[0], "rsicd"))
    assert one.style == "ucm" and one.text and one.text != other.text
    with pytest.raises(UserError, match="unknown style 'scenes'"):  # which this checkpoint's composer has not learnt
        await agent.caption(pictures[0], "scenes")


async def test_an_answer_names_its_expert(agent: RSAgent, pictures: list[Path]):
    answer = await agent.ask(pictures[0], "how many boats are there?")
    assert answer.expert in ("theme", "object", "relation") and answer.text


async def test_many_pictures_give_what_each_gives_alone(exact: RSMoE, agent: RSAgent, tmp_path: Path):
    files: list[Path] = []
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        files.append(tmp_path / f"{index}.png")
    alone = [(await agent.caption(file, "ucm")).text for file in files]
    together: dict[int, str] = {}
    async with RSAgent(LocalEngine(exact, "digest"), max_tokens=8) as other:  # which remembers nothing
        async for described in other.caption_many(files, "ucm"):
            assert isinstance(described.result, Caption)
            together[described.index] = described.result.text
    assert [together[index] for index in range(6)] == alone
    assert len(set(alone)) > 3


async def test_experts_that_take_too_long_are_one_error_and_nothing_goes_on(exact: RSMoE, pictures: list[Path]):
    ran: list[int] = []

    def slow(*_: object) -> None:  # such a text goes round in the end, and then nobody listens any more
        ran.append(1)
        time.sleep(0.03)

    hook = exact.llm.register_forward_hook(slow)
    async with RSAgent(LocalEngine(exact, "digest"), max_tokens=20_000, expert_timeout_s=0.2) as agent:
        with pytest.raises(AllExpertsFailed, match="not done within 0.2 s"):
            await agent.caption(pictures[0])
    hook.remove()
    assert len(ran) < 100


async def test_out_of_memory_is_said_by_name(exact: RSMoE, agent: RSAgent, pictures: list[Path]):
    def fail(*_: object) -> None:
        raise MemoryError

    hook = exact.llm.register_forward_pre_hook(fail)
    with pytest.raises(AllExpertsFailed, match="out of memory") as caught:
        await agent.caption(pictures[0])
    hook.remove()
    assert "\n" not in str(caught.value)
    assert (await agent.caption(pictures[0])).text
