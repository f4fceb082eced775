"""The local engine: an RS-MoE checkpoint in this process, through transformers and PEFT.

The image encoder runs once an image, the VLM encoder and the router once an instruction; both are kept by digest, so asking
again costs only the words. Everything can be computed again from the picture, so the caches may forget.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from rsagent.engines.devices import device_named, dtype_named, lower_a_large_llm
from rsagent.engines.worker import BatchWorker, Handler, tell
from rsagent.errors import EngineError, ImageLost
from rsagent.imagery import MAX_PIXELS, ImageSource, LoadedImage, load_image
from rsagent.model.checkpoint import checkpoint_digest, load_checkpoint, load_encoder_side
from rsagent.model.shipped import checkpoint_folder
from rsagent.prompts import Prompts, load_prompts
from rsagent.schemas import ExpertPrompt, ExpertTrace, ImageFacts, RouterTrace, Task

if TYPE_CHECKING:
    from torch import Tensor

    from rsagent.model.network import RSMoE
    from rsagent.model.vlm_encoder import ImageTokens

_IMAGES = 256  # remembered images; an entry of the default checkpoint is 150 kB
_READINGS = 1024  # remembered (image, instruction) pairs; an entry is 60 kB
BEAMS = 3
"""Of the decoding `best`."""
_LOOKS = 8  # pictures the image encoder sees at once: of more, memory is asked for and given back with every layer
_LITTLE = 1e8  # parameters times rows, below which one thread is quicker than several
_END = object()

K = TypeVar("K")
V = TypeVar("V")


class _Recent(Generic[K, V]):
    """The last `most` entries that were used. The worker's thread and those of several event loops share it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, key: K, value: V) -> None:
        """Add an entry and forget the one unused for longest."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)

    def recall(self, key: K) -> V | None:
        """The entry, which counts as used now, or None."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key]

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._entries.clear()


@dataclass
class _Seen:
    facts: ImageFacts
    tokens: ImageTokens


@dataclass
class _Reading:
    """F_VLM `(queries, llm_dim)`, soft prompts `(experts, soft_prompts, llm_dim)` and the gate of one (image, instruction)."""

    projected: Tensor
    soft_prompts: Tensor
    gate: list[float]


class LocalEngine:
    """An Engine that runs a checkpoint in this process; see `rsagent.engines.base.Engine`."""

    name = "local"

    def __init__(
        self,
        network: RSMoE,
        checkpoint: str,
        *,
        prompts: Prompts | None = None,
        best: bool = False,
        single: bool = False,
        bands: Sequence[int] | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Wrap a loaded network; most callers want `LocalEngine.load`.

        Args:
            network: in evaluation mode, on its device.
            checkpoint: its digest.
            prompts: the readable prompts; those that come with rsagent when None.
            best: beams instead of the default greedy decoding: slower, and nothing streams.
            single: ask stage I's single LLM instead of the experts, for comparison.
            bands: bands of a picture to show, as `load_image` takes them.
            max_pixels: pictures of more pixels are refused or read reduced.
        """
        self.network = network
        self.checkpoint = checkpoint
        self.experts: tuple[str, ...] = ("single",) if single else tuple(network.config.experts)
        self.styles: tuple[str, ...] = () if single else tuple(network.config.composer_styles)
        self._single = single
        self._beams = BEAMS if best else 1
        self._prompts = prompts or load_prompts()
        self._reading: dict[str, Any] = {"bands": bands, "max_pixels": max_pixels}
        self._images: _Recent[str, _Seen] = _Recent(_IMAGES)
        self._readings: _Recent[tuple[str, str], _Reading] = _Recent(_READINGS)
        handlers = {"look": self._look, "read": self._read, "trace": self._trace, "write": self._write}
        self._worker = BatchWorker({kind: self._threaded(handler) for kind, handler in handlers.items()})

    @classmethod
    def load(
        cls,
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        seed: int = 0,
        prompts: Prompts | None = None,
        best: bool = False,
        single: bool = False,
        bands: Sequence[int] | None = None,
        max_pixels: int = MAX_PIXELS,
        llm: bool = True,
    ) -> Self:
        """Load a checkpoint folder, or the embedded default.

        Without `llm` it prepares, routes and explains, and `prefix` says what an expert elsewhere has to read.

        Raises:
            CheckpointError: the folder is not a checkpoint that this rsagent can read.
            SettingsError: no such device or dtype here.
        """
        import torch

        folder = checkpoint_folder(checkpoint)
        torch.manual_seed(seed)
        place = device_named(device)
        kind = dtype_named(dtype, place)
        network = load_checkpoint(folder) if llm else load_encoder_side(folder)
        if llm:
            network.mix()
        network.image_encoder.fold()
        network.to(device=place, dtype=kind)
        if dtype == "auto" and place == "cpu":
            lower_a_large_llm(network)
        return cls(
            network, checkpoint_digest(folder),
            prompts=prompts, best=best, single=single, bands=bands, max_pixels=max_pixels,
        )  # fmt: skip

    async def prepare(self, image: ImageSource) -> ImageFacts:
        """Read the picture and run the image encoder, unless its features are remembered.

        Raises:
            ImageError: the picture cannot be used.
        """
        self._worker.check_open()
        loaded = await asyncio.to_thread(load_image, image, **self._reading)
        if self._images.recall(loaded.facts.sha256) is None:
            await self._worker.submit("look", loaded)
        return loaded.facts

    async def route(
        self, digest: str, instruction: str, task: Task, *, style: str = "", experts: Sequence[str] = ()
    ) -> list[ExpertPrompt]:
        """Run the VLM encoder and the router; see `Engine.route`.

        Raises:
            ImageLost: the image was never prepared, or is no longer remembered.
        """
        del style  # the instruction already names it
        reading = await self._recall(digest, instruction)
        prompts = [
            ExpertPrompt(
                expert=name,
                text=self._prompts.single_text(task, instruction)
                if self._single
                else self._prompts.expert_text(name, task, instruction),
                digest=digest,
                instruction=instruction,
                task=task,
                checkpoint=self.checkpoint,
                gate=1.0 if self._single else reading.gate[index],
            )
            for index, name in enumerate(self.experts)
            if not experts or name in experts
        ]
        return prompts if task == "caption" else sorted(prompts, key=lambda prompt: -prompt.gate)

    async def generate(self, prompt: ExpertPrompt) -> AsyncGenerator[str, None]:
        """Stream an expert's words; closing the generator stops the work. See `Engine.generate`.

        Raises:
            ImageLost: the image is no longer remembered.
            EngineError: unknown expert, or the machine failed.
        """
        if prompt.expert not in self.network.adapters:
            raise EngineError(f"the checkpoint has no expert '{prompt.expert}': {', '.join(self.network.adapters)}")
        if prompt.json_schema is not None:
            from rsagent.model.structured import check_schema

            await asyncio.to_thread(check_schema, prompt.json_schema)
        reading = await self._recall(prompt.digest, prompt.instruction)
        pieces: asyncio.Queue[Any] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        wanted = True

        def on_piece(piece: str) -> bool:
            return wanted and tell(loop, pieces.put_nowait, piece)

        writing = asyncio.ensure_future(self._worker.submit("write", (prompt, reading, on_piece)))
        writing.add_done_callback(lambda _: pieces.put_nowait(_END))
        try:
            while (piece := await pieces.get()) is not _END:
                yield piece
            await writing
        finally:
            wanted = False
            writing.cancel()

    async def prefix(self, prompt: ExpertPrompt) -> Tensor:
        """What the LLM reads before the words of `prompt`, `(tokens, llm_dim)`: the expert's soft prompt and F_VLM.

        Raises:
            ImageLost: the image is no longer remembered.
        """
        return self._prefix(prompt.expert, await self._recall(prompt.digest, prompt.instruction))

    async def explain(self, digest: str, instruction: str, task: Task, *, style: str = "") -> RouterTrace:
        """What the router did; see `Engine.explain`.

        Raises:
            ImageLost: the image was never prepared, or is no longer remembered.
            EngineError: stage I's single LLM is asked, before which no router stands.
        """
        if self._single:
            raise EngineError("stage I's single LLM has no router that could be explained: ask the experts")
        prompts = await self.route(digest, instruction, task, style=style)
        seen = self._seen(digest)
        traced = await self._worker.submit("trace", (instruction, seen.tokens))
        return RouterTrace(
            image=seen.facts,
            instruction=instruction,
            gate={prompt.expert: prompt.gate for prompt in prompts},
            experts=[
                ExpertTrace(prompt=prompt, nearest_words=traced[prompt.expert][0], attention=traced[prompt.expert][1])
                for prompt in prompts
            ],
        )

    async def close(self) -> None:
        """Stop the worker and forget everything. Idempotent."""
        await asyncio.to_thread(self._worker.close)
        self._images.clear()
        self._readings.clear()

    def _seen(self, digest: str) -> _Seen:
        self._worker.check_open()
        seen = self._images.recall(digest)
        if seen is None:
            raise ImageLost(f"the picture {digest[:12]} is no longer in memory: prepare it again")
        return seen

    async def _recall(self, digest: str, instruction: str) -> _Reading:
        self._worker.check_open()
        reading = self._readings.recall((digest, instruction))
        if reading is None:
            reading = await self._worker.submit("read", (digest, instruction, self._seen(digest).tokens))
            self._readings.remember((digest, instruction), reading)
        return reading

    def _threaded(self, handler: Handler) -> Handler:
        """`handler` on one of torch's threads where there is little to do.

        Several wait for each other after every small product, and the event loop needs a core, too. Of many pictures it is the
        other way round; `docs/experiments.md` has the figures.
        """
        import torch

        threads, size = torch.get_num_threads(), sum(parameter.numel() for parameter in self.network.parameters())

        def run(asked: Sequence[Any]) -> Sequence[Any]:
            torch.set_num_threads(1 if len(asked) * size < _LITTLE else threads)
            try:
                return handler(asked)
            finally:
                torch.set_num_threads(threads)

        return run

    # the handlers below run in the worker's thread, one at a time

    def _look(self, pictures: Sequence[LoadedImage]) -> Sequence[None]:
        import torch

        fresh = list({picture.facts.sha256: picture for picture in pictures}.items())
        with torch.inference_mode():
            for start in range(0, len(fresh), _LOOKS):
                several = fresh[start : start + _LOOKS]
                tokens = self.network.look(self.network.encode_images([picture.rgb for _, picture in several]))
                for index, (digest, picture) in enumerate(several):
                    self._images.remember(digest, _Seen(picture.facts, tokens[torch.tensor([index])]))
        return [None] * len(pictures)

    def _read(self, asked: Sequence[tuple[str, str, ImageTokens]]) -> Sequence[_Reading]:
        import torch

        from rsagent.model.vlm_encoder import ImageTokens

        with torch.inference_mode():
            images = ImageTokens(
                torch.cat([tokens.tokens for _, _, tokens in asked]), torch.cat([tokens.anchors for _, _, tokens in asked])
            )
            seen, _ = self.network.see(images, [instruction for _, instruction, _ in asked])
            routing = self.network.route(seen)
            gates = routing.gate.float().sigmoid().tolist()
            return [
                _Reading(seen.projected[row].clone(), routing.soft_prompts[row].clone(), gates[row])
                for row in range(len(asked))
            ]

    def _write(self, asked: Sequence[tuple[ExpertPrompt, _Reading, Any]]) -> Sequence[None]:
        from rsagent.model.decode import DecodeRequest, decode

        requests = [
            DecodeRequest(
                self._prefix(prompt.expert, reading),
                prompt.text,
                self._adapter(prompt.expert),
                prompt.max_tokens,
                on_piece,
                json_schema=prompt.json_schema,
            )  # fmt: skip
            for prompt, reading, on_piece in asked
        ]
        decode(self.network, requests, beams=self._beams)
        return [None] * len(asked)

    def _adapter(self, expert: str) -> str:
        """The adapter that speaks for an expert: its own."""
        return expert

    def _prefix(self, expert: str, reading: _Reading) -> Tensor:
        from rsagent.model.network import visual_prefix

        experts = self.network.config.experts
        if expert not in experts:  # the composer and stage I's single LLM have no soft prompt
            return reading.projected
        return visual_prefix(reading.projected, reading.soft_prompts[experts.index(expert)])

    def _trace(self, asked: Sequence[tuple[str, ImageTokens]]) -> Sequence[Any]:
        from rsagent.model.trace import trace

        return [trace(self.network, tokens, instruction) for instruction, tokens in asked]
