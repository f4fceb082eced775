"""A LangChain agent whose eyes are rsagent. Needs: pip install langchain, and the package of your model's maker.

Run: python examples/agent_with_tool.py openai:gpt-5-mini photo.tif "Could a small plane land here?"
"""

import asyncio
import sys
from typing import Any

from langchain.agents import create_agent

from rsagent import RSAgent


async def main(model: Any, image: str, question: str, eyes: RSAgent) -> str:
    agent = create_agent(model, tools=[eyes.as_tool()])
    asked = {"role": "user", "content": f"{question} The image is {image}."}
    result = await agent.ainvoke({"messages": [asked]})
    return result["messages"][-1].text


if __name__ == "__main__":
    print(asyncio.run(main(*sys.argv[1:4], RSAgent())))
