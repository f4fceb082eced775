"""The agent as a LangGraph graph: state, nodes, the composer's rules, wiring. LangGraph is loaded when a name is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsagent.graphs.build import create_graph
    from rsagent.graphs.state import CHECKPOINT_TYPES, Event, GraphInput, GraphOutput, GraphState

_HOMES = {"create_graph": "rsagent.graphs.build"} | dict.fromkeys(
    ("CHECKPOINT_TYPES", "Event", "GraphInput", "GraphOutput", "GraphState"), "rsagent.graphs.state"
)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


__all__ = ["CHECKPOINT_TYPES", "Event", "GraphInput", "GraphOutput", "GraphState", "create_graph"]
