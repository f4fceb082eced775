"""An expert of your own beside the others: any engine, wrapped; here it measures how green the picture is.

Run: python examples/own_expert.py photo.tif
"""

import asyncio
import sys

from rsagent import RSAgent
from rsagent.engines.local import LocalEngine
from rsagent.imagery import load_image


class WithGreenness:
    def __init__(self, inner):
        self.inner, self.green, self.name, self.styles = inner, {}, inner.name, inner.styles
        self.experts, self.explain, self.close = (*inner.experts, "greenness"), inner.explain, inner.close

    async def prepare(self, image):
        facts, rgb = await self.inner.prepare(image), load_image(image).rgb.astype(int)
        self.green[facts.sha256] = (rgb[..., 1] > rgb[..., [0, 2]].max(axis=2)).mean()
        return facts

    async def route(self, digest, instruction, task, *, style="", experts=()):
        prompts = await self.inner.route(digest, instruction, task, style=style)
        prompts.append(prompts[0].model_copy(update={"expert": "greenness", "gate": 0.3}))
        return [prompt for prompt in prompts if not experts or prompt.expert in experts]

    async def generate(self, prompt):
        if prompt.expert == "greenness":
            yield f"{self.green[prompt.digest]:.0%} of the picture is green"
        else:
            async for piece in self.inner.generate(prompt):
                yield piece


if __name__ == "__main__":
    print(asyncio.run(RSAgent(WithGreenness(LocalEngine.load())).caption(sys.argv[1])).text)
