"""rsagent for MCP clients: the tools describe_image, ask_image and compare_experts, and the last turn's trace to read."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from rsagent import __version__
from rsagent.errors import RSAgentError
from rsagent.graphs import create_graph
from rsagent.graphs.text import clean_question
from rsagent.prompts import prompts_of
from rsagent.schemas import Answer, Caption, Conflict, ExpertReport, Model
from rsagent.sources import read_source
from rsagent.telemetry import TurnTrace

if TYPE_CHECKING:
    from rsagent.engines.base import Engine
    from rsagent.imagery import ImageSource
    from rsagent.prompts import Prompts
    from rsagent.sources import SourcePolicy

_INSTRUCTIONS = (
    "Looks at aerial and satellite images. describe_image gives a caption (theme, objects, relations), ask_image a short "
    "answer to one question, compare_experts what each expert says and where they contradict each other. `image` is a "
    "path, a data: URI, or a URL where the server allows it. A result marked `partial` lacks the experts in `missing`."
)
TRACE = "rsagent://trace/last"


class Comparison(Model):
    """What each expert says by itself."""

    reports: list[ExpertReport]
    conflicts: list[Conflict] = Field(description="where two of them contradict each other")


def create_server(
    engine: Engine,
    *,
    prompts: Prompts | None = None,
    sources: SourcePolicy | None = None,
    style: str = "detailed",
    expert_timeout_s: float = 60.0,
    max_tokens: int | None = None,
    one_client: bool = True,
) -> MCPServer:
    """The MCP server; `run_stdio_async` or `streamable_http_app` serve it. The caller closes `engine`.

    Args:
        engine: where router and experts run.
        prompts: the words sent to models; the engine's own when None.
        sources: which pictures clients may name; any local path when None, which is for clients on this machine.
        style: caption style when the client names none.
        expert_timeout_s: seconds after which an expert counts as failed.
        max_tokens: tokens an expert may write; None leaves it to the engine.
        one_client: all that is asked comes from one client, who may read the trace of the last turn.
    """
    tools = _Tools(engine, sources, style)
    common: dict[str, Any] = {
        "prompts": prompts or prompts_of(engine),
        "expert_timeout_s": expert_timeout_s,
        "max_tokens": max_tokens,
        "on_trace": tools.keep if one_client else None,
    }
    tools.usual = create_graph(engine, **common)
    tools.everybody = create_graph(engine, evidence_threshold=0.0, max_reasks=0, **common)
    server = MCPServer("rsagent", instructions=_INSTRUCTIONS, version=__version__)
    for tool in (tools.describe_image, tools.ask_image, tools.compare_experts):
        server.tool()(tool)
    if one_client:
        server.resource(TRACE, name="last trace", mime_type="application/json")(tools.last_trace)
    return server


class _Tools:
    """The tools. `usual` asks the experts that the gate chooses, `everybody` all of them."""

    usual: Any
    everybody: Any

    def __init__(self, engine: Engine, sources: SourcePolicy | None, style: str) -> None:
        self._engine, self._sources, self._style = engine, sources, style
        self._last: TurnTrace | None = None

    def keep(self, trace: TurnTrace) -> None:
        """Remember the trace of the turn that ended last."""
        self._last = trace

    async def describe_image(self, image: str, ctx: Context[Any, Any], style: str | None = None) -> Caption:
        """Describe an aerial or satellite image: its theme, the objects in it, how they lie to each other."""
        asked = {"task": "caption", "style": style or self._style}
        return cast(Caption, (await self._turn(self.usual, image, asked, ctx))["caption"])

    async def ask_image(self, image: str, question: str, ctx: Context[Any, Any]) -> Answer:
        """Answer one question about an aerial or satellite image, such as how many, which colour, where, is there."""
        asked = {"task": "answer", "question": question}
        return cast(Answer, (await self._turn(self.usual, image, asked, ctx))["answer"])

    async def compare_experts(self, image: str, ctx: Context[Any, Any], question: str | None = None) -> Comparison:
        """What every expert says about an image, or answers to a question, and where they contradict each other."""
        asked = {"task": "caption"} if question is None else {"task": "answer", "question": question}
        outcome = await self._turn(self.everybody, image, asked, ctx)
        if (caption := outcome["caption"]) is not None:
            return Comparison(reports=caption.reports, conflicts=caption.conflicts)
        answer = outcome["answer"]
        return Comparison(reports=outcome["reports"], conflicts=answer.conflicts)

    def last_trace(self) -> str:
        """Who was asked what in the last turn, what they said, tokens, seconds, retries, as JSON."""
        return self._last.model_dump_json() if self._last is not None else "null"

    async def _turn(self, graph: Any, image: str, asked: dict[str, Any], ctx: Context[Any, Any]) -> dict[str, Any]:
        """Run one turn and tell the client how many experts are done."""
        outcome: dict[str, Any] = {}
        told, done = 0, 0
        try:
            if "question" in asked:
                asked["question"] = clean_question(asked["question"])
            facts = await self._engine.prepare(await self._read(image))
            run = graph.astream(
                {**asked, "image": facts},
                {"run_name": "rsagent.mcp"},
                stream_mode=["custom", "values"],
                output_keys=["caption", "answer", "reports"],
            )
            async with aclosing(run) as parts:
                async for mode, part in parts:
                    if mode == "values":
                        outcome = part
                    elif part["type"] == "route":
                        told += 1
                    elif part["type"] == "report":
                        done += 1
                        await ctx.report_progress(done, max(told, done), message=f"{part['expert']} is done")
        except RSAgentError as error:
            raise ToolError(str(error)) from error
        return outcome

    async def _read(self, image: str) -> ImageSource:
        if self._sources is None and not image[:5].lower() == "data:":
            return image
        from rsagent.sources import SourcePolicy

        return await asyncio.to_thread(read_source, image, self._sources or SourcePolicy())
