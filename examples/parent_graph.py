"""A parent graph with its own state and context; the agent is one of its nodes, and its events stream through.

Run: python examples/parent_graph.py photo.tif
"""

import asyncio
import sys
from dataclasses import dataclass

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict

from rsagent import create_graph
from rsagent.engines.base import Engine


class Survey(TypedDict, total=False):
    files: list[str]
    notes: list[str]


@dataclass
class Office:
    region: str


async def main(files: list[str], engine: Engine) -> list[str]:
    look = create_graph(engine)

    async def describe(state: Survey, runtime: Runtime[Office]) -> Survey:
        seen = [(await look.ainvoke({"image": file}))["caption"] for file in state["files"]]
        return {"notes": [f"{runtime.context.region}: {caption.text}" for caption in seen]}

    survey = StateGraph(Survey, context_schema=Office).add_node("describe", describe)
    graph = survey.add_edge(START, "describe").add_edge("describe", END).compile()
    result: Survey = {}
    parts = graph.astream({"files": files}, context=Office("north"), stream_mode=["custom", "values"], subgraphs=True)
    async for _, mode, part in parts:
        if mode == "custom" and part["type"] == "report":
            print(f"  {part['expert']}: {part['text']}")
        elif mode == "values" and "notes" in part:
            result = part
    return result["notes"]


if __name__ == "__main__":
    from rsagent.engines.local import LocalEngine

    print("\n".join(asyncio.run(main(sys.argv[1:], LocalEngine.load()))))
