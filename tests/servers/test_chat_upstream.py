"""The `openai` engine's client with a real SGLang server as its upstream: streams, forms, adapters, leaving, refusals.

The server holds a random language model that reads no chat pictures, so the words mean nothing; the protocol is the real one.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict

from rsagent.engines.chat_client import ChatClient
from rsagent.errors import EngineError
from rsagent.model.checkpoint import read_config
from tests.servers.clients import requests_running, wait_until_idle

HELLO = [{"role": "user", "content": "Name the objects."}]


class Tally(BaseModel):
    """A form that even random words soon fill."""

    model_config = ConfigDict(extra="forbid")
    thing: Literal["boats", "houses"]
    many: bool


@pytest.fixture
async def client(chatting: Any) -> AsyncIterator[ChatClient]:
    client = ChatClient(f"{chatting.url}/v1", "none", timeout_s=120.0, max_retries=0)
    yield client
    await client.close()


@pytest.fixture
def model(chatting: Any) -> str:
    """The served name, before the colon and an adapter."""
    return read_config(chatting.checkpoint).name


async def test_each_adapter_streams_its_own_words(client: ChatClient, model: str):
    async def said(name: str) -> str:
        request = {"model": name, "messages": HELLO, "max_tokens": 12, "temperature": 0.0}
        async with aclosing(client.stream(**request)) as words:
            pieces = [word async for word in words]
        assert len(pieces) > 1
        return "".join(pieces).replace("\ufffd", "")  # half a character may come at the end, or not

    plain, theirs = await said(model), await said(f"{model}:object")
    assert plain != theirs and await said(f"{model}:object") == theirs


async def test_a_form_is_kept(client: ChatClient, model: str):
    tally = await client.structured(Tally, model=f"{model}:object", messages=HELLO, max_tokens=60, temperature=0.0)
    assert tally.thing in ("boats", "houses") and tally.many in (True, False)


async def test_what_it_says_to_an_unknown_adapter_is_one_line(client: ChatClient, model: str):
    with pytest.raises(EngineError, match="weather") as told:
        await client.complete(model=f"{model}:weather", messages=HELLO, max_tokens=4)
    assert "\n" not in str(told.value) and len(str(told.value)) < 400


async def test_closing_a_stream_stops_the_work(client: ChatClient, model: str, chatting: Any):
    request = {"model": f"{model}:object", "messages": HELLO, "max_tokens": 400, "temperature": 0.0}
    async with aclosing(client.stream(**request)) as words:
        assert await anext(words)
        assert await asyncio.to_thread(requests_running, chatting.url) == 1  # this LLM never ends by itself
    assert await wait_until_idle(chatting.url) == 0


async def test_a_server_without_a_chat_template_says_so_in_one_line(untrained: Any):
    client = ChatClient(f"{untrained.url}/v1", "none", timeout_s=120.0, max_retries=0)
    with pytest.raises(EngineError, match="chat template") as told:
        await client.complete(model=read_config(untrained.checkpoint).name, messages=HELLO, max_tokens=4)
    assert "\n" not in str(told.value) and len(str(told.value)) < 600
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
