"""RSAgent: the typed façade over the graph, asynchronous, with a synchronous twin that has its own event loop.

Asynchronous::

    async with RSAgent() as agent:
        caption = await agent.caption("photo.tif")
        answer = await agent.ask("photo.tif", "How many planes are there?")

In scripts and notebooks::

    with RSAgent().sync as agent:
        print(agent.caption("photo.tif").text)
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from rsagent.errors import RSAgentError, UserError
from rsagent.prompts import Prompts, load_prompts, prompts_of
from rsagent.schemas import Answer, Caption, ImageFacts, RouterTrace
from rsagent.sources import SourcePolicy, decode_data_uri, fetch, is_data_uri, is_url

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from rsagent.engines.base import Engine
    from rsagent.graphs import Event, GraphInput
    from rsagent.graphs.build import Graph
    from rsagent.imagery import ImageSource
    from rsagent.sync import SyncRSAgent
    from rsagent.telemetry import TurnTrace

CONCURRENCY = 32
"""Images described at a time by `caption_many`; what arrives together an engine runs as one batch."""


@dataclass(frozen=True)
class Described:
    """One image of `caption_many`: its place in the input, itself, and its caption or why there is none."""

    index: int
    image: ImageSource
    result: Caption | RSAgentError


@dataclass(frozen=True)
class Seen:
    """One image of `batch`: itself, and the caption, the answer, or why there is none."""

    image: ImageSource
    result: Caption | Answer | RSAgentError


class RSAgent:
    """An agent that looks at an aerial image and describes it or answers questions about it.

    One agent belongs to one event loop. Calls may run at the same time; the engine batches them.
    """

    def __init__(
        self,
        engine: Engine | str | None = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        device: str = "auto",
        dtype: str = "auto",
        prompts: Prompts | str | os.PathLike[str] | None = None,
        max_tokens: int | None = None,
        seed: int = 0,
        best: bool = False,
        bands: Sequence[int] | None = None,
        max_pixels: int | None = None,
        expert_timeout_s: float = 60.0,
        sources: SourcePolicy | None = None,
        on_trace: Callable[[TurnTrace], None] | None = None,
    ) -> None:
        """Choose the engine; nothing is loaded before it is needed.

        Args:
            engine: an Engine, or "local" (the default) for an RS-MoE checkpoint on this machine.
            checkpoint: checkpoint folder, or "tiny" or "small" for one that comes with rsagent, for "local"; "tiny" when None.
            device: auto, cpu, cuda or mps, for "local".
            dtype: auto, float32, bfloat16 or float16, for "local".
            prompts: Prompts, or a folder with default.yaml; those that come with rsagent when None.
            max_tokens: tokens an expert may write; None leaves it to the engine.
            seed: for decoding that samples.
            best: the slower, better decoding of "local".
            bands: bands of a picture to show, such as (4, 3, 2), for "local".
            max_pixels: pictures of more pixels are refused or read reduced, for "local"; 64 million when None.
            expert_timeout_s: seconds after which an expert counts as failed.
            sources: whether URLs are fetched, and their limits; they are not when None. Paths are always read.
            on_trace: is called with the trace of each turn when it ends, also of one that fails.

        Raises:
            SettingsError: the prompts cannot be used.
            UserError: no engine of that name, or an Engine object beside `bands` or `max_pixels`, which are its own.
        """
        if isinstance(engine, str) and engine != "local":
            raise UserError(f"unknown engine {engine!r}: give 'local' or an Engine object")
        self._engine: Engine | None = None if isinstance(engine, str) else engine
        if self._engine is not None and not (bands is None and max_pixels is None):
            raise UserError("bands and max_pixels belong to the engine: give them to the Engine object")
        self._checkpoint = checkpoint
        self._local: dict[str, Any] = {"device": device, "dtype": dtype, "seed": seed, "best": best, "bands": bands}
        if max_pixels is not None:
            self._local["max_pixels"] = max_pixels
        if prompts is None:
            self._prompts = prompts_of(self._engine)
        else:
            self._prompts = prompts if isinstance(prompts, Prompts) else load_prompts(Path(prompts))
        self._sources = sources or SourcePolicy()
        self._on_trace = on_trace
        self._max_tokens = max_tokens
        self._expert_timeout_s = expert_timeout_s
        self._graph: Graph | None = None
        self._opening = asyncio.Lock()
        self._twin: SyncRSAgent | None = None

    async def caption(
        self,
        image: ImageSource,
        style: str = "detailed",
        experts: Sequence[str] = (),
        *,
        max_tokens: int | None = None,
    ) -> Caption:
        """Describe an image.

        Args:
            image: a path, the bytes of an encoded picture, a Pillow image, a (height, width, 3) uint8 array, a
                `data:` URI, or, where `sources` allows it, a URL.
            style: "detailed" joins the experts' aspects; the other styles of the engine are one written sentence.
            experts: only these; empty means all.
            max_tokens: tokens an expert may write; None leaves it as the agent has it.

        Raises:
            UserError: the picture, the style or an expert's name cannot be used.
            AllExpertsFailed: no expert gave a report. With some reports the caption is `partial`.
            EngineError: the engine failed before the experts were asked.
        """
        graph, given = await self._given(image)
        asked = {**given, "task": "caption", "style": style, "experts": list(experts), "max_tokens": max_tokens}
        return cast(Caption, (await graph.ainvoke(cast(Any, asked), {"run_name": "rsagent.caption"}))["caption"])

    async def ask(
        self, image: ImageSource, question: str, experts: Sequence[str] = (), *, max_tokens: int | None = None
    ) -> Answer:
        """Answer a question about an image.

        Args:
            image: a path, the bytes of an encoded picture, a Pillow image, a (height, width, 3) uint8 array, a
                `data:` URI, or, where `sources` allows it, a URL.
            question: at most 2,000 characters; control characters in it are dropped.
            experts: only these; empty means those that the gate chooses.
            max_tokens: tokens an expert may write; None leaves it as the agent has it.

        Raises:
            UserError: the picture, the question or an expert's name cannot be used.
            AllExpertsFailed: no expert that was asked gave an answer.
            EngineError: the engine failed before the experts were asked.
        """
        from rsagent.graphs.text import clean_question

        question = clean_question(question)  # before a model is loaded for nothing
        graph, given = await self._given(image)
        asked = {**given, "task": "answer", "question": question, "experts": list(experts), "max_tokens": max_tokens}
        return cast(Answer, (await graph.ainvoke(cast(Any, asked), {"run_name": "rsagent.ask"}))["answer"])

    async def caption_many(
        self,
        images: Iterable[ImageSource],
        style: str = "detailed",
        experts: Sequence[str] = (),
        *,
        concurrency: int = CONCURRENCY,
    ) -> AsyncGenerator[Described, None]:
        """Describe many images, several at a time, each yielded as soon as it is done.

        An image that cannot be described is yielded with its error; other exceptions end the iteration. Leaving the
        loop early cancels what still runs (`contextlib.aclosing` does so at once).

        Args:
            images: paths or encoded pictures; read lazily, so it may be long.
            style: as for `caption`.
            experts: as for `caption`.
            concurrency: images in flight, at least 1.

        Raises:
            UserError: the checkpoint, the style or an expert's name cannot be used.
        """

        async def describe(index: int, image: ImageSource) -> Described:
            try:
                return Described(index, image, await self.caption(image, style, experts))
            except RSAgentError as error:
                return Described(index, image, error)

        # What would fail for every image alike fails once: a checkpoint, a style, an expert's name.
        from rsagent.graphs.nodes import read_turn

        asked: GraphInput = {"task": "caption", "style": style, "experts": list(experts)}
        read_turn(asked, await self._open(), self._prompts, began=0.0)
        waiting = enumerate(images)
        running: set[asyncio.Task[Described]] = set()
        try:
            while True:
                while len(running) < max(1, concurrency) and (item := next(waiting, None)) is not None:
                    running.add(asyncio.create_task(describe(*item)))
                if not running:
                    return
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    running.discard(task)  # one by one: whoever is still in it is looked after below
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def batch(
        self,
        images: Iterable[ImageSource],
        question: str | None = None,
        *,
        style: str = "detailed",
        experts: Sequence[str] = (),
        concurrency: int = CONCURRENCY,
    ) -> list[Seen]:
        """Describe all `images`, or ask each the same `question`; the results stand in the order of the images.

        An image that cannot be used has its error as result. For very many images `caption_many` keeps less in memory.

        Raises:
            UserError: the checkpoint, the style or an expert's name cannot be used.
        """
        if question is None:
            many = self.caption_many(images, style, experts, concurrency=concurrency)
            done = sorted([item async for item in many], key=lambda item: item.index)
            return [Seen(item.image, item.result) for item in done]
        gate = asyncio.Semaphore(max(1, concurrency))

        async def ask(image: ImageSource) -> Seen:
            async with gate:
                try:
                    return Seen(image, await self.ask(image, question, experts))
                except RSAgentError as error:
                    return Seen(image, error)

        from rsagent.graphs.nodes import read_turn

        asked: GraphInput = {"task": "answer", "question": question, "experts": list(experts)}
        read_turn(asked, await self._open(), self._prompts, began=0.0)
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(ask(image)) for image in images]
        return [task.result() for task in running]

    def as_tool(
        self, *, name: str = "look_at_aerial_image", description: str | None = None, sources: SourcePolicy | None = None
    ) -> BaseTool:
        """This agent as a LangChain tool, for `langchain.agents.create_agent` and any model that calls tools.

        The model gives `image` and, for an answer in place of a caption, `question`. It gets the text, with what is
        missing or contradictory marked; the tool message's artifact is the Caption or the Answer. Input that cannot be
        used is told to the model, not raised.

        Args:
            name: what the model calls it.
            description: what the model is told about it; a good one comes with it.
            sources: which pictures the model may name; any local path, and no URL, when None.
        """
        from rsagent.tool import make_tool

        return make_tool(self, name, description, sources)

    async def stream(
        self,
        image: ImageSource,
        question: str | None = None,
        *,
        style: str = "detailed",
        experts: Sequence[str] = (),
        max_tokens: int | None = None,
    ) -> AsyncGenerator[Event | Caption | Answer, None]:
        """What happens while the image is described (no `question`) or asked about, then the Caption or the Answer.

        The events are `rsagent.graphs.Event`: route, token, report, conflict, composed. Errors are those of `caption`
        and `ask`.
        """
        from rsagent.graphs.text import clean_question

        asked: dict[str, Any] = {"task": "caption", "style": style}
        if question is not None:
            asked = {"task": "answer", "question": clean_question(question)}
        graph, given = await self._given(image)
        asked = {**given, **asked, "experts": list(experts), "max_tokens": max_tokens}
        outcome: dict[str, Any] = {}
        run = graph.astream(cast(Any, asked), {"run_name": "rsagent.stream"}, stream_mode=["custom", "values"])
        async with aclosing(cast(Any, run)) as parts:
            async for mode, part in parts:
                if mode == "custom":
                    yield part
                else:
                    outcome = part
        yield outcome["caption"] or outcome["answer"]

    async def explain(self, image: ImageSource, question: str | None = None, *, style: str = "detailed") -> RouterTrace:
        """What the instruction router does with an image and a question (or the instruction of a caption style).

        Raises:
            UserError: the picture, the question or the style cannot be used.
            EngineError: the engine failed.
        """
        from rsagent.graphs.text import clean_question

        if question is not None:
            question = clean_question(question)
        instruction = question or self._prompts.caption_instruction(style)
        engine = await self._open()
        facts = await engine.prepare(await self._read(image))
        written = style if question is None and style in engine.styles else ""
        return await engine.explain(facts.sha256, instruction, "answer" if question else "caption", style=written)

    async def close(self) -> None:
        """Close the engine. Idempotent."""
        if self._engine is not None:
            await self._engine.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def sync(self) -> SyncRSAgent:
        """This agent for code that cannot await; from then on use it only through this twin."""
        from rsagent.sync import SyncRSAgent

        if self._twin is None:
            self._twin = SyncRSAgent(self)
        return self._twin

    async def _open(self) -> Engine:
        """The engine, loaded once."""
        async with self._opening:
            if self._engine is None:
                from rsagent.engines.local import LocalEngine
                from rsagent.model.shipped import checkpoint_folder

                folder = checkpoint_folder(self._checkpoint)
                self._engine = cast(
                    "Engine",
                    await asyncio.to_thread(LocalEngine.load, folder, prompts=self._prompts, **self._local),
                )
            return self._engine

    async def _given(self, image: ImageSource) -> tuple[Graph, dict[str, str | ImageFacts]]:
        """The graph, and the image as its input: a path, or the facts of a picture that is no file."""
        engine = await self._open()
        if self._graph is None:
            from rsagent.graphs import create_graph

            self._graph = create_graph(
                engine,
                prompts=self._prompts,
                expert_timeout_s=self._expert_timeout_s,
                max_tokens=self._max_tokens,
                on_trace=self._on_trace,
            )
        image = await self._read(image)
        if isinstance(image, (str, os.PathLike)):
            return self._graph, {"image": os.fspath(image)}
        return self._graph, {"image": await engine.prepare(image)}

    async def _read(self, image: ImageSource) -> ImageSource:
        """The bytes of a `data:` URI or a URL; every other picture as it is."""
        if isinstance(image, str) and is_data_uri(image):
            return decode_data_uri(image, self._sources.max_bytes)
        if isinstance(image, str) and is_url(image):
            return await asyncio.to_thread(fetch, image, self._sources)
        return image


__all__ = ["CONCURRENCY", "Described", "RSAgent", "Seen"]
