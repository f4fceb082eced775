"""The agent as a LangGraph graph: state, nodes, the composer's rules, wiring."""

from __future__ import annotations

from rsagent.graphs.build import create_graph
from rsagent.graphs.state import CHECKPOINT_TYPES, Event, GraphInput, GraphOutput, GraphState

__all__ = ["CHECKPOINT_TYPES", "Event", "GraphInput", "GraphOutput", "GraphState", "create_graph"]
