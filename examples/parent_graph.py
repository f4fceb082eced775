"""A parent graph with its own state and context; the agent is one of its nodes, and its events stream through.

Run: python examples/parent_graph.py photo.tif
"""

import asyncio
import sys
from typing import NamedTuple

from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict

from rsagent import create_graph
from rsagent.engines.local import LocalEngine


class Survey(TypedDict, total=False):
    file: str
    note: str


class Office(NamedTuple):
    region: str


async def main(file, engine):
    look = create_graph(engine)

    async def describe(state: Survey, runtime: Runtime[Office]) -> Survey:
        return {"note": f"{runtime.context.region}: {(await look.ainvoke({'image': state['file']}))['caption'].text}"}

    graph = StateGraph(Survey, context_schema=Office).add_node("describe", describe).add_edge(START, "describe").compile()
    async for _, event in graph.astream({"file": file}, context=Office("north"), stream_mode="custom", subgraphs=True):
        print(f"{event['type']:9}{event['expert']}: {event['text']}")
    return (await graph.ainvoke({"file": file}, context=Office("north")))["note"]


if __name__ == "__main__":
    print(asyncio.run(main(sys.argv[1], LocalEngine.load())))
