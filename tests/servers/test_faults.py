"""What a real server does with requests that are wrong, with adapters that come and go, and what we do when it is killed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from rsagent.cli.main import app
from rsagent.engines.sglang import packed
from rsagent.errors import EngineError
from rsagent.model.checkpoint import EMBEDDED, read_config
from rsagent.serving.sglang.http import ask
from tests.servers.clients import connect, first_prompt, good_body, listen, wait_until_idle

ROOT = Path(__file__).resolve().parents[2]


def _with(head: str, new: str):
    return lambda body: {"image_data": body["image_data"].replace(head, new, 1)}


WRONG = [
    (lambda body: {"image_data": body["image_data"].replace("x256;", "x128;")}, "128 wide, the LLM is 256 wide"),
    (_with("dtype=float32", "dtype=float64"), "dtype float64 are not understood"),
    (_with("dtype=float32", "dtype=float16"), "another length"),
    (lambda body: {"image_data": body["image_data"][:-4]}, "another length"),
    (lambda body: {"image_data": body["image_data"][:-4] + "!!!!"}, "no base64"),
    (lambda body: {"image_data": body["image_data"].replace("shape=44x", "shape=9000x")}, "9000 rows"),
    (_with(";base64", f";checkpoint={'0' * 64};base64"), "of another checkpoint (000000000000) than the one served"),
    (lambda body: {"image_data": "iVBORw0KGgo="}, "must be embeddings"),
    (lambda body: {"image_data": [body["image_data"]] * 2}, "only image, not 2"),
    (lambda body: {"lora_path": "weather"}, "never been loaded: weather"),
    (lambda body: {"lora_path": ["theme"]}, ""),
    (lambda body: {"input_ids": [1, 2, 10**6]}, "1000000, the vocabulary is"),
    (lambda body: {"input_ids": [5] * 2000}, "context length"),
    (lambda body: {"positional_embed_overrides": {"a": 1}}, ""),
    (lambda body: {"input_embeds": [[0.5] * 3], "input_ids": None}, ""),
]


@pytest.mark.parametrize(("change", "named"), WRONG)
async def test_a_wrong_request_is_a_400_that_names_it_and_the_server_lives(shipped: Any, pictures: list[Path], change, named):
    engine = await connect(shipped)
    prompt = await first_prompt(engine, pictures[0])
    body = await good_body(engine, prompt)
    wrong = {key: value for key, value in {**body, **change(body)}.items() if value is not None}
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(f"{shipped.url}/generate", json=wrong)
        assert answer.status_code in (400, 422), answer.text
        assert named in answer.text
        assert (await client.post(f"{shipped.url}/generate", json=body)).status_code == 200
    await engine.close()


async def test_numbers_that_are_not_finite_are_refused(shipped: Any, pictures: list[Path]):
    engine = await connect(shipped)
    prompt = await first_prompt(engine, pictures[0])
    prefix = await engine._eyes.prefix(prompt)
    body = {**await good_body(engine, prompt), "image_data": packed(prefix * float("nan"), "float32")}
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(f"{shipped.url}/generate", json=body)
    assert answer.status_code == 400 and "not finite" in answer.text
    await engine.close()


async def test_adapters_come_and_go(shipped: Any, pictures: list[Path]):
    engine = await connect(shipped)
    prompt = await first_prompt(engine, pictures[0])
    theme = str((EMBEDDED / "experts" / "theme").resolve())
    ask(shipped.url, "/load_lora_adapter", {"lora_name": "second", "lora_path": theme})
    with pytest.raises(EngineError, match="second"):  # another client had the same idea
        ask(shipped.url, "/load_lora_adapter", {"lora_name": "second", "lora_path": theme})
    body = await good_body(engine, prompt)
    async with httpx.AsyncClient(timeout=60) as client:
        answers = [await client.post(f"{shipped.url}/generate", json={**body, "lora_path": n}) for n in ("theme", "second")]
    assert answers[0].json()["text"] == answers[1].json()["text"]
    ask(shipped.url, "/unload_lora_adapter", {"lora_name": "second"})
    expected = await listen(engine, prompt)
    ask(shipped.url, "/unload_lora_adapter", {"lora_name": "theme"})
    assert await listen(engine, prompt) == expected  # the server loads it again
    await engine.close()


def test_the_commands_for_a_running_server(shipped: Any, tmp_path: Path):
    def experts(*arguments: object) -> Any:
        return CliRunner().invoke(app, ["experts", *map(str, arguments), "--url", shipped.url])

    outcome = experts("status", "--json")
    assert outcome.exit_code == 0, outcome.output
    [state] = json.loads(outcome.stdout)
    assert state["healthy"] and state["same_checkpoint"] and state["version"] == "0.5.23"
    assert set(state["adapters"]) == {folder.name for folder in (EMBEDDED / "experts").iterdir()}
    assert experts("load", "further", EMBEDDED / "experts" / "object").exit_code == 0
    assert "adapter further" in experts("status").stdout
    again = experts("load", "further", EMBEDDED / "experts" / "object")
    assert again.exit_code == 1 and "further" in again.stderr and "Traceback" not in again.stderr
    assert experts("unload", "further").exit_code == 0 and "further" not in experts("status").stdout
    nowhere = experts("load", "nothing", tmp_path / "nothing")  # perhaps it is on the server's machine; it is not
    assert nowhere.exit_code == 1 and "nothing" in nowhere.stderr


async def test_an_adapter_that_is_unloaded_in_the_middle_finishes_what_it_began(untrained: Any, pictures: list[Path]):
    engine = await connect(untrained)
    prompt = await first_prompt(engine, pictures[0], tokens=120)
    expected = await listen(engine, prompt)
    turns = asyncio.gather(*(listen(engine, prompt) for _ in range(4)))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(ask, untrained.url, "/unload_lora_adapter", {"lora_name": prompt.expert})
    assert await turns == [expected] * 4
    assert await listen(engine, prompt) == expected  # the server loads it again
    await engine.close()


async def test_a_server_killed_in_the_middle_for_good_ends_the_turn_with_a_named_error(untrained: Any, pictures: list[Path]):
    engine = await connect(untrained, patience_s=2.0)
    prompt = await first_prompt(engine, pictures[0], tokens=400)
    async with aclosing(engine.generate(prompt)) as pieces:
        await anext(pieces)
        await asyncio.to_thread(untrained.stop, 0.0)
        with pytest.raises(EngineError, match=f"away for 2 s: .*{untrained.url}"):
            async with asyncio.timeout(30):
                async for _ in pieces:
                    pass
    await asyncio.to_thread(untrained.start)
    assert await wait_until_idle(untrained.url) == 0
    await engine.close()


async def test_a_server_killed_under_load_and_started_again_loses_nothing(untrained: Any, pictures: list[Path]):
    engine = await connect(untrained, timeout_s=300.0)
    prompt = await first_prompt(engine, pictures[0], tokens=60)
    expected = await listen(engine, prompt)
    asked = asyncio.gather(*(listen(engine, prompt) for _ in range(40)))
    await asyncio.sleep(0.5)
    await asyncio.to_thread(untrained.stop, 0.0)
    await asyncio.to_thread(untrained.start)
    assert await asked == [expected] * 40
    await engine.close()


def test_the_printed_command_is_one_that_the_servers_parser_accepts(server_python: str):
    printed = subprocess.run(
        [sys.executable, "-m", "rsagent", "experts", "serve", str(EMBEDDED), "--print", "--device", "cpu"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    parse = (
        "import sys, shlex; from sglang.srt.server_args import prepare_server_args as p; line = shlex.split(sys.stdin.read()); "
    )
    parse += "a = p(line[line.index('sglang.launch_server') + 1:]); print(a.served_model_name, len(a.lora_paths))"
    environment = {**os.environ, "SGLANG_USE_CPU_ENGINE": "1", "PYTHONPATH": str(ROOT / "rsagent/serving/sglang/plugin")}
    outcome = subprocess.run(
        [server_python, "-c", parse], input=printed, env=environment, capture_output=True, text=True, check=False
    )
    assert outcome.stdout.split()[-2:] == [read_config(EMBEDDED).name, "5"], outcome.stderr[-2000:]
