"""A conversation on a pseudo-terminal whose experts run on an SGLang server: here one that speaks the same HTTP.

The same with a real server is in tests/servers/test_chat.py.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.background import Background
from tests.cli.terminal import Terminal


def test_answers_stream_and_ctrl_c_aborts_them_on_the_server(
    background: Background, tiny_checkpoint: Path, place: Path, picture: Path
) -> None:
    server = background.server
    options = ("--engine", "sglang", "--url", server.url, "--checkpoint", str(tiny_checkpoint), "--experts", "theme")
    with Terminal("chat", picture, *options, cwd=place) as terminal:
        terminal.wait("field.png>")
        terminal.type("How many ships are there?")
        terminal.wait("5 tokens")
        assert server.asked[0]["lora_path"] == "theme" and server.aborted == []

        async def stall(body: dict[str, Any], index: int) -> None:
            if index >= 2:
                await asyncio.Event().wait()

        server.does = stall
        terminal.type("What is there?")
        terminal.wait("theme", times=3)  # the footer of the first answer, and the label of both
        stalled = server.asked[-1]["rid"]
        terminal.press("c")
        terminal.wait("stopped")
        terminal.wait("field.png>", times=3)
        until = time.monotonic() + 30
        while stalled not in server.aborted and time.monotonic() < until:
            terminal.pump()
        assert server.aborted == [stalled]
        server.does = None
        terminal.type("Is there a bridge?")
        terminal.wait("tokens/s", times=2)
        terminal.press("d")
        assert terminal.end() == 0 and b"Traceback" not in terminal.raw


@pytest.mark.slow
def test_stopping_does_not_wait_for_a_server_that_does_not_answer(
    background: Background, tiny_checkpoint: Path, place: Path, picture: Path
) -> None:
    server, answers = background.server, background.server._serve

    async def deaf_to_aborts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.asked:  # what comes after the first question is never answered
            await asyncio.Event().wait()
        await answers(reader, writer)

    async def stall(body: dict[str, Any], index: int) -> None:
        if index >= 2:
            await asyncio.Event().wait()

    server.does, server._serve = stall, deaf_to_aborts  # type: ignore[method-assign]
    options = ("--engine", "sglang", "--url", server.url, "--checkpoint", str(tiny_checkpoint), "--experts", "theme")
    with Terminal("chat", picture, *options, cwd=place) as terminal:
        terminal.wait("field.png>")
        terminal.type("What is there?")
        terminal.wait("theme")
        mark, began = len(terminal.raw), time.monotonic()
        terminal.press("c")
        terminal.wait_bytes(b"field.png>", mark)
        assert time.monotonic() - began < 0.9  # the abort alone would take a second
