"""The graph for `langgraph dev` and LangGraph servers (langgraph.json), which bring a checkpointer of their own.

It runs the engine that the settings name: the embedded checkpoint, or what RSAGENT_* variables and rsagent.toml say.
Whoever reaches such a server may name pictures, so it reads those below RSAGENT_ROOT alone, and none where that is not set.
Run: RSAGENT_ROOT=pictures langgraph dev
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsagent.graphs.build import Graph

_open = AsyncExitStack()  # a LangGraph server has no moment at which a graph is closed: the engine ends with the process
_graphs: list[Graph] = []
_opening = asyncio.Lock()


async def make_graph(config: dict[str, Any]) -> Graph:
    """The agent's graph; its engine is loaded at the first call and kept."""
    del config
    from rsagent.cli.console import say
    from rsagent.cli.options import chosen_root
    from rsagent.cli.runtime import open_agent, prompts_for
    from rsagent.graphs import create_graph
    from rsagent.settings import Settings
    from rsagent.sources import SourcePolicy

    async with _opening:
        if not _graphs:
            settings = await asyncio.to_thread(Settings.load)
            root = await asyncio.to_thread(chosen_root, None, settings)
            if root is None:
                say("no picture is read: set RSAGENT_ROOT to the folder below which clients may name some")
            _, engine = await _open.enter_async_context(open_agent(settings, None))
            _graphs.append(
                create_graph(
                    engine,
                    prompts=await asyncio.to_thread(prompts_for, settings),
                    expert_timeout_s=settings.expert_timeout_s,
                    max_tokens=settings.max_tokens,
                    sources=SourcePolicy(root=root),
                )
            )
    return _graphs[0]
