"""The sglang engine: image encoder, VLM encoder and router in this process, the experts on one or several SGLang servers.

F_VLM and the soft prompt travel as numbers, the words as tokens, the expert as the name of its adapter. The experts of a
turn are asked at the same time; the server batches them. With several servers the turns about one image go to the same one,
whose radix cache then knows the prefix.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from rsagent.engines.local import LocalEngine
from rsagent.engines.sglang_client import ExpertServer, need_httpx, wait_until
from rsagent.errors import EngineError, ServerAway, ServerLost, SettingsError
from rsagent.imagery import MAX_PIXELS, ImageSource
from rsagent.model.checkpoint import adapter_names
from rsagent.model.shipped import checkpoint_folder
from rsagent.prompts import Prompts
from rsagent.schemas import ExpertPrompt, ImageFacts, RouterTrace, Task
from rsagent.serving.sglang.http import check_url
from rsagent.serving.sglang.plugin.rsagent_sglang.wire import pack

if TYPE_CHECKING:
    from torch import Tensor

IN_FLIGHT = 128
"""Requests that one server gets at a time; further ones wait in this process."""

OF_THE_TIME = 0.9
"""The part of an expert's time after which the engine gives up: it can say what is wrong, who stops it cannot."""

_MOST_LOSSES = 5
"""How often a request may lose its server without a word in between: one that ends every server is not asked for ever."""

_EVENT_TOKENS = 4
"""Tokens that an event of a stream brings; the first comes at once. Token by token, the streams cost more than a small LLM."""


class SGLangEngine:
    """An Engine whose experts run on SGLang; see `rsagent.engines.base.Engine`."""

    name = "sglang"

    def __init__(
        self, eyes: LocalEngine, adapters: Sequence[str], servers: Sequence[ExpertServer], *, patience_s: float
    ) -> None:
        """Join what is loaded and connected; most callers want `SGLangEngine.load`.

        Args:
            eyes: the part that prepares, routes and explains, loaded without its LLM.
            adapters: the checkpoint's adapters.
            servers: checked, at least one.
            patience_s: seconds for which a request waits for servers that went away.
        """
        self.experts = eyes.experts
        self.styles = eyes.styles
        self.last_counters: dict[str, Any] = {}
        """What the server counted of the request that ended last: prompt_tokens, cached_tokens, ..."""
        self._eyes = eyes
        self._adapters = frozenset(adapters)
        self._servers = list(servers)
        self._patience_s = patience_s
        self._closed = False

    @classmethod
    def load(
        cls,
        url: str,
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        seed: int = 0,
        prompts: Prompts | None = None,
        single: bool = False,
        bands: Sequence[int] | None = None,
        max_pixels: int = MAX_PIXELS,
        timeout_s: float = OF_THE_TIME * 60.0,
        patience_s: float = OF_THE_TIME * 60.0,
        in_flight: int = IN_FLIGHT,
    ) -> SGLangEngine:
        """Connect to `url` (several with commas between them) and load the encoder side of the same checkpoint.

        Args:
            url: where `rsagent experts serve` listens.
            checkpoint: as for `LocalEngine.load`, like the arguments that follow; `device` and `dtype` concern the encoders.
            device: auto, cpu, cuda or mps.
            dtype: auto, float32, bfloat16 or float16.
            seed: of what is drawn at random.
            prompts: the readable prompts; those that come with rsagent when None.
            single: ask stage I's single LLM instead of the experts.
            bands: bands of a picture to show.
            max_pixels: pictures of more pixels are refused or read reduced.
            timeout_s: the longest silence of a server while it serves a request, shorter than the agent's
                `expert_timeout_s`, or nobody hears what was wrong.
            patience_s: how long a request waits for a server that was lost, and is then asked again; likewise.
            in_flight: requests a server gets at a time.

        Raises:
            MissingExtra: httpx is not installed.
            SettingsError: an address is none.
            CheckpointError: the checkpoint cannot be read.
            EngineError: no server is there, or one serves something else.
        """
        need_httpx()
        urls = list(dict.fromkeys(check_url(part) for part in url.split(",") if part.strip()))
        if not urls:
            raise SettingsError("the engine 'sglang' needs the server's address: --url http://127.0.0.1:30000")
        folder = checkpoint_folder(checkpoint)
        eyes = LocalEngine.load(
            folder, device=device, dtype=dtype, seed=seed, prompts=prompts, single=single, bands=bands,
            max_pixels=max_pixels, llm=False,
        )  # fmt: skip
        servers = [ExpertServer(place, eyes.checkpoint, timeout_s=timeout_s, in_flight=in_flight) for place in urls]
        for server in servers:
            server.check()
        return cls(eyes, adapter_names(folder / "experts"), servers, patience_s=patience_s)

    async def prepare(self, image: ImageSource) -> ImageFacts:
        """Read the picture and run the image encoder, here; see `Engine.prepare`.

        Raises:
            ImageError: the picture cannot be used.
        """
        return await self._eyes.prepare(image)

    async def route(
        self, digest: str, instruction: str, task: Task, *, style: str = "", experts: Sequence[str] = ()
    ) -> list[ExpertPrompt]:
        """Run the VLM encoder and the router, here; see `Engine.route`.

        Raises:
            ImageLost: the image was never prepared, or is no longer remembered.
        """
        return await self._eyes.route(digest, instruction, task, style=style, experts=experts)

    async def explain(self, digest: str, instruction: str, task: Task, *, style: str = "") -> RouterTrace:
        """What the router did; see `Engine.explain`.

        Raises:
            ImageLost: the image was never prepared, or is no longer remembered.
            EngineError: stage I's single LLM is asked, before which no router stands.
        """
        return await self._eyes.explain(digest, instruction, task, style=style)

    async def generate(self, prompt: ExpertPrompt) -> AsyncGenerator[str, None]:
        """Stream an expert's words from its server; closing the generator aborts the request there.

        A server that goes away is waited for, or another one takes over; what was written so far is then given back to the
        expert to go on from, so that nothing is lost and nothing comes twice.

        Raises:
            ImageLost: the image is no longer remembered.
            EngineError: the server cannot or will not; the message says which and why.
        """
        if prompt.expert not in self._adapters:
            raise EngineError(f"the checkpoint has no expert '{prompt.expert}': {', '.join(sorted(self._adapters))}")
        prefix = await self._eyes.prefix(prompt)
        writing = _Writing(self._eyes.network.tokenizer, prompt)
        ends, losses = time.monotonic() + self._patience_s, 0
        while not writing.done:
            server = await self._choose(prompt.digest, ends)
            try:
                async with aclosing(self._ask(server, prompt, prefix, writing)) as pieces:
                    async for piece in pieces:
                        yield piece
                        ends, losses = time.monotonic() + self._patience_s, 0
            except ServerAway as error:
                server.lost(str(error))
                losses += isinstance(error, ServerLost)
                if losses >= _MOST_LOSSES:
                    raise EngineError(f"{error}, {losses} times with this request: look at the server's output") from error
                if time.monotonic() >= ends:
                    raise EngineError(f"{error} (asked again for {self._patience_s:g} s)") from error

    async def close(self) -> None:
        """Close the connections and the encoders' thread. Idempotent."""
        self._closed = True
        for server in self._servers:
            await server.close()
        await self._eyes.close()

    async def _choose(self, digest: str, ends: float) -> ExpertServer:
        """The server for an image: its own, else the next in its order that is not away, else the first that comes back."""
        if self._closed:
            raise EngineError("the sglang engine is closed: make a new one")
        order = self._order(digest)
        for server in order:
            if not server.away:
                return server
        waits = [asyncio.ensure_future(server.back()) for server in order]
        try:
            done, _ = await asyncio.wait(waits, timeout=wait_until(ends), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # it may be back with another checkpoint
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        for server in order:
            if not server.away:
                return server
        there = "the server is" if len(order) == 1 else "all servers are"
        raise EngineError(f"{there} away for {self._patience_s:g} s: {'; '.join(server.why for server in order)}")

    def _order(self, digest: str) -> list[ExpertServer]:
        """The servers as an image prefers them, the same for every client of these addresses."""
        return sorted(self._servers, key=lambda server: hashlib.sha256(f"{server.url} {digest}".encode()).digest())

    async def _ask(
        self, server: ExpertServer, prompt: ExpertPrompt, prefix: Tensor, writing: _Writing
    ) -> AsyncGenerator[str, None]:
        """One request for what is still to be written, as pieces of text."""
        self._check_fits(server, prompt, len(prefix) + len(writing.read))
        # A grammar has to see a text from its beginning, so such a text is written again and what is known of it skipped.
        known = [] if prompt.json_schema else writing.written
        before = len(known)
        sampling: dict[str, Any] = {"json_schema": prompt.json_schema} if prompt.json_schema else {}
        body: dict[str, Any] = {
            "input_ids": [*writing.read, *known],
            "image_data": packed(prefix, server.serves.dtype, self._eyes.checkpoint),
            "lora_path": prompt.expert,
            "sampling_params": {
                "temperature": 0.0,
                "max_new_tokens": prompt.max_tokens - before,
                "stop_token_ids": [writing.eos],
                "stream_interval": _EVENT_TOKENS,
                **sampling,
            },
        }
        async with aclosing(server.tokens(uuid.uuid4().hex, body)) as steps:
            async for tokens, counters in steps:
                for token in tokens[len(writing.written) - before :]:
                    if (piece := writing.add(token)) is None:
                        break
                    yield piece
                if counters.get("finish_reason") is not None:
                    self.last_counters = counters
        writing.done = True

    def _check_fits(self, server: ExpertServer, prompt: ExpertPrompt, tokens: int) -> None:
        if server.serves.context and tokens + prompt.max_tokens >= server.serves.context:
            raise EngineError(
                f"the prompt for the expert '{prompt.expert}' has {tokens} tokens and may write {prompt.max_tokens}, "
                f"{server.url} takes {server.serves.context} together: ask shorter, or fewer --max-tokens"
            )


class _Writing:
    """What an expert has to read, and what it wrote so far."""

    def __init__(self, tokenizer: Any, prompt: ExpertPrompt) -> None:
        self.read: list[int] = [
            *cast("list[int]", tokenizer(prompt.text, add_special_tokens=False)["input_ids"]),
            cast(int, tokenizer.bos_token_id),
        ]
        self.eos = cast(int, tokenizer.eos_token_id)
        self.written: list[int] = []
        self.done = False
        self._tokenizer = tokenizer
        self._most = prompt.max_tokens
        self._shown = ""

    def add(self, token: int) -> str | None:
        """The text that a further token adds, which is empty while a character is incomplete; None if it ends the text."""
        if self.done or token == self.eos:
            self.done = True
            return None
        self.written.append(token)
        self.done = len(self.written) >= self._most
        text = str(self._tokenizer.decode(self.written, skip_special_tokens=True))
        piece = "" if text.endswith("\ufffd") else text[len(self._shown) :]
        self._shown += piece
        return piece


def packed(prefix: Tensor, dtype: str, checkpoint: str = "") -> str:
    """The prefix `(tokens, llm_dim)` in the server's own number type, so that it is rounded once; else in float16."""
    import torch

    types = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    kind = dtype if dtype in types else "float16"
    numbers = prefix.detach().to("cpu", types.get(kind, torch.float16)).contiguous()
    rows, width = numbers.shape
    return pack(numbers.view(torch.uint8).numpy().tobytes(), kind, rows, width, checkpoint)
