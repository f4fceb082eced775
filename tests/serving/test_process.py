"""`rsagent serve` and `rsagent mcp` as processes on loopback: the `llm` command, SIGTERM under load, a client over stdio."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

ENVIRONMENT = {"RSAGENT_ENGINE": "scripted", "PYTHONPATH": os.getcwd(), "PATH": os.environ["PATH"]}
SCRIPT = {
    "answers": {"theme": "a port", "object": "12", "relation": "boats lie along the quay"},
    "delays": {"theme": 0.3, "object": 0.3},
}


class Serving:
    """`rsagent serve` on a free port."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        (folder / "script.json").write_text(json.dumps(SCRIPT))
        environment = {**ENVIRONMENT, "HOME": str(folder), "RSAGENT_SCRIPT": str(folder / "script.json")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rsagent", "serve", "--port", "0", *arguments],
            stderr=subprocess.PIPE, text=True, env=environment, cwd=folder,
        )  # fmt: skip
        self.log = ""
        while '"listening"' not in self.log:
            line = self.process.stderr.readline()  # type: ignore[union-attr]
            assert line, self.log
            self.log += line
        port = re.search(r'"port": (\d+)', self.log)
        self.url = f"http://127.0.0.1:{port[1]}"  # type: ignore[index]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.log += self.process.communicate(timeout=240)[1]
        return self.process.returncode


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    server = Serving(tmp_path)
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.communicate()


async def test_sigterm_under_load_answers_all_that_was_accepted(serving: Serving, ask: Any) -> None:
    limits = httpx2.Limits(max_connections=64)
    async with httpx2.AsyncClient(base_url=serving.url, timeout=240, limits=limits) as client:
        posts = [asyncio.create_task(client.post("/v1/chat/completions", json=ask("Describe", stream=n % 2 == 0)))
                 for n in range(32)]  # fmt: skip
        while True:  # until all are inside: only then is SIGTERM what is tested
            text = (await client.get("/metrics")).text
            inside = sum(float(found) for found in re.findall(r"^rsagent_(?:running|waiting) (\S+)", text, re.M))
            if inside >= 32 or all(post.done() for post in posts):
                break
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(asyncio.to_thread(serving.stop))
        replies = await asyncio.gather(*posts)
        assert [reply.status_code for reply in replies] == [200] * 32
        assert all("quay" in reply.text for reply in replies)
        assert await stopping == 0
    assert "Traceback" not in serving.log and '"stopped"' in serving.log


async def test_a_slow_engine_and_a_full_queue_are_waited_for(tmp_path: Path, ask: Any) -> None:
    server = Serving(tmp_path, "--running", "1", "--queue", "7", "--turn-timeout", "20")
    assert re.search(r'"grace_s": 190\.0', server.log) and "given up" not in server.log  # 30 to upload, 8 turns of 20
    async with httpx2.AsyncClient(base_url=server.url, timeout=240) as client:
        posts = [asyncio.create_task(client.post("/v1/chat/completions", json=ask("Describe"))) for _ in range(8)]
        while "rsagent_waiting 7.0" not in (await client.get("/metrics")).text:
            assert not all(post.done() for post in posts)
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        assert [reply.status_code for reply in await asyncio.gather(*posts)] == [200] * 8
        assert await stopping == 0


def test_a_grace_that_is_too_short_is_warned_of(tmp_path: Path) -> None:
    server = Serving(tmp_path, "--grace", "5")
    assert server.stop() == 0
    assert '"needed_s": 630.0' in server.log and "longer --grace" in server.log


def test_the_llm_command(serving: Serving, tmp_path: Path) -> None:
    Image.new("RGB", (24, 16), (10, 80, 120)).save(tmp_path / "port.png")
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: rsagent\n  model_name: rsagent\n  api_base: {serving.url}/v1\n  vision: true\n"
    )
    for options in ([], ["--no-stream"]):
        done = subprocess.run(
            [sys.executable, "-m", "llm", "-m", "rsagent", "-a", "port.png", "Describe it", "--no-log", *options],
            cwd=tmp_path, env={**ENVIRONMENT, "LLM_USER_PATH": str(tmp_path), "HOME": str(tmp_path)},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.stdout.strip() == "A port. 12. Boats lie along the quay.", done.stderr


def test_a_taken_port_weak_keys_and_open_doors_are_told(serving: Serving, tmp_path: Path) -> None:
    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rsagent", "serve", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300,
            env={**ENVIRONMENT, "HOME": str(tmp_path), **variables},
        )  # fmt: skip

    taken = run("--port", serving.url.rpartition(":")[2])
    assert taken.returncode == 1 and "in use" in taken.stderr and "Traceback" not in taken.stderr
    weak = run(RSAGENT_API_KEYS="short")
    assert weak.returncode == 2 and "16 characters" in weak.stderr and "short'" not in weak.stderr
    assert run("--root", "nowhere").returncode == 2
