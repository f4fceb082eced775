"""An expert of your own beside the others: any engine, wrapped; here it measures how green the picture is.

Run: python examples/own_expert.py photo.tif
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from rsagent import RSAgent
from rsagent.engines.base import Engine
from rsagent.imagery import load_image


class WithGreenness:
    def __init__(self, inner: Engine) -> None:
        self.inner, self.green = inner, {}
        self.name, self.styles = inner.name, inner.styles
        self.experts = (*inner.experts, "greenness")
        self.explain, self.close = inner.explain, inner.close

    async def prepare(self, image: Any) -> Any:
        facts, rgb = await self.inner.prepare(image), load_image(image).rgb.astype(int)
        self.green[facts.sha256] = (rgb[..., 1] > rgb[..., [0, 2]].max(axis=2)).mean()
        return facts

    async def route(self, digest: str, instruction: str, task: Any, **options: Any) -> list[Any]:
        prompts = await self.inner.route(digest, instruction, task, **options)
        return [*prompts, prompts[0].model_copy(update={"expert": "greenness", "gate": 0.3})]

    async def generate(self, prompt: Any) -> AsyncIterator[str]:
        if prompt.expert == "greenness":
            yield f"{self.green[prompt.digest]:.0%} of the picture is green"
            return
        async for piece in self.inner.generate(prompt):
            yield piece


if __name__ == "__main__":
    from rsagent.engines.local import LocalEngine

    print(asyncio.run(RSAgent(WithGreenness(LocalEngine.load())).caption(sys.argv[1])).text)
