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
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.pregel.remote import RemoteGraph
from PIL import Image

from rsagent.errors import ImageError, SettingsError

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Any]]:
    """The function that langgraph.json names, as in a process that has just begun."""
    named = json.loads((ROOT / "langgraph.json").read_text())["graphs"]["rsagent"]
    module, _, function = named.partition(":")
    served = importlib.import_module(module)
    monkeypatch.setattr(served, "_graphs", [])
    yield getattr(served, function)
    await served._open.aclose()


async def test_the_graph_of_langgraph_json_runs(place, make, monkeypatch):
    Image.new("RGB", (8, 8)).save("a.png")
    monkeypatch.setenv("RSAGENT_ROOT", str(place))
    graph = await make({})
    assert graph is await make({}) and graph.checkpointer is None
    assert (await graph.ainvoke({"image": "a.png"}))["caption"].theme == "This is a scripted scene."


async def test_its_clients_name_pictures_below_the_root_alone(place, make, monkeypatch):
    (place / "inside").mkdir()
    Image.new("RGB", (8, 8)).save("outside.png")
    (place / "inside" / "link.png").symlink_to(place / "outside.png")
    monkeypatch.setenv("RSAGENT_ROOT", str(place / "inside"))
    graph = await make({})
    for name in ("/etc/hostname", "../outside.png", str(place / "outside.png"), "link.png"):
        with pytest.raises(ImageError, match="outside the root folder"):
            await graph.ainvoke({"image": name})


async def test_without_a_root_its_clients_name_none(place, make, capsys):
    Image.new("RGB", (8, 8)).save("a.png")
    graph = await make({})
    assert "set RSAGENT_ROOT" in capsys.readouterr().err
    for name in ("a.png", str(place / "a.png"), "http://127.0.0.1/a.png"):
        with pytest.raises(ImageError, match="not read here|not fetched here"):
            await graph.ainvoke({"image": name})


async def test_a_root_that_is_no_folder_is_refused(place, make, monkeypatch):
    monkeypatch.setenv("RSAGENT_ROOT", "nowhere")
    with pytest.raises(SettingsError, match="RSAGENT_ROOT: nowhere is no folder"):
        await make({})


@pytest.fixture
def studio(place: Path) -> Iterator[str]:
    """`langgraph dev` with our langgraph.json on a free port, in a folder that it may write into; gives its address."""
    pytest.importorskip("langgraph_api", reason="langgraph dev needs the extra `studio`")
    shutil.copy(ROOT / "langgraph.json", place)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        "LANGSMITH_TRACING": "false",
        "PYTHONPATH": str(ROOT),
        "RSAGENT_ROOT": str(place),
    }
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
    (place / "link.png").symlink_to("/etc/hostname")
    for name in ("gone.png", "/etc/hostname", "../a.png", "link.png"):
        with pytest.raises(Exception, match="ImageError"):  # such a server keeps the words to itself
            await graph.ainvoke({"image": name})
    assert "Blocking call" not in (place / "dev.log").read_text()
