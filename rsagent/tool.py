"""RSAgent as a LangChain tool."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field

from rsagent.errors import EngineError, UserError
from rsagent.rendering import blemishes
from rsagent.schemas import Answer, Caption  # at run time: LangChain evaluates the annotations of a tool's functions
from rsagent.sources import read_source

if TYPE_CHECKING:
    from rsagent.agent import RSAgent
    from rsagent.sources import SourcePolicy

_DESCRIPTION = (
    "Look at an aerial or satellite image. Give `image` alone for a description (theme, objects, spatial relations), or "
    "with a `question` for a short answer about what is there, how many, which colour, where. Ask one thing at a time."
)


class Look(BaseModel):
    """What the calling model fills in."""

    image: str = Field(description="path of the image file, data: URI, or URL where these are allowed")
    question: str | None = Field(default=None, description="what to find out; leave it out for a description")


def make_tool(agent: RSAgent, name: str, description: str | None, sources: SourcePolicy | None) -> BaseTool:
    """The tool of `RSAgent.as_tool`. Called synchronously it uses the agent's synchronous twin."""

    async def look(image: str, question: str | None = None) -> tuple[str, Caption | Answer]:
        try:
            source = await asyncio.to_thread(read_source, image, sources) if sources is not None else image
            return _told(await (agent.ask(source, question) if question else agent.caption(source)))
        except (UserError, EngineError) as error:
            raise ToolException(str(error)) from error

    def look_sync(image: str, question: str | None = None) -> tuple[str, Caption | Answer]:
        try:
            source = read_source(image, sources) if sources is not None else image
            return _told(agent.sync.ask(source, question) if question else agent.sync.caption(source))
        except (UserError, EngineError) as error:
            raise ToolException(str(error)) from error

    options: dict[str, Any] = {"response_format": "content_and_artifact", "handle_tool_error": True}
    return StructuredTool.from_function(
        look_sync, look, name=name, description=description or _DESCRIPTION, args_schema=Look, **options
    )


def _told(result: Caption | Answer) -> tuple[str, Caption | Answer]:
    """What the model reads, and the result as it is."""
    return "\n".join([result.text, *(f"({note})" for note in blemishes(result))]), result
