"""What a real server does with requests that are wrong, with clients that leave, with adapters that come and go, and killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from rsagent.engines.sglang import SGLangEngine, _packed
from rsagent.errors import EngineError
from rsagent.model.checkpoint import EMBEDDED
from rsagent.prompts import load_prompts
from rsagent.schemas import ExpertPrompt
from rsagent.serving.sglang.http import ask, is_healthy

ROOT = Path(__file__).resolve().parents[2]


async def connect(running: Any, **options: Any) -> SGLangEngine:
    given = {"timeout_s": 120.0, "patience_s": 300.0, **options}
    return await asyncio.to_thread(SGLangEngine.load, running.url, running.checkpoint, **given)


async def listen(engine: Any, prompt: ExpertPrompt) -> str:
    return "".join([piece async for piece in engine.generate(prompt)])


async def first_prompt(engine: Any, picture: Path, tokens: int = 24) -> ExpertPrompt:
    facts = await engine.prepare(picture)
    written = await engine.route(facts.sha256, load_prompts().caption_instruction("detailed"), "caption")
    return written[0].model_copy(update={"max_tokens": tokens})


async def good_body(engine: SGLangEngine, prompt: ExpertPrompt) -> dict[str, Any]:
    tokens = engine._eyes.network.tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
    return {
        "input_ids": [*tokens, engine._eyes.network.tokenizer.bos_token_id],
        "image_data": _packed(await engine._eyes.prefix(prompt), "float32"),
        "lora_path": prompt.expert,
        "sampling_params": {"temperature": 0, "max_new_tokens": 8},
    }


def _with(head: str, new: str):
    return lambda body: {"image_data": body["image_data"].replace(head, new, 1)}


WRONG = [
    (lambda body: {"image_data": body["image_data"].replace("x256;", "x128;")}, "128 wide, the LLM is 256 wide"),
    (_with("dtype=float32", "dtype=float64"), "dtype float64 are not understood"),
    (_with("dtype=float32", "dtype=float16"), "another length"),
    (lambda body: {"image_data": body["image_data"][:-4]}, "another length"),
    (lambda body: {"image_data": body["image_data"][:-4] + "!!!!"}, "no base64"),
    (lambda body: {"image_data": body["image_data"].replace("shape=44x", "shape=9000x")}, "9000 rows"),
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
    body = {**await good_body(engine, prompt), "image_data": _packed(prefix * float("nan"), "float32")}
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(f"{shipped.url}/generate", json=body)
    assert answer.status_code == 400 and "not finite" in answer.text
    await engine.close()


def requests_running(url: str) -> int:
    """How many requests the server holds, running and waiting."""
    loads = ask(url, "/v1/loads")["loads"]
    return sum(int(load["num_running_reqs"]) + int(load["num_waiting_reqs"]) for load in loads)


async def test_clients_that_leave_leave_nothing_running(untrained: Any, pictures: list[Path]):
    engine = await connect(untrained)
    prompt = await first_prompt(engine, pictures[0], tokens=400)  # this LLM never ends by itself

    async def leave() -> None:
        async with aclosing(engine.generate(prompt)) as pieces:
            await anext(pieces)

    await asyncio.gather(*(leave() for _ in range(8)))
    ends = time.monotonic() + 10
    while (left := await asyncio.to_thread(requests_running, untrained.url)) and time.monotonic() < ends:
        await asyncio.sleep(0.2)
    assert left == 0
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


def test_a_killed_parent_leaves_no_server(server_python: str, port: int, tmp_path: Path):
    command = [sys.executable, "-m", "rsagent", "experts", "serve", "--python", server_python, "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (tmp_path / "serve.log").open("w") as log:
        parent = subprocess.Popen([*command, "--device", "cpu"], env=environment, stderr=log, cwd=tmp_path)
        ends = time.monotonic() + 600
        while not is_healthy(f"http://127.0.0.1:{port}") and time.monotonic() < ends:
            assert parent.poll() is None, (tmp_path / "serve.log").read_text()
            time.sleep(0.5)
        children = _descendants(parent.pid)
        assert len(children) >= 3  # front, scheduler, detokenizer
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    ends = time.monotonic() + 15
    while (left := [child for child in children if _runs(child)]) and time.monotonic() < ends:
        time.sleep(0.2)
    assert not left
    assert "ready: rsagent caption" in (tmp_path / "serve.log").read_text()


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                child = int(stat.parent.name)
                found += [child, *_descendants(child)]
        except (OSError, ValueError):
            continue
    return found


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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
    assert outcome.stdout.split()[-2:] == ["tiny", "5"], outcome.stderr[-2000:]
