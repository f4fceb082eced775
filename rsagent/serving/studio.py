"""The graph for `langgraph dev` and LangGraph servers (langgraph.json), which bring a checkpointer of their own.

It runs the engine that the settings name: the embedded checkpoint, or what RSAGENT_* variables and rsagent.toml say.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rsagent.graphs import create_graph

if TYPE_CHECKING:
    from rsagent.graphs.build import Graph


async def make_graph(config: dict[str, Any]) -> Graph:
    """The agent's graph; its engine is loaded at the first call and kept."""
    del config
    return await asyncio.to_thread(_graph)


@lru_cache(maxsize=1)
def _graph() -> Graph:
    from rsagent.engines.load import load_engine
    from rsagent.prompts import load_prompts
    from rsagent.settings import Settings

    settings = Settings.load()
    prompts = load_prompts(settings.prompts) if settings.prompts else None
    return create_graph(
        load_engine(settings, prompts),
        prompts=prompts,
        expert_timeout_s=settings.expert_timeout_s,
        max_tokens=settings.max_tokens,
    )
