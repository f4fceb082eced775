"""Two real servers of one checkpoint, the second with hardly any memory for tokens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rsagent.errors import EngineError, ServerAway
from rsagent.serving.sglang.child import Server
from rsagent.serving.sglang.http import MODEL, ask
from tests.servers.clients import connect, first_prompt, listen, wait_until_idle
from tests.servers.conftest import READY_S, free_port


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twenty pictures: that all belong to one of two servers happens once in half a million."""
    folder = tmp_path_factory.mktemp("many")
    for index in range(20):
        blocks = np.random.default_rng(100 + index).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(np.kron(blocks, np.ones((30, 30, 1), dtype=np.uint8))).save(folder / f"{index:02}.png")
    return sorted(folder.iterdir())


async def test_an_image_keeps_to_one_server_whose_cache_knows_it(untrained: Any, cramped: Any, many: list[Path]):
    engine = await connect(untrained, cramped)
    asked = [await first_prompt(engine, picture, tokens=4) for picture in many]
    homes = [(await engine._choose(prompt.digest, 0.0)).url for prompt in asked]
    assert set(homes) == {untrained.url, cramped.url}
    for prompt in asked:
        await listen(engine, prompt)
        await listen(engine, prompt)
        assert engine.last_counters["cached_tokens"] == engine.last_counters["prompt_tokens"] - 1
    await engine.close()


async def test_more_tokens_than_fit_at_once_take_turns_and_none_is_lost(cramped: Any, many: list[Path]):
    engine = await connect(cramped)
    asked = [await first_prompt(engine, picture, tokens=200) for picture in many]  # five times what the server can hold
    answers = await asyncio.gather(*(listen(engine, prompt) for prompt in asked))
    assert all(len(answer) == 200 for answer in answers)
    assert [await listen(engine, prompt) for prompt in asked[:2]] == answers[:2]
    assert await wait_until_idle(cramped.url) == 0
    await engine.close()


async def test_when_one_server_is_killed_the_other_takes_its_turns_over(untrained: Any, cramped: Any, many: list[Path]):
    engine = await connect(untrained, cramped)
    asked = [await first_prompt(engine, picture, tokens=60) for picture in many]
    expected = [await listen(engine, prompt) for prompt in asked]
    turns = asyncio.gather(*(listen(engine, prompt) for prompt in asked * 2))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(cramped.stop, 0.0)
    assert ["".join(pieces) for pieces in await turns] == ["".join(pieces) for pieces in expected] * 2
    await asyncio.to_thread(cramped.start)
    home = next(prompt for prompt in asked if engine._order(prompt.digest)[0].url == cramped.url)
    for _ in range(100):
        if (await engine._choose(home.digest, 0.0)).url == cramped.url:
            break
        await asyncio.sleep(0.1)
    assert (await engine._choose(home.digest, 0.0)).url == cramped.url  # it is used again
    assert "".join(await listen(engine, home)) == "".join(expected[asked.index(home)])
    await engine.close()


@pytest.fixture(scope="module")
def router(server_python: str, untrained: Any, cramped: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """SGLang's own router in front of both servers."""
    port = free_port()
    line = [server_python, "-m", "sglang_router.launch_router", "--host", "127.0.0.1", "--port", str(port)]
    line += ["--prometheus-port", str(free_port()), "--worker-urls", untrained.url, cramped.url]
    with Server(line, {}, tmp_path_factory.mktemp("router") / "log") as server:
        url = f"http://127.0.0.1:{port}"
        server.wait_ready(url, READY_S, lambda step: None)
        ends = time.monotonic() + 60
        while True:  # it is well before it has found its servers
            try:
                ask(url, MODEL)
                break
            except ServerAway:
                assert time.monotonic() < ends
                time.sleep(0.2)
        yield SimpleNamespace(url=url, checkpoint=untrained.checkpoint)


async def test_behind_sglangs_own_router_the_experts_say_the_same(router: Any, untrained: Any, many: list[Path]):
    routed, direct = await connect(router), await connect(untrained)
    direct._servers[0].serves = replace(direct._servers[0].serves, dtype="float16")  # the router does not tell which it is
    asked = [await first_prompt(direct, picture, tokens=12) for picture in many]
    for prompt, picture in zip(asked, many, strict=True):
        assert await first_prompt(routed, picture, tokens=12) == prompt
    assert await gathered(routed, asked) == await gathered(direct, asked)
    await routed.close()
    await direct.close()


async def gathered(engine: Any, asked: list[Any]) -> list[str]:
    return ["".join(pieces) for pieces in await asyncio.gather(*(listen(engine, prompt) for prompt in asked))]


async def test_of_two_clients_that_load_the_same_name_one_is_told_so(shipped: Any, pictures: list[Path]):
    theme = {"lora_name": "both", "lora_path": str((shipped.checkpoint / "experts" / "theme").resolve())}
    tries = [asyncio.to_thread(ask, shipped.url, "/load_lora_adapter", theme) for _ in range(2)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(errors) == 1 and isinstance(errors[0], EngineError) and "both" in str(errors[0])
    engine = await connect(shipped)
    assert await listen(engine, await first_prompt(engine, pictures[0]))
    await asyncio.to_thread(ask, shipped.url, "/unload_lora_adapter", {"lora_name": "both"})
    await engine.close()
