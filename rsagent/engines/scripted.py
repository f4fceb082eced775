"""The shipped test double: an engine that says what it is told to, with delays and failures, without torch.

Use it to test a program that embeds rsagent::

    engine = ScriptedEngine({"theme": "an airport", "object": ["two planes"], "relation": "planes near the terminal"})
    caption = await RSAgent(engine).caption("photo.png")
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from rsagent.errors import EngineError, ImageLost
from rsagent.imagery import MAX_PIXELS, ImageSource, load_image
from rsagent.prompts import Prompts, load_prompts
from rsagent.schemas import ExpertPrompt, ExpertTrace, ImageFacts, RouterTrace, Task

Says = str | Sequence[str] | Callable[[ExpertPrompt], str]
"""What an expert says: always the same; one text a call, the last one for good; or a function of its prompt."""

_PAPER_ORDER = ("theme", "object", "relation")


class ScriptedEngine:
    """An Engine with answers from a list.

    Attributes:
        calls: every prompt that `generate` was asked, in order of asking.
        running: generations that have begun and are neither done nor closed.
        failures: as given; change it between calls to let an expert fail once.
    """

    name = "scripted"

    def __init__(
        self,
        answers: Mapping[str, Says],
        *,
        gate: Mapping[str, float] | None = None,
        delays: Mapping[str, float] | None = None,
        failures: Mapping[str, str | Exception] | None = None,
        pace: float = 0.0,
        styles: Sequence[str] = (),
        prompts: Prompts | None = None,
        bands: Sequence[int] | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Script the experts.

        Args:
            answers: expert -> what it says; the keys are the engine's experts, `composer` apart.
            gate: expert -> its gate for a question, 0 to 1; 1 where none is given. For a caption every gate is 1.
            delays: seconds before the first word of an expert, or of `prepare` and `route`; `math.inf` hangs for ever.
            failures: expert, `prepare` or `route` -> the message of an EngineError, or the exception to raise.
            pace: seconds before each word.
            styles: caption styles that `composer` writes.
            prompts: the experts' readable prompts; those that come with rsagent when None.
            bands: bands of a picture to show, as `load_image` takes them.
            max_pixels: pictures of more pixels are refused or read reduced.
        """
        named = [name for name in answers if name != "composer"]
        self.experts = tuple(sorted(named, key=lambda name: (*_PAPER_ORDER, name).index(name)))
        self.styles = tuple(styles)
        self.failures: dict[str, str | Exception] = dict(failures or {})
        self.calls: list[ExpertPrompt] = []
        self.running = 0
        self._answers = dict(answers)
        self._pace = pace
        self._gate = dict(gate or {})
        self._delays = dict(delays or {})
        self._asked: dict[str, int] = {}
        self._images: dict[str, ImageFacts] = {}
        self._prompts = prompts or load_prompts()
        self._reading: dict[str, Any] = {"bands": bands, "max_pixels": max_pixels}

    async def prepare(self, image: ImageSource) -> ImageFacts:
        """Read the picture for its facts.

        Raises:
            ImageError: the picture cannot be used.
            EngineError: as scripted.
        """
        await self._trouble("prepare")
        facts = (await asyncio.to_thread(load_image, image, **self._reading)).facts
        self._images[facts.sha256] = facts
        return facts

    async def route(
        self, digest: str, instruction: str, task: Task, *, style: str = "", experts: Sequence[str] = ()
    ) -> list[ExpertPrompt]:
        """A prompt for each expert with its scripted gate.

        Raises:
            ImageLost: no such image was prepared.
            EngineError: as scripted.
        """
        del style
        await self._trouble("route")
        self._facts(digest)
        written = [
            ExpertPrompt(
                expert=name,
                text=self._prompts.expert_text(name, task, instruction),
                digest=digest,
                instruction=instruction,
                task=task,
                checkpoint=self.name,
                gate=1.0 if task == "caption" else self._gate.get(name, 1.0),
            )
            for name in self.experts
            if not experts or name in experts
        ]
        return written if task == "caption" else sorted(written, key=lambda prompt: -prompt.gate)

    async def generate(self, prompt: ExpertPrompt) -> AsyncGenerator[str, None]:
        """Stream the scripted answer word by word, each word with the space before it.

        Raises:
            ImageLost: no such image was prepared.
            EngineError: as scripted, or there is no such expert.
        """
        self.calls.append(prompt)
        self.running += 1
        try:
            self._facts(prompt.digest)
            await self._trouble(prompt.expert)
            for word in re.findall(r"\s*\S+", self._says(prompt))[: prompt.max_tokens]:
                await asyncio.sleep(self._pace)  # at least once round the loop, as an engine would
                yield word
        finally:
            self.running -= 1

    async def explain(self, digest: str, instruction: str, task: Task, *, style: str = "") -> RouterTrace:
        """The scripted gate; no soft prompt, and attention on the image as a whole."""
        prompts = await self.route(digest, instruction, task, style=style)
        return RouterTrace(
            image=self._facts(digest),
            instruction=instruction,
            gate={prompt.expert: prompt.gate for prompt in prompts},
            experts=[ExpertTrace(prompt=prompt, nearest_words=[], attention=[[1.0]]) for prompt in prompts],
        )

    async def close(self) -> None:
        """Forget the pictures."""
        self._images.clear()

    def _facts(self, digest: str) -> ImageFacts:
        if digest not in self._images:
            raise ImageLost(f"the picture {digest[:12]} is not in memory: prepare it first")
        return self._images[digest]

    def _says(self, prompt: ExpertPrompt) -> str:
        if prompt.expert not in self._answers:
            raise EngineError(f"no answer is scripted for the expert '{prompt.expert}'")
        says = self._answers[prompt.expert]
        if isinstance(says, str):
            return says
        if callable(says):
            return says(prompt)
        turn = self._asked.get(prompt.expert, 0)
        self._asked[prompt.expert] = turn + 1
        return says[min(turn, len(says) - 1)]

    async def _trouble(self, step: str) -> None:
        """Wait and fail as scripted for an expert or a step."""
        delay = self._delays.get(step, 0.0)
        if delay == float("inf"):
            await asyncio.Event().wait()  # never set
        if delay:
            await asyncio.sleep(delay)
        failure = self.failures.get(step)
        if isinstance(failure, str):
            raise EngineError(failure)
        if failure is not None:
            raise failure
