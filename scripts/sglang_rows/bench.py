"""What every measurement needs: a server that can be killed and started again, pictures, prompts, and rows of a table."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsagent.engines.sglang import SGLangEngine, _Writing, packed
from rsagent.errors import EngineError
from rsagent.model.checkpoint import checkpoint_digest
from rsagent.prompts import load_prompts
from rsagent.schemas import ExpertPrompt
from rsagent.serving.sglang import launch
from rsagent.serving.sglang.checks import check_checkpoint
from rsagent.serving.sglang.child import Server
from rsagent.serving.sglang.prepare import prepare

READY_S = 1800.0


@dataclass
class Bench:
    """A checkpoint, how it is served, and the pictures that are shown to it."""

    checkpoint: Path
    options: launch.Options
    pictures: list[Path]
    server: Server | None = None

    @property
    def url(self) -> str:
        """Where the server is."""
        return f"http://{self.options.host}:{self.options.port}"

    @property
    def networks(self) -> dict[str, str]:
        """What our own networks run on, and their number type: the server's, or texts could differ for that alone."""
        return {"device": self.options.device, "dtype": self.options.dtype}

    async def start(self) -> float:
        """Start the server; gives the seconds until it is ready."""
        servable, digest = check_checkpoint(self.checkpoint), checkpoint_digest(self.checkpoint)
        line = launch.command(servable, prepare(servable, digest), digest, self.options)
        began = time.monotonic()
        self.server = await started(line, self.options)
        return time.monotonic() - began

    def stop(self) -> None:
        """Stop the server, if it runs."""
        if self.server is not None:
            self.server.stop()
            self.server = None

    async def engine(self, **options: Any) -> SGLangEngine:
        """A fresh client of it."""
        given: dict[str, Any] = {"timeout_s": 300.0, "patience_s": 900.0, **self.networks, **options}
        return await asyncio.to_thread(SGLangEngine.load, self.url, self.checkpoint, **given)


async def started(line: Sequence[str], options: launch.Options) -> Server:
    """A server that was started with a command line and is ready."""
    log = Path(tempfile.gettempdir()) / f"measure-sglang-{options.port}.log"
    server = Server(line, launch.environment(options), log)
    try:
        await asyncio.to_thread(server.wait_ready, f"http://{options.host}:{options.port}", READY_S, lambda step: None)
    except BaseException:
        server.stop()
        raise
    return server


def draw(folder: Path, count: int) -> list[Path]:
    """Rendered scenes of the split `test`, with the seeds 0 to `count` - 1."""
    from PIL import Image

    from rsagent.training.render import render
    from rsagent.training.scenes import scene_from_seed

    paths: list[Path] = []
    for seed in range(count):
        paths.append(folder / f"{seed}.png")
        Image.fromarray(render(scene_from_seed(seed, "test"))).save(paths[-1])
    return paths


async def prompts_of(engine: Any, pictures: Sequence[Path], instruction: str | None = None) -> list[ExpertPrompt]:
    """The prompts of a plain caption of each picture, for all experts."""
    asked = instruction or load_prompts().caption_instruction("detailed")
    found: list[ExpertPrompt] = []
    for picture in pictures:
        facts = await engine.prepare(picture)
        found += await engine.route(facts.sha256, asked, "caption")
    return found


async def listen(engine: Any, prompt: ExpertPrompt) -> str:
    """All that an expert says."""
    return "".join([piece async for piece in engine.generate(prompt)])


async def gather(engine: Any, prompts: Sequence[ExpertPrompt], at_a_time: int = 32) -> list[str]:
    """What the experts say to many prompts, `at_a_time` of them in flight."""
    free = asyncio.Semaphore(at_a_time)

    async def one(prompt: ExpertPrompt) -> str:
        async with free:
            return await listen(engine, prompt)

    return list(await asyncio.gather(*(one(prompt) for prompt in prompts)))


async def bare_body(engine: SGLangEngine, prompt: ExpertPrompt) -> dict[str, Any]:
    """The request that the engine would send for a prompt, for a client without an engine."""
    writing = _Writing(engine._eyes.network.tokenizer, prompt)
    return {
        "input_ids": writing.read,
        "image_data": packed(await engine._eyes.prefix(prompt), engine._servers[0].serves.dtype),
        "lora_path": prompt.expert,
        "sampling_params": {"temperature": 0.0, "max_new_tokens": prompt.max_tokens, "stop_token_ids": [writing.eos]},
    }


async def clocked(work: Callable[[], Awaitable[Any]]) -> float:
    """Seconds that something takes."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def deciles(values: Sequence[float]) -> str:
    """The spread of a figure: its first and last decile."""
    ordered = sorted(values)
    return f"{ordered[len(ordered) // 10]:.2f} to {ordered[-1 - len(ordered) // 10]:.2f}"


def need_server(bench: Bench) -> Server:
    """The bench's server.

    Raises:
        EngineError: it was never started.
    """
    if bench.server is None:
        raise EngineError("the bench's server is not started")
    return bench.server
