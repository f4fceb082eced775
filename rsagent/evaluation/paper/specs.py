"""What is run here for each of the paper's tables: on which sets, and with which trainings, at the default's scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rsagent.errors import UserError
from rsagent.evaluation.paper.published import PRINTED, Printed

Takes = Literal["encoder", "base", "stage1"]
"""The last stage that an arm takes over from the training it shares with the other arms of its seed.

Where a recipe's weights are given it has no stage `base`: who takes over that begins with the weights, and takes over features.
"""


@dataclass(frozen=True)
class Shares:
    """How an arm's images are divided among the stages; a stage without a share makes one step that changes nothing.

    `base` counts only where the arm trains its own.
    """

    stage1: float = 0.0
    stage2: float = 0.0
    composer: float = 0.0
    base: float = 0.0


COMPOSER = 0.2
TWO_STAGES = Shares(stage1=0.3, stage2=0.5, composer=COMPOSER)


@dataclass(frozen=True)
class TrainedArm:
    """A training. `key` names its folder, so that tables share arms; `changes` are made to the recipe.

    `printed` is the row of the paper that stands beside it. `one_lora_of` is the key of the arm whose experts and router have
    as many parameters as its LoRA, which decides the rank; `single` asks stage I's one LLM; `style` is what it writes in where
    that is not the set's own; `recipe` is its own one in place of the command's.
    """

    key: str
    name: str
    changes: tuple[str, ...] = ()
    shares: Shares = TWO_STAGES
    takes: Takes = "stage1"
    printed: str = ""
    one_lora_of: str = ""
    single: bool = False
    style: str | None = None
    recipe: str | None = None


def _with_composer(shares: Shares, share: float) -> Shares:
    left = (1 - share) / (1 - (shares.composer or COMPOSER))
    others = {name: getattr(shares, name) * left for name in ("base", "stage1", "stage2")}
    return Shares(**others, composer=share if shares.composer else 0.0)


@dataclass(frozen=True)
class PaperTable:
    """One table: the sets ("NAME:PART", the paper's own first), the trainings, and the arm the others are held against.

    `plain`: the model as it is, without a training, is evaluated as well. `missing` says what else the paper has that
    no training here stands for.
    """

    number: int
    sets: tuple[str, ...]
    arms: tuple[TrainedArm, ...] = ()
    reference: str = ""
    plain: bool = False
    missing: str = ""

    def with_arms(self, keys: Sequence[str]) -> PaperTable:
        """The table with some of its arms alone, in its own order; the reference is always among them. All of them for no keys.

        Raises:
            UserError: it has no such arm, or none at all.
        """
        if not keys:
            return self
        known = [arm.key for arm in self.arms]
        if not known:
            raise UserError(f"--arms: table{self.number} has no trainings: leave it out")
        if odd := [key for key in keys if key not in known]:
            raise UserError(f"--arms: table{self.number} has no arm {odd[0][:40]!r}: choose from {', '.join(known)}")
        return replace(self, arms=tuple(arm for arm in self.arms if arm.key in (*keys, self.reference)))

    def with_composer(self, share: float) -> PaperTable:
        """The table with `share` (0 to 1) of the images for the composers, and less, or more, for all other stages alike.

        An arm without a composer has as many fewer images, so that all arms see the same number before it.
        """
        return replace(self, arms=tuple(replace(arm, shares=_with_composer(arm.shares, share)) for arm in self.arms))

    @property
    def printed(self) -> Printed:
        """What the paper prints."""
        return PRINTED[self.number]


def _experts(count: int) -> TrainedArm:
    name = f"{count} LLM{'s' if count > 1 else ''}"
    return TrainedArm(f"experts-{count}", name, (f"network.experts={count}",), printed=name)


_WIDE = TrainedArm(
    "wide", "one LoRA of three's parameters, images and steps", ("network.experts=3",), Shares(stage1=0.8), "base",
    one_lora_of="experts-3", single=True,
)  # fmt: skip
_ONE_STAGE = TrainedArm("one-stage", "one stage", shares=Shares(stage2=0.8, composer=0.2), takes="base", printed="one stage")
_TWO_STAGES = TrainedArm("experts-3", "two stages", ("network.experts=3",), printed="two stages")


def _size(name: str, dim: int, layers: int) -> TrainedArm:
    """An LLM of another size; it comes from nothing, so the arm trains its base, too."""
    changes = (f"network.llm_dim={dim}", f"network.llm_layers={layers}", f"network.llm_mlp={3 * dim}")
    shares = Shares(base=0.5, stage1=0.15, stage2=0.25, composer=0.1)
    return TrainedArm(f"llm-{name}", f"LLM {dim} wide, {layers} layers", changes, shares, "encoder", recipe="tiny")


def _alone(style: str, name: str) -> TrainedArm:
    """The language side sees one set of captions alone, and no rendered scene."""
    shares = Shares(base=0.4, stage1=0.15, stage2=0.25, composer=0.2)
    return TrainedArm(
        f"{style}-alone", f"trained on {name} alone", ("scenes=0",), shares, "encoder", style=style, recipe=f"tiny-{style}"
    )


_LONG_SETS = ("rsieval-captions:test", "ucm-captions:test", "rsivqa:val+test")

TABLES: Mapping[int, PaperTable] = {
    table.number: table
    for table in (
        PaperTable(1, ("rsieval-captions:test", "scenes-captions:test"), plain=True),
        PaperTable(2, ("ucm-captions:test",), (_alone("rsicd", "RSICD"),), plain=True),
        PaperTable(3, ("sydney-captions:test",), (_alone("ucm", "UCM-Captions"),), plain=True),
        PaperTable(4, ("rsicd:test", "rsicd:val"), (_alone("ucm", "UCM-Captions"),), plain=True),
        PaperTable(5, _LONG_SETS, (*(_experts(count) for count in (3, 1, 2, 4)), _WIDE), "experts-3"),
        PaperTable(
            6, _LONG_SETS, (_size("middle", 256, 4), _size("small", 128, 3), _size("large", 384, 6)), "llm-middle",
            missing="The paper's seven LLMs have recipes of their own and need a GPU: `rsagent train plan llama-3.2-1b`.",
        ),
        PaperTable(7, _LONG_SETS, (_TWO_STAGES, _ONE_STAGE), "experts-3"),
        PaperTable(
            8, ("rsieval-vqa:test", "rsivqa:val+test", "rsvqa-lr:all", "rsvqa-hr:all", "scenes-questions:test"), plain=True
        ),
    )
}  # fmt: skip
"""Every table by its number."""
