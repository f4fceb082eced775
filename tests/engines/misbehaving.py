"""An OpenAI-shaped server on loopback that can misbehave in every known way, for tests of the `openai` engine."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rsagent.engines.chat import ChatEngine

KEY = "sk-this-must-never-be-seen"
SAID = {"theme": "A harbour.", "object": "Three boats and a quay.", "relation": "The boats lie along the quay."}
PLAN = {
    "experts": [{"expert": name, "prompt": f"Look at the {name} of it."} for name in SAID],
    "reason": "a description needs all",
}


class Upstream:
    """An OpenAI-shaped server on loopback. `faults` says how it misbehaves towards router, expert or composer."""

    def __init__(self) -> None:
        self.faults: dict[str, str] = {}
        self.said: dict[str, str] = {}
        self.usage: Any = None  # what it says that a call took, if it says so
        self.plan: Any = PLAN
        self.caption = "Three boats lie along the quay of a harbour."
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if (first := await reader.readexactly(1)) == b"\x16":  # a TLS handshake, which this server does not speak
                writer.write(b"HTTP/1.1 400 X\r\n\r\n")
                return
            while head := first + await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().lower().splitlines()
                length = int(next(line[15:] for line in lines if line.startswith("content-length:")))
                first, body = b"", json.loads(await reader.readexactly(length))
                form = body.get("response_format", {}).get("json_schema", {}).get("name")
                stage = {"RoutingPlan": "router", "Composed": "composer", "Rewritten": "rewriter"}.get(form, "expert")
                self.calls.append((stage, body))
                await self.answer(stage, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError, _Drop):
            pass
        finally:
            writer.close()

    async def answer(self, stage: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        fault = self.faults.get(stage, "")
        if fault.isdecimal() or fault == "context":
            said = {
                "401": f"Incorrect API key provided: {KEY}",
                "context": "This model's maximum context length is 4096",
                **self.said,
            }
            status = 400 if fault == "context" else int(fault)
            error = {"error": {"message": said.get(fault, f"went wrong \x1b[31m with {KEY}"), "type": "x", "code": None}}
            send(writer, json.dumps(error), status)
        elif fault == "hang":
            await asyncio.sleep(30)
        elif fault == "drip":  # never silent for long, never done
            writer.write(b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n")
            for _ in range(100):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.3)
        elif fault == "no stream_options" and "stream_options" in body:
            send(writer, json.dumps({"error": {"message": "stream_options: Extra inputs are not permitted"}}), 422)
        elif fault == "drop":
            raise _Drop
        elif fault == "invalid JSON":
            send(writer, "{not json", 200, "text/event-stream" if body.get("stream") else "application/json")
        elif body.get("stream"):
            self.stream(fault, self.words(body), writer, counts="stream_options" in body)
            if fault == "hang after a word":
                await writer.drain()
                await asyncio.sleep(30)
        else:
            whole = json.dumps({**completion(self.message(stage, fault), fault), "usage": self.usage})
            send(writer, whole, cut=20 if fault == "hang after a word" else None)
            if fault == "hang after a word":
                await writer.drain()
                await asyncio.sleep(30)
        await writer.drain()

    def words(self, body: dict[str, Any]) -> str:
        text = body["messages"][-1]["content"][1]["text"]
        if "Answer" in text:
            return "three"
        return next((said for name, said in SAID.items() if f"the {name} of it" in text), SAID[kind(text)])

    def message(self, stage: str, fault: str) -> dict[str, Any]:
        good = {"router": self.plan, "rewriter": {"question": "Where are the\n boats?"}}.get(stage, {"caption": self.caption})
        texts = {"schema": '{"experts": [{"expert": "wizard"}]}', "no schema": "Sure! Here you are", "": json.dumps(good)}
        return {"role": "assistant", "content": texts.get(fault, json.dumps(good)), **odd(fault)}

    def stream(self, fault: str, words: str, writer: asyncio.StreamWriter, *, counts: bool) -> None:
        deltas: list[dict[str, Any]] = [{"content": piece} for piece in words.split(" ") for piece in (piece, " ")]
        if odd(fault):
            deltas = [odd(fault)]
        end = None if fault == "half a stream" else "tool_calls" if fault == "tool call" else "stop"
        chunks = [{"delta": delta, "finish_reason": None} for delta in deltas[: 1 if end is None else None]]
        chunks += [{"delta": {}, "finish_reason": end}] if end else []
        events = [{**completion({}, fault), "object": "chat.completion.chunk", "choices": [{"index": 0, **c}]} for c in chunks]
        if fault == "hang after a word":
            events = events[:1]
        elif counts and self.usage is not None:
            events.append({**completion({}, fault), "object": "chat.completion.chunk", "choices": [], "usage": self.usage})
        if fault == "no choice":
            events = [{**completion({}, fault), "object": "chat.completion.chunk", "choices": []}]
        if fault == "error event":
            events = [{"error": {"message": f"out of memory {KEY}", "code": 500}}]
        body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        whole = end is not None and fault != "hang after a word"
        send(writer, body + ("data: [DONE]\n\n" if whole else ""), 200, "text/event-stream")
        if end is None:
            raise _Drop


class _Drop(Exception):
    """Close the connection at once."""


def kind(text: str) -> str:
    return "theme" if "kind of place" in text else "object" if "name the objects" in text else "relation"


def odd(fault: str) -> dict[str, Any]:
    call = {"index": 0, "id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    return {"tool call": {"content": None, "tool_calls": [call]}, "refusal": {"content": None, "refusal": "I may not."}}.get(
        fault, {}
    )


def completion(message: dict[str, Any], fault: str) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if fault == "tool call" else "stop"}
    choices = [] if fault == "no choice" else [choice]
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}


def send(
    writer: asyncio.StreamWriter,
    body: str,
    status: int = 200,
    kind: str = "application/json",
    *,
    cut: int | None = None,
) -> None:
    data = body.encode()
    # a stream announces more than comes, so that a dropped connection is one
    length = f"Content-Length: {len(data)}\r\n" if kind == "application/json" else "Connection: close\r\n"
    chunked = "" if kind == "application/json" else "Transfer-Encoding: chunked\r\n"
    writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{length}{chunked}\r\n".encode())
    if chunked:
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        if "[DONE]" in body or "not json" in body:
            writer.write(b"0\r\n\r\n")
    else:
        writer.write(data[:cut])


@asynccontextmanager
async def misbehaving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    """The server while it runs."""
    server = Upstream()
    running: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.create_task(server.handle(reader, writer)))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1"
    try:
        yield server
    finally:
        listening.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def chat_engine(url: str, **options: Any) -> ChatEngine:
    """An engine whose router and composer are models too, and which waits a second and repeats once."""
    usual = {"api_key": KEY, "router": "llm", "composer": True, "timeout_s": 1.0, "max_retries": 1}
    return ChatEngine(url, "qwen-vl", **{**usual, **options})
