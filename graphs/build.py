"""The graph of one turn: prepare -> router -> Send to N experts -> check -> composer, and a bounded way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from rsagent.engines.base import Engine
from rsagent.errors import SettingsError
from rsagent.graphs.compose import EVIDENCE_THRESHOLD
from rsagent.graphs.nodes import Nodes
from rsagent.graphs.state import GraphInput, GraphOutput, GraphState
from rsagent.prompts import Prompts, prompts_of
from rsagent.sources import SourcePolicy
from rsagent.telemetry import TurnTrace

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver

Graph = CompiledStateGraph[GraphState, None, GraphInput, GraphOutput]


def create_graph(
    engine: Engine,
    *,
    prompts: Prompts | None = None,
    expert_timeout_s: float = 60.0,
    max_reasks: int = 1,
    evidence_threshold: float = EVIDENCE_THRESHOLD,
    max_tokens: int | None = None,
    sources: SourcePolicy | None = None,
    on_trace: Callable[[TurnTrace], None] | None = None,
    checkpointer: BaseCheckpointSaver[str] | None = None,
) -> Graph:
    """The agent as a LangGraph graph named "rsagent", to be run on its own or as a node of another graph.

    It is asynchronous only (`ainvoke`, `astream`). `{"image": path}` gives `{"caption": Caption}`, with "style" in
    that style; `{"image": path, "question": text}` gives `{"answer": Answer}`. With `stream_mode="custom"` it streams
    `rsagent.graphs.Event`, with `stream_mode="messages"` the composed text. Everything it needs is closed over: a parent
    graph's context is neither needed nor read.

    Args:
        engine: where the router and the experts run; the caller closes it.
        prompts: the words sent to models; the engine's own, or those that come with rsagent, when None.
        expert_timeout_s: seconds after which an expert counts as failed.
        max_reasks: how often in a turn an expert that contradicts another is asked again; 0 never.
        evidence_threshold: gate, 0 to 1, from which an expert beside the first is asked about a question.
        max_tokens: tokens an expert may write; None leaves it to the engine.
        sources: which pictures callers may name, for a graph that others reach; any local path, and no URL, when None.
        on_trace: is called with the trace of each turn when it ends, also of one that fails.
        checkpointer: keeps threads of several turns; its serializer should allow `rsagent.graphs.CHECKPOINT_TYPES`.

    Raises:
        SettingsError: an option is out of its range.

    A run raises UserError for input that cannot be used, EngineError when the router fails, and AllExpertsFailed.
    """
    if not expert_timeout_s > 0:
        raise SettingsError(f"the experts' time-out is {expert_timeout_s} s: give a number above 0")
    if max_reasks < 0:
        raise SettingsError(f"experts are asked again {max_reasks} times: give 0 or more")
    if not 0 <= evidence_threshold <= 1:
        raise SettingsError(f"the evidence threshold is {evidence_threshold}: give a number between 0 and 1")
    if max_tokens is not None and max_tokens < 1:
        raise SettingsError(f"an expert may write {max_tokens} tokens: give 1 or more")
    nodes = Nodes(
        engine=engine,
        prompts=prompts or prompts_of(engine),
        expert_timeout_s=expert_timeout_s,
        max_reasks=max_reasks,
        evidence_threshold=evidence_threshold,
        max_tokens=max_tokens,
        sources=sources,
        on_trace=on_trace,
    )
    graph: StateGraph[GraphState, None, GraphInput, GraphOutput] = StateGraph(
        GraphState, input_schema=GraphInput, output_schema=GraphOutput
    )
    graph.add_node("prepare", nodes.prepare)
    graph.add_node("router", nodes.router)  # its Command sends to "expert"
    graph.add_node("expert", nodes.expert)
    graph.add_node("check", nodes.check)  # its Command goes to "composer", or back to "expert"
    graph.add_node("composer", nodes.composer)
    graph.add_edge(START, "prepare")
    graph.add_edge("prepare", "router")
    graph.add_edge("expert", "check")
    graph.add_edge("composer", END)
    return graph.compile(checkpointer=checkpointer, name="rsagent")
