"""The local engine with the instruction router's work mixed up or taken away: what is it worth?

Only what an arm names differs, so that whatever is lost is lost with that: F_VLM, the image and its instruction stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from rsagent.engines.local import LocalEngine, _Reading  # pyright: ignore[reportPrivateUsage]
from rsagent.errors import ImageLost, UserError

if TYPE_CHECKING:
    from torch import Tensor

    from rsagent.imagery import ImageSource

RouterArm = Literal["own", "shuffled", "zero", "mean", "text", "open", "swapped"]
"""What the experts get from the router.

own       the image's own soft prompts and gate: the model as it is
shuffled  the soft prompts that were written for another image, for the same instruction
zero      zeros in their place
mean      their mean over images of the set, for the same instruction: what they say of no image in particular
text      the text prompts alone, without the places of soft prompts
open      the gate says 1 for every expert: all are asked, and the first in their order is believed
swapped   each expert's prompts go to the next expert's adapter
"""
ARMS: tuple[RouterArm, ...] = ("own", "shuffled", "zero", "mean", "text", "open", "swapped")


@dataclass(frozen=True)
class Others:
    """Other pictures that an arm needs.

    `partners`: digest of each image -> gives the picture whose soft prompts it gets (shuffled).
    `sample`: the pictures whose soft prompts are averaged (mean).
    """

    partners: Mapping[str, Callable[[], ImageSource]] = field(default_factory=lambda: dict[str, Callable[[], "ImageSource"]]())
    sample: Sequence[Callable[[], ImageSource]] = ()


class AblatedEngine(LocalEngine):
    """A local engine whose experts get something else from the router than they should; `load` and `ablate` it."""

    _arm: RouterArm = "own"

    def ablate(self, arm: RouterArm, others: Others | None = None) -> None:
        """Choose what the experts get.

        Args:
            arm: see `RouterArm`.
            others: the pictures that "shuffled" and "mean" take soft prompts of.

        Raises:
            UserError: "swapped", and the checkpoint has one expert alone.
        """
        if arm == "swapped" and len(self.network.config.experts) < 2:
            raise UserError("--router swapped: the checkpoint has one expert alone; there is none to swap it with")
        self._arm = arm
        self._others = others or Others()
        self._digests: dict[str, str] = {}  # of other pictures, once they are prepared
        self._means: dict[str, Tensor] = {}  # by instruction

    async def _recall(self, digest: str, instruction: str) -> _Reading:
        reading = await super()._recall(digest, instruction)
        if self._arm == "zero":
            return replace(reading, soft_prompts=reading.soft_prompts * 0)
        if self._arm == "text":
            return replace(reading, soft_prompts=reading.soft_prompts[:, :0])
        if self._arm == "open":
            return replace(reading, gate=[1.0] * len(reading.gate))
        if self._arm == "mean":
            return replace(reading, soft_prompts=await self._mean(instruction))
        if self._arm == "shuffled":
            other = await self._read_other(digest, self._others.partners[digest], instruction)
            return replace(reading, soft_prompts=other.soft_prompts)
        return reading

    def _adapter(self, expert: str) -> str:
        experts = self.network.config.experts
        if self._arm != "swapped" or expert not in experts:
            return expert
        return experts[(experts.index(expert) + 1) % len(experts)]

    async def _mean(self, instruction: str) -> Tensor:
        """What the router writes for the sample's images, averaged: `(experts, soft_prompts, llm_dim)`."""
        if instruction not in self._means:
            import torch

            looks = (
                self._read_other(f"sample {place}", picture, instruction) for place, picture in enumerate(self._others.sample)
            )
            readings = await asyncio.gather(*looks)
            self._means[instruction] = torch.stack([one.soft_prompts for one in readings]).mean(0)
        return self._means[instruction]

    async def _read_other(self, key: str, picture: Callable[[], ImageSource], instruction: str) -> _Reading:
        """What the router wrote for another picture, which is prepared where it is not remembered."""
        if key in self._digests:
            try:
                return await super()._recall(self._digests[key], instruction)
            except ImageLost:  # the caches forget
                pass
        facts = await self.prepare(picture())
        self._digests[key] = facts.sha256
        return await super()._recall(facts.sha256, instruction)
