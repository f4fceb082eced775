"""An HTTP server that answers like SGLang and fails on demand, and a client of it: what the sglang engine's tests share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rsagent.engines.base import Engine
from rsagent.engines.sglang import SGLangEngine
from rsagent.schemas import ExpertPrompt

SAYS = [20, 21, 22, 23, 24]
QUESTION = "how many red lorries are there ?"


class Pretender:
    """An HTTP server that answers like SGLang. `does` is asked before each token: it may wait, or raise to hang up."""

    def __init__(self, digest: str) -> None:
        self.model: dict[str, Any] = {"architectures": ["RSMoEForCausalLM"], "weight_version": digest}
        self.does: Callable[[dict[str, Any], int], Any] | None = None
        self.refuses: tuple[int, bytes] | None = None
        self.hung = False
        """As when its scheduler hangs: it says what it serves, but nothing comes of requests, nor of a look at its health."""
        self.asked: list[dict[str, Any]] = []
        self.aborted: list[str] = []
        self.loaded: list[str] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """As a killed process would: nothing is finished."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            try:
                await self._serve(reader, writer)
            finally:
                self._open.discard(writer)
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:")), 0)
        path, body = head.split()[1], json.loads(await reader.readexactly(length) or b"null")
        answers: dict[str, Any] = {
            "/get_model_info": self.model,
            "/health": {},
            "/v1/models": {"data": [{"id": "tiny", "max_model_len": 512}, {"id": "theme", "parent": "tiny"}]},
            "/get_server_info": {"dtype": "float32", "version": "0.5.23"},
            "/abort_request": {},
            "/load_lora_adapter": {"success": True},
            "/v1/loads": {
                "loads": [
                    {"num_running_reqs": 3, "num_waiting_reqs": 2, "num_used_tokens": 70, "max_total_num_tokens": 900,
                     "cache_hit_rate": 0.25, "lora": {"slots_used": 4, "slots_total": 6}}
                ]
            },
        }  # fmt: skip
        if self.hung and path == "/health":
            await hang(body, 0)
        if path == "/load_lora_adapter":
            self.loaded.append(body["lora_name"])
        if path == "/abort_request":
            self.aborted.append(body["rid"])
        if path in answers:
            self._head(writer, 200)
            writer.write(json.dumps(answers[path]).encode())
        elif self.refuses is not None:
            self._head(writer, self.refuses[0])
            writer.write(self.refuses[1])
        else:
            await self._generate(body, writer)
        await writer.drain()

    def _head(self, writer: asyncio.StreamWriter, status: int) -> None:
        writer.write(f"HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n".encode())

    async def _generate(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self.asked.append(body)
        if self.hung:
            await hang(body, 0)
        self._head(writer, 200)
        before = sum(token in SAYS for token in body["input_ids"][-len(SAYS) :])
        left = SAYS[before : before + body["sampling_params"]["max_new_tokens"]]
        for index in range(len(left)):
            if self.does is not None:
                await self.does(body, index)
            last = index == len(left) - 1
            event = {"output_ids": left[: index + 1], "meta_info": {"finish_reason": {"type": "length"} if last else None}}
            writer.write(f"data: {json.dumps(event)}\n\n".encode())
            await writer.drain()
        writer.write(b"data: [DONE]\n\n")


async def connect(url: str, checkpoint: Path, **options: Any) -> SGLangEngine:
    return await asyncio.to_thread(SGLangEngine.load, url, checkpoint, **{"timeout_s": 20.0, "patience_s": 20.0, **options})


async def prompt(engine: Engine, picture: Path, expert: str = "theme", tokens: int = 5) -> ExpertPrompt:
    facts = await engine.prepare(picture)
    written = await engine.route(facts.sha256, QUESTION, "answer", experts=[expert])
    return written[0].model_copy(update={"max_tokens": tokens})


async def listen(engine: SGLangEngine, asked: ExpertPrompt) -> list[str]:
    return [piece async for piece in engine.generate(asked)]


async def hang(_body: dict[str, Any], _index: int) -> None:
    await asyncio.Event().wait()
