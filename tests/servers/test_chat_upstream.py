"""The `openai` engine with a real SGLang server as its upstream: what the server says to a chat engine's calls.

The server holds a random language model that reads no chat pictures, so the words mean nothing; the protocol is the real one.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from rsagent.engines.chat_client import ChatClient
from rsagent.errors import EngineError
from tests.servers.clients import requests_running

HELLO = [{"role": "user", "content": "Name the objects."}]


@pytest.fixture
def client(untrained: Any) -> ChatClient:
    return ChatClient(f"{untrained.url}/v1", "none", timeout_s=120.0, max_retries=0)


async def test_what_it_says_to_an_unknown_adapter_is_one_line(client: ChatClient, pictures: list[Path]):
    with pytest.raises(EngineError) as told:
        await client.complete(model="tiny:weather", messages=HELLO, max_tokens=4)
    assert "\n" not in str(told.value) and len(str(told.value)) < 400


async def test_closing_a_stream_stops_the_work(client: ChatClient, untrained: Any):
    try:
        async with aclosing(client.stream(model="tiny:object", messages=HELLO, max_tokens=300, temperature=0.0)) as words:
            async for _ in words:
                break
    except EngineError as error:  # without a chat template the server refuses at once, and clearly
        assert "\n" not in str(error)
    for _ in range(50):
        if not await asyncio.to_thread(requests_running, untrained.url):
            break
        await asyncio.sleep(0.2)
    assert await asyncio.to_thread(requests_running, untrained.url) == 0
    await client.close()


def test_the_documented_launch_lines_are_ones_that_its_parser_accepts(server_python: str):
    page = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text("utf-8")
    lines = re.findall(r"`python -m sglang\.launch_server (.*?)`", page)
    (adapters,) = re.findall(r"add `(--enable-lora --lora-paths .*?)`", page)
    assert len(lines) >= 2
    parse = (
        "import argparse, sys; from sglang.srt.server_args import ServerArgs; parser = argparse.ArgumentParser(); "
        "ServerArgs.add_cli_args(parser); print(parser.parse_args(sys.argv[1:]).model_path)"
    )
    for line in (*lines, f"{lines[0]} {adapters}"):
        done = subprocess.run(
            [server_python, "-c", parse, *shlex.split(line)],
            env={**os.environ, "SGLANG_USE_CPU_ENGINE": "1"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout.split()[-1:] == [shlex.split(line)[1]], done.stderr[-1000:]
