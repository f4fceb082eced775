from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from PIL import Image

from rsagent import RSAgent
from rsagent.engines.scripted import ScriptedEngine
from rsagent.serving.web import ServeOptions, create_app

SAID = {"theme": "a port", "object": "12", "relation": "the boats lie along the quay"}
GATE = {"theme": 0.1, "object": 0.9, "relation": 0.1}


def picture_uri(shade: int = 90) -> str:
    out = io.BytesIO()
    Image.new("RGB", (24, 16), (10, shade, 30)).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


@pytest.fixture
def uri() -> str:
    return picture_uri()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., httpx2.AsyncClient]]:
    """An HTTP client of a server on the scripted engine, without a socket: `serve(engine, keys=..., limits=...)`."""
    clients: list[httpx2.AsyncClient] = []

    def start(engine: ScriptedEngine | None = None, **options: Any) -> httpx2.AsyncClient:
        engine = engine or ScriptedEngine(SAID, gate=GATE)
        app = create_app(RSAgent(engine), engine, replace(ServeOptions(), **options))
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost", timeout=30)
        clients.append(client)
        return client

    yield start
    for client in clients:
        await client.aclose()


@pytest.fixture
def ask(uri: str) -> Callable[..., dict[str, Any]]:
    """A request's body: `ask("How many boats?", stream=True)`."""

    def body(text: str = "How many boats are there?", **fields: Any) -> dict[str, Any]:
        content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": uri}}]
        return {"model": "rsagent", "messages": [{"role": "user", "content": content}], **fields}

    return body
