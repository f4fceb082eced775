"""The local engine with the instruction router's soft prompts mixed up or taken away: what are they worth?

F_VLM, the gate and the text prompts stay those of the image and its instruction; only the soft prompt vectors differ, so
that whatever is lost is lost with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from rsagent.engines.local import LocalEngine, _Reading  # pyright: ignore[reportPrivateUsage]
from rsagent.errors import ImageLost

if TYPE_CHECKING:
    from rsagent.imagery import ImageSource

SoftPrompts = Literal["own", "shuffled", "zero"]
"""Whose soft prompts the experts read: the image's own, another image's for the same instruction, or none (zeros)."""


class AblatedEngine(LocalEngine):
    """A local engine whose experts read other soft prompts than their image's own; `load` and `ablate` it."""

    _soft_prompts: SoftPrompts = "own"

    def ablate(self, soft_prompts: SoftPrompts, partners: Mapping[str, Callable[[], ImageSource]] | None = None) -> None:
        """Choose whose soft prompts are read.

        Args:
            soft_prompts: see `SoftPrompts`.
            partners: for "shuffled", digest of each image -> gives the picture whose soft prompts it gets.
        """
        self._soft_prompts = soft_prompts
        self._partners = dict(partners or {})
        self._digests: dict[str, str] = {}  # of the partners, once they are prepared

    async def _recall(self, digest: str, instruction: str) -> _Reading:
        reading = await super()._recall(digest, instruction)
        if self._soft_prompts == "zero":
            import torch

            return replace(reading, soft_prompts=torch.zeros_like(reading.soft_prompts))
        if self._soft_prompts == "shuffled":
            other = await self._other(digest, instruction)
            return replace(reading, soft_prompts=other.soft_prompts)
        return reading

    async def _other(self, digest: str, instruction: str) -> _Reading:
        """What the router wrote for the partner of an image, which is prepared where it is not remembered."""
        if digest in self._digests:
            try:
                return await super()._recall(self._digests[digest], instruction)
            except ImageLost:  # the caches forget
                pass
        facts = await self.prepare(self._partners[digest]())
        self._digests[digest] = facts.sha256
        return await super()._recall(facts.sha256, instruction)
