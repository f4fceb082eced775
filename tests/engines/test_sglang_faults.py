"""What the sglang engine does when a server starts, hangs, is slow, is something else, dies, or serves another checkpoint.

Against the server that only pretends; what a real one does of the same is in tests/servers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rsagent import RSAgent
from rsagent.engines.sglang_client import ExpertServer
from rsagent.errors import AllExpertsFailed, EngineError, ServerAway
from rsagent.model.checkpoint import checkpoint_digest
from rsagent.serving.sglang.http import is_healthy
from tests.engines.pretender import SAYS, Pretender, connect, hang, listen, prompt

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def stranger() -> AsyncIterator[Any]:
    """Start something else than SGLang: `await stranger(answer)` gives its address; it answers None with silence."""
    servers: list[asyncio.Server] = []
    open_ones: list[asyncio.StreamWriter] = []

    async def start(answer: bytes | None) -> str:
        async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            open_ones.append(writer)
            if answer is not None:
                await reader.read(10_000)
                writer.write(answer)
                writer.close()

        servers.append(await asyncio.start_server(connection, "127.0.0.1", 0))
        return f"http://127.0.0.1:{servers[0].sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
    for writer in open_ones:
        writer.transport.abort()


async def check(url: str, timeout_s: float = 5.0) -> None:
    await asyncio.to_thread(ExpertServer(url, "0" * 64, timeout_s=1.0, in_flight=1).check, timeout_s)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n<html>It works!</html>", "something else than JSON"),
        (b"HTTP/1.1 200 OK\r\n\r\n[1, 2]", "something else than SGLang"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", "no RS-MoE experts"),
        (b"HTTP/1.1 404 Not Found\r\n\r\nnginx", "something else than SGLang"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "something else than SGLang"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "something else than SGLang"),
        (b"", "no server at"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{", "something else than JSON"),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "is not ready"),
    ],
)
async def test_whatever_else_has_the_port_is_named_in_one_line(stranger, answer, named):
    with pytest.raises(EngineError, match=named) as raised:
        await check(await stranger(answer))
    assert "\n" not in str(raised.value) and "http://127.0.0.1:" in str(raised.value)


async def test_a_server_that_accepts_and_never_answers_is_not_waited_for(stranger):
    url = await stranger(None)
    began = time.monotonic()
    with pytest.raises(EngineError, match="accepts requests but does not answer within 0.4 s"):
        await check(url, 0.4)
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"])
async def test_a_peer_that_drips_is_given_up_in_time(head):
    """Each byte comes well within a socket's own limit."""

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        with suppress(OSError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.1)

    dripping = await asyncio.start_server(drip, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{dripping.sockets[0].getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(EngineError, match="does not answer within 0.6 s"):
        await check(url, 0.6)
    assert not await asyncio.to_thread(is_healthy, url, 0.6)
    assert time.monotonic() - began < 6
    dripping.close()


async def test_a_silent_server_is_left_alone_until_it_is_healthy(server, tiny_checkpoint, pictures):
    other = Pretender(checkpoint_digest(tiny_checkpoint))
    await other.start()
    engine = await connect(f"{server.url},{other.url}", tiny_checkpoint, timeout_s=1.0)
    asked = await prompt(engine, pictures[0])
    await listen(engine, asked)
    silent, healthy = (server, other) if server.asked else (other, server)
    silent.hung = True
    with pytest.raises(EngineError, match=f"{silent.url} has the request but said nothing for 1 s"):
        await listen(engine, asked)
    for _ in range(3):
        await asyncio.sleep(0.4)  # it is looked at meanwhile, and says what it serves
        assert len(await listen(engine, asked)) == 5
    assert (len(silent.asked), len(healthy.asked)) == (2, 3)
    silent.hung = False
    ends = time.monotonic() + 20
    while len(silent.asked) == 2 and time.monotonic() < ends:
        await listen(engine, asked)
        await asyncio.sleep(0.2)
    assert len(silent.asked) == 3
    await engine.close()
    await other.stop()


async def test_a_server_that_starts_is_asked_again_until_it_is_ready(server, engine, pictures):
    server.refuses = (503, b'{"message": "Service Unavailable"}')
    waiting = asyncio.create_task(listen(engine, await prompt(engine, pictures[0])))
    await asyncio.sleep(0.5)
    server.refuses = None
    assert len(await waiting) == 5


async def test_a_server_that_stays_busy_is_named_when_patience_ends(server, tiny_checkpoint, pictures):
    engine = await connect(server.url, tiny_checkpoint, patience_s=1.0)
    server.refuses = (503, b'{"message": "The request queue is full."}')
    began = time.monotonic()
    with pytest.raises(EngineError, match="too much to do: The request queue is full"):
        await listen(engine, await prompt(engine, pictures[0]))
    assert time.monotonic() - began < 6
    await engine.close()


@pytest.mark.parametrize("seconds", [6.0, pytest.param(20.0, marks=pytest.mark.slow)])
async def test_a_slow_first_token_is_waited_for(server, tiny_checkpoint, pictures, network, seconds):
    async def late(_body: dict[str, Any], index: int) -> None:
        await asyncio.sleep(seconds if index == 0 else 0)

    server.does = late
    slow = await connect(server.url, tiny_checkpoint, timeout_s=30.0)
    assert "".join(await listen(slow, await prompt(slow, pictures[0]))) == network.tokenizer.decode(SAYS)
    assert len(server.asked) == 1 and not server.aborted
    await slow.close()


async def test_an_expert_whose_request_hangs_is_missing_and_said_to_be(server, engine, pictures):
    async def hang_object(body: dict[str, Any], _index: int) -> None:
        if body["lora_path"] == "object":
            await hang(body, 0)

    server.does = hang_object
    async with RSAgent(engine, expert_timeout_s=1.0, max_tokens=5) as agent:
        caption = await agent.caption(pictures[0])
    errors = {report.expert: report.error for report in caption.reports}
    assert caption.partial and "not done within 1 s" in str(errors["object"]) and errors["theme"] is None
    assert set(server.aborted) == {body["rid"] for body in server.asked if body["lora_path"] == "object"}


async def test_a_server_that_dies_for_good_in_the_middle_leaves_no_turn_waiting(server, tiny_checkpoint, pictures):
    async def die(_body: dict[str, Any], index: int) -> None:
        if index == 2:
            await server.stop()

    server.does = die
    engine = await connect(server.url, tiny_checkpoint, patience_s=1.0)
    began = time.monotonic()
    async with RSAgent(engine, max_tokens=5) as agent:
        with pytest.raises(AllExpertsFailed, match="away for 1 s"):
            await agent.caption(pictures[0])
    assert time.monotonic() - began < 15
    await server.start()


async def test_embeddings_that_the_server_takes_for_another_checkpoints_are_named(server, engine, pictures):
    server.refuses = (400, b'{"error": {"message": "the embeddings are of another checkpoint (aa) than the one served (bb)"}}')
    with pytest.raises(EngineError, match="of another checkpoint .aa. than the one served"):
        await listen(engine, await prompt(engine, pictures[0]))


async def test_a_server_that_goes_away_between_two_turns_is_checked_when_it_is_back(server, engine, pictures):
    asked = await prompt(engine, pictures[0])
    assert len(await listen(engine, asked)) == 5
    await server.stop()
    waiting = asyncio.create_task(listen(engine, asked))
    await asyncio.sleep(0.3)
    server.model["weight_version"] = "e" * 64
    await server.start()
    with pytest.raises(EngineError, match="another checkpoint .*eeeeeeeeeeee"):
        await waiting


async def test_two_hundred_parallel_turns_get_what_each_gets_alone(server, engine, pictures, network):
    asked = [await prompt(engine, picture) for picture in pictures]
    answers = await asyncio.gather(*(listen(engine, asked[index % 5]) for index in range(200)))
    assert {"".join(answer) for answer in answers} == {network.tokenizer.decode(SAYS)}
    assert len({body["rid"] for body in server.asked}) == 200


async def test_ctrl_c_aborts_what_is_asked_and_leaves_with_130(server: Pretender, tiny_checkpoint: Path, pictures: list[Path]):
    server.does = hang
    command = ["-m", "rsagent", "caption", str(pictures[0]), "--engine", "sglang", "--url", server.url]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RSAGENT_CHECKPOINT": str(tiny_checkpoint)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    while len(server.asked) < 3:
        assert process.returncode is None, await process.communicate()
        await asyncio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 130 and b"Traceback" not in said[1]
    assert sorted(server.aborted) == sorted(body["rid"] for body in server.asked)


async def test_a_client_of_no_server_says_how_to_start_one(tiny_checkpoint):
    with pytest.raises(ServerAway, match="start one with 'rsagent experts serve'"):
        await connect("http://127.0.0.1:9", tiny_checkpoint)
