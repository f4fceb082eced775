"""What the arms of a table see and train: which are chosen, one LoRA as large as three experts, and the table that says it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import rsagent.training
from rsagent.errors import UserError
from rsagent.evaluation.paper import budget
from rsagent.evaluation.paper.specs import COMPOSER, TABLES
from rsagent.evaluation.paper.trainings import Plan, arm_folder, arm_recipe, plan_lines, shared_arm, training_tasks
from rsagent.training.recipe import load_recipe

pytest.importorskip("peft", reason="needs pip install 'rsagent[train]'")
SHIPPED = Path(rsagent.training.__file__).parent / "recipes"
SMALL = """
name: small
scenes: 8000
start: tiny
weights: {llm: HuggingFaceTB/SmolLM2-135M-Instruct}
stage1: {samples: 6400, batch: 16}
stage2: {samples: 6400, batch: 16}
composer: {samples: 3200, batch: 16, reports: 1600}
"""
ARMS = {arm.key: arm for arm in (*TABLES[5].arms, *TABLES[7].arms)}


@pytest.fixture
def plans(tmp_path: Path) -> dict[str, Plan]:
    """The default's own LLM, and a pretrained one without a stage base; nothing is loaded of either."""
    (tmp_path / "small.yaml").write_text(SMALL)
    files = {"tiny-4": SHIPPED / "tiny-4.yaml", "small": tmp_path / "small.yaml"}
    return {name: Plan(tmp_path / name, tmp_path, file, 9000) for name, file in files.items()}


@pytest.mark.parametrize(
    ("name", "experts", "rank", "one"), [("tiny-4", 449_827, 27, 442_368), ("small", 6_019_171, 24, 5_944_320)]
)
def test_one_lora_is_as_large_as_three_experts_and_their_router(plans, name, experts, rank, one):
    three, wide = (arm_recipe(ARMS[key], 0, plans[name], SHIPPED) for key in ("experts-3", "wide"))
    assert wide.network.lora_rank == rank
    (stage,) = budget.stage_budgets(ARMS["wide"], wide)
    assert (budget.experts_parameters(three), stage.llm) == (experts, one)
    assert one == pytest.approx(experts, rel=0.03)


@pytest.mark.parametrize("rank", [1, 2, 16])
def test_other_ranks_match_as_nearly_as_whole_ranks_can(plans, rank):
    plan = replace(plans["small"], changes=(f"network.lora_rank={rank}",))
    three, wide = (arm_recipe(ARMS[key], 0, plan, SHIPPED) for key in ("experts-3", "wide"))
    (stage,) = budget.stage_budgets(ARMS["wide"], wide)
    assert abs(stage.llm - budget.experts_parameters(three)) <= stage.llm / wide.network.lora_rank / 2


@pytest.mark.parametrize("name", ["tiny-4", "small"])
def test_the_table_says_images_steps_and_parameters_of_each_arm(plans, name):
    arms = TABLES[5].with_arms(["wide"]).arms
    assert [arm.key for arm in arms] == ["experts-3", "wide"]
    table = budget.budget_table("what", [(arm, arm_recipe(arm, 0, plans[name], SHIPPED)) for arm in arms], 3)
    rows = {row.name: {column: int(figure.value) for column, figure in row.figures.items()} for row in table.rows}
    three, one = rows["3 LLMs: stage II"], rows[f"{ARMS['wide'].name}: stage I"]
    assert one[budget.LLM] == pytest.approx(three[budget.LLM], rel=0.03)
    assert set(rows["3 LLMs: composer"]) == {budget.IMAGES, budget.STEPS, budget.LLM}
    assert f"{ARMS['wide'].name}: composer" not in rows
    sums = [row for key, row in rows.items() if key.endswith("stages I and II together")]
    assert sums[0][budget.IMAGES] == pytest.approx(sums[1][budget.IMAGES], rel=0.01)
    assert sums[0][budget.STEPS] == pytest.approx(sums[1][budget.STEPS], abs=1)
    assert f"and their router: {three[budget.LLM]:,} (-1." in table.note


def test_images_divide_without_a_rest_where_they_can(plans):
    """The page shows the rest that steps leave; such a budget leaves none."""
    plan = replace(plans["small"], images=3200)
    budgets = [budget.stage_budgets(arm, arm_recipe(arm, 0, plan, SHIPPED)) for arm in TABLES[5].arms]
    sums = {sum(one.images for one in stages if one.stage != "composer") for stages in budgets}
    assert sums == {2560}


def test_too_few_images_say_how_many_it_takes(plans):
    plan = replace(plans["small"], images=40)
    with pytest.raises(UserError, match="40 images an arm leave less than a step to a stage of 'experts-3': give 80 or more"):
        arm_recipe(ARMS["experts-3"], 0, plan, SHIPPED)
    arm_recipe(ARMS["experts-3"], 0, replace(plan, images=80), SHIPPED)


def test_what_a_recipe_says_for_all_its_stages_holds_for_an_arm(tmp_path):
    plan = Plan(tmp_path, tmp_path, SHIPPED / "smollm2-135m.yaml", 6400, changes=("optim.lr=3e-5",))
    for key in ("experts-3", "wide", "one-stage"):
        arm, own = arm_recipe(ARMS[key], 1, plan, SHIPPED), load_recipe(plan.recipe, plan.changes)
        assert arm.stage1.samples // 24 * 24 == arm.stage1.samples <= 5120
        for name in ("stage1", "stage2", "composer"):
            told, ours = (getattr(recipe, name).model_dump(exclude={"samples", "reports"}) for recipe in (own, arm))
            still = not getattr(ARMS[key].shares, name)
            assert ours == told | ({"lr": 1e-9} if still else {})


def test_arms_that_the_table_lacks_are_named_with_those_it_has():
    assert TABLES[5].with_arms([]) is TABLES[5]
    assert [arm.key for arm in TABLES[5].with_arms(["wide", "experts-1"]).arms] == ["experts-3", "experts-1", "wide"]
    with pytest.raises(UserError, match="no arm 'broad': choose from experts-3, experts-1, experts-2, experts-4, wide"):
        TABLES[5].with_arms(["wide", "broad"])
    with pytest.raises(UserError, match="--arms: table8 has no trainings"):
        TABLES[8].with_arms(["wide"])


def test_without_a_base_arms_take_over_stage_1_alone(plans):
    assert shared_arm(ARMS["wide"], plans["small"]) is None
    assert shared_arm(ARMS["wide"], plans["tiny-4"]).key == "shared-base"
    assert shared_arm(ARMS["experts-3"], plans["small"]).key == "shared-stage1"
    line = plan_lines([ARMS["wide"]], 1, plans["small"], SHIPPED)
    assert line == [
        f"seed 0, {ARMS['wide'].name}: stage1 7,200 images",
        f"{ARMS['wide'].name}: trained parameters: stage1 5,944,320 and 313,920 of the Q-Former; LoRA of rank 24",
    ]


def test_what_arms_share_is_trained_once_a_seed_before_them(plans):
    tasks = {name: training_tasks(TABLES[5].arms, 2, plan, SHIPPED) for name, plan in plans.items()}
    for name, found in tasks.items():
        names = [task.name for task in found]
        assert len(set(names)) == len(names) == 2 * (7 if name == "tiny-4" else 6)
        for place, task in enumerate(found):
            assert set(task.needs) <= set(names[:place])
    needs = {task.name: task.needs for task in tasks["small"]}
    assert needs["experts-4, seed 1"] == ("shared-stage1, seed 1",)
    assert needs["wide, seed 1"] == ()


def test_a_folder_with_another_training_is_not_taken_for_this_one(plans):
    plan = plans["small"]
    folder = arm_folder(ARMS["wide"], 0, plan)
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "config.json").write_text("{}")
    (folder / "arm.yaml").write_text("name: other\n")
    with pytest.raises(UserError, match="was trained by another recipe"):
        plan_lines([ARMS["wide"]], 1, plan, SHIPPED)


def test_a_base_that_is_not_there_is_said_before_anything_is_trained(plans, tmp_path):
    plan = replace(plans["tiny-4"], base=tmp_path / "nowhere")
    with pytest.raises(UserError, match="nowhere is no folder"):
        training_tasks(TABLES[5].arms, 1, plan, SHIPPED)
    assert not (tmp_path / "nowhere").exists()


def test_a_longer_composer_leaves_the_others_less_and_all_the_same_before_it():
    table = TABLES[5].with_composer(0.6)
    sums = {arm.key: arm.shares.stage1 + arm.shares.stage2 for arm in table.arms}
    assert set(sums) == {"experts-1", "experts-2", "experts-3", "experts-4", "wide"}
    assert all(total == pytest.approx(0.4) for total in sums.values())
    assert {arm.key: arm.shares.composer for arm in table.arms if arm.key != "wide"} == dict.fromkeys(
        sums.keys() - {"wide"}, 0.6
    )
    sized = TABLES[6].with_composer(0.6).arms[0].shares
    assert sized.base + sized.stage1 + sized.stage2 + sized.composer == pytest.approx(1.0)
    assert TABLES[5].with_composer(COMPOSER).arms[0].shares.stage2 == pytest.approx(TABLES[5].arms[0].shares.stage2)
