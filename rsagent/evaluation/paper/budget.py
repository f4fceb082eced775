"""What each arm of a table sees and trains, counted from its recipe: images, steps, parameters.

So that "equal images, steps and parameters" can be read off the page, and the rank of one LoRA in the place of several
follows from the counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rsagent.evaluation.intervals import Figure
from rsagent.evaluation.paper.specs import TrainedArm
from rsagent.evaluation.table import Column, Row, Table
from rsagent.training.recipe import Recipe

STAGES = ("base", "stage1", "stage2", "composer")
_SAID = {"base": "base", "stage1": "stage I", "stage2": "stage II", "composer": "composer"}
_COUNTED: dict[str, Mapping[tuple[str, str], int]] = {}
IMAGES, STEPS, LLM, VISION = "images", "steps", "LoRA of the LLM, and router", "Q-Former and projection"


@dataclass(frozen=True)
class StageBudget:
    """What one stage of an arm sees and trains: `llm` counts LoRA and router, `vision` the Q-Former's side.

    Both are 0 for the stage `base`, which trains everything.
    """

    stage: str
    images: int
    steps: int
    llm: int = 0
    vision: int = 0


def stage_budgets(arm: TrainedArm, recipe: Recipe) -> list[StageBudget]:
    """The stages that have a share of the arm's images; `recipe` is the arm's own.

    Raises:
        UserError: the sizes of the recipe's LLM are not known.
    """
    counts = _counts(recipe)
    trained = {
        "stage1": (counts["stage1", "LLM"], counts["stage1", "Q-Former"] + counts["stage1", "projection"]),
        "stage2": (counts["stage2", "LLM"] + counts["stage2", "router"], 0),
        "composer": (counts["stage1", "LLM"], 0),  # a further copy of that adapter
    }
    found: list[StageBudget] = []
    for stage in STAGES:
        if getattr(arm.shares, stage):
            run = getattr(recipe, stage)
            found.append(StageBudget(stage, run.samples, run.samples // run.batch, *trained.get(stage, (0, 0))))
    return found


def experts_parameters(recipe: Recipe) -> int:
    """The trained parameters of stage II: the experts of `recipe` and their router.

    Raises:
        UserError: the sizes of the recipe's LLM are not known.
    """
    counts = _counts(recipe)
    return counts["stage2", "LLM"] + counts["stage2", "router"]


def matching_rank(recipe: Recipe) -> int:
    """The rank at which one LoRA has as many parameters as the experts of `recipe` and their router.

    Raises:
        UserError: the sizes of the recipe's LLM are not known.
    """
    a_rank = _counts(recipe)["stage1", "LLM"] / recipe.network.lora_rank
    return max(1, round(experts_parameters(recipe) / a_rank))


def _counts(recipe: Recipe) -> Mapping[tuple[str, str], int]:
    """Trained parameters by stage and part; the network is built of shapes alone, once for all recipes of its sizes."""
    from rsagent.training.placement import placement

    key = recipe.model_dump_json(include={"network", "weights", "start"})
    if key not in _COUNTED:
        counts: dict[tuple[str, str], int] = {}
        for place in placement(recipe):
            counts[place.stage, place.part] = counts.get((place.stage, place.part), 0) + place.parameters
        _COUNTED[key] = counts
    return _COUNTED[key]


def budget_table(title: str, arms: Sequence[tuple[TrainedArm, Recipe]], seeds: int) -> Table:
    """A row an arm and stage: images, steps, and trained parameters; then the images and steps before the composer.

    Raises:
        UserError: the sizes of a recipe's LLM are not known.
    """
    rows: list[Row] = []
    notes = ["Counted from the recipes; n: seeds."]
    for arm, recipe in arms:
        budgets = stage_budgets(arm, recipe)
        for one in budgets:
            figures = {IMAGES: one.images, STEPS: one.steps, LLM: one.llm, VISION: one.vision}
            rows.append(
                _row(f"{arm.name}: {_SAID[one.stage]}", {name: count for name, count in figures.items() if count}, seeds)
            )
        before = [one for one in budgets if one.stage in ("stage1", "stage2")]
        sums = {IMAGES: sum(one.images for one in before), STEPS: sum(one.steps for one in before)}
        rows.append(_row(f"{arm.name}: stages I and II together", sums, seeds))
        for other, experts in arms:
            if arm.one_lora_of and other.key == arm.one_lora_of:
                notes.append(_matched(arm, recipe, other, experts))
    if any(arm.shares.base for arm, _ in arms):
        notes.append("The base is trained in full.")
    return Table(title, [Column(name, digits=0) for name in (IMAGES, STEPS, LLM, VISION)], rows, " ".join(notes))


def _row(name: str, counts: Mapping[str, int], seeds: int) -> Row:
    return Row(name, {column: Figure(count, seeds) for column, count in counts.items() if count})


def _matched(arm: TrainedArm, recipe: Recipe, other: TrainedArm, experts: Recipe) -> str:
    """How near one LoRA comes to the experts and the router that it stands in for."""
    wanted, has = experts_parameters(experts), _counts(recipe)["stage1", "LLM"]
    return (
        f"{arm.name[0].upper()}{arm.name[1:]}: rank {recipe.network.lora_rank}, {has:,} parameters; {other.name}, rank "
        f"{experts.network.lora_rank}, and their router: {wanted:,} ({100 * (has / wanted - 1):+.1f} %)."
    )


def parameters_line(arm: TrainedArm, recipe: Recipe) -> str:
    """The trained parameters of an arm's stages, in a line."""
    said = [
        f"{one.stage} {one.llm:,}{f' and {one.vision:,} of the Q-Former' if one.vision else ''}"
        for one in stage_budgets(arm, recipe)
        if one.llm
    ]
    return f"{arm.name}: trained parameters: {', '.join(said)}; LoRA of rank {recipe.network.lora_rank}"
