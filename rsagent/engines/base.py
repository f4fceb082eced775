"""The one interface behind which experts run: local, SGLang, any OpenAI-compatible server, or the scripted double.

A turn is `prepare` (once an image), `route` (once an instruction), then `generate` (each expert, several at a time).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, runtime_checkable

from rsagent.imagery import ImageSource
from rsagent.schemas import ExpertPrompt, ImageFacts, RouterTrace, Task


@runtime_checkable
class Engine(Protocol):
    """Where experts run. All methods may be called concurrently from one event loop."""

    name: str
    """Short name for people: local, sglang, scripted."""
    experts: tuple[str, ...]
    """The aspects the engine has an expert for, in the paper's order: theme, object, relation."""
    styles: tuple[str, ...]
    """Caption styles the `composer` adapter can write; empty when the engine has none."""

    async def prepare(self, image: ImageSource) -> ImageFacts:
        """Read the picture, keep its pixels under their digest, and return what is known about it.

        Raises:
            ImageError: the picture cannot be used.
        """
        ...

    async def route(
        self, digest: str, instruction: str, task: Task, *, style: str = "", experts: Sequence[str] = ()
    ) -> list[ExpertPrompt]:
        """The instruction router: one prompt an expert; highest gate first for an answer, else the paper's order.

        Args:
            digest: sha256 of an image that was prepared, here or before a restart.
            instruction: what the user asked, or the caption instruction of a style.
            task: "caption" or "answer".
            style: a caption style of `styles`, or "" for the plain one.
            experts: only these; empty means all.

        Raises:
            ImageLost: the image's pixels are no longer at hand; the graph then prepares the recorded path again.
            EngineError: the engine failed.
        """
        ...

    def generate(self, prompt: ExpertPrompt) -> AsyncIterator[str]:
        """Stream an expert's words, one piece a token (a piece may be empty while a character is incomplete).

        The expert may also be `composer`, whose prompt's text holds the reports. Closing the iterator early stops the
        work.

        Raises:
            ImageLost: the image's pixels are no longer at hand.
            EngineError: out of memory, unknown expert, or the engine failed.
        """
        ...

    async def explain(self, digest: str, instruction: str, task: Task, *, style: str = "") -> RouterTrace:
        """What the router did: prompts, gate, nearest words, an attention map for each expert."""
        ...

    async def close(self) -> None:
        """Stop the workers and free what is held. Idempotent."""
        ...


@runtime_checkable
class Rewriter(Protocol):
    """An engine whose language model also completes the questions of a conversation; most cannot."""

    async def rewrite(self, said: str, before: Sequence[tuple[str, str]]) -> str:
        """What is said after the questions and answers `before`, oldest first, as one complete question.

        Raises:
            EngineError: the call failed, or what came is no question.
        """
        ...
