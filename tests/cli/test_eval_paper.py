"""`rsagent eval paper`: its errors, what it plans, and a table with trainings on tiny data."""

import json

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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table9",), "the paper has no 'table9' with figures: choose from table1 to table8"),
        (("figure2",), "the paper has no 'figure2'"),
        (("table5", "--data", "nowhere"), "nowhere is no folder"),
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
    assert "1 minutes at 40 images a minute" in page
    again = cli(*command)
    assert again.exit_code == 1
    assert again.stderr.count("is trained already") == 2
    assert "training" not in again.stderr.replace("trained already", "")
    other = cli(*(argument if argument != "40" else "80" for argument in command))
    assert other.exit_code == 2
    assert "give them again, or another --runs" in other.stderr
