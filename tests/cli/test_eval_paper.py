"""`rsagent eval paper`: its errors, what it plans, and a table with trainings on tiny data."""

import fcntl
import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.training.tiny_data import write_data


@pytest.fixture
def tiny_run(place, tiny_recipe, tiny_checkpoint, monkeypatch):
    """Tiny data, and the arguments that train a network of tiny sizes on it from the tiny checkpoint."""
    monkeypatch.setenv("RSAGENT_MAX_TOKENS", "3")
    write_data(place / "data")
    whole = tiny_recipe.model_dump() | {"encoder": None, "start": str(tiny_checkpoint), "scenes": 0, "captions": "ucm"}
    whole.pop("optim")
    for stage in ("base", "stage1", "stage2", "composer"):
        whole[stage] |= {"scene_share": 0.0}
    (place / "recipe.yaml").write_text(yaml.safe_dump(whole))
    return ("--recipe", "recipe.yaml", "--data", "data", "--minutes", "1", "--rate", "40", "--seeds", "1", "--no-meteor")


@pytest.fixture
def weights_run(tiny_run, place, tiny_recipe, tiny_checkpoint):
    """The same with a recipe that names weights and has no stage base: the tiny checkpoint's own LLM, as a folder."""
    shutil.copytree(tiny_checkpoint / "llm", place / "llm")
    shutil.copytree(tiny_checkpoint / "tokenizer", place / "llm", dirs_exist_ok=True)
    whole = yaml.safe_load((place / "recipe.yaml").read_text())
    whole |= {"weights": {"llm": str(place / "llm")}, "network": {"lora_rank": 4, "soft_prompts": 2, "router_rank": 4}}
    (place / "recipe.yaml").write_text(yaml.safe_dump({key: value for key, value in whole.items() if key != "base"}))
    return ("--recipe", "recipe.yaml", "--data", "data", "--images", "40", "--seeds", "1", "--no-meteor", "--limit", "2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table9",), "the paper has no 'table9' with figures: choose from table1 to table8"),
        (("figure2",), "the paper has no 'figure2'"),
        (("table5", "--data", "nowhere"), "nowhere is no folder"),
        (("table5", "--arms", "wide,3"), "no arm '3': choose from experts-3, experts-1, experts-2, experts-4, wide"),
        (("table1", "--arms", "wide"), "--arms: table1 has no trainings"),
        (("table5", "--images", "90", "--rate", "9"), "--images says what an arm sees: leave out --minutes and --rate"),
    ],
)
def test_mistakes_are_one_line(cli, arguments, message):
    done = cli("eval", "paper", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_table_whose_set_is_not_at_hand_says_how_to_get_it(cli, place):
    (place / "data").mkdir()
    done = cli("eval", "paper", "table3", "--data", "data", "--json")
    assert done.exit_code == 1
    assert "missing: sydney-captions, test: it is not there. `rsagent data fetch-help sydney-captions`" in done.stderr
    (table,) = json.loads(done.stdout)
    assert table["note"].startswith("PARTIAL")
    assert str(place) not in (place / "docs/results/paper-table3.md").read_text()


def test_a_plan_says_how_many_images_each_stage_sees(cli, tiny_run):
    done = cli("eval", "paper", "table7", "--plan", *tiny_run)
    assert done.exit_code == 0
    assert "seed 0, two stages: stage1 12 (shared), stage2 20, composer 8 images" in done.stdout
    assert "seed 0, one stage: stage2 32, composer 8 images" in done.stdout
    assert "two stages: trained parameters: stage1 " in done.stdout


def test_a_plan_of_some_arms_and_of_images(cli, tiny_run):
    without_minutes = [*tiny_run[:4], *tiny_run[8:]]
    done = cli(
        "eval", "paper", "table5", "--plan", "--images", "80", "--arms", "wide", "--arms", "experts-1,", *without_minutes
    )
    assert done.exit_code == 0
    trained = [line for line in done.stdout.splitlines() if line.startswith("seed 0")]
    assert [line.partition(":")[0].removeprefix("seed 0, ") for line in trained] == [
        "3 LLMs", "1 LLM", "one LoRA of three's parameters, images and steps",
    ]  # fmt: skip
    assert trained[2].endswith(": stage1 64 images")


def test_too_few_images_are_one_line(cli, tiny_run):
    done = cli("eval", "paper", "table5", "--images", "7", *tiny_run[:4], "--limit", "2")
    assert done.exit_code == 2
    assert "7 images an arm leave less than a step to a stage of 'experts-3': give 20 or more" in done.stderr


def test_arms_are_trained_once_evaluated_and_held_against_each_other(cli, place, tiny_run):
    pytest.importorskip("accelerate")
    pytest.importorskip("pycocoevalcap")
    command = ("eval", "paper", "table7", "--limit", "2", "--out", "page.md", *tiny_run)
    done = cli(*command, "--json")
    assert done.exit_code == 1, done.stderr  # RSIEval is not at hand
    tables = json.loads(done.stdout)
    titles = [table["title"] for table in tables]
    assert titles[0] == "Table 7, one stage against two; here on ucm-captions, test"
    assert titles[1] == "Table 7, one stage against two: differences on ucm-captions, test"
    assert titles[3] == "Table 7, one stage against two: differences on rsivqa, val+test"
    shown = {row["name"]: row["figures"] for row in tables[0]["rows"]}
    assert set(shown["one stage: CIDEr"]) == {"here", "published"}
    arms = place / "runs/paper/seed0"
    shared = (arms / "shared-stage1/stage1.safetensors").read_bytes()
    assert (arms / "experts-3/stage1.safetensors").read_bytes() == shared
    assert (arms / "one-stage/stage1.safetensors").read_bytes() != shared
    assert (arms / "one-stage/cache").resolve() == (place / "runs/paper/cache").resolve()
    page = (place / "page.md").read_text()
    assert "40 images, 1 minutes at 40 images a minute" in page
    assert "### Table 7: what each arm sees and trains" in page
    assert {row["name"]: row["figures"]["images"]["value"] for row in tables[-1]["rows"]} == {
        "two stages: stage I": 12, "two stages: stage II": 20, "two stages: composer": 8,
        "two stages: stages I and II together": 32,
        "one stage: stage II": 32, "one stage: composer": 8, "one stage: stages I and II together": 32,
    }  # fmt: skip
    again = cli(*command)
    assert again.exit_code == 1
    assert again.stderr.count("is trained already") == 2
    assert "training" not in again.stderr.replace("trained already", "")
    other = cli(*(argument if argument != "40" else "80" for argument in command))
    assert other.exit_code == 2
    assert "give them again, or another --runs" in other.stderr


@pytest.mark.slow
def test_a_recipe_without_a_base_side_by_side_with_an_arm_that_fails_at_first(cli, place, weights_run):
    pytest.importorskip("accelerate")
    pytest.importorskip("pycocoevalcap")
    seed = place / "runs/paper/seed0"
    (seed / "experts-1").mkdir(parents=True)
    command = ("eval", "paper", "table5", "--arms", "wide,experts-1", "--jobs", "2", "--out", "page.md", *weights_run, "--json")
    with (seed / "experts-1/.training").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = cli(*command)
    assert done.exit_code == 1
    assert "experts-1, seed 0: failed: another training writes to runs/paper/seed0/experts-1: wait for it" in done.stderr
    assert "experts-3, seed 0: training 3 LLMs, seed 0, in runs/paper/seed0/experts-3" in done.stderr
    assert "shared-stage1, seed 0: training " in done.stderr
    page = (place / "page.md").read_text()
    assert "PARTIAL: not trained: 1 LLM, seed 0." in page
    assert "Left out (--arms): 2 LLMs, 4 LLMs." in page
    assert "40 images, shared" in page

    trained = {file.parent.name: file.stat().st_mtime_ns for file in seed.glob("*/stage1.safetensors")}
    assert sorted(file.parent.name for file in seed.glob("*/checkpoint")) == ["experts-3", "wide"]
    assert sorted(trained) == ["experts-1", "experts-3", "shared-stage1", "wide"]  # nobody made a base
    assert not list(seed.glob("*/base.safetensors"))
    assert {(seed / name / "cache").resolve() for name in trained} == {(place / "runs/paper/cache").resolve()}
    assert len(list((place / "runs/paper/cache").glob("features-*-fine.npy"))) == 1  # encoded once, for all
    wide = yaml.safe_load((seed / "wide/recipe.yaml").read_text())
    assert wide["network"]["lora_rank"] > 12  # three experts of rank 4, and the router

    again = cli(*command)
    assert again.exit_code == 1  # RSIEval is not at hand
    assert "failed" not in again.stderr
    tables = json.loads(again.stdout)
    assert "PARTIAL: not trained" not in tables[0]["note"]
    shown = {row["name"]: row["figures"] for row in tables[0]["rows"]}
    assert "here" in shown["1 LLM: CIDEr"] and "here" in shown["one LoRA of three's parameters, images and steps: CIDEr"]
    counted = {row["name"]: row["figures"] for row in tables[-1]["rows"]}
    one = counted["one LoRA of three's parameters, images and steps: stage I"]
    key = "LoRA of the LLM, and router"
    assert one[key]["value"] == pytest.approx(counted["3 LLMs: stage II"][key]["value"], rel=0.05)
    assert one["images"]["value"] == counted["3 LLMs: stages I and II together"]["images"]["value"] == 32
    assert {file.parent.name: file.stat().st_mtime_ns for file in seed.glob("*/stage1.safetensors")}.items() >= trained.items()


@pytest.mark.slow
def test_a_recipe_without_a_base_one_stage_against_two(cli, place, weights_run):
    pytest.importorskip("accelerate")
    pytest.importorskip("pycocoevalcap")
    done = cli("eval", "paper", "table7", "--out", "page.md", *weights_run, "--json")
    assert done.exit_code == 1  # RSIEval is not at hand
    tables = json.loads(done.stdout)
    assert any(row["name"].startswith("one stage: caption") for row in tables[1]["rows"])
    seed = Path("runs/paper/seed0")
    assert sorted(file.name for file in seed.iterdir()) == ["experts-3", "one-stage", "shared-stage1"]


def test_when_every_arm_fails_there_is_no_page(cli, place, tiny_run):
    pytest.importorskip("accelerate")
    pytest.importorskip("pycocoevalcap")
    folders = [place / "runs/paper/seed0" / name for name in ("shared-base", "shared-stage1")]
    for folder in folders:
        folder.mkdir(parents=True)
    with (folders[0] / ".training").open("w") as base, (folders[1] / ".training").open("w") as first:
        fcntl.flock(base, fcntl.LOCK_EX)
        fcntl.flock(first, fcntl.LOCK_EX)
        done = cli("eval", "paper", "table7", "--limit", "2", "--out", "page.md", *tiny_run)
    assert done.exit_code == 2
    assert "experts-3, seed 0: failed: needs 'shared-stage1, seed 0', which failed" in done.stderr
    assert "no arm is trained, so no page is written; the same command goes on with what is missing" in done.stderr
    assert not (place / "page.md").exists()
