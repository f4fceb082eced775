"""The graph that langgraph.json names, as a LangGraph server makes it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

from PIL import Image


async def test_the_graph_of_langgraph_json_runs(place, cli):
    named = json.loads((Path(__file__).parents[2] / "langgraph.json").read_text())["graphs"]["rsagent"]
    module, _, function = named.partition(":")
    make = getattr(importlib.import_module(module), function)
    Image.new("RGB", (8, 8)).save("a.png")
    graph = await make({})
    assert graph is await make({}) and graph.checkpointer is None
    assert (await graph.ainvoke({"image": "a.png"}))["caption"].theme == "This is a scripted scene."
