"""The graph that langgraph.json names, as a LangGraph server makes it."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from langgraph.pregel.remote import RemoteGraph
from PIL import Image

ROOT = Path(__file__).parents[2]


async def test_the_graph_of_langgraph_json_runs(place, cli):
    named = json.loads((ROOT / "langgraph.json").read_text())["graphs"]["rsagent"]
    module, _, function = named.partition(":")
    make = getattr(importlib.import_module(module), function)
    Image.new("RGB", (8, 8)).save("a.png")
    graph = await make({})
    assert graph is await make({}) and graph.checkpointer is None
    assert (await graph.ainvoke({"image": "a.png"}))["caption"].theme == "This is a scripted scene."


@pytest.fixture
def studio(place: Path) -> Iterator[str]:
    """`langgraph dev` with our langgraph.json on a free port, in a folder that it may write into; gives its address."""
    pytest.importorskip("langgraph_api", reason="langgraph dev needs the extra `studio`")
    shutil.copy(ROOT / "langgraph.json", place)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {"LANGGRAPH_CLI_NO_ANALYTICS": "1", "LANGSMITH_TRACING": "false", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload", "--port", str(port)]
    with (place / "dev.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=place, env={**os.environ, **quiet}, stdout=log, stderr=log)
    try:
        url, ends = f"http://127.0.0.1:{port}", time.monotonic() + 240
        while True:
            try:
                urllib.request.urlopen(f"{url}/ok", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < ends, (place / "dev.log").read_text()[-4000:]
                time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait(60)


@pytest.mark.slow
async def test_langgraph_dev_serves_the_graph_to_a_remote_graph(studio: str, place: Path) -> None:
    Image.new("RGB", (8, 8)).save(place / "a.png")
    graph = RemoteGraph("rsagent", url=studio)
    result = await graph.ainvoke({"image": str(place / "a.png")})
    assert result["caption"]["theme"] == "This is a scripted scene."
    asked = {"image": str(place / "a.png"), "question": "How many houses are there?"}
    events = [part async for part in graph.astream(asked, stream_mode="custom")]
    assert {event["type"] for event in events} >= {"route", "token", "report", "composed"}
    assert set(graph.get_graph().nodes) >= {"prepare", "router", "expert", "composer"}
    with pytest.raises(Exception, match="ImageError"):  # such a server keeps the words to itself
        await graph.ainvoke({"image": str(place / "gone.png")})
    assert "Blocking call" not in (place / "dev.log").read_text()
