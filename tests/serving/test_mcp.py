"""The MCP server with the SDK's own client: in memory, over stdio, over streamable HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError, StdioServerParameters
from PIL import Image

from rsagent import Answer, Caption
from rsagent.engines.scripted import ScriptedEngine
from rsagent.serving.mcp import TRACE, create_server
from rsagent.sources import SourcePolicy

SAID = {"theme": "a port", "object": "12", "relation": "the boats lie along the quay"}


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.new("RGB", (24, 16), (10, 80, 120)).save(tmp_path / "port.png")
    return str(tmp_path / "port.png")


def words(result: Any) -> str:
    return " ".join(part.text for part in result.content)


async def test_the_tools_give_typed_results_with_progress(picture: str) -> None:
    engine = ScriptedEngine(SAID, gate={"theme": 0.1, "object": 0.9, "relation": 0.1})
    told: list[tuple[float, float | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append((done, total))

    async with Client(create_server(engine)) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"describe_image", "ask_image", "compare_experts"}
        assert set(tools["ask_image"].input_schema["properties"]) == {"image", "question"}
        assert "theme" in tools["describe_image"].output_schema["properties"]
        described = await client.call_tool("describe_image", {"image": picture}, progress_callback=progress)
        assert Caption.model_validate(described.structured_content).theme == "A port."
        assert told == [(1, 3), (2, 3), (3, 3)]
        asked = await client.call_tool("ask_image", {"image": picture, "question": "how many?"})
        assert Answer.model_validate(asked.structured_content).text == "12"
        for arguments in ({"image": picture}, {"image": picture, "question": "how many?"}):
            compared = await client.call_tool("compare_experts", arguments)
            assert len(compared.structured_content["reports"]) == 3
        trace = json.loads((await client.read_resource(TRACE)).contents[0].text)
        assert trace["instruction"] == "how many?" and len(trace["calls"]) == 3


async def test_pictures_as_data_and_what_is_wrong_in_one_line(picture: str) -> None:
    uri = "data:image/png;base64," + base64.b64encode(Path(picture).read_bytes()).decode()
    async with Client(create_server(ScriptedEngine(SAID))) as client:
        assert not (await client.call_tool("describe_image", {"image": uri})).is_error
        for name, arguments, says in (
            ("describe_image", {"image": "gone.png"}, "no such file"),
            ("describe_image", {"image": "http://127.0.0.1/x"}, "only local files"),
            ("describe_image", {"image": "data:,"}, "empty"),
            ("describe_image", {"image": picture, "style": "haiku"}, "haiku"),
            ("ask_image", {"image": picture, "question": " "}, "question is empty"),
        ):
            result = await client.call_tool(name, arguments)
            assert result.is_error and says in words(result)


async def test_a_root_folder_is_all_that_clients_see(picture: str) -> None:
    sources = SourcePolicy(root=Path(picture).parent)
    async with Client(create_server(ScriptedEngine(SAID), sources=sources)) as client:
        assert not (await client.call_tool("describe_image", {"image": "port.png"})).is_error
        assert "outside the root" in words(await client.call_tool("describe_image", {"image": "/etc/passwd"}))


async def test_over_stdio(picture: str, tmp_path: Path) -> None:
    environment = {"RSAGENT_ENGINE": "scripted", "PYTHONPATH": os.getcwd(), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    server = StdioServerParameters(command=sys.executable, args=["-m", "rsagent", "mcp"], env=environment, cwd=str(tmp_path))
    async with Client(server) as client:
        result = await client.call_tool("describe_image", {"image": picture})
        assert result.structured_content["theme"] == "This is a scripted scene."


async def test_sigterm_answers_the_call_in_hand_and_waits_for_no_idle_client(picture: str, tmp_path: Path) -> None:
    script = {"answers": SAID, "delays": dict.fromkeys(SAID, 3.0)}
    (tmp_path / "script.json").write_text(json.dumps(script))
    environment = {"RSAGENT_ENGINE": "scripted", "PYTHONPATH": os.getcwd(), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rsagent", "mcp", "--http", "--port", "0", "--root", str(tmp_path),
        env={**environment, "RSAGENT_SCRIPT": str(tmp_path / "script.json")}, cwd=tmp_path, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    log = b""
    while b'"listening"' not in log:
        log += (line := await process.stderr.readline())
        assert line, log
    port = int(re.search(rb'"port": (\d+)', log)[1])
    assert b'"grace_s": 240.0' in log and b"given up" not in log
    async with Client(f"http://127.0.0.1:{port}/mcp") as idle, Client(f"http://127.0.0.1:{port}/mcp") as asking:
        assert await idle.list_tools() and await asking.list_tools()  # else it asks for them once the answer is there
        call = asyncio.create_task(asking.call_tool("describe_image", {"image": "port.png"}))
        await asyncio.sleep(1.0)
        assert not call.done()
        process.terminate()
        assert (await call).structured_content["theme"] == "A port."
        assert await asyncio.wait_for(process.wait(), 60) == 0  # long before the grace is over


async def test_over_streamable_http(picture: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {"RSAGENT_ENGINE": "scripted", "PYTHONPATH": os.getcwd(), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rsagent", "mcp", "--http", "--port", str(port), "--root", str(tmp_path),
        env=environment, cwd=tmp_path, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        while b"listening" not in (line := await process.stderr.readline()):
            assert line
        async with Client(f"http://127.0.0.1:{port}/mcp") as client:
            result = await client.call_tool("describe_image", {"image": "port.png"})
            assert result.structured_content["theme"] == "This is a scripted scene."
            assert "outside the root" in words(await client.call_tool("describe_image", {"image": "/etc/passwd"}))
        async with Client(f"http://127.0.0.1:{port}/mcp") as other:  # what the first one asked is not for it to read
            assert (await other.list_resources()).resources == []
            with pytest.raises(MCPError):
                await other.read_resource(TRACE)
    finally:
        process.terminate()
        assert await process.wait() == 0
